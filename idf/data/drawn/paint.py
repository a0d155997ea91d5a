"""A face's layers, painted from the back to the front as signed distances to its lines."""

import torch
from torch import Tensor, maximum, minimum

from idf.data.drawn import anatomy
from idf.data.drawn.attributes import LABELS
from idf.data.drawn.canvas import Canvas, make_grid, sided
from idf.data.drawn.hair import beard, front_hair, hair_behind, style
from idf.data.drawn.shapes import blob, box, ellipse, mix, rgb, union, wave


def draw(face, size: int) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, S, S) and labels uint8 (N, S, S) of the faces with these numbers."""
    grid = make_grid(face, size)
    canvas = Canvas(face, grid)
    hair = style(face, grid)
    hair_behind(canvas, hair)
    body(canvas, face, grid)
    skin(canvas, face, grid)
    wrinkles(canvas, face, grid)
    beard(canvas, face, grid)
    nose(canvas, face, grid)
    eyes(canvas, face, grid)
    brows(canvas, face, grid)
    mouth(canvas, face, grid)
    front_hair(canvas, face, grid, hair)
    glasses(canvas, face, grid, hair)
    hat(canvas, face, grid)
    return (canvas.image.clamp(0, 1) * 255 + 0.5).to(torch.uint8), canvas.labels


def body(canvas, face, grid) -> None:
    """The neck in the chin's shadow, and clothes with a neckline."""
    x, y = grid.body_x, grid.body_y
    neck = maximum(x.abs() - face.neck - 0.25 * (y - 0.95).clamp(0), 0.3 - y)
    canvas.paint(face.skin * 0.93, neck, "neck")
    shadow = (1 - (grid.head - 0.02).clamp(0) / 0.26).clamp(0) ** 2
    canvas.shade(0.4 * shadow * (neck < 0))

    neckline = ellipse(x, y - 0.86, face.collar, 0.2)
    cloth = maximum(ellipse(x, y - 1.5, 1.05, 0.62), -neckline)
    canvas.paint(face.cloth, cloth, "cloth")
    canvas.paint(face.cloth * 0.72, maximum(cloth, neckline - 0.025))


def skin(canvas, face, grid) -> None:
    """Ears, the head, and light and shadow on it."""
    ear_x, ear_y = grid.head_x.abs() - face.width - 0.012, grid.head_y
    ear = ellipse(ear_x + 0.12 * (ear_y - 0.06), ear_y - 0.06, 0.062, 0.125)
    canvas.paint(face.skin * 0.95 * grid.lit, ear, sided("ear", grid.head_x > 0))
    canvas.shade(0.3 * blob(ear_x + 0.01, ear_y - 0.05, 0.045, 0.085))
    canvas.paint(face.skin * grid.lit, grid.head, "skin")

    # smiling cheeks rise, redden and shine
    x, y, fold = grid.x, grid.y, grid.fold
    blush = blob(fold - 0.3, y - 0.22 + 0.03 * face.smile, 0.2, 0.15)
    blush = blush * (1 + 0.8 * face.smile) * (grid.head < 0)
    canvas.image += face.skin * rgb(0.02, -0.06, -0.05) * blush[:, None]
    cheek = blob(fold - 0.28, y - 0.17, 0.12, 0.09)
    forehead = blob(x - 0.1 * face.light, y + 0.36, 0.3, 0.16)
    canvas.light(0.1 * face.smile * cheek + 0.08 * forehead)

    socket = blob(fold - face.eye_x, y - face.eye_y + 0.04, 0.2, 0.13)
    below_lips = blob(x, y - face.mouth_y - 0.155, 0.16, 0.05)
    canvas.shade(0.13 * socket + 0.12 * below_lips)


