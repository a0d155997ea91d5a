"""Where the protection survives: by the size of the face, and by what is done to the copy."""

import math
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from idf import metrics
from idf.apps.photo.align import Alignment
from idf.apps.photo.check import EDITORS, colour_noise, see
from idf.apps.photo.difference import psnr_of_faces
from idf.apps.photo.files import WRITTEN_QUALITY, Photo, open_photo
from idf.apps.photo.protection import change_of
from idf.apps.photo.put_back import put_back
from idf.apps.photo.search import find_faces
from idf.config import UserError
from idf.data.pictures import to_model
from idf.data.transforms import jpeg, resized, webp

SIDES = (64, 128, 256, 512)  # of a face's crop, in pixels of the photo
MOST_ENLARGED = 2  # times: beyond it a photo is blurred as no camera's is
MARGIN = 1.5  # times the crop: the part of a photo that is worked on
NOISE = "noise"
WAYS = {  # from the copy to the editor: {name: words}
    "png": "PNG",
    "jpeg_95": "JPEG 95, full colours",
    "jpeg_90": "JPEG 90, a quarter of the colours",
    "jpeg_75": "JPEG 75, a quarter of the colours",
    "webp_80": "WebP 80",
    "resized": "PNG, brought to 90% of its size and back",
    "shifted": "PNG, the editor's crop off by 3 of 64 px",
    "scaled_5": "PNG, the editor's crop off by 5% in scale",
    "scaled_10": "PNG, the editor's crop off by 10% in scale",
    NOISE: "colour noise as strong, PNG",
}


def largest_faces(photos: list[Path]) -> list[tuple[Photo, Alignment]]:
    """Each photo in which a face is found, with its largest one."""
    found = []
    for path in photos:
        photo = open_photo(path)
        try:
            found.append((photo, find_faces(photo)[0]))
        except UserError:
            pass
    return found


def survival(photos: list[tuple[Photo, Alignment]], side: int, eps: float) -> list[dict]:
    """A row for each of WAYS, over the photos that reach this side; [] where none does.

    {eps, side, variant, photos, left_out, dsr, and by each editor's name its own; psnr and lpips of
    the protected faces as they are before anything is done to the copy}.
    """
    rows: dict[str, list[dict]] = {}
    for number, (photo, face) in enumerate(photos):
        if side <= MOST_ENLARGED * face.side:
            for way, row in measure_face(*brought_to(photo, face, side), eps, number).items():
                rows.setdefault(way, []).append(row)
    return [
        {
            "eps": eps,
            "side": side,
            "variant": way,
            "photos": len(own),
            "left_out": len(photos) - len(own),
            **{name: mean([row[name] for row in own]) for name in own[0]},
        }
        for way, own in rows.items()
    ]


def mean(values: list[float | None]) -> float | None:
    return None if None in values else statistics.mean(values)


def brought_to(photo: Photo, face: Alignment, side: int) -> tuple[np.ndarray, Alignment]:
    """The part of a photo around a face, scaled such that the crop is `side` px wide."""
    rectangle = face.moved(MARGIN).rectangle(photo.pixels.shape)
    part = Image.fromarray(photo.pixels[rectangle])
    size = [round(length * side / face.side) for length in part.size]
    scale = np.divide(size, part.size)[:, None]  # of x and of y: rounded, they differ a little
    pixels = np.asarray(part.resize(size, Image.Resampling.LANCZOS))
    return pixels, Alignment(face.cut_to(rectangle).matrix * scale)


def measure_face(clean: np.ndarray, face: Alignment, eps: float, number: int) -> dict[str, dict]:
    """One face of pixels (H, W, 3), protected, and published in each of WAYS: {way: row}."""
    protected = put_back(clean, face, change_of(clean, face, eps), eps)
    noise = colour_noise(clean, protected, face)
    psnr = psnr_of_faces(clean, protected, [face])
    lpips = lpips_of_face(clean, protected, face)

    # The forger looks for the face in the protected PNG; where none is found there, the crop is
    # the original's. Once for all ways, since a search is slow.
    try:
        face = find_faces(Photo("copy", protected))[0]
    except UserError:
        pass

    rows = {}
    for way, (change, crop) in ways(face, number).items():
        copy = noise if way == NOISE else protected
        seen = see({"clean": change(clean), "copy": change(copy)}, crop)
        dsr = {editor: seen.dsr(editor, "copy") for editor in EDITORS}
        rows[way] = {"psnr": psnr, "lpips": lpips, "dsr": statistics.mean(dsr.values()), **dsr}
    return rows


def lpips_of_face(clean: np.ndarray, protected: np.ndarray, face: Alignment) -> float | None:
    """LPIPS over the rectangle that holds the crop, at its own size; None where unavailable."""
    rectangle = face.rectangle(clean.shape)
    x, x_infected = (
        to_model(np.ascontiguousarray(pixels[rectangle].transpose(2, 0, 1)))[None]
        for pixels in (clean, protected)
    )
    try:
        return metrics.lpips(x, x_infected).item()
    except metrics.Unavailable:
        return None


Change = Callable[[np.ndarray], np.ndarray]


def ways(face: Alignment, number: int) -> dict[str, tuple[Change, Alignment]]:
    """For each of WAYS what happens to the pixels, and the crop that the editor is given.

    The directions in which the crop is off go round with the photo's number.
    """
    angle = number * math.tau / 8
    shift = 3 / 64 * math.cos(angle), 3 / 64 * math.sin(angle)
    sign = 1 if number % 2 else -1
    return {
        "png": (unchanged, face),
        "jpeg_95": (partial(jpeg, quality=WRITTEN_QUALITY, full_colour=True), face),
        "jpeg_90": (partial(jpeg, quality=90), face),
        "jpeg_75": (partial(jpeg, quality=75), face),
        "webp_80": (partial(webp, quality=80), face),
        "resized": (partial(resized, share=0.9), face),
        "shifted": (unchanged, face.moved(shift=shift)),
        "scaled_5": (unchanged, face.moved(1.05**sign)),
        "scaled_10": (unchanged, face.moved(1.1**sign)),
        NOISE: (unchanged, face),
    }


def unchanged(pixels: np.ndarray) -> np.ndarray:
    return pixels
