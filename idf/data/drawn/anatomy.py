"""The lines of a face: curves that are painted, and the 68 landmarks that lie on them.

`face` holds the numbers of N faces (see sample.py), each (N, 1, 1), so that a curve over t or y of
any shape (..., 1 or S) comes out for all of them.
"""

import torch
from torch import Tensor

from idf.data.drawn.shapes import ellipse, mix, union


def head(face, x, y) -> Tensor:
    """Signed distance to the outline of the head."""
    jaw = ellipse(x, y - face.jaw_y, face.jaw, face.chin - face.jaw_y)
    return union(ellipse(x, y + 0.1, face.width, 0.62), jaw, 0.2)


def depth(x, y) -> Tensor:
    """How far the face stands out: a turned head shifts its features by this."""
    return (1 - (x / 0.64) ** 2 - ((y - 0.05) / 0.95) ** 2).clamp(0)


def nose_shift(face, y) -> Tensor:
    """How far the nose stands beside the middle at height y when the head is turned."""
    return 0.5 * face.yaw * ((y - face.eye_y) / 0.3).clamp(0, 1)


def lids(face, t) -> tuple[Tensor, Tensor]:
    """Heights of the upper and the lower lid, t in [-1, 1] from the inner corner to the outer."""
    bulge = 1 - t * t
    corner = face.eye_y - face.eye_tilt * t
    squint = 0.012 * face.smile
    lower = corner + (face.eye_low - squint) * bulge
    open_upper = corner - (face.eye_up - squint / 2) * bulge
    return mix(open_upper, lower, face.blink), lower


def brow(face, t) -> Tensor:
    """Height of a brow's middle line, t in [-1, 1] from its inner to its outer end."""
    middle = face.brow_y - face.brow_raise - 0.008 * face.smile + 0.02
    return middle - face.brow_arch * (1 - (t - 0.1) ** 2) - face.brow_tilt * t


def lips(face, t) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heights over t in [-1, 1]: top and lower edge of the upper lip, then of the lower lip."""
    bulge = 1 - t * t
    full = face.lip_h * (1 - 0.25 * face.smile)
    middle = face.mouth_y + face.bend * (0.35 - t * t)
    upper = middle - 0.2 * face.gap * bulge
    lower = middle + 0.8 * face.gap * bulge
    cupids_bow = 1 - 0.3 * (1 - (t / 0.3) ** 2).clamp(0)
    return upper - full * bulge * cupids_bow, upper, lower, lower + 1.45 * full * bulge


def landmarks(face, size: int) -> Tensor:
    """The 68 iBUG points (N, 68, 2), x and y in pixels, from the curves that are drawn."""
    # what a turned head shifts, as seen from the front; the eyes' points run from the nose outwards
    mirror = torch.tensor([-1.0, 1.0])
    brow_points = _brow_points(face)
    eye_points = _eye_points(face)
    front = [
        brow_points.flip(1) * mirror,
        brow_points,
        _nose_points(face),
        (eye_points * mirror)[:, [3, 2, 1, 0, 5, 4]],
        eye_points,
        _mouth_points(face),
    ]
    features = _turned(face, torch.cat(front, 1))

    # the pose of the whole head, then pixels
    x, y = torch.cat([_jaw_points(face), features], 1).split(1, 2)
    sin, cos = face.roll.sin(), face.roll.cos()
    across = (cos * x - sin * y) * face.zoom + face.shift_x
    down = (sin * x + cos * y) * face.zoom + face.shift_y
    return (torch.cat([across, down], 2) + 1) * (size / 2) - 0.5


def _points(x, y) -> Tensor:
    """(N, n, 2) from coordinates (N, n, 1)."""
    return torch.stack(torch.broadcast_tensors(x, y), -1).squeeze(2)


def _jaw_points(face) -> Tensor:
    """17 points on the outline, from ear to ear.

    It has no closed form: along rays from a point in the face, step by the distance that is left.
    """
    angle = torch.linspace(-1.45, 1.45, 17)[:, None]
    radius = 0 * face.width
    for _ in range(20):
        radius = radius - head(face, radius * angle.sin(), 0.02 + radius * angle.cos())
    return _points(radius * angle.sin(), 0.02 + radius * angle.cos())


def _brow_points(face) -> Tensor:
    t = torch.linspace(-1, 1, 5)[:, None]
    return _points(face.eye_x + 0.015 + 0.155 * t, brow(face, t))


def _eye_points(face) -> Tensor:
    t = torch.linspace(-1, 1, 4)[:, None]
    upper, lower = lids(face, t)
    x = face.eye_x + face.eye_w * t
    return torch.cat([_points(x, upper), _points(x, lower)[:, [2, 1]]], 1)


def _nose_points(face) -> Tensor:
    t = torch.linspace(-1, 1, 4)[:, None]
    bridge_y = mix(face.eye_y, face.nose_y, (t + 1) / 2)
    bridge = _points(nose_shift(face, bridge_y), bridge_y)
    t = torch.linspace(-1, 1, 5)[:, None]
    base_y = face.nose_y + 0.055 - 0.02 * t.abs()
    base = _points(nose_shift(face, base_y) + 0.8 * face.nose_w * t, base_y)
    return torch.cat([bridge, base], 1)


def _mouth_points(face) -> Tensor:
    outer = torch.tensor([-1.0, -0.6, -0.25, 0.0, 0.25, 0.6, 1.0])[:, None]
    inner = 0.85 * torch.linspace(-1, 1, 5)[:, None]
    top, _, _, bottom = lips(face, outer)
    _, upper, lower, _ = lips(face, inner)
    around = [
        _points(face.lips_w * outer, top),
        _points(face.lips_w * outer, bottom)[:, [5, 4, 3, 2, 1]],
        _points(face.lips_w * inner, upper),
        _points(face.lips_w * inner, lower)[:, [3, 2, 1]],
    ]
    return torch.cat(around, 1)


def _turned(face, front: Tensor) -> Tensor:
    """Points (N, n, 2) of the face from the front, where yaw and pitch bring them.

    Inverts what canvas.make_grid does to pixels, by iteration to the fixed point.
    """
    turn = torch.cat([face.yaw, face.pitch], 2)
    points = front
    for _ in range(12):
        points = front + turn * depth(points[..., :1], points[..., 1:])
    return points
