"""Procedural faces: image, attributes, 68 landmarks and parsing label, all exact, from a seed.

>>> render_faces(range(4), size=64, Smiling=True).images.shape
torch.Size([4, 3, 64, 64])

Face coordinates: x to the right, y down, the picture spans about [-1, 1], the eyes lie near (+-.23, -.04).
`sample` gives the numbers of a face (identity apart from expression and pose), `_draw` paints them as signed distances.
Per pixel only + - * / sqrt min max floor are used: they round alike everywhere, so a face does not depend on its batch.
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, maximum, minimum

from idf.config import HAIR, UserError

# Share of the faces for which an attribute holds; of the four hair colours each face has one.
SHARES = {
    "Bangs": 0.4,
    "Black_Hair": 0.25,
    "Blond_Hair": 0.25,
    "Brown_Hair": 0.25,
    "Eyeglasses": 0.4,
    "Gray_Hair": 0.25,
    "No_Beard": 0.65,
    "Pale_Skin": 0.25,
    "Smiling": 0.5,
    "Wearing_Hat": 0.15,
    "Young": 0.7,
}
ATTRIBUTES = tuple(SHARES)
LABELS = (
    "background",
    "skin",
    "nose",
    "glasses",
    "left eye",
    "right eye",
    "left brow",
    "right brow",
    "left ear",
    "right ear",
    "mouth",
    "upper lip",
    "lower lip",
    "hair",
    "hat",
    "earring",
    "necklace",
    "neck",
    "cloth",
)

# Ranges of the numbers drawn for a face, in this order: another order gives every seed another face.
UNIT = (0.0, 1.0)
IDENTITY = dict(
    colour=UNIT,
    shade=UNIT,
    tone=UNIT,
    warmth=(-0.5, 0.5),
    width=(0.5, 0.55),
    jaw=(0.35, 0.43),
    jaw_y=(0.18, 0.27),
    chin=(0.77, 0.85),
    eye_x=(0.215, 0.24),
    eye_y=(-0.055, -0.02),
    eye_w=(0.125, 0.145),
    eye_up=(0.062, 0.084),
    eye_tilt=(-0.008, 0.018),
    iris=UNIT,
    spare=UNIT,
    brow_y=(-0.235, -0.195),
    brow_w=(0.016, 0.032),
    brow_arch=(0.025, 0.055),
    brow_tilt=(-0.028, 0.006),
    nose_w=(0.085, 0.115),
    nose_y=(0.19, 0.25),
    mouth_y=(0.45, 0.49),
    mouth_w=(0.165, 0.2),
    lip_h=(0.032, 0.05),
    lip_red=(0.3, 0.62),
    length=UNIT,
    volume=(0.05, 0.11),
    top=(0.07, 0.16),
    curl=UNIT,
    part=(-1.0, 1.0),
    hairline=(-0.53, -0.45),
    fringe=(-0.3, -0.25),
    beard_kind=UNIT,
    density=(0.72, 0.92),
    glasses_round=(0.04, 0.12),
    glasses_size=(0.155, 0.172),
    frame=UNIT,
    hat_kind=UNIT,
    hat_hue=UNIT,
    hat_shade=(0.25, 0.6),
    cloth_hue=UNIT,
    cloth_shade=(0.22, 0.65),
    collar=(0.2, 0.34),
    neck=(0.23, 0.3),
    wall_hue=UNIT,
    wall_shade=(0.55, 0.85),
    wall_turn=(-0.6, 0.6),
    light=(-1.0, 1.0),
)
EXPRESSION = dict(
    yaw=(-0.1, 0.1),
    pitch=(-0.05, 0.05),
    roll=(-0.08, 0.08),
    zoom=(0.98, 1.06),
    shift_x=(-0.03, 0.03),
    shift_y=(-0.06, -0.01),
    bend=(-0.0084, 0.0196),
    gap=UNIT,
    gaze=(-0.015, 0.015),
    smile=(0.8, 1.0),
)

HAIR_COLOURS = {
    "Black_Hair": ((0.07, 0.06, 0.07), (0.15, 0.12, 0.12)),
    "Blond_Hair": ((0.90, 0.76, 0.47), (0.80, 0.62, 0.33)),
    "Brown_Hair": ((0.45, 0.26, 0.14), (0.31, 0.18, 0.11)),
    "Gray_Hair": ((0.74, 0.74, 0.75), (0.55, 0.56, 0.58)),
}
SKIN = (
    (0.90, 0.70, 0.56),
    (0.83, 0.60, 0.44),
    (0.68, 0.45, 0.31),
    (0.50, 0.32, 0.22),
    (0.37, 0.23, 0.16),
)
PALE = ((0.98, 0.90, 0.86), (0.96, 0.87, 0.81))
IRIS = (
    (0.25, 0.14, 0.08),
    (0.42, 0.26, 0.12),
    (0.33, 0.42, 0.24),
    (0.28, 0.45, 0.62),
    (0.40, 0.47, 0.52),
)


@dataclass(frozen=True)
class FaceBatch:
    """N faces: images uint8 (N, 3, S, S), attributes bool (N, len(ATTRIBUTES)), landmarks float32 (N, 68, 2) as x, y in
    pixels (0 is the centre of the first pixel) in iBUG order, labels uint8 (N, S, S) as indices into LABELS.

    As in CelebAMask-HQ, "left" is the person's left: the right half of the picture.
    """

    images: Tensor
    attributes: Tensor
    landmarks: Tensor
    labels: Tensor


def render_faces(seeds: Iterable[int], size: int = 64, **attributes: bool) -> FaceBatch:
    """The faces of `seeds`, each the same at any size and in any batch; `attributes` are forced on all of them.

    Raises UserError for an unknown attribute, contradictory hair colours, a size outside 32..256, or unusable seeds.
    """
    if type(size) is not int or not 32 <= size <= 256:
        raise UserError(
            f"size={size!r} is not supported by render_faces: use a whole number from 32 to 256."
        )
    seeds = _check(seeds, attributes)
    chunk = max(
        1, 2**17 // size**2
    )  # keeps a layer within the processor's cache, whatever the size
    return join(
        [
            paint(*sample(seeds[i : i + chunk], **attributes), size)
            for i in range(0, len(seeds), chunk)
        ]
    )


def paint(known: dict, identity: dict, expression: dict, size: int) -> FaceBatch:
    """The faces that these numbers, as from `sample`, describe."""
    face = SimpleNamespace(**identity, **expression)
    face.lips_w = face.mouth_w + 0.055 * face.smile + face.spread
    images, labels = _draw(face, size)
    return FaceBatch(
        images, torch.stack([known[name] for name in ATTRIBUTES], 1), _landmarks(face, size), labels
    )


def join(parts: list[FaceBatch]) -> FaceBatch:
    return FaceBatch(
        *(torch.cat([getattr(part, name) for part in parts]) for name in FaceBatch.__annotations__)
    )


def _check(seeds: Iterable[int], attributes: dict[str, bool]) -> list[int]:
    try:
        seeds = [operator.index(seed) for seed in seeds]
    except TypeError:
        seeds = []
    if not seeds or min(seeds) < 0 or max(seeds) >= 2**63:
        raise UserError(
            "seeds of render_faces must be whole numbers from 0 to 2**63 - 1, at least one: try range(64)."
        )
    for name, value in attributes.items():
        if name not in ATTRIBUTES or not isinstance(value, bool):
            raise UserError(
                f"Cannot force {name}={value!r}: set one of {', '.join(ATTRIBUTES)} to True or False."
            )
    wanted = [attributes.get(name) for name in HAIR]
    if wanted.count(True) > 1 or wanted.count(False) == len(HAIR):
        raise UserError(
            f"A face has one hair colour: set only one of {', '.join(HAIR)} to True, or leave one free."
        )
    return seeds


def sample(seeds: list[int], **forced: bool) -> tuple[dict, dict, dict]:
    """Attributes bool (N,), then identity and expression: numbers as (N, 1, 1), colours in [0, 1] as (N, 3, 1, 1)."""
    ranges = dict.fromkeys(ATTRIBUTES, UNIT) | IDENTITY | EXPRESSION
    drawn = torch.stack(
        [torch.rand(len(ranges), generator=torch.Generator().manual_seed(seed)) for seed in seeds],
        1,
    )
    u = {
        name: low + value[:, None, None] * (high - low)
        for value, (name, (low, high)) in zip(drawn, ranges.items())
    }
    holds = {name: u[name] < share for name, share in SHARES.items()}
    holds |= {name: torch.full_like(holds[name], value) for name, value in forced.items()}
    # A colour ruled out for a seed is replaced by one of the others, drawn with a number of its own.
    allowed = [name for name in HAIR if forced.get(name)] or [
        name for name in HAIR if forced.get(name) is not False
    ]
    colour = (u["colour"] * len(HAIR)).long()
    spare = torch.tensor([HAIR.index(name) for name in allowed])[(u["spare"] * len(allowed)).long()]
    colour = torch.where(torch.tensor([name in allowed for name in HAIR])[colour], colour, spare)
    holds |= {name: colour == i for i, name in enumerate(HAIR)}
    identity = _identity(
        {name: u[name] for name in IDENTITY}, {name: value.float() for name, value in holds.items()}
    )
    smile = u["smile"] * holds["Smiling"]
    expression = {name: u[name] for name in EXPRESSION} | dict(
        smile=smile,
        bend=(1 - smile) * u["bend"] + smile * 0.085,
        blink=0 * smile,
        brow_raise=0 * smile,
        spread=0 * smile,
        gap=torch.where(smile > 0, 0.085 + 0.03 * u["gap"], (u["gap"] - 0.6).clamp(0) * 0.06),
    )
    return {name: value.flatten() for name, value in holds.items()}, identity, expression


def _identity(u: dict, holds: dict) -> dict:
    old, beard, long = 1 - holds["Young"], 1 - holds["No_Beard"], (u["length"] > 0.5).float()
    hair = sum(
        holds[name][:, None] * _ramp(ends, u["shade"]) for name, ends in HAIR_COLOURS.items()
    )
    tone = _mix(_ramp(SKIN, u["tone"]), _ramp(PALE, u["tone"]), holds["Pale_Skin"][:, None])
    tone = tone * (1 + u["warmth"][:, None] * _rgb(0.04, 0, -0.06))
    return u | dict(
        old=old,
        bangs=holds["Bangs"],
        glasses=holds["Eyeglasses"],
        beard=beard,
        hat=holds["Wearing_Hat"],
        hair=hair,
        skin=_mix(tone, tone.mean(1, keepdim=True) * 0.97, 0.32 * old[:, None]),
        brow=_mix(hair * 0.62, tone * 0.35, 0.35),
        iris=_ramp(IRIS, u["iris"]),
        frame=_muted(u["frame"], 0.1, 0.03),
        lip=_mix(tone * 0.86, _rgb(0.74, 0.3, 0.32), (u["lip_red"] * (1 - 0.4 * old))[:, None]),
        lip_h=u["lip_h"] - 0.008 * old,
        eye_up=u["eye_up"] - 0.008 * old,
        eye_low=0.57 * u["eye_up"],
        hairline=u["hairline"] - 0.08 * old,
        volume=u["volume"] + 0.03 * long,
        long=long,
        length=long * (0.3 + 0.95 * u["length"]),
        curl=(u["curl"] - 0.55).clamp(0) / 15,
        reach=torch.where(u["beard_kind"] > 0.3, 1.0, 0.265),
        brim=(u["hat_kind"] > 0.5).float(),
        hat_colour=_muted(u["hat_hue"], u["hat_shade"], 0.11),
        cloth=_muted(u["cloth_hue"], u["cloth_shade"], 0.08),
        wall=_muted(u["wall_hue"], u["wall_shade"], 0.045),
        wall_low=_muted(u["wall_hue"] + 0.25, 0.8 * u["wall_shade"] - 0.02, 0.045),
    )


def _rgb(*values: float) -> Tensor:
    return torch.tensor(values)[:, None, None]


def _mix(a, b, share):
    return a + share * (b - a)


def _ramp(colours: tuple, share: Tensor) -> Tensor:
    """The colour (N, 3, 1, 1) at `share` (N, 1, 1) of the way through `colours`."""
    table, place = torch.tensor(colours)[..., None, None], share * (len(colours) - 1)
    low = place.flatten().long().clamp(max=len(colours) - 2)
    return _mix(table[low], table[low + 1], (place - low[:, None, None])[:, None])


def _muted(hue: Tensor, shade, chroma: float) -> Tensor:
    return torch.stack([shade + chroma * _wave(hue + third) for third in (0, 1 / 3, 2 / 3)], 1)


def _wave(t: Tensor) -> Tensor:
    """A sine of period 1 made of parabolas, in [-1, 1]."""
    t = t - torch.floor(t) - 0.5
    return 16 * t * (t.abs() - 0.5)


def _blob(x, y, rx, ry) -> Tensor:
    """A soft spot: 1 in the middle, 0 from the ellipse outwards."""
    return (1 - (x / rx) ** 2 - (y / ry) ** 2).clamp(0) ** 2


def _ellipse(x, y, rx, ry) -> Tensor:
    """Signed distance, negative inside, to first order: f / |grad f|."""
    u, v = x / rx, y / ry
    f = (u * u + v * v + 1e-6).sqrt()
    return f * (f - 1) / ((u / rx) ** 2 + (v / ry) ** 2 + 1e-6).sqrt()


def _box(dx, dy, r) -> Tensor:
    """Signed distance to a box with corners of radius r; dx, dy are the distances to its sides."""
    dx, dy = dx + r, dy + r
    return (dx.clamp(0) ** 2 + dy.clamp(0) ** 2 + 1e-8).sqrt() + maximum(dx, dy).clamp(max=0) - r


def _join(a: Tensor, b: Tensor, k: float) -> Tensor:
    """Union with a fillet of width k."""
    return minimum(a, b) - (k - (a - b).abs()).clamp(0) ** 2 / (4 * k)


def _head(face, x, y) -> Tensor:
    jaw = _ellipse(x, y - face.jaw_y, face.jaw, face.chin - face.jaw_y)
    return _join(_ellipse(x, y + 0.1, face.width, 0.62), jaw, 0.2)


def _depth(x, y) -> Tensor:
    """How far the face stands out: a turned head shifts its features by this."""
    return (1 - (x / 0.64) ** 2 - ((y - 0.05) / 0.95) ** 2).clamp(0)


def _nose_shift(face, y) -> Tensor:
    return 0.5 * face.yaw * ((y - face.eye_y) / 0.3).clamp(0, 1)


def _lids(face, t) -> tuple[Tensor, Tensor]:
    """Heights of the upper and the lower lid over t in [-1, 1], from the inner to the outer corner of an eye."""
    c, corner, squint = 1 - t * t, face.eye_y - face.eye_tilt * t, 0.012 * face.smile
    low = corner + (face.eye_low - squint) * c
    return _mix(corner - (face.eye_up - squint / 2) * c, low, face.blink), low


def _brow(face, t) -> Tensor:
    middle = face.brow_y - face.brow_raise - 0.008 * face.smile + 0.02
    return middle - face.brow_arch * (1 - (t - 0.1) ** 2) - face.brow_tilt * t


def _lips(face, t) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heights over t in [-1, 1]: top of the upper lip, its lower edge, top of the lower lip, its lower edge."""
    c, full = 1 - t * t, face.lip_h * (1 - 0.25 * face.smile)
    middle = face.mouth_y + face.bend * (0.35 - t * t)
    upper, lower = middle - 0.2 * face.gap * c, middle + 0.8 * face.gap * c
    return (
        upper - full * c * (1 - 0.3 * (1 - (t / 0.3) ** 2).clamp(0)),
        upper,
        lower,
        lower + 1.45 * full * c,
    )


