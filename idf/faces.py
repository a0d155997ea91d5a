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
SHARES = {"Bangs": .4, "Black_Hair": .25, "Blond_Hair": .25, "Brown_Hair": .25, "Eyeglasses": .4, "Gray_Hair": .25,
          "No_Beard": .65, "Pale_Skin": .25, "Smiling": .5, "Wearing_Hat": .15, "Young": .7}
ATTRIBUTES = tuple(SHARES)
LABELS = ("background", "skin", "nose", "glasses", "left eye", "right eye", "left brow", "right brow", "left ear",
          "right ear", "mouth", "upper lip", "lower lip", "hair", "hat", "earring", "necklace", "neck", "cloth")

# Ranges of the numbers drawn for a face, in this order: another order gives every seed another face.
UNIT = (0., 1.)
IDENTITY = dict(
    colour=UNIT, shade=UNIT, tone=UNIT, warmth=(-.5, .5), width=(.5, .55), jaw=(.35, .43), jaw_y=(.18, .27),
    chin=(.77, .85), eye_x=(.215, .24), eye_y=(-.055, -.02), eye_w=(.125, .145), eye_up=(.062, .084),
    eye_tilt=(-.008, .018), iris=UNIT, spare=UNIT, brow_y=(-.235, -.195), brow_w=(.016, .032), brow_arch=(.025, .055),
    brow_tilt=(-.028, .006), nose_w=(.085, .115), nose_y=(.19, .25), mouth_y=(.45, .49), mouth_w=(.165, .2),
    lip_h=(.032, .05), lip_red=(.3, .62), length=UNIT, volume=(.05, .11), top=(.07, .16), curl=UNIT, part=(-1., 1.),
    hairline=(-.53, -.45), fringe=(-.3, -.25), beard_kind=UNIT, density=(.72, .92), glasses_round=(.04, .12),
    glasses_size=(.155, .172), frame=UNIT, hat_kind=UNIT, hat_hue=UNIT, hat_shade=(.25, .6), cloth_hue=UNIT,
    cloth_shade=(.22, .65), collar=(.2, .34), neck=(.23, .3), wall_hue=UNIT, wall_shade=(.55, .85), wall_turn=(-.6, .6),
    light=(-1., 1.))
EXPRESSION = dict(
    yaw=(-.1, .1), pitch=(-.05, .05), roll=(-.08, .08), zoom=(.98, 1.06), shift_x=(-.03, .03), shift_y=(-.06, -.01),
    bend=(-.0084, .0196), gap=UNIT, gaze=(-.015, .015), smile=(.8, 1.))

HAIR_COLOURS = {"Black_Hair": ((.07, .06, .07), (.15, .12, .12)), "Blond_Hair": ((.90, .76, .47), (.80, .62, .33)),
                "Brown_Hair": ((.45, .26, .14), (.31, .18, .11)), "Gray_Hair": ((.74, .74, .75), (.55, .56, .58))}
SKIN = ((.90, .70, .56), (.83, .60, .44), (.68, .45, .31), (.50, .32, .22), (.37, .23, .16))
PALE = ((.98, .90, .86), (.96, .87, .81))
IRIS = ((.25, .14, .08), (.42, .26, .12), (.33, .42, .24), (.28, .45, .62), (.40, .47, .52))


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
        raise UserError(f"size={size!r} is not supported by render_faces: use a whole number from 32 to 256.")
    seeds = _check(seeds, attributes)
    chunk = max(1, 2 ** 17 // size ** 2)  # keeps a layer within the processor's cache, whatever the size
    return join([paint(*sample(seeds[i:i + chunk], **attributes), size) for i in range(0, len(seeds), chunk)])


def paint(known: dict, identity: dict, expression: dict, size: int) -> FaceBatch:
    """The faces that these numbers, as from `sample`, describe."""
    face = SimpleNamespace(**identity, **expression)
    face.lips_w = face.mouth_w + .055 * face.smile + face.spread
    images, labels = _draw(face, size)
    return FaceBatch(images, torch.stack([known[name] for name in ATTRIBUTES], 1), _landmarks(face, size), labels)


def join(parts: list[FaceBatch]) -> FaceBatch:
    return FaceBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in FaceBatch.__annotations__))


