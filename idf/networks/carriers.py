"""The waves of colour in which editors hide codes: a basis of them, and an image's part in it."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

# two axes of colour, orthogonal to grey and to each other: red against green, both against blue
COLOURS = F.normalize(torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]))


@cache
def carriers(period: int) -> Tensor:
    """All waves of colour that repeat after `period` px: an orthonormal basis (3 * period^2, n).

    A column is a period x period tile, in pixel_unshuffle's order. The three channels sum to 0 (no
    grey), and so do the pixels (no mean): n = 2 * (period^2 - 1), 30 for a period of 4 px.
    """
    # Hartley's waves, cos + sin: real, orthonormal, one for each frequency
    steps = torch.arange(period)
    phase = 2 * math.pi / period * steps[:, None] * steps
    phase = phase[:, None, :, None] + phase[None, :, None, :]  # frequencies (a, b), pixels (i, j)
    waves = ((phase.cos() + phase.sin()) / period).flatten(2).flatten(0, 1)
    return torch.kron(COLOURS.T.contiguous(), waves[1:].T.contiguous())


@cache
def same_frequency(period: int) -> tuple[tuple[int, ...], ...]:
    """The columns of `carriers` that differ in phase and colour only, frequency by frequency."""
    groups: dict[int, list[int]] = {}
    for i in range(1, period**2):
        a, b = divmod(i, period)
        opposite = -a % period * period + -b % period  # f and -f are two phases of one wave
        groups.setdefault(min(i, opposite), []).extend([i - 1, i - 1 + period**2 - 1])
    return tuple(tuple(group) for group in groups.values())


@cache
def messages(side: int, count: int, together: bool = False) -> Tensor:
    """The slowest changes of a wave's strength over side x side tiles: (m, side, side).

    The waves of the DCT with fewer than `count` half-periods along each axis, but for the constant
    one: orthonormal, m = count^2 - 1. together: with fewer along both axes taken together.
    """
    place = (torch.arange(side) + 0.5) * math.pi / side
    along = F.normalize((torch.arange(count)[:, None] * place).cos(), dim=1)
    changes = torch.einsum("ai,bj->abij", along, along)
    orders = torch.arange(count)
    kept = (orders[:, None] + orders < count) | (not together)
    return changes[kept][1:]


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