def _landmarks(face, size: int) -> Tensor:
    """The 68 iBUG points (N, 68, 2) in pixels, from the curves that are drawn."""

    def points(x, y):
        return torch.stack(torch.broadcast_tensors(x, y), -1).squeeze(2)

    five, four, angle = (
        torch.linspace(-end, end, count)[:, None] for end, count in ((1, 5), (1, 4), (1.45, 17))
    )
    radius = 0 * face.width
    for _ in range(20):  # the outline has no closed form: step by the distance that is left
        radius = radius - _head(face, radius * angle.sin(), 0.02 + radius * angle.cos())
    jaw = points(radius * angle.sin(), 0.02 + radius * angle.cos())
    brow = points(face.eye_x + 0.015 + 0.155 * five, _brow(face, five))
    upper, low = _lids(face, four)
    eye_x = face.eye_x + face.eye_w * four
    eye = torch.cat([points(eye_x, upper), points(eye_x, low)[:, [2, 1]]], 1)
    bridge_y, base_y = (
        _mix(face.eye_y, face.nose_y, (four + 1) / 2),
        face.nose_y + 0.055 - 0.02 * five.abs(),
    )
    nose = torch.cat(
        [
            points(_nose_shift(face, bridge_y), bridge_y),
            points(_nose_shift(face, base_y) + 0.8 * face.nose_w * five, base_y),
        ],
        1,
    )
    outer, inner, w = (
        torch.tensor([-1.0, -0.6, -0.25, 0.0, 0.25, 0.6, 1.0])[:, None],
        0.85 * five,
        face.lips_w,
    )
    (top, _, _, bottom), (_, upper, lower, _) = _lips(face, outer), _lips(face, inner)
    mouth = torch.cat(
        [
            points(w * outer, top),
            points(w * outer, bottom)[:, [5, 4, 3, 2, 1]],
            points(w * inner, upper),
            points(w * inner, lower)[:, [3, 2, 1]],
        ],
        1,
    )
    mirror = torch.tensor([-1.0, 1.0])
    front = torch.cat(
        [brow.flip(1) * mirror, brow, nose, (eye * mirror)[:, [3, 2, 1, 0, 5, 4]], eye, mouth], 1
    )
    turned, turn = front, torch.cat([face.yaw, face.pitch], 2)
    for _ in range(12):  # inverts the turn in _draw
        turned = front + turn * _depth(turned[..., :1], turned[..., 1:])
    x, y = torch.cat([jaw, turned], 1).split(1, 2)
    sin, cos = face.roll.sin(), face.roll.cos()
    x, y = (
        (cos * x - sin * y) * face.zoom + face.shift_x,
        (sin * x + cos * y) * face.zoom + face.shift_y,
    )
    return (torch.cat([x, y], 2) + 1) * (size / 2) - 0.5


