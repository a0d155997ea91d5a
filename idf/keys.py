"""Keys: where an editor reads the codes that it hides, and how PG learns to poison every one.

An editor whose forgery must lead back to x (L_rec) hides in y what y does not show, as faint waves
of colour (Chu et al. 2017). Which waves it *can* use, its strides say: the lock. Which it does use,
its training says: the key. PG learns one key by heart, unless its part of the image is turned by a
random key in each step.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.losses import at_least_fp32
from idf.networks.pix2pix import SkipLevel
from idf.networks.poisoner import COLOURS


@cache
def carriers(period: int, low: float = 0.0, high: float = 0.5) -> Tensor:
    """All waves of colour that repeat after `period` px: an orthonormal basis (3 * period^2, n).

    A column is a period x period tile, in pixel_unshuffle's order. Its frequency along each axis
    is a multiple of 1 / period within [low, high] cycles per pixel; the three channels sum to 0
    (no grey), and so do the pixels (no mean). carriers(4) has n = 2 * 15.
    """
    # Hartley's waves, cos + sin: real, orthonormal, one for each frequency
    steps = torch.arange(period)
    phase = 2 * math.pi / period * steps[:, None] * steps
    phase = phase[:, None, :, None] + phase[None, :, None, :]  # frequencies (a, b), pixels (i, j)
    waves = (phase.cos() + phase.sin()) / period

    frequency = torch.minimum(steps, period - steps) / period
    inside = (frequency >= low - 1e-6) & (frequency <= high + 1e-6)
    chosen = inside[:, None] & inside
    chosen[0, 0] = False  # the mean
    return torch.kron(COLOURS.T.contiguous(), waves[chosen].flatten(1).T.contiguous())


def random_key(n: int, generator: torch.Generator | None = None, count: int = 1) -> Tensor:
    """Random orthogonal matrices (count, n, n), all equally likely (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(count, n, n, generator=generator))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]


def strengths(delta: Tensor, basis: Tensor) -> Tensor:
    """How strong each wave of `basis` is in each tile: (B, 3, S, S) -> (B, n, S / p, S / p).

    basis (3 * p^2, n), from carriers(p). The sum of squares is delta's, in this space.
    """
    side = math.isqrt(len(basis) // 3)
    delta = at_least_fp32(delta)
    return torch.einsum("dn,bdhw->bnhw", basis.to(delta), F.pixel_unshuffle(delta, side))


def painted(strength: Tensor, basis: Tensor) -> Tensor:
    """The image of these strengths, their adjoint: (B, n, S / p, S / p) -> (B, 3, S, S)."""
    side = math.isqrt(len(basis) // 3)
    return F.pixel_shuffle(torch.einsum("dn,bnhw->bdhw", basis.to(strength), strength), side)


def turn(delta: Tensor, basis: Tensor, key: Tensor) -> Tensor:
    """delta with its part in the space of `basis` turned by `key`, the same in every tile.

    delta (B, 3, S, S), key (B, n, n) orthogonal, or (1, n, n) for all -> (B, 3, S, S). Grey, mean
    and all other waves stay; so does the sum of squares.
    """
    strength = strengths(delta, basis)
    key = key.to(strength).expand(len(strength), -1, -1)
    turned = torch.einsum("bnm,bmhw->bnhw", key, strength)
    return delta + painted(turned - strength, basis)


def lock(editor: nn.Module) -> Tensor:
    """The waves in which an editor can hide codes, as its strides say: a basis as of carriers."""
    tile = period(editor)
    # four halvings leave room for 510 waves; measured, a plain autoencoder uses those of some 4 px
    return carriers(tile, 3 / 16, 5 / 16) if tile == 16 else carriers(tile)


def period(editor: nn.Module) -> int:
    """The side, in px, of the tile that an editor can write all over y: its lock.

    What comes from below the n-th halving is written by n transposed convs of stride 2, so that it
    repeats after 2^n px. In a U-Net the outermost of them writes what no skip brings: 2 px.
    """
    skips = any(isinstance(module, SkipLevel) for module in editor.modules())
    strides = [m.stride[0] for m in editor.modules() if isinstance(m, nn.ConvTranspose2d)]
    return strides[-1] if skips else math.prod(strides)
