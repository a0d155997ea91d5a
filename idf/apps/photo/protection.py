"""The faces of a photo infected by two PGs at once, before it is published."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from idf.apps.photo.align import Alignment, aligned, find_faces
from idf.apps.photo.difference import largest_change, psnr_of_faces
from idf.apps.photo.files import Photo, encoded, kind_of, open_photo, refuse_overwriting
from idf.apps.photo.put_back import put_back
from idf.apps.photo.words import counted
from idf.config import UserError
from idf.data.files import write_atomically
from idf.data.pictures import to_model
from idf.losses import infect
from idf.zoo.load import load_poisoner, photo_config

POISONERS = ("poisoner", "poisoner_queries")
EPS = 0.03
MOST_EPS = 0.2
# of a crop, in pixels of the photo: in smaller ones half of the change is lost, or more
WEAK_SIDE = 100


@dataclass(frozen=True, eq=False)
class Protected:
    """A photo and what became of it."""

    photo: Photo
    pixels: np.ndarray  # uint8 (H, W, 3)
    faces: list[Alignment]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed in reading it, and what is weak in the protection, in sentences."""
        weak = sum(face.side < WEAK_SIDE for face in self.faces)
        if not weak:
            return self.photo.notes
        faces = counted(len(self.faces), "face")
        return (*self.photo.notes, f"{weak} of {faces} so small that much of the change is lost.")

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
        x = to_model(aligned(photo.pixels, face, photo_config().size))[None]
        change = infect(x, perturbation(x), eps) - x
        pixels = put_back(pixels, face, change[0], eps)
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


@torch.no_grad()
def perturbation(x: Tensor) -> Tensor:
    """delta for faces x (B, 3, S, S) in [-1, 1]: the sum of what two PGs add, in [-1, 1].

    One was trained against the surrogate, the other with queries to the editor trained apart. Each
    breaks what the other leaves alone.
    """
    return sum(poisoner(x) for poisoner in _load_poisoners()).clamp(-1, 1)


@lru_cache
def _load_poisoners() -> list[nn.Module]:
    return [load_poisoner(photo_config(), name) for name in POISONERS]


def _within(pixels: np.ndarray, original: np.ndarray, eps: float) -> np.ndarray:
    """Where the crops of two faces overlap, their sum is held within eps too."""
    most = levels(eps)
    low = np.where(original > most, original - most, 0)
    high = np.where(original < 255 - most, original + most, 255)
    return pixels.clip(low, high).astype(np.uint8)
