"""Faces with attributes as arrays: CelebA's or procedural ones, decoded once into a cache."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idf.config import DOMAINS, Config, UserError
from idf.data.cache import cache_folder, digest, open_cache, progress
from idf.data.celeba import CROP, CelebA
from idf.data.drawn import drawing_code
from idf.data.drawn.faces import ATTRIBUTES, render_faces
from idf.data.lists import attribute_columns
from idf.data.pictures import to_model

PARTS = {"surrogate": 5 / 12, "target": 5 / 12, "validation": 1 / 12, "test": 1 / 12}
PROCEDURAL_FACES = 12_000  # what faces = 0 ("all") means where there is no end of them


@dataclass(eq=False)
class Faces(torch.utils.data.Dataset):
    """N faces with K attributes, as x in [-1, 1] and c of 0/1."""

    images: np.ndarray  # uint8 (N, 3, S, S), memory-mapped
    labels: Tensor  # float32 (N, K) of 0/1
    domains: tuple[str, ...]  # the K attributes
    names: list[str]  # a file name or "seed 123" per face

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return to_model(np.array(self.images[i])), self.labels[i]

    def subset(self, n: int) -> "Faces":
        """The first n faces."""
        return Faces(self.images[:n], self.labels[:n], self.domains, self.names[:n])

    def in_order(self, size: int) -> Iterator[tuple[int, Tensor, Tensor]]:
        """All faces in chunks of `size`: the number of the first, x and c."""
        for start in range(0, len(self), size):
            rows = slice(start, start + size)
            yield start, to_model(np.array(self.images[rows])), self.labels[rows]

    def batch(
        self,
        iteration: int,
        size: int,
        seed: int,
        flip: bool = True,
        rank: int = 0,
        world: int = 1,
    ) -> tuple[Tensor, Tensor]:
        """Mini-batch number `iteration`: x (size, 3, S, S) in [-1, 1] and c (size, K).

        A function of its arguments alone, so that a resumed training sees the same batches as an
        unbroken one. The faces come in one permutation after the other; process `rank` of `world`
        takes its slice of size * world. flip: mirror each face by chance.
        """
        whole = size * world
        mine = slice(rank * size, (rank + 1) * size)
        random = np.random.default_rng((1, seed, iteration))
        mirrored = random.random(whole)[mine] < 0.5

        index = batch_indices(iteration, whole, len(self), seed)[mine]
        images = self.images[index]
        if flip:
            images[mirrored] = images[mirrored][..., ::-1]
        return to_model(images), self.labels[torch.from_numpy(index)]


def batch_indices(iteration: int, size: int, n: int, seed: int) -> np.ndarray:
    """Which of n pictures mini-batch number `iteration` shows: one permutation after the other."""
    epochs, positions = np.divmod(iteration * size + np.arange(size), n)
    pairs = zip(epochs.tolist(), positions.tolist(), strict=True)
    return np.array([_permutation(seed, epoch, n)[position] for epoch, position in pairs])


@lru_cache(maxsize=4)
def _permutation(seed: int, epoch: int, n: int) -> np.ndarray:
    return np.random.default_rng((0, seed, epoch)).permutation(n)


def open_faces(
    config: Config,
    part: str,
    domains: tuple[str, ...] | None = None,
    limit: int | None = None,
) -> Faces:
    """The faces of one part, at config.size, with the attributes `domains`.

    part: "surrogate" (stages A and B), "target", "validation", "test": no face, and in CelebA no
    identity, is in two of them; or "train": the first two, for the judge. config.faces bounds all
    parts together. domains: by default config.domains. limit: only the part's first faces. Raises
    UserError for bad data (with config.skip_bad, where none is good) and an unknown part or
    attribute.
    """
    if part not in (*PARTS, "train"):
        raise UserError(f"Unknown part {part!r} of the data: use train, {', '.join(PARTS)}.")
    if limit is not None and limit < 1:
        raise UserError(f"limit={limit} must be at least 1, or None for all.")
    domains = tuple(domains or config.domains or DOMAINS[config.dataset]["SD"])

    # which pictures
    if config.data_root:
        source = CelebA(config, domains, PARTS)
    else:
        source = ProceduralFaces(config, domains, PARTS)
    parts = source.parts | {"train": source.parts["surrogate"] + source.parts["target"]}
    names = parts[part][:limit]
    if not names:
        raise UserError(
            f"The part {part!r} of {source.where} is empty: raise faces={config.faces} (0: all), "
            "or add pictures."
        )

    # their pixels; the judge needs both training parts, so these share one cache
    is_training_part = names in (parts["surrogate"], parts["target"])
    cached = parts["train"] if is_training_part else names
    key = digest((config.size, cached, source.state))
    folder = cache_folder() / f"{config.dataset}-{config.size}-{key}"
    items = progress(source.decode(cached), "Preparing faces", "face", len(cached))
    images, index = open_cache(folder, config.size, items)

    if config.data_root:
        _say_sizes(source.where, tuple(index["notes"]))

    # without the bad ones
    bad = index["bad"]
    good = [name for name in names if name not in bad]
    if bad and not (config.skip_bad and good):
        raise UserError(_bad_pictures(bad, len(cached), source.where))
    if len(good) < len(names):
        print(
            f"{len(names) - len(good)} of {len(names)} pictures in {source.where} are left out: "
            "they cannot be used."
        )

    # a part is one stretch of its cache
    first = index["names"].index(good[0])
    rows = slice(first, first + len(good))
    notes = index["notes"][rows]
    labels = [source.labels_of(name, note) for name, note in zip(good, notes, strict=True)]
    return Faces(images[rows], torch.tensor(labels, dtype=torch.float32), domains, good)


@lru_cache(maxsize=32)  # once for each folder and part
def _say_sizes(where: Path, notes: tuple[str, ...]) -> None:
    others = [note for note in notes if note]
    if others:
        sizes = ", ".join(sorted(set(others))[:3])
        print(
            f"{len(others)} of {len(notes)} pictures in {where} are not {CROP}x218 but {sizes}: "
            "square ones are used whole, those of CelebA's shape in their middle."
        )


def _bad_pictures(bad: dict[str, str], count: int, where: str | Path) -> str:
    first = ", ".join(f"{name} ({reason})" for name, reason in sorted(bad.items())[:10])
    more = ", ..." if len(bad) > 10 else ""
    return (
        f"{len(bad)} of {count} pictures in {where} cannot be used: {first}{more}; "
        "replace them, or add --skip-bad (in a notebook skip_bad = True) to leave them out."
    )


class ProceduralFaces:
    """The drawn faces as open_faces reads them: the same attributes and methods as CelebA."""

    where = "the procedural faces"

    def __init__(self, config: Config, domains: tuple[str, ...], shares: dict[str, float]):
        self.size = config.size
        self.columns = attribute_columns(ATTRIBUTES, domains, self.where)
        self.state = drawing_code()
        count = config.faces or PROCEDURAL_FACES
        self.parts = {}
        for i, (part, share) in enumerate(shares.items()):
            # seeds lie far apart, so that parts stay disjoint between runs of different lengths too
            first = 10**6 * i
            self.parts[part] = [f"seed {first + n}" for n in range(int(count * share))]

    def decode(self, names: list[str]) -> Iterator[tuple[str, np.ndarray, list[int]]]:
        for start in range(0, len(names), 64):
            chunk = names[start : start + 64]
            seeds = [int(name.removeprefix("seed ")) for name in chunk]
            batch = render_faces(seeds, size=self.size)
            attributes = batch.attributes.int().tolist()
            yield from zip(chunk, batch.images.numpy(), attributes, strict=True)

    def labels_of(self, name: str, note: list[int]) -> list[int]:
        return [note[column] for column in self.columns]
