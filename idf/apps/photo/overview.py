"""A photo with frames: which of its faces are protected, and which are not."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from idf.apps.photo.align import Alignment
from idf.apps.photo.files import Photo
from idf.apps.photo.search import find_faces, is_among
from idf.config import UserError

LONGEST = 2000  # pixels of the picture's longer side
WIDE = 700  # a smaller photo is enlarged to this width, so that the words fit
# of a crop, in pixels of the photo: in smaller ones half of the effect is lost, or more
WEAK_SIDE = 100
# of a crop, the share of it that lies in the photo: with less, a quarter of the effect is lost; of
# 34 portraits cut from all sides, half of it at .55 (eps .03)
LEAST_INSIDE = 0.7
# of the detector, which takes from 0 on for a face: from here on it may be one
DOUBTFUL = -0.2
COLOURS = {  # by what is weak in a face's protection: colour, words
    "": ("#00c853", "protected"),
    "small": ("#ff9100", "protected, but too small to hold"),
    "cut": ("#ff9100", "protected, but cut too close to hold"),
    "doubtful": ("#ff1744", "perhaps a face: not protected"),
}
REST = "without a frame: no face was seen, nothing was changed"


def place_of(face: Alignment, shape: tuple[int, ...], weak: str = "") -> dict:
    """What is listed, logged and drawn of a face in a photo of this shape (H, W, ...).

    weak: a key of COLOURS; where empty, what its size and place say.
    """
    if not weak and face.share_inside(shape) < LEAST_INSIDE:
        weak = "cut"
    elif not weak and face.side < WEAK_SIDE:
        weak = "small"
    return {
        "centre": face.centre.round().astype(int).tolist(),
        "side": round(face.side),
        "corners": face.corners().round(1).tolist(),
        "weak": weak,
    }


def doubtful_places(photo: Photo, faces: list[dict]) -> list[dict]:
    """Where the detector sees nearly a face, away from those that it found."""
    try:
        found = find_faces(photo, DOUBTFUL)
    except UserError:
        return []
    known = [(np.array(face["centre"]), face["side"]) for face in faces]
    return [
        place_of(face, photo.pixels.shape, "doubtful")
        for face in found
        if not is_among(face, known)
    ]


def overview(pixels: np.ndarray, places: list[dict]) -> np.ndarray:
    """The photo (H, W, 3), uint8, WIDE to LONGEST pixels, each place framed and numbered.

    places: as by place_of. Below the photo stands what the colours mean.
    """
    image = Image.fromarray(pixels)
    scale = min(LONGEST / max(image.size), max(1.0, WIDE / image.width))
    width, height = (max(1, round(scale * length)) for length in image.size)
    size = min(24, max(11, round(width / 40)))  # of the letters
    font = ImageFont.load_default(size)
    legend = _legend(places)
    picture = Image.new("RGB", (width, height + round(1.4 * size) * len(legend)), "white")
    picture.paste(image.resize((width, height), Image.Resampling.BICUBIC))

    draw = ImageDraw.Draw(picture)
    for i, place in enumerate(places):
        colour = COLOURS[place["weak"]][0]
        corners = np.array(place["corners"]) * scale
        corners = corners.clip(2, [width - 3, height - 3])  # what is cut shows its frame, too
        draw.polygon([tuple(corner) for corner in corners], outline=colour, width=max(2, size // 8))
        left, top = corners.min(0)
        above = left, max(0, top - 1.4 * size)
        draw.text(above, str(i + 1), colour, font, stroke_width=2, stroke_fill="black")
    for i, (colour, words) in enumerate(legend):
        top = height + round(1.4 * size * i)
        draw.rectangle((4, top + 4, 4 + size, top + size), fill=colour)
        draw.text((10 + size, top), words, "black", font)
    return np.asarray(picture)


def _legend(places: list[dict]) -> list[tuple[str, str]]:
    """A line for each kind of face that is there, and for the rest: colour, words."""
    kinds = [place["weak"] for place in places]
    lines = []
    for kind, (colour, words) in COLOURS.items():
        if kind in kinds:
            lines.append((colour, f"{kinds.count(kind)} {words}"))
    return [*lines, ("white", REST)]