def wrinkles(canvas, face, grid) -> None:
    """Folds from the nose to the corners of the mouth, shown by smiling too, and those of age."""
    x, y, fold = grid.x, grid.y, grid.fold
    eye_x, eye_y = fold - face.eye_x, y - face.eye_y
    bow = fold - face.lips_w - 0.035 + 1.5 * (y - face.mouth_y - 0.02) ** 2
    beside_mouth = blob(bow, y - face.mouth_y + 0.09, 0.03, 0.16)
    canvas.shade(beside_mouth * (0.2 * face.smile + 0.24 * face.old))

    lines = wave((y + 0.04 * x * x) / 0.075).clamp(0) ** 2 * blob(x, y + 0.36, 0.34, 0.13)
    bags = blob(eye_x, eye_y - 0.085 - 0.3 * eye_x**2, 0.13, 0.03)
    crows_feet = wave(eye_y / 0.06).abs() * blob(fold - 0.42, eye_y, 0.07, 0.07)
    canvas.shade(face.old * (0.34 * lines + 0.28 * bags + 0.24 * crows_feet))


def nose(canvas, face, grid) -> None:
    x, y, width = grid.x - anatomy.nose_shift(face, grid.y), grid.y, face.nose_w
    tip = y - face.nose_y

    # its class: a wedge that widens from the eyes to the wings
    share = ((y - face.eye_y) / (face.nose_y + 0.03 - face.eye_y)).clamp(0, 1)
    sides = x.abs() - 0.035 - (width - 0.035) * share * share
    ends = maximum(face.eye_y - 0.03 - y, tip - 0.055)
    canvas.mark("nose", maximum(sides, ends) < 0)

    # its shadows: along the bridge, away from the light most; below the tip; round the wings
    dark = -0.075 * torch.sign(face.light) * (0.4 + 0.6 * face.light.abs())
    dark_side = blob(x - dark, y - 0.06, 0.07, 0.24)
    light_side = blob(x + dark, y - 0.06, 0.06, 0.22)
    canvas.shade(0.24 * dark_side + 0.06 * light_side)
    below_tip = blob(x, tip - 0.075, width * 1.3, 0.06)
    wings = blob(x.abs() - width, tip - 0.015, 0.035, 0.055)
    canvas.shade(0.32 * below_tip + 0.3 * wings)

    # light on the bridge and the tip, and the nostrils
    bridge = blob(x, y - 0.02, 0.04, 0.22)
    shine = blob(x - 0.01 * face.light, tip + 0.015, 0.055, 0.05)
    canvas.light(0.13 * bridge + 0.2 * shine)
    nostrils = ellipse(x.abs() - 0.5 * width, tip - 0.04, 0.027, 0.015)
    canvas.paint(face.skin * 0.32, nostrils, alpha=0.75)


def eyes(canvas, face, grid) -> None:
    # distances to the lids, from above and from below
    t = (grid.fold - face.eye_x) / face.eye_w
    upper, lower = anatomy.lids(face, t)
    slope = (1 + (2 * t * face.eye_up / face.eye_w) ** 2).sqrt()
    above, below = (upper - grid.y) / slope, (grid.y - lower) / slope
    # shut lids meet: their line must end somewhere
    eye = maximum(above, below) + face.blink * (t.abs() - 1).clamp(0)
    inside = (0.5 - eye / canvas.pixel).clamp(0, 1)

    # the fold above the lid, and the white
    crease = (1 - (grid.y - upper + 0.035).abs() / 0.016).clamp(0)
    canvas.shade(0.28 * crease * (1 - t * t).clamp(0))
    canvas.paint(rgb(0.95, 0.94, 0.92), eye, sided("eye", grid.is_left))

    # iris with a dark rim, pupil, the upper lid's shadow, a light
    x = grid.x - torch.sign(grid.x) * face.eye_x - face.gaze
    y = grid.y - face.eye_y + 0.012
    iris = (x * x + y * y).sqrt()
    canvas.paint(face.iris, iris - 0.062, alpha=inside)
    canvas.paint(face.iris * 0.45, (iris - 0.06).abs() - 0.006, alpha=inside * 0.7)
    canvas.paint(rgb(0.05, 0.04, 0.05), iris - 0.03, alpha=inside)
    canvas.shade(0.45 * inside * (1 + above / 0.035).clamp(0, 1))
    glint = ellipse(x - 0.02 * torch.sign(face.light), y + 0.022, 0.017, 0.017)
    canvas.paint(rgb(1.0, 1.0, 1.0), glint, alpha=inside * 0.95)

    # lashes, thicker outwards, and the lower lid's edge
    lashes = maximum(above.abs() - 0.011 - 0.004 * t, t.abs() - 1.04)
    canvas.paint(face.brow * 0.35, lashes, alpha=0.9)
    canvas.paint(face.skin * 0.55, maximum(below.abs() - 0.004, t.abs() - 1), alpha=0.5)