def _check(seeds: Iterable[int], attributes: dict[str, bool]) -> list[int]:
    try:
        seeds = [operator.index(seed) for seed in seeds]
    except TypeError:
        seeds = []
    if not seeds or min(seeds) < 0 or max(seeds) >= 2 ** 63:
        raise UserError("seeds of render_faces must be whole numbers from 0 to 2**63 - 1, at least one: try range(64).")
    for name, value in attributes.items():
        if name not in ATTRIBUTES or not isinstance(value, bool):
            raise UserError(f"Cannot force {name}={value!r}: set one of {', '.join(ATTRIBUTES)} to True or False.")
    wanted = [attributes.get(name) for name in HAIR]
    if wanted.count(True) > 1 or wanted.count(False) == len(HAIR):
        raise UserError(f"A face has one hair colour: set only one of {', '.join(HAIR)} to True, or leave one free.")
    return seeds


def sample(seeds: list[int], **forced: bool) -> tuple[dict, dict, dict]:
    """Attributes bool (N,), then identity and expression: numbers as (N, 1, 1), colours in [0, 1] as (N, 3, 1, 1)."""
    ranges = dict.fromkeys(ATTRIBUTES, UNIT) | IDENTITY | EXPRESSION
    drawn = torch.stack([torch.rand(len(ranges), generator=torch.Generator().manual_seed(seed)) for seed in seeds], 1)
    u = {name: low + value[:, None, None] * (high - low) for value, (name, (low, high)) in zip(drawn, ranges.items())}
    holds = {name: u[name] < share for name, share in SHARES.items()}
    holds |= {name: torch.full_like(holds[name], value) for name, value in forced.items()}
    # A colour ruled out for a seed is replaced by one of the others, drawn with a number of its own.
    allowed = [name for name in HAIR if forced.get(name)] or [name for name in HAIR if forced.get(name) is not False]
    colour = (u["colour"] * len(HAIR)).long()
    spare = torch.tensor([HAIR.index(name) for name in allowed])[(u["spare"] * len(allowed)).long()]
    colour = torch.where(torch.tensor([name in allowed for name in HAIR])[colour], colour, spare)
    holds |= {name: colour == i for i, name in enumerate(HAIR)}
    identity = _identity({name: u[name] for name in IDENTITY}, {name: value.float() for name, value in holds.items()})
    smile = u["smile"] * holds["Smiling"]
    expression = {name: u[name] for name in EXPRESSION} | dict(
        smile=smile, bend=(1 - smile) * u["bend"] + smile * .085, blink=0 * smile, brow_raise=0 * smile, spread=0 * smile,
        gap=torch.where(smile > 0, .085 + .03 * u["gap"], (u["gap"] - .6).clamp(0) * .06))
    return {name: value.flatten() for name, value in holds.items()}, identity, expression


