"""Colours and signed distances, from which everything is painted.

Per pixel only + - * / sqrt min max floor are used: they round alike everywhere, so a face does not
depend on its batch. Distances are negative inside.
"""

import torch
from torch import Tensor, maximum, minimum


def rgb(red: float, green: float, blue: float) -> Tensor:
    """A colour (3, 1, 1) in [0, 1]."""
    return torch.tensor((red, green, blue))[:, None, None]


def mix(a, b, share):
    """a where share is 0, b where it is 1."""
    return a + share * (b - a)


def ramp(colours: tuple, share: Tensor) -> Tensor:
    """The colour (N, 3, 1, 1) at `share` (N, 1, 1) of the way through `colours`."""
    table = torch.tensor(colours)[..., None, None]
    position = share * (len(colours) - 1)
    low = position.flatten().long().clamp(max=len(colours) - 2)
    return mix(table[low], table[low + 1], (position - low[:, None, None])[:, None])


def muted(hue: Tensor, shade: Tensor | float, chroma: float) -> Tensor:
    """The colour (N, 3, 1, 1) of a hue in [0, 1] (a full circle), as light as `shade` (N, 1, 1)."""
    return torch.stack([shade + chroma * wave(hue + third) for third in (0, 1 / 3, 2 / 3)], 1)


def wave(t: Tensor) -> Tensor:
    """A sine of period 1 made of parabolas, in [-1, 1]."""
    t = t - torch.floor(t) - 0.5
    return 16 * t * (t.abs() - 0.5)


def blob(x, y, rx, ry) -> Tensor:
    """A soft spot: 1 in the middle, 0 from the ellipse outwards."""
    return (1 - (x / rx) ** 2 - (y / ry) ** 2).clamp(0) ** 2


def ellipse(x, y, rx, ry) -> Tensor:
    """Distance to an ellipse, to first order: f / |grad f|."""
    u, v = x / rx, y / ry
    f = (u * u + v * v + 1e-6).sqrt()
    return f * (f - 1) / ((u / rx) ** 2 + (v / ry) ** 2 + 1e-6).sqrt()


def box(dx, dy, r) -> Tensor:
    """Distance to a box with corners of radius r; dx, dy are the distances to its sides."""
    dx, dy = dx + r, dy + r
    return (dx.clamp(0) ** 2 + dy.clamp(0) ** 2 + 1e-8).sqrt() + maximum(dx, dy).clamp(max=0) - r


def union(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Distance to what is inside a or b, the corner between them filled over a width k."""
    return minimum(a, b) - (k - (a - b).abs()).clamp(0) ** 2 / (4 * k)
