"""The procedural film: one drawn person who speaks, blinks, raises the brows and moves the head.

Frame t depends on the person and t alone, so a film can be drawn in pieces, and every landmark and
label is exact.
"""

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from idf.data.drawn.faces import CHUNK, FaceBatch, join, paint_faces
from idf.data.drawn.sample import sample

FPS = 25.0


def talking_face(
    person: int, frames: Iterable[int], size: int = 64, **attributes: bool
) -> FaceBatch:
    """The given frames (25 a second) of the film of seed `person`.

    attributes: forced on the person, as in render_faces; the person does not smile unless forced.
    """
    t = torch.as_tensor(list(frames), dtype=torch.float64) / FPS
    known, numbers = sample([person], **{"Smiling": False} | attributes)
    moves = motion(person, t)
    parts = []
    for rows in torch.arange(len(t)).split(max(1, CHUNK // size**2)):
        n = len(rows)
        now = {name: value.expand(n, *value.shape[1:]) for name, value in numbers.items()}
        for name, value in moves.items():
            now[name] = value[rows].float()[:, None, None]
        parts.append(paint_faces(known.expand(n, -1), now, size))
    return join(parts)


def motion(person: int, t: Tensor) -> dict[str, Tensor]:
    """Of attributes.EXPRESSION, blink, brow_raise and spread: {name: (N,)} at times t (N,) in s."""
    generator = torch.Generator().manual_seed(person * 7919 + 17)
    wander = partial(_wander, t, generator)
    smile = (wander(0.05, 0.2) - 0.3).clamp(0, 1)
    # syllables come in phrases with pauses between them; lips close fully between many syllables
    phrase = ((wander(0.15, 0.5) + 0.55) * 4).clamp(0, 1)
    syllables = (wander(2.0, 5.0) + 0.15).clamp(0, 1)
    # each call draws on: another order gives every person another film
    return {
        "yaw": 0.11 * wander(0.1, 0.5),
        "pitch": 0.05 * wander(0.1, 0.7),
        "roll": 0.07 * wander(0.08, 0.4),
        "zoom": 1.02 + 0.02 * wander(0.05, 0.2),
        "shift_x": 0.035 * wander(0.08, 0.4),
        "shift_y": -0.035 + 0.025 * wander(0.08, 0.4),
        "bend": 0.008 + 0.05 * smile + 0.008 * wander(0.5, 2.0),
        "gap": 0.17 * phrase * syllables,
        "spread": 0.03 * phrase * wander(1.0, 3.5) - 0.01,
        "gaze": 0.02 * wander(0.2, 0.8),
        "smile": smile,
        "blink": _blinks(t, generator),
        "brow_raise": 0.07 * (wander(0.2, 0.8) - 0.1).clamp(0, 1),
    }


def _wander(t: Tensor, generator: torch.Generator, low: float, high: float) -> Tensor:
    """A smooth signal of the frequencies low to high Hz, mostly within [-1, 1].

    It is a sum of sines of random phase.
    """
    n = 9
    hertz = low * (high / low) ** torch.rand(n, 1, generator=generator, dtype=torch.float64)
    phase = torch.rand(n, 1, generator=generator, dtype=torch.float64)
    return (2 * math.pi * (hertz * t + phase)).sin().sum(0) / math.sqrt(1.2 * n)


def _blinks(t: Tensor, generator: torch.Generator) -> Tensor:
    """0 open, 1 shut: in each stretch of 3 s one blink of a quarter of a second, at any moment."""
    stretch, length = 3.0, 0.13
    u = torch.rand(4096, generator=generator, dtype=torch.float64)
    moments = u * (stretch - 4 * length) + 2 * length
    number = (t / stretch).floor().long()
    away = (t - stretch * number - moments[number % len(moments)]).abs()
    return (1.6 * (1 - away / length)).clamp(0, 1)
