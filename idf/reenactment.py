"""Scenario 2, Face2Face: landmarks to face by pix2pix, the temporary model, and the poison of Eq. 11."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from idf import losses
from idf.config import UserError, VideoConfig
from idf.data import places, to_model, to_uint8
from idf.networks import (
    CNet,
    PatchDiscriminator,
    PatchGAN,
    PoisonGenerator,
    Res,
    UNet256,
    normal_weights,
)
from idf.training import (
    Run,
    advance,
    average,
    keep_best,
    make_accelerator,
    randomness,
    step,
    weights_fixed,
)
from idf.video import Frames

# the 68 iBUG points as polylines; the second number tells whether the line is closed (Face2Face demo)
LINES = (
    (range(0, 17), False),
    (range(17, 22), False),
    (range(22, 27), False),
    (range(27, 31), False),
    (range(30, 36), True),
    (range(36, 42), True),
    (range(42, 48), True),
    (range(48, 60), True),
    (range(60, 68), True),
)

TARGETS = {
    "UNet256": lambda config: UNet256(config.width, config.size),
    "UNet128": lambda config: UNet256(config.width, config.size, less=1),
    "CNet": lambda config: CNet(0, config.width),
    "Res6": lambda config: Res(0, config.width, 6),
    "Res9": lambda config: Res(0, config.width, 9),
}


FORGER_SETTINGS = (
    "preset",
    "video",
    "landmarks",
    "person",
    "size",
    "frames",
    "target",
    "width",
    "width_d",
    "layers_d",
    "batch",
    "iterations",
    "lr",
    "decay",
    "lambda_l1",
    "bf16",
    "checkpoint_every",
)


def make_reenactor(name: str, config: VideoConfig) -> nn.Module:
    """A translator y = M(z): UNet256, UNet128, CNet, Res6 or Res9, with pix2pix's initial weights."""
    if name not in TARGETS:
        raise UserError(f"Unknown target network {name!r}: use one of {', '.join(TARGETS)}.")
    return TARGETS[name](config).apply(normal_weights)


def draw_landmarks(landmarks: Tensor, size: int, thickness: float | None = None) -> Tensor:
    """z: white polylines on black, float32 (N, 3, size, size) in [-1, 1], from points (N, 68, 2) in pixels.

    thickness: 3 px at 256 px, in proportion below, at least 1. Edges are smooth, so that a lip that moves by less than
    a pixel still moves in z.
    """
    thickness = thickness or max(1.0, 3 * size / 256)
    pairs = [
        (line[i], line[(i + 1) % len(line)])
        for line, closed in LINES
        for i in range(len(line) - (not closed))
    ]
    a, b = landmarks[:, [p for p, _ in pairs]], landmarks[:, [q for _, q in pairs]]
    grid = torch.arange(size, dtype=landmarks.dtype, device=landmarks.device)
    x, y = grid[None, None, None, :], grid[None, None, :, None]
    maps = []
    for start, end in zip(a.split(16), b.split(16), strict=True):
        (sx, sy), (dx, dy) = (
            start[..., None, None].unbind(2),
            (end - start)[..., None, None].unbind(2),
        )
        along = (((x - sx) * dx + (y - sy) * dy) / (dx * dx + dy * dy).clamp(min=1e-6)).clamp(0, 1)
        square = (x - sx - along * dx) ** 2 + (y - sy - along * dy) ** 2
        maps.append((thickness / 2 + 0.5 - square.amin(1).sqrt()).clamp(0, 1))
    return (2 * torch.cat(maps) - 1)[:, None].expand(-1, 3, -1, -1)


@dataclass(kw_only=True)
class Reenactor(Run):
    """A forger's training: M with its discriminator."""

    network: nn.Module
    d: nn.Module

    def networks(self) -> dict[str, nn.Module]:
        return {"network": self.network, "d": self.d}


def make_training(config: VideoConfig, seed: int, target: str = "") -> Reenactor:
    """A fresh M (config.target unless told) and D, from seed."""
    torch.manual_seed(seed)
    run = Reenactor(
        config=config,
        accelerator=make_accelerator(config.bf16),
        network=make_reenactor(target or config.target, config),
        d=PatchGAN(config.width_d, config.layers_d),
    )
    run.prepare({"network": config.lr, "d": config.lr})
    return run