def brows(canvas, face, grid) -> None:
    t = (grid.fold - face.eye_x - 0.015) / 0.155
    thickness = face.brow_w * (1.1 - 0.55 * t * t - 0.25 * t).clamp(0)
    brow = (grid.y - anatomy.brow(face, t)).abs() - thickness
    brow = maximum(brow, (t.abs() - 1.02) * 0.15)
    canvas.paint(face.brow, brow, sided("brow", grid.is_left), alpha=0.92, soft=0.012)


def mouth(canvas, face, grid) -> None:
    t = grid.x / face.lips_w
    ends = grid.fold - face.lips_w
    top, upper, lower, bottom = anatomy.lips(face, t)
    slope = (1 + (2 * t * face.bend / face.lips_w) ** 2).sqrt()

    def between(high: Tensor, low: Tensor) -> Tensor:
        return maximum(maximum(high - grid.y, grid.y - low) / slope, ends)

    # lips, and the opening with the upper teeth of a smile
    canvas.paint(face.lip * 0.9 * grid.lit, between(top, upper), "upper lip")
    canvas.paint(face.lip * 1.04 * grid.lit, between(lower, bottom), "lower lip")
    opening = between(upper, lower)
    canvas.paint(rgb(0.3, 0.1, 0.1), opening, "mouth")
    teeth = maximum(opening, grid.y - mix(upper, lower, 0.8))
    canvas.paint(rgb(0.96, 0.95, 0.92), teeth, alpha=(2 * face.smile).clamp(max=1))

    # the line between the lips, and light on the lower one
    line = maximum((grid.y - upper).abs() - 0.007, ends - 0.01)
    canvas.paint(face.lip * 0.45, line, alpha=0.75)
    shine_y = grid.y - mix(lower, bottom, 0.45)
    canvas.light(0.16 * blob(grid.x - 0.02 * face.light, shine_y, 0.08, 0.018))


def glasses(canvas, face, grid, hair) -> None:
    x, y, half = grid.fold - face.eye_x - 0.004, grid.y - face.eye_y - 0.012, face.glasses_size
    lens = box(x.abs() - half, y.abs() - half * 0.78, face.glasses_round)
    temple = maximum(maximum((y + 0.045).abs() - 0.019, -lens), grid.head)
    frame = minimum(lens.abs() - 0.022, maximum(temple, -hair.front))

    # eyes keep their class behind the lenses
    eye = (canvas.labels == LABELS.index("left eye")) | (canvas.labels == LABELS.index("right eye"))
    canvas.mark("glasses", (face.glasses > 0) & ((frame < 0) | (lens < 0) & ~eye))
    inside = (0.5 - lens / canvas.pixel).clamp(0, 1)
    canvas.light(0.1 * face.glasses * inside * (0.6 + 0.4 * wave((x - y) / 1.2)))
    canvas.paint(face.frame, frame, alpha=face.glasses)


def hat(canvas, face, grid) -> None:
    x, y = grid.head_x, grid.head_y
    edge = -0.4 + 0.16 * x * x + 0.1 * face.pitch
    dome = ellipse(x, y + 0.38, face.width + face.volume + 0.03, 0.56 + 0.05 * face.brim)
    dome = -union(-dome, edge - y, 0.08)
    colour = face.hat_colour * (grid.lit + 0.1 * wave(x * 0.9 + 0.25)[:, None])
    canvas.paint(colour, dome, "hat", alpha=face.hat)
    canvas.paint(colour * 0.72, maximum(dome, edge - 0.15 - y), alpha=face.hat)
    brim = ellipse(x, y + 0.4 - 0.12 * x * x, 0.88, 0.075)
    canvas.paint(colour * 0.9, brim, "hat", alpha=face.hat * face.brim)
