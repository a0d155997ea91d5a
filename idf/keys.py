"""Keys: where an editor reads the codes that it hides, and how PG learns to poison every one.

An editor whose forgery must lead back to x (L_rec) hides in y what y does not show, as faint waves
of colour (Chu et al. 2017). Which waves it *can* use, its strides say: the lock. Which it does use,
its training says: the key. PG learns one key by heart, unless each of its pictures has a random one
(networks.WaveGenerator).
"""

import math

import torch
from torch import Tensor, nn

from idf.networks.carriers import carriers, painted, random_key, strengths
from idf.networks.pix2pix import SkipLevel

__all__ = ["carriers", "lock", "painted", "period", "random_key", "strengths", "turn"]


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
    return carriers(period(editor))


def period(editor: nn.Module) -> int:
    """The side, in px, of the tile that an editor can write all over y: its lock.

    What comes from below the n-th halving is written by n transposed convs of stride 2, so that it
    repeats after 2^n px. In a U-Net the outermost of them writes what no skip brings: 2 px.
    """
    skips = any(isinstance(module, SkipLevel) for module in editor.modules())
    strides = [m.stride[0] for m in editor.modules() if isinstance(m, nn.ConvTranspose2d)]
    return strides[-1] if skips else math.prod(strides)
