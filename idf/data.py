"""Faces as arrays: CelebA (the official layout or Kaggle's) or procedural, decoded once into a memory-mapped cache.

This is the only place that converts pictures (uint8) to the models' range [-1, 1] and back."""

import difflib
import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from tqdm import tqdm

from idf.config import DOMAINS, ROOT, Config, UserError, digest

CROP = 178  # the centre square of an aligned CelebA picture (StarGAN)
PARTS = {"surrogate": 5 / 12, "target": 5 / 12, "validation": 1 / 12, "test": 1 / 12}
PROCEDURAL_FACES = 12_000  # what faces = 0 ("all") means where there is no end of them


def to_model(images) -> torch.Tensor:
    """uint8 (..., 3, H, W), tensor or array -> float32 in [-1, 1]. TypeError for another dtype: never convert twice."""
    images = torch.as_tensor(images)
    if images.dtype != torch.uint8:
        raise TypeError(f"to_model takes uint8 pictures, not {images.dtype}")
    return images.float() / 127.5 - 1


def to_uint8(x: torch.Tensor) -> torch.Tensor:
    """Float (..., 3, H, W) in [-1, 1] -> uint8, rounded to nearest; what lies outside is clamped."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_picture(x: torch.Tensor) -> np.ndarray:
    """Float (3, H, W) in [-1, 1] -> uint8 (H, W, 3), as Pillow and imshow take it."""
    return to_uint8(x.detach().cpu()).permute(1, 2, 0).numpy()


@dataclass(eq=False)
class Faces(torch.utils.data.Dataset):
    """N faces with K attributes, as x in [-1, 1] and c of 0/1."""

    images: np.ndarray  # uint8 (N, 3, S, S), memory-mapped
    labels: torch.Tensor  # float32 (N, K) of 0/1
    domains: tuple[str, ...]  # the K attributes
    names: list[str]  # a file name or "seed 123" per face

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        return to_model(np.array(self.images[i])), self.labels[i]

    def subset(self, n: int) -> "Faces":
        """The first n faces."""
        return Faces(self.images[:n], self.labels[:n], self.domains, self.names[:n])

    def in_order(self, size: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
        """All faces in chunks of `size`: the number of the first, x and c."""
        for start in range(0, len(self), size):
            yield (
                start,
                to_model(np.array(self.images[start : start + size])),
                self.labels[start : start + size],
            )

    def batch(
        self,
        iteration: int,
        size: int,
        seed: int,
        flip: bool = True,
        balance: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mini-batch number `iteration`: x (size, 3, S, S) in [-1, 1] and c (size, K).

        A function of its arguments alone, so that a resumed training sees the same batches as an unbroken one.
        The faces come in one permutation after the other; process `rank` of `world` takes its slice of size * world.
        balance: draw with replacement instead, a face weighing the sum of its labels' inverse frequencies.
        """
        whole, mine = size * world, slice(rank * size, (rank + 1) * size)
        random = np.random.default_rng((1, seed, iteration))
        mirrored = random.random(whole)[mine] < 0.5
        if balance:
            index = np.searchsorted(
                self._cumulative, random.random(whole)[mine], side="right"
            ).clip(max=len(self) - 1)
        else:
            index = places(iteration, whole, len(self), seed)[mine]
        images = self.images[index]
        if flip:
            images[mirrored] = images[mirrored][..., ::-1]
        return to_model(images), self.labels[torch.from_numpy(index)]

    @cached_property
    def _cumulative(self) -> np.ndarray:
        share = torch.where(
            self.labels > 0.5, self.labels.double().mean(0), 1 - self.labels.double().mean(0)
        )
        weights = (1 / share).sum(1).cumsum(0)
        return (weights / weights[-1]).numpy()


def places(iteration: int, size: int, n: int, seed: int) -> np.ndarray:
    """Which of n pictures mini-batch number `iteration` shows: one permutation after the other."""
    epochs, places = np.divmod(iteration * size + np.arange(size), n)
    return np.array([_permutation(seed, int(e), n)[i] for e, i in zip(epochs, places)])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng((0, seed, epoch)).permutation(n)


