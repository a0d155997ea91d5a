"""Faces with the class of every pixel, for a face parser: drawn, or CelebAMask-HQ's."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idf.config import FilmConfig, UserError
from idf.data.cache import cache_folder, digest, open_cache, progress
from idf.data.drawn import drawing_code
from idf.data.drawn.faces import LABELS, render_faces
from idf.data.pictures import read_image, to_model

FACE = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)  # skin and features: what m(x) covers, ears and hair not
DRAWN = {"train": 1500, "test": 200}  # procedural faces
# the public checkpoint's order of the classes
PUBLIC_LABELS = (
    "background",
    "skin",
    "left brow",
    "right brow",
    "left eye",
    "right eye",
    "glasses",
    "left ear",
    "right ear",
    "earring",
    "nose",
    "mouth",
    "upper lip",
    "lower lip",
    "neck",
    "necklace",
    "cloth",
    "hair",
    "hat",
)
PUBLIC = [LABELS.index(name) for name in PUBLIC_LABELS]


def _mirrored(name: str) -> str:
    """The class that a mirror makes of it: a person's left eye becomes the right one."""
    other_side = {"left": "right", "right": "left"}
    return " ".join(other_side.get(word, word) for word in name.split())


MIRRORED = [LABELS.index(_mirrored(name)) for name in LABELS]


@dataclass(eq=False)
class ParsedFaces:
    """N faces with the class of every pixel."""

    stack: np.ndarray  # uint8 (N, 4, S, S): red, green, blue, class

    def __len__(self) -> int:
        return len(self.stack)

    def batch(self, index: slice | np.ndarray) -> tuple[Tensor, Tensor]:
        """x float32 (B, 3, S, S) in [-1, 1] and classes int64 (B, S, S)."""
        stack = np.array(self.stack[index])
        return to_model(stack[:, :3]), torch.from_numpy(stack[:, 3].astype(np.int64))


def open_parsed(
    config: FilmConfig, part: str, folder: str = "", limit: int | None = None
) -> ParsedFaces:
    """The part train or test of the procedural faces, or of a CelebAMask-HQ folder.

    The folder has images/*.jpg and masks/*.png, palette pictures of the classes 0 to 18 (LABELS);
    every tenth pair is for the test. Pictures have half of config.parser.size: the network sees
    them enlarged, and answers at their size. limit: only the first ones. Raises UserError for a
    folder without pairs, or a mask with other classes.
    """
    # which faces
    size = config.parser.size // 2
    if folder:
        root = Path(folder)
        names = _pairs(root, part)
        state = [_changes(root, names), names]
        items = _read_pairs(root, names[:limit], size)
    else:
        names = _seeds(config, part)
        state = [drawing_code(), names]
        items = _draw(names[:limit], size)
    names = names[:limit]
    if not names:
        raise UserError(f"The part {part!r} of {folder} is empty: at least ten pairs are needed.")

    # their pixels and classes
    items = progress(items, "Preparing faces", "face", len(names))
    key = digest((state, size, limit))
    stack, _ = open_cache(cache_folder() / f"parsed-{size}-{key}", size, items, channels=4)
    return ParsedFaces(stack)


def _seeds(config: FilmConfig, part: str) -> list[str]:
    count = DRAWN[part]
    if config.preset == "smoke":
        count = min(count, config.frames)
    first = 10**9 if part == "test" else 0
    return [str(first + i) for i in range(count)]


def _draw(names: list[str], size: int) -> Iterator[tuple[str, np.ndarray, str]]:
    for start in range(0, len(names), 32):
        chunk = names[start : start + 32]
        batch = render_faces([int(name) for name in chunk], size)
        stacks = torch.cat([batch.images, batch.labels[:, None]], 1).numpy()
        for name, stack in zip(chunk, stacks, strict=True):
            yield name, stack, ""


def _pairs(root: Path, part: str) -> list[str]:
    """The names of this part's pairs."""
    pictures = sorted(path.stem for path in (root / "images").glob("*.jpg"))
    names = [name for name in pictures if (root / "masks" / f"{name}.png").is_file()]
    if not names:
        raise UserError(
            f"{root} holds no pairs images/NAME.jpg and masks/NAME.png: "
            "give a CelebAMask-HQ folder."
        )
    if part == "test":
        return names[9::10]
    return [name for i, name in enumerate(names) if i % 10 != 9]


def _changes(root: Path, names: list[str]) -> list[tuple[str, int, int]]:
    """What changes with the files of these names."""
    chosen = set(names)
    files = [file for file in sorted(root.glob("*/*")) if file.stem in chosen]
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _read_pairs(root: Path, names: list[str], size: int) -> Iterator[tuple[str, np.ndarray, str]]:
    for name in names:
        classes = _read_mask(root / "masks" / f"{name}.png", size)
        pixels = read_image(root / "images" / f"{name}.jpg").permute(1, 2, 0).numpy()
        picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX)
        colours = np.asarray(picture).transpose(2, 0, 1)
        yield name, np.concatenate([colours, classes[None]]), ""


def _read_mask(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as mask:
            classes = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))
    except (OSError, SyntaxError) as error:
        raise UserError(
            f"{path} cannot be read as a picture ({error}): replace the file."
        ) from error
    if classes.ndim != 2 or classes.max() >= len(LABELS):
        raise UserError(f"{path} is not a palette picture of the classes 0 to 18: convert it.")
    return classes.astype(np.uint8)
