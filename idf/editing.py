"""Scenario 1, attribute editing: the updates of stages A and B, and Algorithm 1 around them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from idf import losses
from idf.aids import adversarial_faces
from idf.augmentations import transformed_alike
from idf.config import HAIR, Config
from idf.data.faces import Faces
from idf.networks import (
    DomainDiscriminator,
    PatchDiscriminator,
    frozen,
    make_generator,
    make_poisoner,
)
from idf.training import Run, make_accelerator, update_d_b, weights_fixed


@dataclass(kw_only=True)
class Training(Run):
    """The networks of Algorithm 1: SM and its D_A, PG and its D_B."""

    config: Config
    surrogate: nn.Module
    d_a: nn.Module
    poisoner: nn.Module
    d_b: nn.Module
    others: tuple[nn.Module, ...] = ()  # more surrogates, frozen: they are neither trained nor kept


StageA = Callable[[Training, Tensor, Tensor, Tensor, Tensor], dict[str, Tensor]]


def make_training(
    config: Config,
    surrogate: nn.Module | None = None,
    d_a: nn.Module | None = None,
    network: str = "Res6",
    others: tuple[nn.Module, ...] = (),
) -> Training:
    """Fresh networks from config.seed; a given SM and D_A are used instead, others beside SM."""
    torch.manual_seed(config.seed)
    size, domains = config.size, len(config.domains)
    poisoner = make_poisoner(config.poisoner)
    editor, accelerator = config.editor, make_accelerator(config.bf16)
    run = Training(
        config=config,
        identity={**config.identity(), "network": network},
        seed=config.seed,
        checkpoint_every=config.checkpoint_every,
        accelerator=accelerator,
        surrogate=surrogate or make_generator(network, domains, editor.width, size),
        d_a=d_a or DomainDiscriminator(size, domains, editor.width_d),
        poisoner=poisoner,
        d_b=PatchDiscriminator(size, config.poisoner.width_d_b),
        best=copy.deepcopy(poisoner),
        others=tuple(frozen(other).to(accelerator.device) for other in others),
    )
    run.prepare(
        {
            run.surrogate: editor.lr,
            run.d_a: editor.lr_d,
            run.poisoner: config.poisoner.lr,
            run.d_b: config.poisoner.lr_d_b,
        }
    )
    return run


# Stage A: SM learns to edit clean faces (StarGAN)


def train_editor(
    run: Training, x: Tensor, c: Tensor, c_trg: Tensor, alpha: Tensor
) -> dict[str, Tensor]:
    """Stage A as in the paper: a step of D_A, and every n_critic-th time one of SM."""
    terms = update_d_a(run, x, c, c_trg, alpha)
    if (run.iteration + 1) % run.config.editor.n_critic == 0:
        terms |= update_editor(run, x, c, c_trg)
    return terms


def update_d_a(
    run: Training, x: Tensor, c: Tensor, c_trg: Tensor, alpha: Tensor
) -> dict[str, Tensor]:
    """D_A learns real from forged (WGAN-GP) and the labels of real faces."""
    editor = run.config.editor
    with run.accelerator.autocast():
        with torch.no_grad():  # D_A's step must not reach SM
            y = run.surrogate(x, c_trg)
        labelled = x
        if editor.robust:
            moved = adversarial_faces(run.d_a, x, c, editor.robust, run.generator)
            labelled = torch.cat([x, moved])
            c = torch.cat([c, c])

        # one pass for the forged faces and the labelled ones, of which the first are real
        scores, logits = run.d_a(torch.cat([y, labelled]))
        scores_fake, scores_real = scores[: len(y)], scores[len(y) : len(y) + len(x)]
        logits_real = logits[len(y) :]

        adv = losses.wasserstein(scores_real, scores_fake)
        cls = losses.classification(logits_real, c)
        gp = losses.gradient_penalty(lambda x_hat: run.d_a(x_hat)[0], x, y.to(x.dtype), alpha)
    run.step(run.d_a, adv + editor.lambda_cls * cls + editor.lambda_gp * gp)
    return {"d_a_adv": adv, "d_a_cls": cls, "d_a_gp": gp}


def update_editor(run: Training, x: Tensor, c: Tensor, c_trg: Tensor) -> dict[str, Tensor]:
    """SM fools D_A, reaches the label c_trg, and leads back to x. It never sees PG's output."""
    editor = run.config.editor
    with weights_fixed(run.d_a), run.accelerator.autocast():
        y = run.surrogate(x, c_trg)
        scores, logits = run.d_a(y)
        adv = losses.adversarial_loss(scores)
        cls = losses.classification(logits, c_trg)
        if editor.noise:  # what is hidden in y drowns (Bashkirova et al. 2019)
            place = run.generator.device if run.generator else y.device
            noise = torch.randn(y.shape, generator=run.generator, device=place)
            y = y + editor.noise * noise.to(y)
        rec = losses.reconstruction_loss(x, run.surrogate(y, c))
        loss = adv + editor.lambda_cls * cls + editor.lambda_rec * rec
        run.step(run.surrogate, loss)
    return {"sm_adv": adv, "sm_cls": cls, "sm_rec": rec}


