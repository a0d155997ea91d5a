"""The waves of colour in which editors hide codes: a basis of them, and an image's part in it."""

import itertools
import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

FINE = 1 / 4  # cycles per pixel: measured, nearly all codes lie in finer waves (notebook 04)
# two axes of colour, orthogonal to grey and to each other: red against green, both against blue
COLOURS = F.normalize(torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]))


@cache
def carriers(period: int, coarsest: float = 0.0) -> Tensor:
    """All waves of colour that repeat after `period` px: an orthonormal basis (3 * period^2, n).

    A column is a period x period tile, in pixel_unshuffle's order. Its frequency is more than
    `coarsest` cycles per pixel, a multiple of 1 / period along each axis; the three channels sum to
    0 (no grey), and so do the pixels (no mean). n is 2 * 15 for a period of
    4 px, 2 * 11 of them FINE.
    """
    # Hartley's waves, cos + sin: real, orthonormal, one for each frequency
    steps = torch.arange(period)
    phase = 2 * math.pi / period * steps[:, None] * steps
    phase = phase[:, None, :, None] + phase[None, :, None, :]  # frequencies (a, b), pixels (i, j)
    waves = (phase.cos() + phase.sin()) / period
    chosen = [waves[a, b].flatten() for a, b in _frequencies(period, coarsest)]
    return torch.kron(COLOURS.T.contiguous(), torch.stack(chosen, dim=1))


def same_frequency(period: int, coarsest: float = 0.0) -> list[list[int]]:
    """The columns of `carriers` that differ in phase and colour only, frequency by frequency."""
    frequencies = _frequencies(period, coarsest)
    groups: dict[tuple[int, int], list[int]] = {}
    for i, (a, b) in enumerate(frequencies):
        one = min((a, b), (-a % period, -b % period))  # f and -f are two phases of one wave
        groups.setdefault(one, []).extend([i, i + len(frequencies)])
    return list(groups.values())


def _frequencies(period: int, coarsest: float) -> list[tuple[int, int]]:
    """Above `coarsest` cycles per pixel, in units of 1 / period; not the mean."""

    def size(a: int, b: int) -> float:
        return math.hypot(min(a, period - a), min(b, period - b)) / period

    pairs = itertools.product(range(period), repeat=2)
    return [(a, b) for a, b in pairs if size(a, b) > coarsest + 1e-6]


@cache
def messages(side: int, count: int) -> Tensor:
    """The slowest changes of a wave's strength over side x side tiles: (m, side, side).

    The waves of the DCT with fewer than `count` half-periods along each axis, but for the constant
    one: orthonormal, m = count^2 - 1.
    """
    place = (torch.arange(side) + 0.5) * math.pi / side
    along = F.normalize((torch.arange(count)[:, None] * place).cos(), dim=1)
    changes = torch.einsum("ai,bj->abij", along, along)
    return changes.flatten(0, 1)[1:]


def random_key(n: int, generator: torch.Generator | None = None, count: int = 1) -> Tensor:
    """Random orthogonal matrices (count, n, n), all equally likely (Mezzadri 2007)."""
    q, r = torch.linalg.qr(torch.randn(count, n, n, generator=generator))
    return q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None]


def strengths(delta: Tensor, basis: Tensor) -> Tensor:
    """How strong each wave of `basis` is in each tile: (B, 3, S, S) -> (B, n, S / p, S / p).

    basis (3 * p^2, n), from carriers(p). The sum of squares is delta's, in this space.
    """
    side = math.isqrt(len(basis) // 3)
    delta = delta.to(torch.promote_types(delta.dtype, torch.float32))
    return torch.einsum("dn,bdhw->bnhw", basis.to(delta), F.pixel_unshuffle(delta, side))


def painted(strength: Tensor, basis: Tensor) -> Tensor:
    """The image of these strengths, their adjoint: (B, n, S / p, S / p) -> (B, 3, S, S)."""
    side = math.isqrt(len(basis) // 3)
    return F.pixel_shuffle(torch.einsum("dn,bnhw->bdhw", basis.to(strength), strength), side)