def open_faces(
    config: Config,
    part: str,
    domains: tuple[str, ...] | None = None,
    limit: int | None = None,
    skip_bad: bool = False,
) -> Faces:
    """The faces of one part, at config.size, with the attributes `domains` (default: config.domains).

    part: "surrogate" (stages A and B), "target", "validation", "test": no face, and in CelebA no identity, is in two of
    them; or "train": the first two, for the judge. config.faces bounds all parts together. limit: only the part's first
    faces. skip_bad: leave unreadable pictures out and say how many. Raises UserError for bad data and an unknown part
    or attribute.
    """
    if part not in (*PARTS, "train"):
        raise UserError(f"Unknown part {part!r} of the data: use train, {', '.join(PARTS)}.")
    if config.faces < 0 or (limit is not None and limit < 1):
        raise UserError(
            f"faces={config.faces} must be at least 0 (all), and limit={limit} at least 1."
        )
    domains = tuple(domains or config.domains or DOMAINS[config.dataset]["SD"])
    where, parts, state, decode, label_of = (_celeba if config.data_root else _procedural)(
        config, domains
    )
    parts["train"] = parts["surrogate"] + parts["target"]
    wanted = parts[part][:limit]
    if not wanted:
        raise UserError(
            f"The part {part!r} of {where} is empty: raise faces={config.faces} (0: all), or add pictures."
        )
    # The judge needs both training parts, so they share one cache.
    names = parts["train"] if wanted in (parts["surrogate"], parts["target"]) else wanted
    key = digest((config.size, names, state))
    items = tqdm(
        decode(names),
        "Preparing faces",
        len(names),
        leave=False,
        unit="face",
        delay=1,
        file=sys.stdout,
    )
    images, index = open_cache(
        cache_folder() / f"{config.dataset}-{config.size}-{key}", config.size, items
    )
    bad = index["bad"]
    good = [name for name in wanted if name not in bad]
    if bad and not (skip_bad and good):
        some = ", ".join(f"{name} ({reason})" for name, reason in sorted(bad.items())[:10])
        raise UserError(
            f"{len(bad)} of {len(names)} pictures in {where} cannot be used: {some}"
            f"{', ...' if len(bad) > 10 else ''}; replace them, or leave them out with --skip-bad."
        )
    rows = slice(first := index["names"].index(good[0]), first + len(good))
    labels = [label_of(name, note) for name, note in zip(good, index["notes"][rows], strict=True)]
    if len(good) < len(wanted):
        print(
            f"{len(wanted) - len(good)} of {len(wanted)} pictures in {where} are left out: they cannot be used."
        )
    return Faces(images[rows], torch.tensor(labels, dtype=torch.float32), domains, good)


def _procedural(config: Config, domains: tuple[str, ...]) -> tuple:
    """where, {part: names}, state (in a cache's key), decode(names): (name, image, note) each, label_of(name, note)."""
    from idf import faces

    columns = _columns(faces.ATTRIBUTES, domains, "the procedural faces")
    total = config.faces or PROCEDURAL_FACES
    # Seeds lie far apart, so that parts stay disjoint between runs of different lengths too.
    parts = {
        name: [f"seed {10**6 * i + n}" for n in range(int(total * share))]
        for i, (name, share) in enumerate(PARTS.items())
    }

    def decode(names: list[str]) -> Iterator[tuple]:
        for some in (names[i : i + 64] for i in range(0, len(names), 64)):
            batch = faces.render_faces([int(name.split()[1]) for name in some], size=config.size)
            yield from zip(some, batch.images.numpy(), batch.attributes.int().tolist(), strict=True)

    source = Path(faces.__file__).read_bytes()
    return (
        "the procedural faces",
        parts,
        source,
        decode,
        lambda name, note: [note[k] for k in columns],
    )