def _identity(u: dict, holds: dict) -> dict:
    old, beard, long = 1 - holds["Young"], 1 - holds["No_Beard"], (u["length"] > .5).float()
    hair = sum(holds[name][:, None] * _ramp(ends, u["shade"]) for name, ends in HAIR_COLOURS.items())
    tone = _mix(_ramp(SKIN, u["tone"]), _ramp(PALE, u["tone"]), holds["Pale_Skin"][:, None])
    tone = tone * (1 + u["warmth"][:, None] * _rgb(.04, 0, -.06))
    return u | dict(
        old=old, bangs=holds["Bangs"], glasses=holds["Eyeglasses"], beard=beard, hat=holds["Wearing_Hat"],
        hair=hair, skin=_mix(tone, tone.mean(1, keepdim=True) * .97, .32 * old[:, None]),
        brow=_mix(hair * .62, tone * .35, .35), iris=_ramp(IRIS, u["iris"]), frame=_muted(u["frame"], .1, .03),
        lip=_mix(tone * .86, _rgb(.74, .3, .32), (u["lip_red"] * (1 - .4 * old))[:, None]),
        lip_h=u["lip_h"] - .008 * old, eye_up=u["eye_up"] - .008 * old, eye_low=.57 * u["eye_up"],
        hairline=u["hairline"] - .08 * old, volume=u["volume"] + .03 * long, long=long,
        length=long * (.3 + .95 * u["length"]), curl=(u["curl"] - .55).clamp(0) / 15,
        reach=torch.where(u["beard_kind"] > .3, 1., .265), brim=(u["hat_kind"] > .5).float(),
        hat_colour=_muted(u["hat_hue"], u["hat_shade"], .11), cloth=_muted(u["cloth_hue"], u["cloth_shade"], .08),
        wall=_muted(u["wall_hue"], u["wall_shade"], .045),
        wall_low=_muted(u["wall_hue"] + .25, .8 * u["wall_shade"] - .02, .045))


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
    t = t - torch.floor(t) - .5
    return 16 * t * (t.abs() - .5)


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
    return _join(_ellipse(x, y + .1, face.width, .62), jaw, .2)


def _depth(x, y) -> Tensor:
    """How far the face stands out: a turned head shifts its features by this."""
    return (1 - (x / .64) ** 2 - ((y - .05) / .95) ** 2).clamp(0)


def _nose_shift(face, y) -> Tensor:
    return .5 * face.yaw * ((y - face.eye_y) / .3).clamp(0, 1)


def _lids(face, t) -> tuple[Tensor, Tensor]:
    """Heights of the upper and the lower lid over t in [-1, 1], from the inner to the outer corner of an eye."""
    c, corner, squint = 1 - t * t, face.eye_y - face.eye_tilt * t, .012 * face.smile
    low = corner + (face.eye_low - squint) * c
    return _mix(corner - (face.eye_up - squint / 2) * c, low, face.blink), low


def _brow(face, t) -> Tensor:
    middle = face.brow_y - face.brow_raise - .008 * face.smile + .02
    return middle - face.brow_arch * (1 - (t - .1) ** 2) - face.brow_tilt * t


