"""Hair behind the head and before the face, and the beard."""

from dataclasses import dataclass

import torch
from torch import Tensor, maximum, minimum

from idf.data.drawn.canvas import Canvas, Grid
from idf.data.drawn.shapes import blob, box, ellipse, mix, union, wave


@dataclass
class Hair:
    whole: Tensor  # (N, S, S): signed distance to all hair
    front: Tensor  # (N, S, S): to the hair before the face
    colour: Tensor  # (N, 3, S, S)


def style(face, grid: Grid) -> Hair:
    whole = _whole(face, grid)
    return Hair(whole, maximum(whole, -_opening(face, grid)), _colour(face, grid))


def _curls(face, grid: Grid) -> Tensor:
    return face.curl * wave(grid.head_x / 0.21 + face.part) * wave(grid.head_y / 0.21)


def _whole(face, grid: Grid) -> Tensor:
    """A cap, which long hair joins with two swaying drapes."""
    x, y = grid.head_x, grid.head_y
    side = face.width + face.volume
    cap = ellipse(x, y + 0.16, side, 0.56 + face.top)
    sway = 0.035 * wave(y / 0.9 + face.part) * (y + 0.1).clamp(0, 1)
    drape_side = (x + sway).abs() - side - 0.06 * (y + 0.1).clamp(0)
    drape = box(drape_side, maximum(-0.15 - y, y - face.length), 0.14)
    long = union(cap, drape, 0.08)
    short = maximum(cap, y - 0.02)
    return torch.where(face.long > 0, long, short) - _curls(face, grid)


def _opening(face, grid: Grid) -> Tensor:
    """Signed distance to the opening for the face: an arch, then a slot between locks."""
    x, y = grid.x, grid.y
    top = face.hairline + 0.22 * face.part * x
    width = face.width - 0.02 - 0.04 * face.long
    opening = ellipse(x, (y - 0.02).clamp(max=0), width, 0.02 - top)
    fringe = face.fringe + 0.05 * face.part * x + 0.014 * wave(x / 0.16 + face.part) - y
    opening = torch.where(face.bangs > 0, maximum(opening, fringe), opening)
    return torch.where(face.long > 0, opening, minimum(opening, -0.03 - y))


def _colour(face, grid: Grid) -> Tensor:
    """Lighter where it shines, in strands that flow from the parting."""
    x, y = grid.head_x, grid.head_y
    flow = (x - 0.2 * face.part) / (0.17 + 0.12 * (y + 0.9).clamp(0)) + 0.5 * face.part
    shine = 0.5 * blob(x - 0.3 * face.light, y + 0.62, 0.5, 0.16) + 0.06 * wave(flow)
    shine = shine + 1.1 * _curls(face, grid)
    return face.hair * (grid.lit + 0.02) + shine[:, None] * (face.hair * 0.3 + 0.07)


def hair_behind(canvas: Canvas, hair: Hair) -> None:
    canvas.paint(0.62 * hair.colour, hair.whole, "hair")


def front_hair(canvas: Canvas, face, grid: Grid, hair: Hair) -> None:
    """With its shadow on the face, and the parting, which bangs hide."""
    shadow = (1 - hair.front.clamp(0) / 0.09).clamp(0) ** 2
    canvas.shade(0.28 * shadow * (grid.head < 0))
    canvas.paint(hair.colour, hair.front, "hair")
    across = grid.head_x - 0.2 * face.part - 0.12 * face.part * (grid.head_y + 0.5)
    parting = blob(across, grid.head_y + 0.62, 0.028, 0.2)
    canvas.shade(0.22 * parting * (1 - face.bangs) * (hair.front < 0))


def beard(canvas: Canvas, face, grid: Grid) -> None:
    """Below a line across the cheeks, as wide as `reach`."""
    cheek = 0.345 - 2.9 * (grid.fold - 0.2).clamp(0) ** 2 - 0.02 * face.smile - grid.y
    reach = ellipse(grid.fold, grid.y - 0.6, face.reach, face.reach * 1.25)
    shape = maximum(maximum(grid.head - 0.025, cheek), reach)
    texture = 1 + 0.06 * wave(grid.x / (0.1 + 0.05 * grid.y.clamp(0)))
    colour = mix(face.hair * 0.62, face.skin * 0.35, 0.3) * grid.lit * texture[:, None]
    canvas.paint(colour, shape, alpha=face.beard * face.density, soft=0.05)