def _celeba(config: Config, domains: tuple[str, ...]) -> tuple:
    """As _procedural; a bad picture's image is None and its note the reason."""
    root = Path(config.data_root).expanduser().resolve()
    if not root.is_dir():
        raise UserError(
            f"There is no data folder {root}: set data_root to a CelebA folder (see data/README.md)."
        )
    # Tables are looked up without suffix: pictures re-packed as PNG still carry labels for .jpg.
    (folder, names), table = find_pictures(root), _find_table(root, "list_attr_celeba")
    if not names or not table:
        lacks = ["img_align_celeba/ with pictures"] * (not names) + [
            "list_attr_celeba.txt or .csv"
        ] * (not table)
        raise UserError(
            f"{root} lacks {' and '.join(lacks)}: complete the CelebA folder (see data/README.md)."
        )
    labels = _read_labels(table, domains)
    _require(names, labels, table)
    parts = _split(names, root)
    if 0 < config.faces < len(names):
        parts = {
            part: some[: config.faces * len(some) // len(names)] for part, some in parts.items()
        }
    stats = [
        (stat.st_size, stat.st_mtime_ns) for stat in (os.lstat(folder / name) for name in names)
    ]

    def decode(names: list[str]) -> Iterator[tuple]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for some in (
                names[i : i + 256] for i in range(0, len(names), 256)
            ):  # all at once would fill the memory
                yield from pool.map(lambda name: _crop(folder / name, config.size), some)

    return (
        folder,
        parts,
        (folder, CROP, stats),
        decode,
        lambda name, note: labels[name.split(".")[0]],
    )


def find_pictures(root: Path) -> tuple[Path, list[str]]:
    """The folder of CelebA's pictures below `root`, and their names in order: none where there is no such folder."""
    inner = ("img_align_celeba/img_align_celeba", "img_align_celeba", "img_align_celeba_png")
    for folder in (root / base / name for base in ("", "Img") for name in inner):
        names = sorted(
            file.name
            for file in folder.glob("[!.]*")
            if file.suffix.lower() in (".jpg", ".jpeg", ".png")
        )
        if names:
            return folder, names
    return root, []


def _find_table(root: Path, name: str) -> Path | None:
    places = (
        root / base / (name + suffix)
        for base in ("", "Anno", "Eval")
        for suffix in (".txt", ".csv")
    )
    return next((place for place in places if place.is_file()), None)


def _rows(path: Path) -> Iterator[list[str]]:
    """The cells of each line that has at least two (the first line of list_attr_celeba.txt is a mere count)."""
    try:
        with path.open(encoding="utf-8-sig") as lines:
            yield from (cells for line in lines if len(cells := line.replace(",", " ").split()) > 1)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}): download it again.") from error


def _read_labels(path: Path, domains: tuple[str, ...]) -> dict[str, list[int]]:
    rows = _rows(path)
    header = next(rows, [])
    known = header[header[:1] == ["image_id"] :]
    if not known:
        raise UserError(f"{path} is empty: download it again.")
    columns = _columns(known, domains, path)
    labels = {}
    for row in rows:
        values = [row[1 + k] for k in columns] if len(row) == 1 + len(known) else [""]
        if not all(value in ("-1", "0", "1") for value in values):
            raise UserError(
                f"{path} is damaged at {row[0]}, where labels are not -1 or 1: download it again."
            )
        labels[row[0].split(".")[0]] = [int(value == "1") for value in values]
    return labels


def _columns(known, domains: tuple[str, ...], where) -> list[int]:
    for name in domains:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            hint = (
                f"did you mean {' or '.join(close)}?"
                if close
                else f"use some of {', '.join(known)}."
            )
            raise UserError(f"Unknown attribute {name!r} in {where}: {hint}")
    return [list(known).index(name) for name in domains]


def _require(names: list[str], table: dict, path: Path) -> None:
    lacking = [name for name in names if name.split(".")[0] not in table]
    if lacking:
        raise UserError(
            f"{len(lacking)} of {len(names)} pictures are not listed in {path} ({', '.join(lacking[:5])}"
            f"{', ...' if len(lacking) > 5 else ''}): use the list that belongs to them, or remove them."
        )


def _split(names: list[str], root: Path) -> dict[str, list[str]]:
    """The parts, by the official partition and by identity as far as their lists are there."""
    identities, partition = (
        _read_column(root, table, names) for table in ("identity_CelebA", "list_eval_partition")
    )
    if not identities:
        warnings.warn(
            f"{root} has no identity_CelebA.txt: one person's pictures may fall into two parts."
        )
    group = {name: identities[name.split(".")[0]] if identities else name for name in names}
    official: dict[str, str] = {}
    for name in (
        names if partition else ()
    ):  # whoever is in two official parts goes wholly to the later one
        official[group[name]] = max(official.get(group[name], "0"), partition[name.split(".")[0]])
    later = {
        one: "validation" if value == "1" else "test"
        for one, value in official.items()
        if value != "0"
    }
    shares = {"surrogate": 0.5, "target": 0.5} if partition else PARTS
    dealt = {**_deal(set(group.values()) - later.keys(), shares), **later}
    return {part: [name for name in names if dealt[group[name]] == part] for part in PARTS}


