"""What the shipped editors make of a photo and of its protected copy."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from textwrap import fill

import numpy as np
import torch
from torch import Tensor, nn

from idf import attacks, losses, metrics
from idf.apps.photo.align import Alignment, aligned
from idf.apps.photo.difference import largest_change, psnr_of_faces
from idf.apps.photo.files import WRITTEN_QUALITY, Photo, open_photo
from idf.apps.photo.put_back import put_back
from idf.apps.photo.register import register
from idf.apps.photo.search import find_faces
from idf.config import HAIR, UserError
from idf.data.pictures import recompressed, to_model
from idf.zoo.grid import EDITORS as GRID
from idf.zoo.grid import GRAY_BOX
from idf.zoo.load import load_judge, photo_config

LEAST_PSNR = 20  # dB between the faces of a photo and of what can still be its copy
EDITORS = {name: GRID[name].label for name in GRAY_BOX}  # that PG never met: {name: words}
# JPEG 95 with full colours, as `idf protect` writes it, and 75 with a quarter of them, as most
# sites do
VARIANTS = {
    "protected": "protected",
    "noise": "colour noise",
    "jpeg_95": "as JPEG 95",
    "jpeg_75": "as JPEG 75",
}


@dataclass(frozen=True, eq=False)
class Seen:
    """One face, as each editor forges it. J domains, S pixels."""

    x: dict[str, Tensor]  # "clean" and the keys of VARIANTS: the aligned face (3, S, S) in [-1, 1]
    y: dict[str, dict[str, Tensor]]  # editor, then as x: the forgeries (J, 3, S, S)
    asked: Tensor  # bool (J): what each forgery should show where its attribute is read
    # editor, then as x: share of the attributes to be changed that the judge sees as asked
    success: dict[str, dict[str, float]]

    def dsr(self, editor: str, variant: str) -> float:
        """Share of the forgeries moved by an L2 above .05."""
        return metrics.dsr(self.y[editor]["clean"], self.y[editor][variant])


def check(photo: str | Path | Photo, protected: str | Path | Photo) -> list[Seen]:
    """Each face found in the protected photo, the largest first.

    Both photos are cut where faces are found in the protected one, as a forger would who has that
    one alone; it may have another size, be a crop, or a screenshot. Raises UserError for
    two that do not belong together.
    """
    if not isinstance(photo, Photo):
        photo = open_photo(photo)
    if not isinstance(protected, Photo):
        protected = open_photo(protected)
    return see_faces(*compare(photo, protected), protected)


def compare(photo: Photo, copy: Photo) -> tuple[Photo, list[Alignment]]:
    """The photo as the copy shows it, whatever was cut or scaled, and the faces that both show.

    Raises UserError where they do not belong together, or are the same.
    """
    same_size = photo.pixels.shape == copy.pixels.shape
    if same_size and not largest_change(photo.pixels, copy.pixels):
        raise UserError(
            f"{photo.name} and {copy.name} show the same: give a photo and its protected copy."
        )
    faces = find_faces(copy)
    if same_size and psnr_of_faces(photo.pixels, copy.pixels, faces) >= LEAST_PSNR:
        return photo, faces
    photo = register(photo, copy)
    faces = [face for face in faces if _shows(photo, face)]
    if not faces or psnr_of_faces(photo.pixels, copy.pixels, faces) < LEAST_PSNR:
        raise UserError(
            f"The faces in {photo.name} and {copy.name} are not the same: give a photo and its own "
            "copy."
        )
    return photo, faces


def _shows(photo: Photo, face: Alignment) -> bool:
    """Whether a face's centre lies where the registered photo is."""
    column, row = np.clip(face.centre.astype(int), 0, np.array(photo.alpha.shape)[::-1] - 1)
    return bool(photo.alpha[row, column])


def see_faces(photo: Photo, faces: list[Alignment], protected: Photo) -> list[Seen]:
    """These faces of a photo and of its copy, as by `compare`, in every variant."""
    variants = {
        "clean": photo.pixels,
        "protected": protected.pixels,
        "jpeg_95": recompressed(protected.pixels, WRITTEN_QUALITY, full_colour=True),
        "jpeg_75": recompressed(protected.pixels, 75),
    }
    return [_see_face(variants, face) for face in faces]


