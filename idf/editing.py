"""Scenario 1, attribute editing: stage A, stage B, and Algorithm 1 around them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf import baselines, losses
from idf.config import HAIR, Config
from idf.data import Faces
from idf.networks import DomainDiscriminator, PatchDiscriminator, PoisonGenerator, make_generator
from idf.training import Run, advance, keep_best, make_accelerator, randomness, step, weights_fixed


@dataclass(kw_only=True)
class Training(Run):
    """Networks and optimizers of one run of Algorithm 1, at iteration `iteration`."""

    surrogate: nn.Module
    d_a: nn.Module
    poisoner: nn.Module
    d_b: nn.Module

    def networks(self) -> dict[str, nn.Module]:
        return {
            "surrogate": self.surrogate,
            "d_a": self.d_a,
            "poisoner": self.poisoner,
            "d_b": self.d_b,
        }


def make_training(
    config: Config,
    surrogate: nn.Module | None = None,
    d_a: nn.Module | None = None,
    network: str = "Res6",
) -> Training:
    """Fresh networks from config.seed; a given surrogate and D_A are used instead (PG without alternation)."""
    accelerator = make_accelerator(config.bf16)
    torch.manual_seed(config.seed)
    poisoner = PoisonGenerator(config.width_pg, config.levels_pg)
    training = Training(
        config=config,
        accelerator=accelerator,
        surrogate=surrogate or make_generator(network, config),
        d_a=d_a or DomainDiscriminator(config.size, len(config.domains), config.width_d),
        poisoner=poisoner,
        d_b=PatchDiscriminator(config.size, config.width_d_b),
        best=copy.deepcopy(poisoner),
    )
    training.prepare(rates(config))
    return training


def rates(config: Config) -> dict[str, float]:
    """Learning rates by network."""
    return {
        "surrogate": config.lr,
        "d_a": config.lr_d,
        "poisoner": config.lr_pg,
        "d_b": config.lr_d_b,
    }


def augment(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Shift by up to an eighth, contrast and brightness by up to .2, for what D_A sees: real and forged faces alike.

    Differentiable (Zhao et al. 2020). D_A soon knows a few thousand faces by heart, and its class head then rewards
    patterns instead of edits. images (B, 3, S, S) in [-1, 1].
    """
    size, reach = images.shape[-1], images.shape[-1] // 8
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    corners = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    shifted = torch.stack(
        [
            image[:, i : i + size, j : j + size]
            for image, (i, j) in zip(padded, corners, strict=True)
        ]
    )
    contrast, brightness = torch.rand(2, len(images), 1, 1, 1, generator=generator).to(
        images.device, images.dtype
    )
    return shifted * (0.8 + 0.4 * contrast) + 0.4 * (brightness - 0.5)