# Stage B: PG learns to spoil the edits


def update_poisoner(
    run: Training, x: Tensor, c: Tensor, before: tuple[nn.Module, nn.Module] | None
) -> dict[str, Tensor]:
    """PG drives the forgeries of x' away from those of x. SM, D_A and D_B keep their weights."""
    with weights_fixed(run.surrogate, run.d_a, run.d_b), run.accelerator.autocast():
        loss, terms = poisoner_loss(run, x, c, before)
        run.step(run.poisoner, loss)
    return {f"pg_{name}": value for name, value in terms.items()}


def poisoner_loss(
    run: Training, x: Tensor, c: Tensor, before: tuple[nn.Module, nn.Module] | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """L_PG = L + L' + lambda * L_B of Eq. 12 on a batch, and its terms.

    before is (SM, D_A) of the last iteration. Where SM has not changed since, L and L' share their
    forgeries and differ only in D_A: one pass gives both. With config.poisoner.summed L counts
    twice beside L', as in the published code. With config.poisoner.through L and L' are of T(x)
    and T(x'), T random.
    """
    pg = run.config.poisoner
    times = 2 if pg.summed else 1
    targets = losses.target_labels(c, run.config.domains, HAIR)

    def influence(
        received: tuple[Tensor, Tensor], surrogate: nn.Module, *critics: nn.Module
    ) -> dict[str, Tensor]:
        weights, (clean, infected) = (pg.lambda_bs, pg.lambda_cyc, pg.lambda_dom), received
        return losses.influence_loss(
            surrogate, critics, clean, c, infected, targets, weights, pg.mu_per_sample, pg.cap
        )

    total = 0.0
    for surrogate in surrogates_of_step(run):
        x_infected = losses.infect(x, run.poisoner(x, run.generator), pg.eps)
        received = x, x_infected
        if pg.through:
            received = transformed_alike(x, x_infected, run.generator)
        own = surrogate is run.surrogate
        if own and before and same_weights(before[0], surrogate):
            critics = [run.d_a] * times + [before[1]]
            terms = influence(received, surrogate, *critics)
            terms["total"] = len(critics) * terms["total"]
        else:
            terms = influence(received, surrogate, *([run.d_a] if own else []))
            if own and before:
                loss_previous = influence(received, *before)["total"]
                terms["total"] = times * terms["total"] + loss_previous
        total = total + terms["total"]
    terms["total"] = total / max(pg.keys, 1)
    terms["adv"] = losses.adversarial_loss(run.d_b(x_infected))
    return terms["total"] + pg.lambda_adv * terms["adv"], terms


def surrogates_of_step(run: Training) -> list[nn.Module]:
    """SM; with several surrogates and keys, one for each key of this step, in turn."""
    known = [run.surrogate, *run.others]
    count = max(run.config.poisoner.keys, 1)
    return [known[(run.iteration * count + i) % len(known)] for i in range(count)]


def same_weights(a: nn.Module, b: nn.Module) -> bool:
    """Are all parameters equal, bit for bit?"""
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return all(torch.equal(p, q) for p, q in pairs)


@torch.no_grad()
def forgery_distance(run: Training, poisoner: nn.Module, x: Tensor, c: Tensor) -> float:
    """D(y, y'), mean L1 over a fixed validation batch (Algorithm 1, line 20).

    Over all surrogates; a PG of random keys has the same ones each time.
    """
    generator = torch.Generator().manual_seed(run.seed)
    was_training = poisoner.training
    poisoner.eval()
    distances = []
    with run.accelerator.autocast():
        targets = losses.target_labels(c, run.config.domains, HAIR)
        x_infected = losses.infect(x, poisoner(x, generator), run.config.poisoner.eps)
        for surrogate in (run.surrogate, *run.others):
            y = losses.forge(surrogate, x, targets)
            y_infected = losses.forge(surrogate, x_infected, targets)
            distances.append((y - y_infected).abs().float().mean())
    poisoner.train(was_training)
    return torch.stack(distances).mean().item()


# The loops


def draw(run: Run, faces: Faces, size: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """This iteration's faces x, labels c, their permutation c_trg, and alphas for D_A and D_B."""
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    x, c = faces.batch(run.iteration, size, run.seed, rank=rank, world=world)
    c_trg = c[torch.randperm(len(c), generator=run.generator)]
    alpha_a, alpha_b = torch.rand(2, len(x), 1, 1, 1, generator=run.generator)
    return tuple(t.to(run.device) for t in (x, c, c_trg, alpha_a, alpha_b))


def snapshot(run: Training) -> tuple[nn.Module, nn.Module] | None:
    """(SM, D_A) as they are now, for L' of Eq. 12; None where config leaves L' out."""
    if not run.config.poisoner.previous:
        return None
    surrogate, d_a = copy.deepcopy((run.surrogate, run.d_a))
    return surrogate.requires_grad_(False), d_a.requires_grad_(False)


def train(
    run: Training, faces: Faces, validation: Faces, stage_a: StageA | None = train_editor, **options
) -> Training:
    """Algorithm 1: SM and PG by turns, up to config.poisoner.iterations.

    stage_a: train_editor as in the paper; imitate(M), with queries; or None: PG alone, against the
    given, frozen SM (the dagger of Table 1). options: folder, until, watch, quiet of Run.loop.
    """
    pg = run.config.poisoner
    batch_a, batch_b = run.config.editor.batch, pg.batch
    validation_batch = validation.batch(0, min(16, len(validation)), 0, flip=False)
    x_val, c_val = (t.to(run.device) for t in validation_batch)

    run.identity["stage_a"] = getattr(stage_a, "__name__", "none")
    for iteration in run.loop(pg.iterations, pg.decay, **options):
        x, c, c_trg, alpha_a, alpha_b = draw(run, faces, max(batch_a, batch_b))
        infects = iteration % pg.every == 0
        before = snapshot(run) if infects else None  # SM_{i-1} and D_A_{i-1}

        # Stage A, lines 3 to 9: SM learns from clean faces
        if stage_a:
            run.record(stage_a(run, *(t[:batch_a] for t in (x, c, c_trg, alpha_a))))

        # Stage B, lines 10 to 18: PG learns through SM
        if infects:
            x, c, alpha_b = x[:batch_b], c[:batch_b], alpha_b[:batch_b]
            run.record(update_d_b(run, x, alpha_b))
            run.record(update_poisoner(run, x, c, before))

        # Lines 19 to 23: keep PG_best
        if run.is_due(pg.validate_every):
            run.keep_best(run.poisoner, partial(forgery_distance, run, x=x_val, c=c_val))
    return run


def train_target(run: Training, faces: Faces, **options) -> Training:
    """Stage A alone, up to config.editor.iterations: SM, or the forger's M. PG stays untrained."""
    editor = run.config.editor
    for part in ("preset", "poisoner", "judge"):  # they do not make it another training
        run.identity.pop(part, None)
    for _ in run.loop(editor.iterations, editor.decay, **options):
        x, c, c_trg, alpha_a, _ = draw(run, faces, editor.batch)
        run.record(train_editor(run, x, c, c_trg, alpha_a))
    return run