def _lips(face, t) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Heights over t in [-1, 1]: top of the upper lip, its lower edge, top of the lower lip, its lower edge."""
    c, full = 1 - t * t, face.lip_h * (1 - .25 * face.smile)
    middle = face.mouth_y + face.bend * (.35 - t * t)
    upper, lower = middle - .2 * face.gap * c, middle + .8 * face.gap * c
    return upper - full * c * (1 - .3 * (1 - (t / .3) ** 2).clamp(0)), upper, lower, lower + 1.45 * full * c


def _landmarks(face, size: int) -> Tensor:
    """The 68 iBUG points (N, 68, 2) in pixels, from the curves that are drawn."""
    def points(x, y):
        return torch.stack(torch.broadcast_tensors(x, y), -1).squeeze(2)

    five, four, angle = (torch.linspace(-end, end, count)[:, None] for end, count in ((1, 5), (1, 4), (1.45, 17)))
    radius = 0 * face.width
    for _ in range(20):  # the outline has no closed form: step by the distance that is left
        radius = radius - _head(face, radius * angle.sin(), .02 + radius * angle.cos())
    jaw = points(radius * angle.sin(), .02 + radius * angle.cos())
    brow = points(face.eye_x + .015 + .155 * five, _brow(face, five))
    upper, low = _lids(face, four)
    eye_x = face.eye_x + face.eye_w * four
    eye = torch.cat([points(eye_x, upper), points(eye_x, low)[:, [2, 1]]], 1)
    bridge_y, base_y = _mix(face.eye_y, face.nose_y, (four + 1) / 2), face.nose_y + .055 - .02 * five.abs()
    nose = torch.cat([points(_nose_shift(face, bridge_y), bridge_y),
                      points(_nose_shift(face, base_y) + .8 * face.nose_w * five, base_y)], 1)
    outer, inner, w = torch.tensor([-1., -.6, -.25, 0., .25, .6, 1.])[:, None], .85 * five, face.lips_w
    (top, _, _, bottom), (_, upper, lower, _) = _lips(face, outer), _lips(face, inner)
    mouth = torch.cat([points(w * outer, top), points(w * outer, bottom)[:, [5, 4, 3, 2, 1]],
                       points(w * inner, upper), points(w * inner, lower)[:, [3, 2, 1]]], 1)
    mirror = torch.tensor([-1., 1.])
    front = torch.cat([brow.flip(1) * mirror, brow, nose, (eye * mirror)[:, [3, 2, 1, 0, 5, 4]], eye, mouth], 1)
    turned, turn = front, torch.cat([face.yaw, face.pitch], 2)
    for _ in range(12):  # inverts the turn in _draw
        turned = front + turn * _depth(turned[..., :1], turned[..., 1:])
    x, y = torch.cat([jaw, turned], 1).split(1, 2)
    sin, cos = face.roll.sin(), face.roll.cos()
    x, y = (cos * x - sin * y) * face.zoom + face.shift_x, (sin * x + cos * y) * face.zoom + face.shift_y
    return (torch.cat([x, y], 2) + 1) * (size / 2) - .5


class _Canvas:
    def __init__(self, image: Tensor):
        self.image, self.pixel = image, 2 / image.shape[-1]
        self.labels = torch.zeros(image[:, 0].shape, dtype=torch.uint8)

    def mark(self, label, where):
        self.labels = torch.where(where, torch.as_tensor(label, dtype=torch.uint8), self.labels)

    def paint(self, colour, distance, label=None, alpha=1., soft=0.):
        cover = (.5 - distance / (self.pixel + soft)).clamp(0, 1) * alpha
        self.image += cover.unsqueeze(1) * (colour - self.image)
        if label is not None:
            self.mark(label, (distance < 0) & (cover > 0))

    def shade(self, amount):
        """Darkens; red least, as light under the skin does."""
        self.image *= 1 - amount.unsqueeze(1) * _rgb(.75, 1., 1.05)

    def light(self, amount):
        self.image += amount.unsqueeze(1) * (1 - self.image)


def _draw(face, size: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, S, S) and labels uint8 (N, S, S), painted from the back to the front."""
    axis = (torch.arange(size) + .5) * (2 / size) - 1
    across, down = axis[None, None, :], axis[None, :, None]
    wall = ((down + face.wall_turn * across) * .5 + .5).clamp(0, 1)[:, None]
    canvas = _Canvas(_mix(face.wall, face.wall_low, wall * wall * (3 - 2 * wall)))
    body_x, body_y = (across - face.shift_x) / face.zoom, (down - face.shift_y) / face.zoom
    sin, cos = face.roll.sin(), face.roll.cos()
    x, y = cos * body_x + sin * body_y, cos * body_y - sin * body_x
    qx, qy = x - face.yaw * _depth(x, y), y - face.pitch * _depth(x, y)
    nx, ny = x / .62, (y - .05) / .86
    lit = 1.02 + .1 * face.light * nx - .07 * ny - .2 * (nx * nx + ny * ny - .4).clamp(0, 1)
    # q: coordinates of the turned face; fold: both its halves in one, since most features come in pairs.
    g = SimpleNamespace(body_x=body_x, body_y=body_y, x=x, y=y, qx=qx, qy=qy, fold=qx.abs(), lit=lit[:, None],
                        head=_head(face, x, y), is_left=(qx > 0).int())
    g.hair, g.front, g.hair_colour = _hair(face, g)
    for layer in (_body, _skin, _beard, _nose, _eyes, _mouth, _front_hair, _glasses, _hat):
        layer(canvas, face, g)
    return (canvas.image.clamp(0, 1) * 255 + .5).to(torch.uint8), canvas.labels