def _read_column(root: Path, table: str, names: list[str]) -> dict[str, str]:
    path = _find_table(root, table)
    if not path:
        return {}
    column = {row[0].split(".")[0]: row[1] for row in _rows(path) if row[1].isdigit()}
    _require(names, column, path)
    return column


def _deal(groups: set[str], shares: dict[str, float]) -> dict[str, str]:
    """Each group's part. Ordered by hash, so that a subset of the data is dealt much as the whole is."""
    ordered = sorted(groups, key=lambda group: hashlib.sha256(group.encode()).digest())
    ends = np.round(np.cumsum(list(shares.values())) * len(ordered))
    return {
        group: list(shares)[np.searchsorted(ends, i, side="right")]
        for i, group in enumerate(ordered)
    }


def _crop(file: Path, size: int) -> tuple[str, np.ndarray | None, str]:
    try:
        image = _read(file)
    except ValueError as error:
        return file.name, None, str(error)
    left, top = (image.width - CROP) // 2, (image.height - CROP) // 2
    if left < 0 or top < 0:
        return (
            file.name,
            None,
            f"{image.width}x{image.height}, smaller than the crop of {CROP}x{CROP}",
        )
    image = image.resize(
        (size, size), Image.Resampling.BICUBIC, box=(left, top, left + CROP, top + CROP)
    )
    return file.name, np.asarray(image).transpose(2, 0, 1), ""


def read_image(path: str | Path) -> torch.Tensor:
    """The picture as uint8 (3, H, W) in RGB, upright by its EXIF tag, transparency on white, 16 bits scaled to 8.

    Raises UserError, naming the file, where it is missing, truncated, too large or no picture.
    """
    try:
        return torch.from_numpy(np.array(_read(Path(path)))).permute(2, 0, 1).contiguous()
    except ValueError as error:
        raise UserError(
            f"{path} cannot be read as a picture ({error}): replace the file."
        ) from error


def _read(path: Path) -> Image.Image:
    """The picture in RGB. Raises ValueError with the reason alone."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode == "F":
                raise ValueError("floating-point pixels have no fixed range")
            if image.mode.startswith(
                "I"
            ):  # 16 bits: convert("RGB") would clip at 255 instead of scaling
                image = scaled_to_8_bits(image)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except Exception as error:  # decoders fail on broken files with nearly every exception there is
        raise ValueError(
            str(error).replace(str(path), path.name) or type(error).__name__
        ) from error


def scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits as one of 8."""
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))


def cache_folder() -> Path:
    """Where decoded pictures are kept, and what notebooks train: the environment's IDF_CACHE, or runs/cache."""
    return Path(os.environ.get("IDF_CACHE") or ROOT / "runs" / "cache")


def open_cache(
    folder: Path,
    size: int,
    items: Iterator[tuple],
    known: dict | None = None,
    channels: int = 3,
) -> tuple[np.ndarray, dict]:
    """uint8 (N, channels, size, size), memory-mapped, and names, notes and bad ones' reasons; made from `items` if new.

    known: what else to keep in the index; `items` may fill it.
    """
    if not folder.exists():
        index = {"names": [], "notes": [], "bad": {}}
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(suffix=".tmp", dir=folder.parent) as temporary:
                new = Path(temporary) / folder.name
                new.mkdir()
                with (new / "images.u8").open("wb") as file:
                    for name, image, note in items:
                        if image is None:
                            index["bad"][name] = note
                        else:
                            file.write(np.ascontiguousarray(image, dtype=np.uint8))
                            index["names"].append(name)
                            index["notes"].append(note)
                (new / "index.json").write_text(json.dumps(index | (known or {})))
                new.rename(folder)  # so a folder with this name is complete, even after a crash
        except OSError as error:
            if not folder.exists():  # else another process was first, and its cache is the same
                raise UserError(
                    f"Cannot write the cache {folder} ({error}): free space, or set IDF_CACHE."
                ) from error
    try:
        index = json.loads((folder / "index.json").read_text())
        shape = (len(index["names"]), channels, size, size)
        return np.memmap(folder / "images.u8", np.uint8, "r", shape=shape) if shape[
            0
        ] else np.empty(shape), index
    except (OSError, ValueError) as error:
        raise UserError(
            f"The cache {folder} is damaged ({error}): delete that folder and run again."
        ) from error