class _Canvas:
    def __init__(self, image: Tensor):
        self.image, self.pixel = image, 2 / image.shape[-1]
        self.labels = torch.zeros(image[:, 0].shape, dtype=torch.uint8)

    def mark(self, label, where):
        self.labels = torch.where(where, torch.as_tensor(label, dtype=torch.uint8), self.labels)

    def paint(self, colour, distance, label=None, alpha=1.0, soft=0.0):
        cover = (0.5 - distance / (self.pixel + soft)).clamp(0, 1) * alpha
        self.image += cover.unsqueeze(1) * (colour - self.image)
        if label is not None:
            self.mark(label, (distance < 0) & (cover > 0))

    def shade(self, amount):
        """Darkens; red least, as light under the skin does."""
        self.image *= 1 - amount.unsqueeze(1) * _rgb(0.75, 1.0, 1.05)

    def light(self, amount):
        self.image += amount.unsqueeze(1) * (1 - self.image)


def _draw(face, size: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, S, S) and labels uint8 (N, S, S), painted from the back to the front."""
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    across, down = axis[None, None, :], axis[None, :, None]
    wall = ((down + face.wall_turn * across) * 0.5 + 0.5).clamp(0, 1)[:, None]
    canvas = _Canvas(_mix(face.wall, face.wall_low, wall * wall * (3 - 2 * wall)))
    body_x, body_y = (across - face.shift_x) / face.zoom, (down - face.shift_y) / face.zoom
    sin, cos = face.roll.sin(), face.roll.cos()
    x, y = cos * body_x + sin * body_y, cos * body_y - sin * body_x
    qx, qy = x - face.yaw * _depth(x, y), y - face.pitch * _depth(x, y)
    nx, ny = x / 0.62, (y - 0.05) / 0.86
    lit = 1.02 + 0.1 * face.light * nx - 0.07 * ny - 0.2 * (nx * nx + ny * ny - 0.4).clamp(0, 1)
    # q: coordinates of the turned face; fold: both its halves in one, since most features come in pairs.
    g = SimpleNamespace(
        body_x=body_x,
        body_y=body_y,
        x=x,
        y=y,
        qx=qx,
        qy=qy,
        fold=qx.abs(),
        lit=lit[:, None],
        head=_head(face, x, y),
        is_left=(qx > 0).int(),
    )
    g.hair, g.front, g.hair_colour = _hair(face, g)
    for layer in (_body, _skin, _beard, _nose, _eyes, _mouth, _front_hair, _glasses, _hat):
        layer(canvas, face, g)
    return (canvas.image.clamp(0, 1) * 255 + 0.5).to(torch.uint8), canvas.labels


def _hair(face, g) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to all hair and to the hair before the face, and the colour of hair."""
    x, y, side = g.x, g.y, face.width + face.volume
    cap = _ellipse(x, y + 0.16, side, 0.56 + face.top)
    sway = 0.035 * _wave(y / 0.9 + face.part) * (y + 0.1).clamp(0, 1)
    drape = _box(
        (x + sway).abs() - side - 0.06 * (y + 0.1).clamp(0),
        maximum(-0.15 - y, y - face.length),
        0.14,
    )
    curls = face.curl * _wave(x / 0.21 + face.part) * _wave(y / 0.21)
    hair = torch.where(face.long > 0, _join(cap, drape, 0.08), maximum(cap, y - 0.02)) - curls
    flow = (x - 0.2 * face.part) / (0.17 + 0.12 * (y + 0.9).clamp(0)) + 0.5 * face.part
    # The opening for the face: an arch, below its middle a slot between the locks.
    top = face.hairline + 0.22 * face.part * g.qx
    opening = _ellipse(
        g.qx, (g.qy - 0.02).clamp(max=0), face.width - 0.02 - 0.04 * face.long, 0.02 - top
    )
    fringe = face.fringe + 0.05 * face.part * g.qx + 0.014 * _wave(g.qx / 0.16 + face.part) - g.qy
    opening = torch.where(face.bangs > 0, maximum(opening, fringe), opening)
    opening = torch.where(face.long > 0, opening, minimum(opening, -0.03 - g.qy))
    shine = (
        0.5 * _blob(x - 0.3 * face.light, y + 0.62, 0.5, 0.16) + 0.06 * _wave(flow) + 1.1 * curls
    )
    return (
        hair,
        maximum(hair, -opening),
        face.hair * (g.lit + 0.02) + shine[:, None] * (face.hair * 0.3 + 0.07),
    )