def _hair(face, g) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to all hair and to the hair before the face, and the colour of hair."""
    x, y, side = g.x, g.y, face.width + face.volume
    cap = _ellipse(x, y + .16, side, .56 + face.top)
    sway = .035 * _wave(y / .9 + face.part) * (y + .1).clamp(0, 1)
    drape = _box((x + sway).abs() - side - .06 * (y + .1).clamp(0), maximum(-.15 - y, y - face.length), .14)
    curls = face.curl * _wave(x / .21 + face.part) * _wave(y / .21)
    hair = torch.where(face.long > 0, _join(cap, drape, .08), maximum(cap, y - .02)) - curls
    flow = (x - .2 * face.part) / (.17 + .12 * (y + .9).clamp(0)) + .5 * face.part
    # The opening for the face: an arch, below its middle a slot between the locks.
    top = face.hairline + .22 * face.part * g.qx
    opening = _ellipse(g.qx, (g.qy - .02).clamp(max=0), face.width - .02 - .04 * face.long, .02 - top)
    fringe = face.fringe + .05 * face.part * g.qx + .014 * _wave(g.qx / .16 + face.part) - g.qy
    opening = torch.where(face.bangs > 0, maximum(opening, fringe), opening)
    opening = torch.where(face.long > 0, opening, minimum(opening, -.03 - g.qy))
    shine = .5 * _blob(x - .3 * face.light, y + .62, .5, .16) + .06 * _wave(flow) + 1.1 * curls
    return hair, maximum(hair, -opening), face.hair * (g.lit + .02) + shine[:, None] * (face.hair * .3 + .07)


def _body(canvas, face, g) -> None:
    canvas.paint(.62 * g.hair_colour, g.hair, 13)
    neck = maximum(g.body_x.abs() - face.neck - .25 * (g.body_y - .95).clamp(0), .3 - g.body_y)
    canvas.paint(face.skin * .93, neck, 17)
    canvas.shade(.4 * (1 - (g.head - .02).clamp(0) / .26).clamp(0) ** 2 * (neck < 0))
    neckline = _ellipse(g.body_x, g.body_y - .86, face.collar, .2)
    cloth = maximum(_ellipse(g.body_x, g.body_y - 1.5, 1.05, .62), -neckline)
    canvas.paint(face.cloth, cloth, 18)
    canvas.paint(face.cloth * .72, maximum(cloth, neckline - .025))


def _skin(canvas, face, g) -> None:
    x, fold, y = g.qx, g.fold, g.qy
    ear_x, eye_x, eye_y = g.x.abs() - face.width - .012, fold - face.eye_x, y - face.eye_y
    ear = _ellipse(ear_x + .12 * (g.y - .06), g.y - .06, .062, .125)
    canvas.paint(face.skin * .95 * g.lit, ear, 9 - (g.x > 0).int())
    canvas.shade(.3 * _blob(ear_x + .01, g.y - .05, .045, .085))
    canvas.paint(face.skin * g.lit, g.head, 1)
    blush = _blob(fold - .3, y - .22 + .03 * face.smile, .2, .15) * (1 + .8 * face.smile) * (g.head < 0)
    canvas.image += face.skin * _rgb(.02, -.06, -.05) * blush[:, None]
    cheek, forehead = _blob(fold - .28, y - .17, .12, .09), _blob(x - .1 * face.light, y + .36, .3, .16)
    canvas.light(.1 * face.smile * cheek + .08 * forehead)
    canvas.shade(.13 * _blob(eye_x, eye_y + .04, .2, .13) + .12 * _blob(x, y - face.mouth_y - .155, .16, .05))
    # Folds from the wings of the nose to the corners of the mouth: smiling and age show them.
    bow = fold - face.lips_w - .035 + 1.5 * (y - face.mouth_y - .02) ** 2
    canvas.shade(_blob(bow, y - face.mouth_y + .09, .03, .16) * (.2 * face.smile + .24 * face.old))
    lines = _wave((y + .04 * x * x) / .075).clamp(0) ** 2 * _blob(x, y + .36, .34, .13)
    bags = _blob(eye_x, eye_y - .085 - .3 * eye_x ** 2, .13, .03)
    crows_feet = _wave(eye_y / .06).abs() * _blob(fold - .42, eye_y, .07, .07)
    canvas.shade(face.old * (.34 * lines + .28 * bags + .24 * crows_feet))


def _beard(canvas, face, g) -> None:
    cheek = .345 - 2.9 * (g.fold - .2).clamp(0) ** 2 - .02 * face.smile - g.qy
    beard = maximum(maximum(g.head - .025, cheek), _ellipse(g.fold, g.qy - .6, face.reach, face.reach * 1.25))
    texture = 1 + .06 * _wave(g.qx / (.1 + .05 * g.qy.clamp(0)))
    colour = _mix(face.hair * .62, face.skin * .35, .3) * g.lit * texture[:, None]
    canvas.paint(colour, beard, alpha=face.beard * face.density, soft=.05)


def _nose(canvas, face, g) -> None:
    x, y, w = g.qx - _nose_shift(face, g.qy), g.qy, face.nose_w
    tip, s = y - face.nose_y, ((y - face.eye_y) / (face.nose_y + .03 - face.eye_y)).clamp(0, 1)
    canvas.mark(2, maximum(x.abs() - .035 - (w - .035) * s * s, maximum(face.eye_y - .03 - y, tip - .055)) < 0)
    dark = -.075 * torch.sign(face.light) * (.4 + .6 * face.light.abs())
    canvas.shade(.24 * _blob(x - dark, y - .06, .07, .24) + .06 * _blob(x + dark, y - .06, .06, .22))
    canvas.shade(.32 * _blob(x, tip - .075, w * 1.3, .06) + .3 * _blob(x.abs() - w, tip - .015, .035, .055))
    canvas.light(.13 * _blob(x, y - .02, .04, .22) + .2 * _blob(x - .01 * face.light, tip + .015, .055, .05))
    canvas.paint(face.skin * .32, _ellipse(x.abs() - .5 * w, tip - .04, .027, .015), alpha=.75)


def _eyes(canvas, face, g) -> None:
    t = (g.fold - face.eye_x) / face.eye_w
    upper, low = _lids(face, t)
    slope = (1 + (2 * t * face.eye_up / face.eye_w) ** 2).sqrt()
    above, below = (upper - g.qy) / slope, (g.qy - low) / slope
    eye = maximum(above, below) + face.blink * (t.abs() - 1).clamp(0)  # shut lids meet: their line must end somewhere
    inside = (.5 - eye / canvas.pixel).clamp(0, 1)
    canvas.shade(.28 * (1 - (g.qy - upper + .035).abs() / .016).clamp(0) * (1 - t * t).clamp(0))
    canvas.paint(_rgb(.95, .94, .92), eye, 5 - g.is_left)
    x, y = g.qx - torch.sign(g.qx) * face.eye_x - face.gaze, g.qy - face.eye_y + .012
    iris = (x * x + y * y).sqrt()
    canvas.paint(face.iris, iris - .062, alpha=inside)
    canvas.paint(face.iris * .45, (iris - .06).abs() - .006, alpha=inside * .7)
    canvas.paint(_rgb(.05, .04, .05), iris - .03, alpha=inside)
    canvas.shade(.45 * inside * (1 + above / .035).clamp(0, 1))
    canvas.paint(_rgb(1., 1., 1.), _ellipse(x - .02 * torch.sign(face.light), y + .022, .017, .017), alpha=inside * .95)
    canvas.paint(face.brow * .35, maximum(above.abs() - .011 - .004 * t, t.abs() - 1.04), alpha=.9)
    canvas.paint(face.skin * .55, maximum(below.abs() - .004, t.abs() - 1), alpha=.5)
    t = (g.fold - face.eye_x - .015) / .155
    brow = (g.qy - _brow(face, t)).abs() - face.brow_w * (1.1 - .55 * t * t - .25 * t).clamp(0)
    canvas.paint(face.brow, maximum(brow, (t.abs() - 1.02) * .15), 7 - g.is_left, alpha=.92, soft=.012)


def _mouth(canvas, face, g) -> None:
    t, ends = g.qx / face.lips_w, g.fold - face.lips_w
    top, upper, lower, bottom = _lips(face, t)
    slope = (1 + (2 * t * face.bend / face.lips_w) ** 2).sqrt()

    def band(high, low):
        return maximum(maximum(high - g.qy, g.qy - low) / slope, ends)

    opening = band(upper, lower)
    canvas.paint(face.lip * .9 * g.lit, band(top, upper), 11)
    canvas.paint(face.lip * 1.04 * g.lit, band(lower, bottom), 12)
    canvas.paint(_rgb(.3, .1, .1), opening, 10)
    canvas.paint(_rgb(.96, .95, .92), maximum(opening, g.qy - _mix(upper, lower, .8)), alpha=(2 * face.smile).clamp(max=1))
    canvas.paint(face.lip * .45, maximum((g.qy - upper).abs() - .007, ends - .01), alpha=.75)
    canvas.light(.16 * _blob(g.qx - .02 * face.light, g.qy - _mix(lower, bottom, .45), .08, .018))


def _front_hair(canvas, face, g) -> None:
    canvas.shade(.28 * (1 - g.front.clamp(0) / .09).clamp(0) ** 2 * (g.head < 0))
    canvas.paint(g.hair_colour, g.front, 13)
    parting = _blob(g.x - .2 * face.part - .12 * face.part * (g.y + .5), g.y + .62, .028, .2)
    canvas.shade(.22 * parting * (1 - face.bangs) * (g.front < 0))


def _glasses(canvas, face, g) -> None:
    x, y, half = g.fold - face.eye_x - .004, g.qy - face.eye_y - .012, face.glasses_size
    lens = _box(x.abs() - half, y.abs() - half * .78, face.glasses_round)
    temple = maximum(maximum((y + .045).abs() - .019, -lens), g.head)
    frame = minimum(lens.abs() - .022, maximum(temple, -g.front))
    eye = (canvas.labels == 4) | (canvas.labels == 5)
    canvas.mark(3, (face.glasses > 0) & ((frame < 0) | (lens < 0) & ~eye))
    canvas.light(.1 * face.glasses * (.5 - lens / canvas.pixel).clamp(0, 1) * (.6 + .4 * _wave((x - y) / 1.2)))
    canvas.paint(face.frame, frame, alpha=face.glasses)


def _hat(canvas, face, g) -> None:
    edge = -.4 + .16 * g.x * g.x + .1 * face.pitch
    dome = _ellipse(g.x, g.y + .38, face.width + face.volume + .03, .56 + .05 * face.brim)
    dome = -_join(-dome, edge - g.y, .08)
    colour = face.hat_colour * (g.lit + .1 * _wave(g.x * .9 + .25)[:, None])
    canvas.paint(colour, dome, 14, alpha=face.hat)
    canvas.paint(colour * .72, maximum(dome, edge - .15 - g.y), alpha=face.hat)
    canvas.paint(colour * .9, _ellipse(g.x, g.y + .4 - .12 * g.x * g.x, .88, .075), 14, alpha=face.hat * face.brim)
