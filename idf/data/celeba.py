"""CelebA's folder, as published or as on Kaggle: pictures, labels, parts that share no people."""

import hashlib
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from idf.config import Config, UserError
from idf.data.lists import read_labels, read_numbers, stem
from idf.data.pictures import read_rgb

CROP = 178  # the centre square of an aligned CelebA picture (StarGAN)
SHAPE = 218 / 178  # height over width of such a picture
PICTURE_FOLDERS = (
    "img_align_celeba/img_align_celeba",
    "img_align_celeba",
    "img_align_celeba_png",
    "images",  # StarGAN's
)


class CelebA:
    """A CelebA folder as open_faces reads it. Raises UserError where it is incomplete or damaged.

    where: the folder of the pictures, for messages. parts: the names of each part's pictures.
    state: changes with the pictures and with how they are cropped, for the cache's key.
    """

    def __init__(self, config: Config, domains: tuple[str, ...], shares: dict[str, float]):
        root = Path(config.data_root).expanduser().resolve()
        if not root.is_dir():
            raise UserError(
                f"There is no data folder {root}: set data_root to a CelebA folder "
                "(see data/README.md)."
            )
        self.where, names = find_pictures(root)
        table = _find_table(root, "list_attr_celeba")
        _check_complete(root, names, table)
        self.labels = read_labels(table, domains)
        _check_listed(names, self.labels, table)

        self.parts = split(names, root, shares)
        if 0 < config.faces < len(names):
            self.parts = _bounded(self.parts, config.faces, len(names))
        self.size = config.size
        self.interpolation = config.interpolation
        self.centre = config.crop == "centre"
        stats = [os.lstat(self.where / name) for name in names]
        changes = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        self.state = (self.where, SHAPE, self.centre, self.interpolation, changes)

    def decode(self, names: list[str]) -> Iterator[tuple[str, np.ndarray | None, str]]:
        """(name, uint8 (3, S, S), its own size if it is not CelebA's); (name, None, why) if bad."""
        options = {"size": self.size, "interpolation": self.interpolation, "centre": self.centre}
        crop_one = partial(crop, **options)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(names), 256):  # all at once would fill the memory
                files = [self.where / name for name in names[start : start + 256]]
                yield from pool.map(crop_one, files)

    def labels_of(self, name: str, note: str) -> list[int]:
        return self.labels[stem(name)]


def crop(
    file: Path, size: int, interpolation: str, centre: bool = False
) -> tuple[str, np.ndarray | None, str]:
    """The square of a picture (square_of) at `size`: as CelebA.decode gives it."""
    try:
        image = read_rgb(file)
    except ValueError as error:
        return file.name, None, str(error)
    width, height = image.size
    note = "" if (width, height) == (CROP, 218) else f"{width}x{height}"
    square = square_of(width, height, centre)
    if not square:
        reason = "neither square nor of CelebA's shape, 178x218; crop=centre takes any"
        return file.name, None, f"{note}, {reason}"
    if min(width, height) < size:
        return file.name, None, f"{note}, smaller than the {size} px asked for"
    if interpolation == "bilinear":  # as StarGAN's loader, whose filter sees nothing beyond
        image, square = image.crop(square), None
    image = image.resize((size, size), Image.Resampling[interpolation.upper()], box=square)
    return file.name, np.asarray(image).transpose(2, 0, 1), note


def square_of(width: int, height: int, centre: bool = False) -> tuple[int, int, int, int] | None:
    """The square that is used of a picture: (left, top, right, bottom); None for another shape.

    Of CelebA's aligned pictures, of any size, the middle; a square one is taken as cropped already.
    centre: the largest square in the middle of any shape.
    """
    if not (centre or abs(height - SHAPE * width) <= 1 or height == width):
        return None
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def find_pictures(root: Path) -> tuple[Path, list[str]]:
    """The folder of the pictures below `root`, and their names in order: none if it has none."""
    for base in (root, root / "Img"):
        for name in PICTURE_FOLDERS:
            folder = base / name
            names = sorted(file.name for file in folder.glob("[!.]*") if _is_picture(file))
            if names:
                return folder, names
    return root, []


