"""The procedural film: one drawn person who speaks, blinks, raises the brows and moves the head.

Frame t depends on the person and t alone, so a film can be drawn in pieces, and every landmark and label is exact.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from idf.faces import ATTRIBUTES, FaceBatch, join, paint, sample

FPS = 25.0


def talking_face(
    person: int, frames: Iterable[int], size: int = 64, **attributes: bool
) -> FaceBatch:
    """The given frames (25 a second) of the film of seed `person`; attributes are forced, as in render_faces."""
    t = torch.as_tensor(list(frames), dtype=torch.float64) / FPS
    known, identity, expression = sample([person], **{"Smiling": False} | attributes)
    moves = motion(person, t)
    parts, chunk = [], max(1, 2**17 // size**2)
    for rows in torch.arange(len(t)).split(chunk):
        n = len(rows)
        each = {name: value.expand(n, *value.shape[1:]) for name, value in identity.items()}
        now = {name: value.expand(n, *value.shape[1:]) for name, value in expression.items()}
        now |= {name: value[rows].float()[:, None, None] for name, value in moves.items()}
        parts.append(paint({name: known[name].expand(n) for name in ATTRIBUTES}, each, now, size))
    return join(parts)


def motion(person: int, t: Tensor) -> dict[str, Tensor]:
    """The numbers of faces.EXPRESSION, and blink, brow_raise and spread, at the times t (N,) in seconds."""
    draw = torch.Generator().manual_seed(person * 7919 + 17)
    slow = lambda low, high: _wander(t, low, high, draw)
    smile = (slow(0.05, 0.2) - 0.3).clamp(0, 1)
    # syllables come in phrases with pauses between them; lips close fully between many syllables
    phrase = ((slow(0.15, 0.5) + 0.55) * 4).clamp(0, 1)
    syllables = (slow(2.0, 5.0) + 0.15).clamp(0, 1)
    gap = 0.17 * phrase * syllables
    return {
        "yaw": 0.11 * slow(0.1, 0.5),
        "pitch": 0.05 * slow(0.1, 0.7),
        "roll": 0.07 * slow(0.08, 0.4),
        "zoom": 1.02 + 0.02 * slow(0.05, 0.2),
        "shift_x": 0.035 * slow(0.08, 0.4),
        "shift_y": -0.035 + 0.025 * slow(0.08, 0.4),
        "bend": 0.008 + 0.05 * smile + 0.008 * slow(0.5, 2.0),
        "gap": gap,
        "spread": 0.03 * phrase * slow(1.0, 3.5) - 0.01,
        "gaze": 0.02 * slow(0.2, 0.8),
        "smile": smile,
        "blink": _blinks(t, draw),
        "brow_raise": 0.07 * (slow(0.2, 0.8) - 0.1).clamp(0, 1),
    }


def _wander(t: Tensor, low: float, high: float, draw: torch.Generator) -> Tensor:
    """A smooth signal of the frequencies low to high Hz, mostly within [-1, 1]: a sum of sines of random phase."""
    n = 9
    hertz = low * (high / low) ** torch.rand(n, 1, generator=draw, dtype=torch.float64)
    phase = torch.rand(n, 1, generator=draw, dtype=torch.float64)
    return (2 * math.pi * (hertz * t + phase)).sin().sum(0) / math.sqrt(1.2 * n)


def _blinks(t: Tensor, draw: torch.Generator) -> Tensor:
    """0 open, 1 shut: a blink of a quarter of a second in each stretch of 3 s, at a moment of its own."""
    stretch, length = 3.0, 0.13
    moments = (
        torch.rand(4096, generator=draw, dtype=torch.float64) * (stretch - 4 * length) + 2 * length
    )
    number = (t / stretch).floor().long()
    away = (t - stretch * number - moments[number % len(moments)]).abs()
    return (1.6 * (1 - away / length)).clamp(0, 1)
