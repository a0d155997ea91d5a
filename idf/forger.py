"""The forger of scenario 2: pix2pix, from landmark maps z to frames x, clean or poisoned."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from idf import losses
from idf.config import FilmConfig
from idf.data.faces import batch_indices
from idf.data.film import Frames
from idf.data.landmarks import draw_landmarks
from idf.data.pictures import to_model, to_uint8
from idf.networks import PatchGAN, make_generator, normal_weights
from idf.training import Run, make_accelerator, randomness, weights_fixed


@dataclass(kw_only=True)
class ForgerTraining(Run):
    """A forger's training: M with its discriminator D."""

    config: FilmConfig
    network: nn.Module
    d: nn.Module


def make_reenactor(config: FilmConfig, network: str = "") -> nn.Module:
    """A translator y = M(z), config.forger.network by default, with pix2pix's initial weights."""
    forger = config.forger
    made = make_generator(network or forger.network, 0, forger.width, config.size)
    return made.apply(normal_weights)


def make_discriminator(config: FilmConfig) -> PatchGAN:
    """pix2pix's D on landmark map and frame."""
    return PatchGAN(config.forger.width_d, config.forger.layers_d)


def make_forger_training(config: FilmConfig, seed: int, network: str = "") -> ForgerTraining:
    """A fresh M (config.forger.network by default) and D, from seed."""
    torch.manual_seed(seed)
    forger = config.forger
    film = config.identity()
    # a forger knows nothing of the poison: only its own settings make it another training
    own = ("video", "landmarks", "person", "size", "frames", "bf16", "forger")
    run = ForgerTraining(
        config=config,
        identity={name: film[name] for name in own}
        | {"network": network or forger.network, "seed": seed},
        seed=seed,
        checkpoint_every=config.checkpoint_every,
        accelerator=make_accelerator(config.bf16),
        network=make_reenactor(config, network),
        d=make_discriminator(config),
    )
    run.prepare({run.network: forger.lr, run.d: forger.lr})
    return run


def train_reenactor(
    config: FilmConfig, frames: Frames, seed: int, network: str = "", **options
) -> ForgerTraining:
    """M from scratch on these frames, clean or infected. options: as in Run.loop."""
    run = make_forger_training(config, seed, network)
    forger = config.forger
    maps = landmark_maps(frames)
    for _ in run.loop(forger.iterations, forger.decay, **options):
        z, x, _ = draw_batch(run, frames, maps, forger.batch)
        run.record(update_reenactor(run, run.network, run.d, z, x))
    return run


def update_reenactor(
    run: Run, network: nn.Module, d: nn.Module, z: Tensor, x: Tensor, prefix: str = "network"
) -> dict[str, Tensor]:
    """One step of pix2pix: D on (z, x) and (z, M(z)), then M with GAN term and lambda_L1 L1."""
    with run.accelerator.autocast():
        y = network(z)

        # D learns true from forged; its loss is halved
        loss_true = losses.gan_loss(d(z, x), True)
        loss_forged = losses.gan_loss(d(z, y.detach()), False)
        loss_d = (loss_true + loss_forged) / 2
        run.step(d, loss_d)

        # M passes for true, and comes near to x
        with weights_fixed(d):
            loss_gan = losses.gan_loss(d(z, y), True)
            loss_l1 = losses.masked_l1(y, x)
            run.step(network, loss_gan + run.config.forger.lambda_l1 * loss_l1)
    return {f"{prefix}_d": loss_d, f"{prefix}_gan": loss_gan, f"{prefix}_l1": loss_l1}


def landmark_maps(frames: Frames) -> Tensor:
    """z of every frame in 8 bits, uint8 (N, 1, S, S). Drawn once: it takes as long as learning."""
    return to_uint8(draw_landmarks(frames.landmarks, frames.size)[:, :1])


def draw_batch(
    run: Run, frames: Frames, maps: Tensor, size: int
) -> tuple[Tensor, Tensor, np.ndarray]:
    """This iteration's maps z and frames x (size, 3, S, S), and their indices.

    Dropout draws from the same seed, so that a resumed run is bit-identical.
    """
    rank, world = run.accelerator.process_index, run.accelerator.num_processes
    dropout = randomness(run.seed, run.iteration, rank)
    torch.manual_seed(int(torch.randint(2**31, (), generator=dropout)))
    index = batch_indices(run.iteration, size * world, len(frames), run.seed)
    index = index[rank * size : (rank + 1) * size]
    z = to_model(maps[index]).expand(-1, 3, -1, -1)
    return z.to(run.device), frames.x(index).to(run.device), index


@torch.no_grad()
def forge_frames(network: nn.Module, z: Tensor, config: FilmConfig) -> Tensor:
    """y = M(z) (N, 3, S, S), without dropout.

    Trained with batches of one, BatchNorm never saw but single pictures: then it uses each
    picture's own statistics, as pix2pix does; otherwise its running ones.
    """
    network = copy.deepcopy(network).eval()  # the one given keeps its mode and its statistics
    device = next(network.parameters()).device
    if config.forger.batch == 1:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
    parts = z.split(32 if config.forger.batch > 1 else 1)
    return torch.cat([network(part.to(device)).to(z.device) for part in parts])


@torch.no_grad()
def publish(frames: Frames, protect: Callable[[Tensor], Tensor]) -> Frames:
    """The frames that the forger downloads: x (n, 3, S, S) -> x' by protect, kept in 8 bits."""
    parts = [frames.x(slice(i, i + 32)) for i in range(0, len(frames), 32)]
    images = [to_uint8(protect(x)).numpy() for x in parts]
    return replace(frames, images=np.concatenate(images))
