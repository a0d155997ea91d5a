"""A forger who looks for landmarks on the frames as published, and a film that misleads him.

Not in the paper, whose landmarks are those of the clean frames. dlib lets no gradient through, so
this poison is a random search: squares of +-eps on the frame, of which it turns a few over and
keeps what moved the landmarks further.

    python experiments/landmark_search.py [--video FILE] [--seed 0]
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from film_rows import (
    EXPERIMENTS,
    Out,
    Preset,
    Seed,
    Trained,
    Video,
    Work,
    add_rows,
    measure,
    open_experiment,
    start,
)
from torch import Tensor

from idf import losses
from idf.config import FilmConfig, UserError
from idf.data.cache import digest, open_cache, progress
from idf.data.film import Frames, wrong_pairs
from idf.data.landmarks import Finder, expression_error, face_finder, find_on
from idf.data.pictures import to_model, to_uint8
from idf.forger import publish, train_reenactor
from idf.zoo.films import RESEED, film_protection

METHODS = ("clean", "reseed", "random-noise", "moved-landmarks", "wrong-pairs", "ours")
BLOCKS = 32  # squares along a side of the searched pattern
FLIPS = (0.1, 0.03, 0.01)  # shares of them that one query turns over, in turn
QUERIES = 30  # to the finder, for each frame

Queries = Annotated[int, typer.Option(metavar="NUMBER", min=0, help="To dlib, for each frame.")]


def main(
    preset: Preset = "demo",
    video: Video = "",
    seed: Seed = 0,
    queries: Queries = QUERIES,
    work: Work = "",
    out: Out = EXPERIMENTS,
) -> None:
    """Trains forgers who find the landmarks themselves, and adds their rows to `out`."""
    config, film, checkpoints = open_experiment(preset, video, seed, work)
    find = face_finder()
    test = found_again(film.part("test"), find)
    trained = train_forgers(config, film, find, queries, checkpoints)
    settings = {"find_again": True}
    if queries != QUERIES:
        settings["queries"] = queries
    add_rows(measure(config, film, test, trained, settings, find), out)


def train_forgers(
    config: FilmConfig, film: Frames, find: Finder, queries: int, work: Path
) -> Iterator[Trained]:
    """A forger for each of METHODS; all but M start from one other seed, as in idf.zoo.films."""
    for method in METHODS:
        print(f"{config.dataset}, seed {config.seed}, {method}", flush=True)
        published = downloaded_film(method, config, film, find, queries, work)
        seed = config.seed + (0 if method == "clean" else RESEED)
        folder = work / f"found-{method}-{seed}-{digest((config, queries))}"
        yield method, train_reenactor(config, published, seed, folder=folder).network, published


def downloaded_film(
    method: str, config: FilmConfig, film: Frames, find: Finder, queries: int, work: Path
) -> Frames:
    """The training frames as published with this method, with the landmarks found on them."""
    train, eps = film.part("train"), config.poisoner.eps
    if method == "moved-landmarks":
        folder = work / f"{method}-{config.seed}-eps{eps:g}-{queries}"
        published = move_landmarks(train, find, eps, queries, config.seed, folder)
    else:
        published = publish(train, film_protection(method, config, film, work))
    found = found_again(published, find)
    return wrong_pairs(found) if method == "wrong-pairs" else found


def found_again(frames: Frames, find: Finder) -> Frames:
    """These frames with the landmarks that `find` sees on them.

    Frames without exactly one face are left out. Raises UserError where fewer than two have one.
    """
    seen = [find_on(find, frames.x([i])[0]) for i in range(len(frames))]
    kept = [i for i, points in enumerate(seen) if points is not None]
    if len(kept) < 2:
        raise UserError(
            f"Faces were found again on {len(kept)} of {len(frames)} frames of {frames.size} px: "
            "use a preset with larger frames, like demo."
        )
    return replace(
        frames,
        images=frames.images[kept],
        landmarks=torch.tensor(np.array([seen[i] for i in kept])),
        numbers=[frames.numbers[i] for i in kept],
    )


def move_landmarks(
    frames: Frames, find: Finder, eps: float, queries: int, seed: int, folder: Path
) -> Frames:
    """The frames, each with a pattern of +-eps on which `find` sees another expression.

    Kept in `folder`; the landmarks stay those of the clean frames.
    """
    items = _searched(frames, find, eps, queries, seed)
    images, _ = open_cache(folder, frames.size, items)
    return replace(frames, images=images)


def _searched(
    frames: Frames, find: Finder, eps: float, queries: int, seed: int
) -> Iterator[tuple[str, np.ndarray, None]]:
    """Each frame's search starts from the pattern of the frame before.

    So the pattern hardly changes: what is new in each frame, a forger does not learn.
    """
    generator = torch.Generator().manual_seed(seed)
    pattern = torch.randint(0, 2, (BLOCKS, BLOCKS), generator=generator) * 2.0 - 1
    for i in progress(range(len(frames)), "landmark search", "frame"):
        pattern, image = search(frames.x([i])[0], find, eps, queries, pattern, generator)
        yield str(frames.numbers[i]), image.numpy(), None


def search(
    x: Tensor,
    find: Finder,
    eps: float,
    queries: int,
    pattern: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The best of `queries` patterns for x (3, S, S), and x with it, uint8.

    pattern: +-1 (BLOCKS, BLOCKS), where the search starts; it is kept where x shows no face.
    """
    image = cover(x, pattern, eps)
    clean = find_on(find, x)
    if clean is None:
        return pattern, image
    furthest = moved_by(image, find, clean)
    for n in range(queries):
        flipped = torch.rand(pattern.shape, generator=generator) < FLIPS[n % len(FLIPS)]
        new_pattern = torch.where(flipped, -pattern, pattern)
        new_image = cover(x, new_pattern, eps)
        distance = moved_by(new_image, find, clean)
        if distance > furthest:
            pattern, image, furthest = new_pattern, new_image, distance
    return pattern, image


def cover(x: Tensor, pattern: Tensor, eps: float) -> Tensor:
    """x (3, S, S) with the pattern's squares of +-eps, as it is published: uint8."""
    squares = F.interpolate(pattern[None, None], size=x.shape[-1])[0]
    return to_uint8(losses.infect(x, squares, eps))


def moved_by(image: Tensor, find: Finder, clean: np.ndarray) -> float:
    """How far an image, uint8, leads `find` away from the clean landmarks (68, 2).

    In the unit of the expression error; 0 where no face is found: such a frame is left out.
    """
    seen = find_on(find, to_model(image))
    return 0.0 if seen is None else expression_error(seen, clean)


if __name__ == "__main__":
    start(main)
