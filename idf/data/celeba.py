"""CelebA's folder, as published or as on Kaggle: pictures, labels, parts that share no people."""

import difflib
import hashlib
import os
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from idf.config import Config, UserError
from idf.data.pictures import read_rgb

CROP = 178  # the centre square of an aligned CelebA picture (StarGAN)
PICTURE_FOLDERS = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba_png")


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
        stats = [os.lstat(self.where / name) for name in names]
        changes = [(stat.st_size, stat.st_mtime_ns) for stat in stats]
        self.state = (self.where, CROP, self.interpolation, changes)

    def decode(self, names: list[str]) -> Iterator[tuple[str, np.ndarray | None, str]]:
        """(name, uint8 (3, S, S), "") each; for a bad picture (name, None, the reason)."""
        crop_one = partial(crop, size=self.size, interpolation=self.interpolation)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for start in range(0, len(names), 256):  # all at once would fill the memory
                files = [self.where / name for name in names[start : start + 256]]
                yield from pool.map(crop_one, files)

    def labels_of(self, name: str, note: str) -> list[int]:
        return self.labels[_stem(name)]


def crop(file: Path, size: int, interpolation: str) -> tuple[str, np.ndarray | None, str]:
    """The centre square of a picture at `size`: as CelebA.decode gives it."""
    try:
        image = read_rgb(file)
    except ValueError as error:
        return file.name, None, str(error)
    left = (image.width - CROP) // 2
    top = (image.height - CROP) // 2
    if left < 0 or top < 0:
        reason = f"{image.width}x{image.height}, smaller than the crop of {CROP}x{CROP}"
        return file.name, None, reason
    square = (left, top, left + CROP, top + CROP)
    if interpolation == "bilinear":  # as StarGAN's loader, whose filter sees nothing beyond
        image, square = image.crop(square), None
    image = image.resize((size, size), Image.Resampling[interpolation.upper()], box=square)
    return file.name, np.asarray(image).transpose(2, 0, 1), ""


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


def _stem(name: str) -> str:
    """Tables are read without suffixes: pictures re-packed as PNG still carry labels for .jpg."""
    return name.split(".")[0]


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
    missing = [name for name in names if _stem(name) not in table]
    if missing:
        more = ", ..." if len(missing) > 5 else ""
        raise UserError(
            f"{len(missing)} of {len(names)} pictures are not listed in {path} "
            f"({', '.join(missing[:5])}{more}): use the list that belongs to them, or remove them."
        )


def _rows(path: Path) -> Iterator[list[str]]:
    """The cells of each line with at least two: list_attr_celeba.txt begins with a mere count."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for line in lines:
                cells = line.replace(",", " ").split()
                if len(cells) > 1:
                    yield cells
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): download it again.") from error


def read_labels(path: Path, domains: tuple[str, ...]) -> dict[str, list[int]]:
    """{name without suffix: 0 or 1 for each of `domains`} of list_attr_celeba.

    Raises UserError for a damaged list and an unknown attribute.
    """
    rows = _rows(path)
    header = next(rows, [])
    attributes = header[1:] if header[:1] == ["image_id"] else header
    if not attributes:
        raise UserError(f"{path} is empty: download it again.")
    columns = attribute_columns(attributes, domains, path)
    labels = {}
    for name, *values in rows:
        complete = len(values) == len(attributes)
        chosen = [values[column] for column in columns] if complete else []
        if not complete or not set(chosen) <= {"-1", "0", "1"}:
            raise UserError(
                f"{path} is damaged at {name}, where labels are not -1 or 1: download it again."
            )
        labels[_stem(name)] = [int(value == "1") for value in chosen]
    return labels


def attribute_columns(
    attributes: Sequence[str], domains: tuple[str, ...], where: str | Path
) -> list[int]:
    """Where each of `domains` stands among the attributes. Raises UserError for an unknown one."""
    for name in domains:
        if name not in attributes:
            close = difflib.get_close_matches(name, attributes, n=3, cutoff=0.4)
            hint = f"use some of {', '.join(attributes)}."
            if close:
                hint = f"did you mean {' or '.join(close)}?"
            raise UserError(f"Unknown attribute {name!r} in {where}: {hint}")
    return [list(attributes).index(name) for name in domains]


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
    person_of = {name: identities[_stem(name)] if identities else name for name in names}

    # the official validation and test parts stay as they are
    part_of = {}
    if partition:
        part_of = _official_parts(person_of, partition)
        shares = {"surrogate": 0.5, "target": 0.5}

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
    column = {_stem(row[0]): row[1] for row in _rows(path) if row[1].isdigit()}
    _check_listed(names, column, path)
    return column


def _official_parts(person_of: dict[str, str], partition: dict[str, str]) -> dict[str, str]:
    """The part of each person who is not in the training part: of two, the later one."""
    latest: dict[str, str] = {}
    for name, person in person_of.items():
        latest[person] = max(latest.get(person, "0"), partition[_stem(name)])
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
