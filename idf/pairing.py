"""The pairs (z, x') of a forger who looks for landmarks on the published frames, and a poison made to spoil them.

Not in the paper, whose landmarks are those of the clean frames. dlib lets no gradient through, so this poison is a search.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from idf import losses
from idf.config import UserError
from idf.data import open_cache, to_model, to_uint8
from idf.video import Frames

BLOCKS = 32  # squares a side of the searched pattern
FLIPS = (0.1, 0.03, 0.01)  # shares of them that one try turns over, in turn

Finder = Callable[[np.ndarray], list[np.ndarray]]  # idf.video.face_finder()


def look(find: Finder, x: Tensor) -> np.ndarray | None:
    """The landmarks (68, 2) that find sees on x (3, S, S), in its pixels; None unless there is exactly one face."""
    scale = max(1, round(256 / x.shape[-1]))
    large = F.interpolate(x[None], scale_factor=scale, mode="bicubic")[0]
    found = find(to_uint8(large).permute(1, 2, 0).numpy())
    return found[0] / scale - 0.5 if len(found) == 1 else None


def expression_error(seen: np.ndarray, wanted: np.ndarray) -> float:
    """Mean distance of landmarks (68, 2), eyebrows to lips (jaw left out), over the distance of the outer eye corners.

    The mean shift is taken off first: a face that moves as a whole says the same.
    """
    away = seen[17:] - wanted[17:]
    return float(
        np.linalg.norm(away - away.mean(0), axis=1).mean() / np.linalg.norm(wanted[36] - wanted[45])
    )


def found_again(frames: Frames, find: Finder) -> Frames:
    """These frames with the landmarks that find sees on them; those without exactly one face are left out.

    Raises UserError where fewer than two have one.
    """
    seen = [look(find, frames.x([i])[0]) for i in range(len(frames))]
    kept = [i for i, points in enumerate(seen) if points is not None]
    if len(kept) < 2:
        raise UserError(
            f"Faces were found again on {len(kept)} of {len(frames)} frames of {frames.size} px: use a larger "
            "size, or find_again=false."
        )
    return replace(
        frames,
        images=frames.images[kept],
        landmarks=torch.tensor(np.array([seen[i] for i in kept])),
        numbers=[frames.numbers[i] for i in kept],
    )


def wrong_pairs(frames: Frames) -> Frames:
    """Each frame with the landmarks of half a second before: pairs as wrong as no poison makes them."""
    return replace(frames, landmarks=frames.landmarks.roll(round(frames.fps / 2), 0))


def move_landmarks(
    frames: Frames, find: Finder, eps: float, queries: int, seed: int, folder: Path
) -> Frames:
    """The frames with a pattern of +-eps each, on which find sees other expressions: a random search, kept in folder.

    A frame's search starts from the pattern of the frame before, so that the pattern hardly changes: what is new in each
    frame, a forger does not learn.
    """

    def items() -> Iterator[tuple]:
        generator = torch.Generator().manual_seed(seed)
        pattern = torch.randint(0, 2, (BLOCKS, BLOCKS), generator=generator) * 2.0 - 1
        for i in tqdm(range(len(frames)), "queries", disable=None):
            pattern, image = search(frames.x([i])[0], find, eps, queries, pattern, generator)
            yield str(frames.numbers[i]), image.numpy(), None

    images, _ = open_cache(folder, frames.size, items())
    return replace(frames, images=images)


def search(
    x: Tensor,
    find: Finder,
    eps: float,
    queries: int,
    pattern: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The best of `queries` patterns for x (3, S, S), and x with it in 8 bits."""

    def published(signs: Tensor) -> Tensor:
        return to_uint8(
            losses.infect(x, F.interpolate(signs[None, None], size=x.shape[-1])[0], eps)
        )

    def moved(signs: Tensor) -> float:
        seen = look(find, to_model(published(signs)))
        return 0.0 if seen is None or wanted is None else expression_error(seen, wanted)

    wanted = look(find, x)
    most = moved(pattern)
    for n in range(queries if wanted is not None else 0):
        flipped = torch.rand(pattern.shape, generator=generator) < FLIPS[n % len(FLIPS)]
        new = torch.where(flipped, -pattern, pattern)
        distance = moved(new)
        if distance > most:
            pattern, most = new, distance
    return pattern, published(pattern)