def _body(canvas, face, g) -> None:
    canvas.paint(0.62 * g.hair_colour, g.hair, 13)
    neck = maximum(g.body_x.abs() - face.neck - 0.25 * (g.body_y - 0.95).clamp(0), 0.3 - g.body_y)
    canvas.paint(face.skin * 0.93, neck, 17)
    canvas.shade(0.4 * (1 - (g.head - 0.02).clamp(0) / 0.26).clamp(0) ** 2 * (neck < 0))
    neckline = _ellipse(g.body_x, g.body_y - 0.86, face.collar, 0.2)
    cloth = maximum(_ellipse(g.body_x, g.body_y - 1.5, 1.05, 0.62), -neckline)
    canvas.paint(face.cloth, cloth, 18)
    canvas.paint(face.cloth * 0.72, maximum(cloth, neckline - 0.025))


def _skin(canvas, face, g) -> None:
    x, fold, y = g.qx, g.fold, g.qy
    ear_x, eye_x, eye_y = g.x.abs() - face.width - 0.012, fold - face.eye_x, y - face.eye_y
    ear = _ellipse(ear_x + 0.12 * (g.y - 0.06), g.y - 0.06, 0.062, 0.125)
    canvas.paint(face.skin * 0.95 * g.lit, ear, 9 - (g.x > 0).int())
    canvas.shade(0.3 * _blob(ear_x + 0.01, g.y - 0.05, 0.045, 0.085))
    canvas.paint(face.skin * g.lit, g.head, 1)
    blush = (
        _blob(fold - 0.3, y - 0.22 + 0.03 * face.smile, 0.2, 0.15)
        * (1 + 0.8 * face.smile)
        * (g.head < 0)
    )
    canvas.image += face.skin * _rgb(0.02, -0.06, -0.05) * blush[:, None]
    cheek, forehead = (
        _blob(fold - 0.28, y - 0.17, 0.12, 0.09),
        _blob(x - 0.1 * face.light, y + 0.36, 0.3, 0.16),
    )
    canvas.light(0.1 * face.smile * cheek + 0.08 * forehead)
    canvas.shade(
        0.13 * _blob(eye_x, eye_y + 0.04, 0.2, 0.13)
        + 0.12 * _blob(x, y - face.mouth_y - 0.155, 0.16, 0.05)
    )
    # Folds from the wings of the nose to the corners of the mouth: smiling and age show them.
    bow = fold - face.lips_w - 0.035 + 1.5 * (y - face.mouth_y - 0.02) ** 2
    canvas.shade(
        _blob(bow, y - face.mouth_y + 0.09, 0.03, 0.16) * (0.2 * face.smile + 0.24 * face.old)
    )
    lines = _wave((y + 0.04 * x * x) / 0.075).clamp(0) ** 2 * _blob(x, y + 0.36, 0.34, 0.13)
    bags = _blob(eye_x, eye_y - 0.085 - 0.3 * eye_x**2, 0.13, 0.03)
    crows_feet = _wave(eye_y / 0.06).abs() * _blob(fold - 0.42, eye_y, 0.07, 0.07)
    canvas.shade(face.old * (0.34 * lines + 0.28 * bags + 0.24 * crows_feet))