def update_reenactor(
    run: Run, z: Tensor, x: Tensor, name: str = "network", d: str = "d"
) -> dict[str, Tensor]:
    """One step of pix2pix: D on (z, x) and (z, M(z)), its loss halved, then M with the GAN term and lambda_L1 L1."""
    network, critic = run.networks()[name], run.networks()[d]
    with run.accelerator.autocast():
        y = network(z)
        loss_d = (
            losses.gan_loss(critic(z, x), True) + losses.gan_loss(critic(z, y.detach()), False)
        ) / 2
        step(run, d, loss_d)
        with weights_fixed(critic):
            loss_gan = losses.gan_loss(critic(z, y), True)
            loss_l1 = losses.masked_l1(y, x)
            step(run, name, loss_gan + run.config.lambda_l1 * loss_l1)
    return {f"{name}_d": loss_d, f"{name}_gan": loss_gan, f"{name}_l1": loss_l1}


def train_reenactor(
    config: VideoConfig,
    frames: Frames,
    seed: int,
    target: str = "",
    folder: Path | None = None,
    watch: Callable | None = None,
    quiet: bool = False,
    until: int | None = None,
) -> Reenactor:
    """M from scratch on these frames, clean or infected: pix2pix for config.iterations. Resumes from folder."""
    # a forger knows nothing of the poison: only its own settings make it another training
    config = VideoConfig(**{name: getattr(config, name) for name in FORGER_SETTINGS})
    run = make_training(config, seed, target)
    rates = {"network": config.lr, "d": config.lr}
    maps = landmark_maps(frames)

    def iterate() -> dict[str, Tensor]:
        run.set_learning_rates(rates, config.iterations)
        z, x, _ = draw_batch(run, frames, maps, config.batch, seed)
        return update_reenactor(run, z, x)

    return advance(run, config.iterations, iterate, folder, until, watch, quiet)


def landmark_maps(frames: Frames) -> Tensor:
    """z of every frame as a picture of 8 bits, uint8 (N, 1, S, S). Drawn once: drawing takes as long as learning."""
    return to_uint8(draw_landmarks(frames.landmarks, frames.size)[:, :1])