def _see_face(variants: dict[str, np.ndarray], face: Alignment) -> Seen:
    """One face of whole photos (H, W, 3), with the control beside them."""
    rectangle = face.rectangle(variants["clean"].shape)
    parts = {name: pixels[rectangle] for name, pixels in variants.items()}
    face = face.cut_to(rectangle)
    parts["noise"] = colour_noise(parts["clean"], parts["protected"], face)
    return see(parts, face)


def colour_noise(clean: np.ndarray, protected: np.ndarray, face: Alignment) -> np.ndarray:
    """The control: colour noise as strong as the change, put back like it."""
    change = np.abs(protected.astype(np.int16) - clean)
    # not its largest value, which in a JPEG tells of single edges
    eps = float(np.quantile(change, 0.99)) / 127.5
    size = photo_config().size
    generator = torch.Generator().manual_seed(0)
    delta = attacks.random_colour(torch.zeros(1, 3, size, size), eps, generator)
    return put_back(clean, face, delta[0], eps)


@torch.no_grad()
def see(photos: dict[str, np.ndarray], face: Alignment) -> Seen:
    """One face of each of these photos (H, W, 3), forged into every domain by every editor."""
    config = photo_config()
    networks = load_networks()
    judge = networks["judge"]
    x = torch.stack([to_model(aligned(photo, face, config.size)) for photo in photos.values()])

    # a photo has no labels: the judge's word on the clean face, (1, J)
    c = (judge(x[:1])[:, : len(config.domains)] > 0).float()
    targets = losses.target_labels(c, config.domains, HAIR)
    j = torch.arange(len(config.domains))
    asked = targets[j, 0, j] > 0.5
    changes = asked != (c[0] > 0.5)

    y, success = {}, {}
    for editor in EDITORS:
        forged = losses.forge(networks[editor], x, targets.expand(-1, len(x), -1))
        logits = judge(forged.flatten(0, 1)).unflatten(0, forged.shape[:2])
        as_asked = (logits[j, :, j] > 0) == asked[:, None]  # (J, photos)
        shares = as_asked[changes].float().mean(0).tolist()
        y[editor] = dict(zip(photos, forged.unbind(1), strict=True))
        success[editor] = dict(zip(photos, shares, strict=True))
    return Seen(dict(zip(photos, x, strict=True)), y, asked, success)


@lru_cache
def load_networks() -> dict[str, nn.Module]:
    """The judge and the editors of EDITORS, by name."""
    config = photo_config()
    editors = {name: GRID[name].load(config) for name in EDITORS}
    return {"judge": load_judge(config)} | editors


def mean_dsr(faces: list[Seen], editor: str, variant: str) -> float:
    return sum(face.dsr(editor, variant) for face in faces) / len(faces)


def mean_success(faces: list[Seen], editor: str, variant: str) -> float:
    return sum(face.success[editor][variant] for face in faces) / len(faces)


def table(faces: list[Seen]) -> str:
    """For each editor: the success of its edits, and the DSR of protection and controls."""
    import pandas as pd  # imports slowly, and only this needs it

    variants = ("clean", "protected")
    columns = [("edits seen", variant) for variant in variants]
    columns += [("forgeries moved (DSR)", words) for words in VARIANTS.values()]
    rows = []
    for editor in EDITORS:
        shares = [mean_success(faces, editor, variant) for variant in variants]
        shares += [mean_dsr(faces, editor, variant) for variant in VARIANTS]
        rows.append([f"{share:.0%}" for share in shares])
    header = pd.MultiIndex.from_tuples(columns, names=["forged by", ""])
    return pd.DataFrame(rows, list(EDITORS.values()), header).to_string(col_space=9)


def conclusion(faces: list[Seen]) -> str:
    """What the numbers prove and what they do not, in plain words."""
    moved = np.mean([mean_dsr(faces, editor, "protected") for editor in EDITORS])
    later = np.mean([mean_dsr(faces, editor, "jpeg_75") for editor in EDITORS])
    text = (
        f"Of these three editors' forgeries {moved:.0%} differ from those of the clean photo by an "
        f"L2 above {metrics.DSR_THRESHOLD:g}; once the copy is saved as JPEG of quality 75, "
        f"{later:.0%}. PG met none of them, but all three are of one kind, StarGAN's at 64 px: "
        "that does not prove that any other editor fails. A moved forgery may still show what the "
        "forger wanted: look at the picture."
    )
    return "\n" + fill(text, 110)