def _beard(canvas, face, g) -> None:
    cheek = 0.345 - 2.9 * (g.fold - 0.2).clamp(0) ** 2 - 0.02 * face.smile - g.qy
    beard = maximum(
        maximum(g.head - 0.025, cheek), _ellipse(g.fold, g.qy - 0.6, face.reach, face.reach * 1.25)
    )
    texture = 1 + 0.06 * _wave(g.qx / (0.1 + 0.05 * g.qy.clamp(0)))
    colour = _mix(face.hair * 0.62, face.skin * 0.35, 0.3) * g.lit * texture[:, None]
    canvas.paint(colour, beard, alpha=face.beard * face.density, soft=0.05)


def _nose(canvas, face, g) -> None:
    x, y, w = g.qx - _nose_shift(face, g.qy), g.qy, face.nose_w
    tip, s = y - face.nose_y, ((y - face.eye_y) / (face.nose_y + 0.03 - face.eye_y)).clamp(0, 1)
    canvas.mark(
        2,
        maximum(x.abs() - 0.035 - (w - 0.035) * s * s, maximum(face.eye_y - 0.03 - y, tip - 0.055))
        < 0,
    )
    dark = -0.075 * torch.sign(face.light) * (0.4 + 0.6 * face.light.abs())
    canvas.shade(
        0.24 * _blob(x - dark, y - 0.06, 0.07, 0.24) + 0.06 * _blob(x + dark, y - 0.06, 0.06, 0.22)
    )
    canvas.shade(
        0.32 * _blob(x, tip - 0.075, w * 1.3, 0.06)
        + 0.3 * _blob(x.abs() - w, tip - 0.015, 0.035, 0.055)
    )
    canvas.light(
        0.13 * _blob(x, y - 0.02, 0.04, 0.22)
        + 0.2 * _blob(x - 0.01 * face.light, tip + 0.015, 0.055, 0.05)
    )
    canvas.paint(
        face.skin * 0.32, _ellipse(x.abs() - 0.5 * w, tip - 0.04, 0.027, 0.015), alpha=0.75
    )