def _is_picture(file: Path) -> bool:
    return file.suffix.lower() in (".jpg", ".jpeg", ".png")


def _find_table(root: Path, name: str) -> Path | None:
    for base in (root, root / "Anno", root / "Eval"):
        for suffix in (".txt", ".csv"):
            if (base / (name + suffix)).is_file():
                return base / (name + suffix)
    return None


def _check_complete(root: Path, names: list[str], table: Path | None) -> None:
    missing = []
    if not names:
        missing.append("img_align_celeba/ with pictures")
    if not table:
        missing.append("list_attr_celeba.txt or .csv")
    if missing:
        raise UserError(
            f"{root} lacks {' and '.join(missing)}: complete the CelebA folder "
            "(see data/README.md)."
        )


def _check_listed(names: list[str], table: dict, path: Path) -> None:
    missing = [name for name in names if stem(name) not in table]
    if missing:
        more = ", ..." if len(missing) > 5 else ""
        raise UserError(
            f"{len(missing)} of {len(names)} pictures are not listed in {path} "
            f"({', '.join(missing[:5])}{more}): use the list that belongs to them, or remove them."
        )


def split(names: list[str], root: Path, shares: dict[str, float]) -> dict[str, list[str]]:
    """The names of each part, by the official partition and by identity as far as there are lists.

    With the official partition, its training part is halved into surrogate and target; without it,
    the parts have these shares. No identity is in two parts.
    """
    identities = _read_column(root, "identity_CelebA", names)
    partition = _read_column(root, "list_eval_partition", names)
    if not identities:
        warnings.warn(
            f"{root} has no identity_CelebA.txt: one person's pictures may fall into two parts.",
            stacklevel=2,
        )
    person_of = {name: identities[stem(name)] if identities else name for name in names}

    # the official validation and test parts stay as they are
    part_of = _official_parts(person_of, partition) if partition else {}
    whole = {"validation", "test"} <= set(part_of.values()) and len(part_of) < len(person_of)
    if whole:
        shares = {"surrogate": 0.5, "target": 0.5}
    elif partition:
        part_of = {}
        warnings.warn(
            f"In {root} no part of list_eval_partition but one or two has pictures: the parts are "
            f"dealt anew, by {'identity' if identities else 'picture'}.",
            stacklevel=2,
        )

    # everyone else is dealt
    part_of |= _deal(set(person_of.values()) - part_of.keys(), shares)
    parts = {part: [] for part in ("surrogate", "target", "validation", "test")}
    for name in names:
        parts[part_of[person_of[name]]].append(name)
    return parts


def _read_column(root: Path, table: str, names: list[str]) -> dict[str, str]:
    path = _find_table(root, table)
    if not path:
        return {}
    column = read_numbers(path)
    _check_listed(names, column, path)
    return column


def _official_parts(person_of: dict[str, str], partition: dict[str, str]) -> dict[str, str]:
    """The part of each person who is not in the training part: of two, the later one."""
    latest: dict[str, str] = {}
    for name, person in person_of.items():
        latest[person] = max(latest.get(person, "0"), partition[stem(name)])
    return {
        person: "validation" if value == "1" else "test"
        for person, value in latest.items()
        if value != "0"
    }


def _deal(people: set[str], shares: dict[str, float]) -> dict[str, str]:
    """Each one's part. Ordered by hash: a subset of the data is dealt much as the whole is."""
    ordered = sorted(people, key=lambda person: hashlib.sha256(person.encode()).digest())
    ends = np.round(np.cumsum(list(shares.values())) * len(ordered))
    parts = list(shares)
    part_of = {}
    for i, person in enumerate(ordered):
        part_of[person] = parts[np.searchsorted(ends, i, side="right")]
    return part_of


def _bounded(parts: dict[str, list[str]], most: int, count: int) -> dict[str, list[str]]:
    """At most `most` of `count` pictures, the same share of every part."""
    return {part: names[: most * len(names) // count] for part, names in parts.items()}
