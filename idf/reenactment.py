"""Scenario 2, Face2Face: the temporary model TM, and PG trained through it (Eq. 11)."""

import copy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from idf import losses
from idf.config import FilmConfig
from idf.data.film import Frames
from idf.data.landmarks import draw_landmarks
from idf.forger import (
    draw_batch,
    landmark_maps,
    make_discriminator,
    make_reenactor,
    update_reenactor,
)
from idf.networks import PatchDiscriminator, make_poisoner
from idf.training import Run, average, make_accelerator, update_d_b, weights_fixed


@dataclass(kw_only=True)
class PoisonTraining(Run):
    """SM and M' with their discriminators, PG and D_B."""

    config: FilmConfig
    surrogate: nn.Module
    d: nn.Module
    infected: nn.Module
    d_infected: nn.Module
    poisoner: nn.Module
    d_b: nn.Module


def make_poison_training(config: FilmConfig, surrogate: nn.Module | None = None) -> PoisonTraining:
    """Fresh networks from config.seed. M' starts from a given, finished SM, too (no alternation).

    For in Eq. 11 SM is but a yardstick, without influence on PG: what grows along with PG, or does
    not, is M'.
    """
    torch.manual_seed(config.seed)
    poisoner = make_poisoner(config.poisoner)
    own, infected = make_reenactor(config), make_reenactor(config)
    if surrogate:
        own, infected = surrogate, copy.deepcopy(surrogate)
    run = PoisonTraining(
        config=config,
        identity={**config.identity(), "alternates": surrogate is None},
        seed=config.seed,
        checkpoint_every=config.checkpoint_every,
        accelerator=make_accelerator(config.bf16),
        surrogate=own,
        d=make_discriminator(config),
        infected=infected,
        d_infected=make_discriminator(config),
        poisoner=poisoner,
        d_b=PatchDiscriminator(config.size, config.poisoner.width_d_b),
        best=copy.deepcopy(poisoner),
    )
    rates = dict.fromkeys((run.surrogate, run.d, run.infected, run.d_infected), config.forger.lr)
    run.prepare({**rates, run.poisoner: config.poisoner.lr, run.d_b: config.poisoner.lr_d_b})
    return run


def train_poisoner(
    config: FilmConfig,
    frames: Frames,
    validation: Frames,
    masks: Tensor | None = None,
    surrogate: nn.Module | None = None,
    **options,
) -> PoisonTraining:
    """PG on the training frames, with their masks m(x) (N, 1, S, S).

    A given surrogate is a finished SM: then there is no stage A, and M' starts from it (the dagger
    of Table 2). options: folder, until, watch, quiet of Run.loop.
    """
    run = make_poison_training(config, surrogate)
    alternates, pg = surrogate is None, config.poisoner
    maps = landmark_maps(frames)
    z_val = draw_landmarks(validation.landmarks[:16], validation.size).to(run.device)
    x_val = validation.x(slice(16)).to(run.device)

    for _ in run.loop(pg.iterations, pg.decay, **options):
        # frames for the forgers to learn, and others to judge TM by
        n = pg.batch
        z, x, index = draw_batch(run, frames, maps, config.forger.batch + n)
        z, z_other = z[:-n], z[-n:]
        x, x_other = x[:-n], x[-n:]
        mask = 1.0
        if pg.masked and masks is not None:
            mask = masks[index[-n:]].to(run.device)

        # Stage A: SM learns from clean frames
        if alternates:
            run.record(update_reenactor(run, run.surrogate, run.d, z, x, "surrogate"))

        # Stage B: PG learns through a step of M'
        alpha = torch.rand(n, 1, 1, 1, device=run.device)
        run.record(update_d_b(run, x[:n], alpha))
        run.record(update_poisoner(run, z[:n], x[:n], z_other, x_other, mask))
        for _ in range(pg.follow):  # M' learns as a forger does, who knows of no PG
            run.record(update_infected(run, z, x))

        # keep PG_best
        if run.is_due(pg.validate_every):
            run.keep_best(run.poisoner, partial(influence_of, run, z=z_val, x=x_val))
    return run