def _eyes(canvas, face, g) -> None:
    t = (g.fold - face.eye_x) / face.eye_w
    upper, low = _lids(face, t)
    slope = (1 + (2 * t * face.eye_up / face.eye_w) ** 2).sqrt()
    above, below = (upper - g.qy) / slope, (g.qy - low) / slope
    eye = maximum(above, below) + face.blink * (t.abs() - 1).clamp(
        0
    )  # shut lids meet: their line must end somewhere
    inside = (0.5 - eye / canvas.pixel).clamp(0, 1)
    canvas.shade(0.28 * (1 - (g.qy - upper + 0.035).abs() / 0.016).clamp(0) * (1 - t * t).clamp(0))
    canvas.paint(_rgb(0.95, 0.94, 0.92), eye, 5 - g.is_left)
    x, y = g.qx - torch.sign(g.qx) * face.eye_x - face.gaze, g.qy - face.eye_y + 0.012
    iris = (x * x + y * y).sqrt()
    canvas.paint(face.iris, iris - 0.062, alpha=inside)
    canvas.paint(face.iris * 0.45, (iris - 0.06).abs() - 0.006, alpha=inside * 0.7)
    canvas.paint(_rgb(0.05, 0.04, 0.05), iris - 0.03, alpha=inside)
    canvas.shade(0.45 * inside * (1 + above / 0.035).clamp(0, 1))
    canvas.paint(
        _rgb(1.0, 1.0, 1.0),
        _ellipse(x - 0.02 * torch.sign(face.light), y + 0.022, 0.017, 0.017),
        alpha=inside * 0.95,
    )
    canvas.paint(
        face.brow * 0.35, maximum(above.abs() - 0.011 - 0.004 * t, t.abs() - 1.04), alpha=0.9
    )
    canvas.paint(face.skin * 0.55, maximum(below.abs() - 0.004, t.abs() - 1), alpha=0.5)
    t = (g.fold - face.eye_x - 0.015) / 0.155
    brow = (g.qy - _brow(face, t)).abs() - face.brow_w * (1.1 - 0.55 * t * t - 0.25 * t).clamp(0)
    canvas.paint(
        face.brow, maximum(brow, (t.abs() - 1.02) * 0.15), 7 - g.is_left, alpha=0.92, soft=0.012
    )