def draw_batch(
    run: Run, frames: Frames, maps: Tensor, size: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """This iteration's landmark maps z and pictures x, and their places among the frames.

    Dropout draws from the same seed, so that a resumed run is bit-identical.
    """
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    torch.manual_seed(
        int(torch.randint(2**31, (), generator=randomness(seed, run.iteration, rank)))
    )
    mine = slice(rank * size, (rank + 1) * size)
    index = places(run.iteration, size * world, len(frames), seed)[mine]
    device = run.accelerator.device
    z = to_model(maps[index]).expand(-1, 3, -1, -1)
    return z.to(device), frames.x(index).to(device), torch.from_numpy(index)


@torch.no_grad()
def forge_frames(network: nn.Module, z: Tensor, config: VideoConfig) -> Tensor:
    """y = M(z) (N, 3, S, S), without dropout.

    Trained with batches of one, BatchNorm never saw but single pictures: then it uses each picture's own statistics, as
    pix2pix does; otherwise its running ones.
    """
    network.eval()
    device = next(network.parameters()).device
    if config.batch > 1:
        return torch.cat([network(part.to(device)).to(z.device) for part in z.split(32)])
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.train()
    y = torch.cat([network(part.to(device)).to(z.device) for part in z.split(1)])
    network.eval()
    return y


@torch.no_grad()
def publish(frames: Frames, protect: Callable[[Tensor], Tensor]) -> Frames:
    """The frames that the forger finds: protect maps x (n, 3, S, S) to x', which is kept in 8 bits, as a video is."""
    parts = (frames.x(slice(i, i + 32)) for i in range(0, len(frames), 32))
    return replace(frames, images=np.concatenate([to_uint8(protect(x)).numpy() for x in parts]))


def by_poisoner(poisoner: nn.Module, eps: float) -> Callable[[Tensor], Tensor]:
    """x -> clamp(x + eps PG(x), -1, 1), on PG's device and back."""
    device = next(poisoner.parameters()).device
    return lambda x: losses.infect(x, poisoner(x.to(device)).cpu(), eps)


@dataclass(kw_only=True)
class Poisoning(Run):
    """SM and M' with their discriminators, PG and D_B."""

    surrogate: nn.Module
    d: nn.Module
    infected: nn.Module
    d_infected: nn.Module
    poisoner: nn.Module
    d_b: nn.Module

    def networks(self) -> dict[str, nn.Module]:
        names = ("surrogate", "d", "infected", "d_infected", "poisoner", "d_b")
        return {name: getattr(self, name) for name in names}


def make_poisoning(config: VideoConfig, surrogate: nn.Module | None = None) -> Poisoning:
    """Fresh networks from config.seed. A given, finished SM (no alternation) is where M' starts from, too.

    For in Eq. 11 SM is but a yardstick, without influence on PG: what grows along with PG, or does not, is M'.
    """
    torch.manual_seed(config.seed)
    poisoner = PoisonGenerator(config.width_pg, config.levels_pg, config.affine_pg)
    own, infected = make_reenactor(config.target, config), make_reenactor(config.target, config)
    run = Poisoning(
        config=config,
        accelerator=make_accelerator(config.bf16),
        poisoner=poisoner,
        best=copy.deepcopy(poisoner),
        surrogate=surrogate or own,
        d=PatchGAN(config.width_d, config.layers_d),
        infected=copy.deepcopy(surrogate) if surrogate else infected,
        d_infected=PatchGAN(config.width_d, config.layers_d),
        d_b=PatchDiscriminator(config.size, config.width_d_b),
    )
    run.prepare(poison_rates(config))
    return run


def poison_rates(config: VideoConfig) -> dict[str, float]:
    return dict.fromkeys(("surrogate", "d", "infected", "d_infected"), config.lr) | {
        "poisoner": config.lr_pg,
        "d_b": config.lr_d_b,
    }


def training_loss(y: Tensor, x: Tensor, config: VideoConfig) -> Tensor:
    """L(M'(z), x') of the forger's step that TM imitates: lambda_L1 times an L1 rounded off below `round_off`.

    Plain L1 would hide x': its slope in M'(z) is a sign, which does not change as x' moves, so no gradient reaches PG.
    """
    return config.lambda_l1 * F.smooth_l1_loss(
        losses.widen(y), losses.widen(x), beta=config.round_off
    )


def temporary_model(
    infected: nn.Module, z: Tensor, x_infected: Tensor, config: VideoConfig
) -> dict[str, Tensor]:
    """TM's parameters after config.inner_steps steps of SGD on the poisoned pair, in one graph with x'.

    theta_TM = theta_M' - lr grad L(M'(z), x'). Call it by `torch.func.functional_call(infected, parameters, (z,))`.
    """
    # BatchNorm's running statistics are written in place: TM gets its own
    buffers = {name: value.clone() for name, value in infected.named_buffers()}
    theta = dict(infected.named_parameters())
    for _ in range(config.inner_steps):
        loss = training_loss(
            functional_call(infected, {**theta, **buffers}, (z,)), x_infected, config
        )
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        theta = {
            name: value - config.lr_inner * slope
            for (name, value), slope in zip(theta.items(), slopes, strict=True)
        }
    return {**theta, **{name: value.clone() for name, value in buffers.items()}}


def update_poison(
    run: Poisoning,
    z: Tensor,
    x: Tensor,
    z_other: Tensor,
    x_other: Tensor,
    mask: Tensor | float,
) -> dict[str, Tensor]:
    """Stage B: TM learns from (z, x'), and PG makes it forge other frames badly (Eq. 11). Then M' takes over from TM.

    The frames that judge TM are not those it just learned: a poison must spoil what the forger makes of new landmarks.
    """
    config = run.config
    with weights_fixed(run.d_b), run.accelerator.autocast():
        x_infected = losses.infect(x, run.poisoner(x).to(x.dtype), config.eps)
        temporary = temporary_model(run.infected, z, x_infected, config)
        with torch.no_grad():
            y = run.surrogate(z_other)
        y_infected = functional_call(run.infected, temporary, (z_other,))
        terms = {
            "influence": losses.reenactment_influence(y, y_infected, x_other, mask),
            "adv": losses.adversarial_loss(run.d_b, x_infected),
        }
        step(run, "poisoner", terms["influence"] + config.lambda_adv * terms["adv"])
    run.infected.zero_grad(set_to_none=True)
    with torch.no_grad():
        for name, parameter in run.infected.named_parameters():
            parameter.copy_(temporary[name])
    average(
        run.accelerator, list(run.infected.parameters())
    )  # each process took its step on frames of its own
    return {"pg_" + name: value.detach() for name, value in terms.items()}


def poison_iteration(
    run: Poisoning,
    frames: Frames,
    maps: Tensor,
    masks: Tensor | None,
    alternate: bool,
) -> dict[str, Tensor]:
    """One iteration: SM on clean frames (stage A), then D_B, PG through TM, and M' on poisoned ones (stage B)."""
    config, device = run.config, run.accelerator.device
    n = config.batch_pg
    z, x, index = draw_batch(run, frames, maps, config.batch + n, config.seed)
    (z, z_other), (x, x_other) = z.split([config.batch, n]), x.split([config.batch, n])
    mask = masks[index[-n:]].to(device) if config.masked and masks is not None else 1.0
    terms: dict[str, Tensor] = {}
    if alternate:
        terms |= update_reenactor(run, z, x, "surrogate", "d")
    if config.restart_every and run.iteration and run.iteration % config.restart_every == 0:
        restart(run)
    poisons = run.iteration >= config.delay
    if poisons:
        alpha = torch.rand(n, 1, 1, 1, device=device)
        with run.accelerator.autocast():
            with torch.no_grad():  # D_B's step must not reach PG
                x_infected = losses.infect(x[:n], run.poisoner(x[:n]).to(x.dtype), config.eps)
            step(
                run, "d_b", losses.critic_loss(run.d_b, x[:n], x_infected, alpha[: len(x_infected)])
            )
        terms |= update_poison(run, z[:n], x[:n], z_other, x_other, mask)
    for _ in range(config.follow):
        with (
            torch.no_grad(),
            run.accelerator.autocast(),
        ):  # M' learns as a forger does, who knows of no PG
            x_infected = losses.infect(x, run.poisoner(x).to(x.dtype), config.eps)
        terms |= update_reenactor(run, z, x_infected, "infected", "d_infected")
    return {name: term.detach() for name, term in terms.items()}


def restart(run: Poisoning) -> None:
    """M' and its discriminator begin anew, as the next forger's will."""
    torch.manual_seed(run.config.seed * 7919 + run.iteration)
    fresh = {
        "infected": make_reenactor(run.config.target, run.config),
        "d_infected": PatchGAN(run.config.width_d, run.config.layers_d),
    }
    for name, network in fresh.items():
        run.networks()[name].load_state_dict(network.state_dict())
        run.optimizers[name].state.clear()


def influence_of(run: Poisoning, poisoner: nn.Module, z: Tensor, x: Tensor) -> float:
    """How badly TM, made with this PG from the first half of the frames, forges the others: what PG_best is chosen by.

    The second norm of Eq. 11, without mask; the first is the same for every PG.
    """
    torch.manual_seed(run.config.seed)  # the same dropout for every PG that is compared
    was_training = poisoner.training
    poisoner.eval()
    half = len(x) // 2
    with run.accelerator.autocast():
        with torch.no_grad():
            x_infected = losses.infect(x[:half], poisoner(x[:half]).to(x.dtype), run.config.eps)
        temporary = temporary_model(run.infected, z[:half], x_infected, run.config)
        with torch.no_grad():
            y = functional_call(run.infected, temporary, (z[half:],))
            value = losses.masked_l1(y, x[half:])
    poisoner.train(was_training)
    return value.item()


def train_poisoner(
    config: VideoConfig,
    frames: Frames,
    validation: Frames,
    masks: Tensor | None = None,
    surrogate: nn.Module | None = None,
    folder: Path | None = None,
    watch: Callable | None = None,
    quiet: bool = False,
    until: int | None = None,
) -> Poisoning:
    """PG on the training frames, with their masks m(x) (N, 1, S, S).

    A given surrogate is a finished SM: then there is no stage A, and M' starts from it (the dagger of Table 2). Resumes
    from folder.
    """
    run = make_poisoning(config, surrogate)
    device = run.accelerator.device
    maps = landmark_maps(frames)
    z_val, x_val = (
        draw_landmarks(validation.landmarks[:16], validation.size).to(device),
        validation.x(slice(16)).to(device),
    )

    def iterate() -> dict[str, Tensor]:
        run.set_learning_rates(poison_rates(config), config.poison_iterations)
        terms = poison_iteration(run, frames, maps, masks, surrogate is None)
        done = run.iteration + 1
        if done > config.delay and (
            done % config.validate_every == 0 or done == config.poison_iterations
        ):
            keep_best(run, run.poisoner, lambda pg: influence_of(run, pg, z_val, x_val))
            terms["best_distance"] = torch.tensor(run.best_distance)
        return terms

    return advance(run, config.poison_iterations, iterate, folder, until, watch, quiet)