def harden(
    training: Training, x: Tensor, c: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """x moved by a random share of config.robust, pixel by pixel in the direction that D_A's class head takes worst.

    Learning to class such faces too (adversarial training, Goodfellow et al. 2015) makes the head look at what a person
    sees. Without it the editor reaches its labels by fine patterns that please the head alone.
    """
    x = x.detach().requires_grad_(True)
    with weights_fixed(training.d_a):
        (slope,) = torch.autograd.grad(losses.classification(training.d_a(x)[1], c), x)
    share = torch.rand(len(x), 1, 1, 1, generator=generator).to(x.device)
    return (x + training.config.robust * share * slope.sign()).detach()


def update_d_a(
    training: Training,
    x: Tensor,
    c: Tensor,
    c_trg: Tensor,
    alpha: Tensor,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Stage A: D_A learns real from forged (WGAN-GP) and the labels of real faces."""
    config = training.config
    with training.accelerator.autocast():
        with torch.no_grad():  # D_A's step must not reach SM
            y = training.surrogate(x, c_trg)
        if config.augment:
            x, y = augment(x, generator), augment(y, generator)
        hard = [harden(training, x, c, generator)] if config.robust else []
        scores, logits = training.d_a(torch.cat([y, x, *hard]))
        n = len(x)
        terms = {
            "d_a_adv": scores[:n].float().mean() - scores[n : 2 * n].float().mean(),
            "d_a_cls": losses.classification(logits[n:], torch.cat([c] * (1 + len(hard)))),
            "d_a_gp": losses.gradient_penalty(
                lambda x_hat: training.d_a(x_hat)[0], x, y.to(x.dtype), alpha
            ),
        }
    step(
        training,
        "d_a",
        terms["d_a_adv"]
        + config.lambda_cls * terms["d_a_cls"]
        + config.lambda_gp * terms["d_a_gp"],
    )
    return terms


def update_surrogate(
    training: Training,
    x: Tensor,
    c: Tensor,
    c_trg: Tensor,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Stage A: SM fools D_A, reaches the label c_trg, and leads back to x (StarGAN). It never sees PG's output."""
    config = training.config
    with weights_fixed(training.d_a), training.accelerator.autocast():
        y = training.surrogate(x, c_trg)
        scores, logits = training.d_a(augment(y, generator) if config.augment else y)
        terms = {
            "sm_adv": -scores.float().mean(),
            "sm_cls": losses.classification(logits, c_trg),
            "sm_rec": (x - training.surrogate(y, c)).abs().float().mean(),
        }
        loss = (
            terms["sm_adv"]
            + config.lambda_cls * terms["sm_cls"]
            + config.lambda_rec * terms["sm_rec"]
        )
        if config.lambda_idt and training.iteration < config.idt_share * config.iterations:
            terms["sm_idt"] = (x - training.surrogate(x, c)).abs().float().mean()
            loss = loss + config.lambda_idt * terms["sm_idt"]
        step(training, "surrogate", loss)
    return terms


BANDS = (0.0, 0.1, 0.22, 0.34, 0.5, 0.72)  # cycles per pixel


def queries(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """What the defender sends to the editor it imitates: every other image with coloured noise, up to 4 eps strong.

    Where photos hold nothing, in fine colour contrast, an imitator of clean answers stays free to differ from the editor;
    there the poison lives. The answer to noise of eps alone is too faint to learn from. x (B, 3, S, S) in [-1, 1].
    """
    draw = lambda n: int(torch.randint(0, n, (), generator=generator))
    band, strength, kind = draw(len(BANDS)), 2 ** draw(3), ("colour", "free")[draw(2)]
    low, high = (BANDS[band], BANDS[band + 1]) if band < len(BANDS) - 1 else (BANDS[0], BANDS[-1])
    noise = baselines.band_noise(tuple(x.shape), low, high, kind, generator)
    noise[::2] = 0
    return (x + strength * eps * noise.to(x)).clamp(-1, 1)


def update_imitation(
    training: Training, target: nn.Module, x: Tensor, c_trg: Tensor
) -> dict[str, Tensor]:
    """In place of stage A, for a defender who may query M: SM learns M's answers, mean |SM(x, c) - M(x, c)|.

    Not in the paper. It needs no label and no weight of M; target is called as a black box.
    """
    with training.accelerator.autocast():
        with torch.no_grad():
            answer = target(x, c_trg)
        terms = {"imitation": (training.surrogate(x, c_trg) - answer).abs().float().mean()}
        step(training, "surrogate", terms["imitation"])
    return terms


def update_d_b(training: Training, x: Tensor, alpha: Tensor) -> dict[str, Tensor]:
    """Stage B: D_B learns clean from infected faces (WGAN-GP, Eq. 5)."""
    config = training.config
    with training.accelerator.autocast():
        with torch.no_grad():  # D_B's step must not reach PG
            x_infected = losses.infect(x, training.poisoner(x).to(x.dtype), config.eps)
        loss = losses.critic_loss(training.d_b, x, x_infected, alpha, config.lambda_gp)
    step(training, "d_b", loss)
    return {"d_b": loss}


def poison_loss(
    training: Training,
    x: Tensor,
    c: Tensor,
    previous: tuple[nn.Module, nn.Module] | None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_PG = L + L' + lambda * L_B of Eq. 12 on a batch, and its terms.

    previous is (SM, D_A) of the last iteration. Where SM has not changed since, L and L' share their forgeries and
    differ only in D_A: one pass gives both.
    """
    config = training.config
    targets = losses.target_labels(c, config.domains, HAIR)
    weights = (config.lambda_bs, config.lambda_cyc, config.lambda_dom)
    x_infected = losses.infect(x, training.poisoner(x).to(x.dtype), config.eps)

    def influence(surrogate: nn.Module, *critics: nn.Module) -> dict[str, Tensor]:
        return losses.influence_loss(
            surrogate, critics, x, c, x_infected, targets, weights, config.mu_per_sample
        )

    if previous is None:
        terms = influence(training.surrogate, training.d_a)
        total = terms["total"]
    elif previous[0] is training.surrogate:
        terms = influence(training.surrogate, training.d_a, previous[1])
        total = 2 * terms["total"]
    else:
        terms = influence(training.surrogate, training.d_a)
        total = terms["total"] + influence(*previous)["total"]
    terms["adv"] = losses.adversarial_loss(training.d_b, x_infected)
    return total + config.lambda_adv * terms["adv"], terms


def update_poison(
    training: Training,
    x: Tensor,
    c: Tensor,
    previous: tuple[nn.Module, nn.Module] | None,
) -> dict[str, Tensor]:
    """Stage B: PG drives the forgeries of x' away from those of x. SM, D_A and D_B keep their weights."""
    fixed = [training.surrogate, training.d_a, training.d_b]
    with weights_fixed(*fixed), training.accelerator.autocast():
        loss, terms = poison_loss(training, x, c, previous)
        step(training, "poisoner", loss)
    return {"pg_" + name: value for name, value in terms.items()}


@torch.no_grad()
def forgery_distance(training: Training, poisoner: nn.Module, x: Tensor, c: Tensor) -> float:
    """D(y, y'), mean L1 over a fixed validation batch (Algorithm 1, line 20), PG in evaluation mode."""
    was_training = poisoner.training
    poisoner.eval()
    with training.accelerator.autocast():
        targets = losses.target_labels(c, training.config.domains, HAIR)
        x_infected = losses.infect(x, poisoner(x).to(x.dtype), training.config.eps)
        y, y_infected = (
            losses.forge(training.surrogate, image, targets) for image in (x, x_infected)
        )
    poisoner.train(was_training)
    return (y - y_infected).abs().float().mean().item()


def run_iteration(
    training: Training,
    faces: Faces,
    stages: str,
    previous: tuple[nn.Module, nn.Module],
    target: nn.Module | None = None,
) -> dict[str, Tensor]:
    """One iteration of Algorithm 1: D_A, every n_critic-th time SM, then D_B and PG. previous: room for a snapshot.

    With stage "I" in place of "A", SM imitates target instead.
    """
    config, i = training.config, training.iteration
    rank, world = training.accelerator.process_index, training.accelerator.num_processes
    generator = randomness(config.seed, i, rank)
    x, c = faces.batch(i, config.batch, config.seed, balance=config.balance, rank=rank, world=world)
    c_trg = c[torch.randperm(len(c), generator=generator)]
    alpha, alpha_b = torch.rand(2, len(x), 1, 1, 1, generator=generator)
    x, c, c_trg, alpha, alpha_b = (
        t.to(training.accelerator.device) for t in (x, c, c_trg, alpha, alpha_b)
    )
    poisons = "B" in stages and i % config.poison_every == 0
    edits = "I" in stages or ("A" in stages and (i + 1) % config.n_critic == 0)
    terms: dict[str, Tensor] = {}

    last = None
    if poisons and config.previous:
        surrogate, d_a = previous
        d_a.load_state_dict(training.d_a.state_dict())
        if edits:
            surrogate.load_state_dict(training.surrogate.state_dict())
        last = (surrogate if edits else training.surrogate, d_a)
    if "A" in stages:
        terms |= update_d_a(training, x, c, c_trg, alpha, generator)
    if "I" in stages:
        terms |= update_imitation(training, target, queries(x, config.eps, generator), c_trg)
    elif edits:
        terms |= update_surrogate(training, x, c, c_trg, generator)
    if poisons:
        n = min(config.batch_pg, len(x))
        terms |= update_d_b(training, x[:n], alpha_b[:n])
        terms |= update_poison(training, x[:n], c[:n], last)
    return {name: term.detach() for name, term in terms.items()}


def train(
    training: Training,
    faces: Faces,
    validation: Faces,
    stages: str = "AB",
    folder: Path | None = None,
    until: int | None = None,
    watch: Callable[[Training], None] | None = None,
    quiet: bool = False,
    target: nn.Module | None = None,
) -> Training:
    """Algorithm 1 up to config.iterations (or `until`), continuing from `folder`'s checkpoint if there is one.

    stages: "AB" alternates (the paper), "A" trains an editor alone (the target M), "B" trains PG against the given,
    frozen SM (the dagger of Table 1), "IB" alternates with queries to `target` in place of stage A. watch is called at
    every record of the history. Raises UserError for NaN.
    """
    config, device = training.config, training.accelerator.device
    x_val, c_val = (
        t.to(device) for t in validation.batch(0, min(16, len(validation)), 0, flip=False)
    )
    previous = tuple(
        copy.deepcopy(n).requires_grad_(False) for n in (training.surrogate, training.d_a)
    )

    def iterate() -> dict[str, Tensor]:
        training.set_learning_rates(rates(config), config.iterations)
        terms = run_iteration(training, faces, stages, previous, target)
        done = training.iteration + 1
        if "B" in stages and (done % config.validate_every == 0 or done == config.iterations):
            keep_best(
                training, training.poisoner, lambda pg: forgery_distance(training, pg, x_val, c_val)
            )
            terms["best_distance"] = torch.tensor(training.best_distance)
        return terms

    return advance(training, config.iterations, iterate, folder, until, watch, quiet)
