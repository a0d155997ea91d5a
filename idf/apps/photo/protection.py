"""The faces of a photo infected by PG, before it is published."""

import statistics
import zlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from idf.apps.photo.align import Alignment, aligned
from idf.apps.photo.difference import largest_change, psnr_of_faces
from idf.apps.photo.files import Photo, encoded, kind_of, open_photo, refuse_overwriting
from idf.apps.photo.overview import place_of
from idf.apps.photo.put_back import put_back
from idf.apps.photo.search import find_faces
from idf.apps.photo.words import counted
from idf.config import UserError
from idf.data.files import write_atomically
from idf.data.pictures import to_model, to_uint8
from idf.losses import infect
from idf.zoo.load import photo_config

METHOD = "keyless-no-ats"  # of idf.methods
EPS = 0.03
MOST_EPS = 0.2


@dataclass(frozen=True, eq=False)
class Protected:
    """A photo and what became of it."""

    photo: Photo
    pixels: np.ndarray  # uint8 (H, W, 3)
    faces: list[Alignment]

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """What was changed in reading it, and what is weak in the protection, in sentences."""
        notes = list(self.photo.notes)
        faces = counted(len(self.faces), "face")
        weak = [place["weak"] for place in self.places]
        if "small" in weak:
            notes.append(
                f"{weak.count('small')} of {faces} so small that much of the effect is lost."
            )
        if "cut" in weak:
            cut = [face for face, words in zip(self.faces, weak, strict=True) if words == "cut"]
            shape = self.photo.pixels.shape
            share = statistics.mean(face.share_inside(shape) for face in cut)
            notes.append(
                f"{len(cut)} of {faces} cut so close that the poison will not hold: {share:.0%} of "
                f"the crop that an editor takes lies in the photo, and {self._moved(cut):.0%} of "
                "the forgeries of three editors are moved there; use a photo with more room around "
                "the face."
            )
        return tuple(notes)

    @property
    def places(self) -> list[dict]:
        """Where each face is, its size, and what is weak in its protection, as by place_of."""
        return [place_of(face, self.photo.pixels.shape) for face in self.faces]

    def _moved(self, faces: list[Alignment]) -> float:
        """The DSR of the editors that PG never met, in the crops that they take."""
        from idf.apps.photo.check import EDITORS, see  # with its editors, which import slowly

        photos = {"clean": self.photo.pixels, "protected": self.pixels}
        seen = [see(photos, face) for face in faces]
        return statistics.mean(face.dsr(editor, "protected") for face in seen for editor in EDITORS)

    @property
    def largest(self) -> int:
        """The largest change of any pixel, in grey levels of 255."""
        return largest_change(self.photo.pixels, self.pixels)

    @property
    def psnr(self) -> float:
        """dB, over the rectangles that hold the faces."""
        return psnr_of_faces(self.photo.pixels, self.pixels, self.faces)


def protect(
    photo: str | Path | Photo,
    out: str | Path = "",
    eps: float = EPS,
    keep_metadata: bool = False,
) -> Protected:
    """Infect every face that is found in a photo; write it to `out` (.png, .jpg) if given.

    x' = x + eps * delta, |delta| <= 1, on the face as CelebA aligns it, put back into the photo;
    eps counts in whole grey levels. A file `out` is replaced. Raises UserError for a file that is
    no photo, a photo without a face, or an `out` that is the photo itself.
    """
    check_eps(eps)
    if not isinstance(photo, Photo):
        photo = open_photo(photo)
    if out:
        kind_of(Path(out).suffix)
        refuse_overwriting(photo.path, Path(out), force=True)

    # each face is infected as it is in the photo, whatever was done to the others
    faces = find_faces(photo)
    pixels = photo.pixels
    for face in faces:
        pixels = put_back(pixels, face, change_of(photo.pixels, face, eps), eps)
    if len(faces) > 1:
        pixels = _within(pixels, photo.pixels, eps)

    if out:
        content = encoded(photo, pixels, Path(out).suffix, keep_metadata)
        write_atomically(Path(out), lambda temporary: temporary.write_bytes(content))
    return Protected(photo, pixels, faces)


def check_eps(eps: float) -> None:
    """Raises UserError for an eps that nobody could use."""
    if not 0 < eps <= MOST_EPS:
        raise UserError(
            f"eps={eps} is outside (0, .2]: .01 to .05 is usual, from .1 on everybody sees it."
        )
    if not levels(eps):
        raise UserError(
            f"eps={eps} is less than half a grey level, so nothing would change: .01 to .05 is "
            "usual."
        )


def levels(eps: float) -> int:
    """eps in grey levels of 255, rounded to the nearest: a published picture has whole ones."""
    return int(eps * 127.5 + 0.5)


def change_of(pixels: np.ndarray, face: Alignment, eps: float) -> Tensor:
    """x' - x of a face of these pixels (H, W, 3): (3, S, S), within eps."""
    x = to_model(aligned(pixels, face, photo_config().size))[None]
    return (infect(x, perturbation(x), eps) - x)[0]


@torch.no_grad()
def perturbation(x: Tensor) -> Tensor:
    """delta for a face x (1, 3, S, S) in [-1, 1], by the PG that needs no key.

    Its random part is drawn from the face itself: another for each, the same in every run.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(to_uint8(x).numpy().tobytes()))
    return _load_poisoner()(x, generator)


@lru_cache
def _load_poisoner() -> nn.Module:
    from idf.zoo.grid import load_grid_poisoner  # it knows trainings, too, which import slowly

    return load_grid_poisoner(photo_config(), METHOD)


def _within(pixels: np.ndarray, original: np.ndarray, eps: float) -> np.ndarray:
    """Where the crops of two faces overlap, their sum is held within eps too."""
    most = levels(eps)
    low = np.where(original > most, original - most, 0)
    high = np.where(original < 255 - most, original + most, 255)
    return pixels.clip(low, high).astype(np.uint8)
