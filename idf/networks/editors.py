"""Attribute editors y = M(x, c) of scenario 1: Res6, Res9, CNet, UNet128.

Without domains they are translators y = M(z), which scenario 2 uses, too.
"""

from functools import partial

from torch import Tensor, nn

from idf.config import UserError
from idf.networks.layers import InstanceNorm, with_label
from idf.networks.pix2pix import UNet256, unet


class Editor(nn.Module):
    """Image and tiled label enter `main` as one stack; subclasses set it."""

    main: nn.Module

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """x (B, 3, S, S) in [-1, 1], c (B, K) of 0/1 -> (B, 3, S, S) in [-1, 1]."""
        return self.main(x if c is None else with_label(x, c))


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Res(Editor):
    """StarGAN's generator (Choi et al. 2018), whose public state dict it takes strictly.

    7x7 conv, two stride-2 convs, residual blocks, two transposed convs, 7x7 conv, tanh.
    """

    def __init__(self, domains: int, width: int = 64, size: int = 128, blocks: int = 6):
        super().__init__()
        layers = [
            nn.Conv2d(3 + domains, width, 7, padding=3, bias=False),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
        ]
        for w in (width, 2 * width):
            layers += [
                nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False),
                InstanceNorm(2 * w),
                nn.ReLU(inplace=True),
            ]
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for w in (2 * width, width):
            layers += [
                nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False),
                InstanceNorm(w),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)


class CNet(Editor):
    """A plain autoencoder: four convs down, four up, no skip (paper, Robustness).

    5.6 million parameters at width 64; the authors' AutoEncoder has 22.3 million.
    """

    def __init__(self, domains: int, width: int = 64, size: int = 128):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers, previous = [], 3 + domains
        for w in widths:
            layers += [
                nn.Conv2d(previous, w, 4, 2, 1, bias=False),
                InstanceNorm(w),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            previous = w
        for w in reversed([width, *widths[:-1]]):
            layers += [
                nn.ConvTranspose2d(previous, w, 4, 2, 1, bias=False),
                InstanceNorm(w),
                nn.ReLU(inplace=True),
            ]
            previous = w
        self.main = nn.Sequential(*layers, nn.Conv2d(previous, 3, 3, padding=1), nn.Tanh())


class UNet128(Editor):
    """pix2pix's U-Net with the tiled label: 7 halvings at 128 px, below as many as fit."""

    def __init__(self, domains: int, width: int = 64, size: int = 128):
        super().__init__()
        halvings = min(7, size.bit_length() - 1)
        self.main = unet(3 + domains, width, halvings, InstanceNorm, dropout=False)


# of both scenarios, each made by (domains, width, size)
GENERATORS = {
    "Res6": partial(Res, blocks=6),
    "Res9": partial(Res, blocks=9),
    "CNet": CNet,
    "UNet128": UNet128,
    "UNet256": UNet256,
    "UNet128-BN": partial(UNet256, less=1),
}


def make_generator(name: str, domains: int, width: int, size: int) -> nn.Module:
    """An editor y = M(x, c) for so many domains, or with 0 a translator y = M(z).

    Raises UserError for a name that GENERATORS lacks.
    """
    if name not in GENERATORS:
        raise UserError(f"Unknown network {name!r}: use one of {', '.join(GENERATORS)}.")
    return GENERATORS[name](domains, width, size)