def _mouth(canvas, face, g) -> None:
    t, ends = g.qx / face.lips_w, g.fold - face.lips_w
    top, upper, lower, bottom = _lips(face, t)
    slope = (1 + (2 * t * face.bend / face.lips_w) ** 2).sqrt()

    def band(high, low):
        return maximum(maximum(high - g.qy, g.qy - low) / slope, ends)

    opening = band(upper, lower)
    canvas.paint(face.lip * 0.9 * g.lit, band(top, upper), 11)
    canvas.paint(face.lip * 1.04 * g.lit, band(lower, bottom), 12)
    canvas.paint(_rgb(0.3, 0.1, 0.1), opening, 10)
    canvas.paint(
        _rgb(0.96, 0.95, 0.92),
        maximum(opening, g.qy - _mix(upper, lower, 0.8)),
        alpha=(2 * face.smile).clamp(max=1),
    )
    canvas.paint(face.lip * 0.45, maximum((g.qy - upper).abs() - 0.007, ends - 0.01), alpha=0.75)
    canvas.light(
        0.16 * _blob(g.qx - 0.02 * face.light, g.qy - _mix(lower, bottom, 0.45), 0.08, 0.018)
    )


def _front_hair(canvas, face, g) -> None:
    canvas.shade(0.28 * (1 - g.front.clamp(0) / 0.09).clamp(0) ** 2 * (g.head < 0))
    canvas.paint(g.hair_colour, g.front, 13)
    parting = _blob(g.x - 0.2 * face.part - 0.12 * face.part * (g.y + 0.5), g.y + 0.62, 0.028, 0.2)
    canvas.shade(0.22 * parting * (1 - face.bangs) * (g.front < 0))