def update_poisoner(
    run: PoisonTraining,
    z: Tensor,
    x: Tensor,
    z_other: Tensor,
    x_other: Tensor,
    mask: Tensor | float,
) -> dict[str, Tensor]:
    """TM learns from (z, x'); PG makes it forge other frames badly (Eq. 11); M' becomes TM.

    The frames that judge TM are not those it just learned: a poison must spoil what the forger
    makes of new landmarks.
    """
    with weights_fixed(run.d_b), run.accelerator.autocast():
        # TM, from M' by a step on the poisoned pair
        x_infected = losses.infect(x, run.poisoner(x), run.config.poisoner.eps)
        temporary = temporary_model(run.infected, z, x_infected, run.config)

        # Eq. 11 on other frames, and Eq. 4's adversarial term
        with torch.no_grad():
            y = run.surrogate(z_other)
        y_infected = functional_call(run.infected, temporary, (z_other,))
        influence = losses.reenactment_influence(y, y_infected, x_other, mask)
        adv = losses.adversarial_loss(run.d_b(x_infected))
        run.step(run.poisoner, influence + run.config.poisoner.lambda_adv * adv)
    copy_parameters(temporary, run.infected)
    run.infected.zero_grad(set_to_none=True)
    # each process took its step on frames of its own
    average(run.accelerator, list(run.infected.parameters()))
    return {"pg_influence": influence, "pg_adv": adv}


def update_infected(run: PoisonTraining, z: Tensor, x: Tensor) -> dict[str, Tensor]:
    """A step of pix2pix for M' on poisoned frames."""
    with torch.no_grad(), run.accelerator.autocast():
        x_infected = losses.infect(x, run.poisoner(x), run.config.poisoner.eps)
    return update_reenactor(run, run.infected, run.d_infected, z, x_infected, "infected")


def training_loss(y: Tensor, x: Tensor, config: FilmConfig) -> Tensor:
    """L(M'(z), x') of the forger's step that TM imitates: lambda_L1 times a rounded L1.

    Plain L1 would hide x': its slope in M'(z) is a sign, which does not change as x' moves, so no
    gradient reaches PG.
    """
    return config.forger.lambda_l1 * losses.rounded_l1(y, x, config.poisoner.round_off)


def temporary_model(
    infected: nn.Module, z: Tensor, x_infected: Tensor, config: FilmConfig
) -> dict[str, Tensor]:
    """TM's parameters after inner_steps steps of SGD on the poisoned pair, in one graph with x'.

    theta_TM = theta_M' - lr grad L(M'(z), x'). Call TM by
    `torch.func.functional_call(infected, parameters, (z,))`.
    """
    # BatchNorm's running statistics are written in place: TM gets its own
    buffers = {name: value.clone() for name, value in infected.named_buffers()}
    theta = dict(infected.named_parameters())
    lr = config.poisoner.lr_inner
    for _ in range(config.poisoner.inner_steps):
        y = functional_call(infected, {**theta, **buffers}, (z,))
        loss = training_loss(y, x_infected, config)
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        pairs = zip(theta.items(), slopes, strict=True)
        theta = {name: value - lr * slope for (name, value), slope in pairs}
    return {**theta, **{name: value.clone() for name, value in buffers.items()}}


@torch.no_grad()
def copy_parameters(theta: dict[str, Tensor], network: nn.Module) -> None:
    """The network takes these parameters, free of their graph."""
    for name, parameter in network.named_parameters():
        parameter.copy_(theta[name])


def influence_of(run: PoisonTraining, poisoner: nn.Module, z: Tensor, x: Tensor) -> float:
    """How badly TM, made with this PG from the first half of the frames, forges the others.

    PG_best is chosen by it: the second norm of Eq. 11, without mask; the first is the same for
    every PG.
    """
    torch.manual_seed(run.seed)  # the same dropout for every PG that is compared
    was_training = poisoner.training
    poisoner.eval()
    half = len(x) // 2
    with run.accelerator.autocast():
        with torch.no_grad():
            x_infected = losses.infect(x[:half], poisoner(x[:half]), run.config.poisoner.eps)
        temporary = temporary_model(run.infected, z[:half], x_infected, run.config)
        with torch.no_grad():
            y = functional_call(run.infected, temporary, (z[half:],))
            value = losses.masked_l1(y, x[half:])
    poisoner.train(was_training)
    return value.item()