def _glasses(canvas, face, g) -> None:
    x, y, half = g.fold - face.eye_x - 0.004, g.qy - face.eye_y - 0.012, face.glasses_size
    lens = _box(x.abs() - half, y.abs() - half * 0.78, face.glasses_round)
    temple = maximum(maximum((y + 0.045).abs() - 0.019, -lens), g.head)
    frame = minimum(lens.abs() - 0.022, maximum(temple, -g.front))
    eye = (canvas.labels == 4) | (canvas.labels == 5)
    canvas.mark(3, (face.glasses > 0) & ((frame < 0) | (lens < 0) & ~eye))
    canvas.light(
        0.1
        * face.glasses
        * (0.5 - lens / canvas.pixel).clamp(0, 1)
        * (0.6 + 0.4 * _wave((x - y) / 1.2))
    )
    canvas.paint(face.frame, frame, alpha=face.glasses)


def _hat(canvas, face, g) -> None:
    edge = -0.4 + 0.16 * g.x * g.x + 0.1 * face.pitch
    dome = _ellipse(g.x, g.y + 0.38, face.width + face.volume + 0.03, 0.56 + 0.05 * face.brim)
    dome = -_join(-dome, edge - g.y, 0.08)
    colour = face.hat_colour * (g.lit + 0.1 * _wave(g.x * 0.9 + 0.25)[:, None])
    canvas.paint(colour, dome, 14, alpha=face.hat)
    canvas.paint(colour * 0.72, maximum(dome, edge - 0.15 - g.y), alpha=face.hat)
    canvas.paint(
        colour * 0.9,
        _ellipse(g.x, g.y + 0.4 - 0.12 * g.x * g.x, 0.88, 0.075),
        14,
        alpha=face.hat * face.brim,
    )
