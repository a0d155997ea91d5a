"""Frames of one speaking person with 68 landmarks each: a video file, or the procedural film."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idf.config import FilmConfig, UserError
from idf.data.cache import cache_folder, digest, open_cache
from idf.data.drawn import drawing_code
from idf.data.drawn.film import FPS, talking_face
from idf.data.footage import CROP, CUT, cropped_frames
from idf.data.pictures import to_model
from idf.data.sightings import SPARSE

SHARES = {"train": 0.85, "validation": 0.05, "test": 0.1}
PARTS = tuple(SHARES)  # in the order of time


@dataclass(eq=False)
class Frames(torch.utils.data.Dataset):
    """N frames of one person in the order of time, with their landmarks."""

    images: np.ndarray  # uint8 (N, 3, S, S), memory-mapped
    landmarks: Tensor  # float32 (N, 68, 2): x, y in pixels of the S x S picture, iBUG order
    numbers: list[int]  # which frame of the video each one is
    fps: float
    dropped: dict[str, int] = field(default_factory=dict)  # {reason: frames of the video left out}
    notes: tuple[str, ...] = ()  # what a user should know of this video

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return to_model(np.array(self.images[i])), self.landmarks[i]

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    def x(self, index: slice | Tensor | np.ndarray | list[int] = slice(None)) -> Tensor:
        """The frames as float32 (n, 3, S, S) in [-1, 1]."""
        if not isinstance(index, slice):
            index = np.asarray(index)
        return to_model(np.array(self.images[index]))

    def part(self, name: str) -> "Frames":
        """train, validation or test: one stretch of time each, in this order.

        So no frame of the test has a neighbour in training, but at the seams.
        """
        if name not in PARTS:
            raise UserError(f"Unknown part {name!r} of a video: use one of {', '.join(PARTS)}.")
        ends = np.round(np.cumsum([0, *SHARES.values()]) * len(self)).astype(int)
        i = PARTS.index(name)
        rows = slice(ends[i], ends[i + 1])
        return replace(
            self,
            images=self.images[rows],
            landmarks=self.landmarks[rows],
            numbers=self.numbers[rows],
        )


def wrong_pairs(frames: Frames) -> Frames:
    """Each frame with the landmarks of half a second before: no poison makes pairs as wrong."""
    return replace(frames, landmarks=frames.landmarks.roll(round(frames.fps / 2), 0))


def open_film(config: FilmConfig) -> Frames:
    """All usable frames of config.video, or of the procedural film where that is empty.

    They have config.size, there are at most config.frames, and a cache keeps them. Raises UserError
    for a file that is no video of one face.
    """
    # where the frames come from
    if config.video:
        name = "video"
        video = _existing(config.video, "video", "a file, or leave `video` empty for a drawn face")
        marks = None
        if config.landmarks:
            remedy = "an .npz or .csv, or leave it empty"
            marks = _existing(config.landmarks, "landmark file", remedy)
        state = [_file_state(file) for file in (video, marks) if file]
        state += [CROP, CUT, SPARSE, config.start, config.frames, config.size]
        known: dict = {}  # cropped_frames fills it
        items = cropped_frames(video, marks, config, known)
    else:
        name = "procedural"
        state = [drawing_code(), config.person, config.frames, config.size]
        known = {"fps": FPS, "dropped": {}, "notes_of_video": []}
        items = _drawn_frames(config)

    # once, into the cache
    folder = cache_folder() / f"{name}-{config.size}-{digest(state)}"
    images, index = open_cache(folder, config.size, items, known)
    return Frames(
        images,
        landmarks=torch.tensor(index["notes"], dtype=torch.float32),
        numbers=[int(name) for name in index["names"]],
        fps=index["fps"],
        dropped=index["dropped"],
        notes=tuple(index["notes_of_video"]),
    )


def _existing(name: str, kind: str, remedy: str) -> Path:
    if not Path(name).is_file():
        raise UserError(f"There is no {kind} {name}: give {remedy}.")
    return Path(name)


def _file_state(file: Path) -> tuple:
    """What changes with a file."""
    stat = file.stat()
    return file.resolve(), stat.st_size, stat.st_mtime_ns


def _drawn_frames(config: FilmConfig) -> Iterator[tuple[str, np.ndarray, list]]:
    for start in range(0, config.frames, 64):
        numbers = range(start, min(start + 64, config.frames))
        batch = talking_face(config.person, numbers, config.size)
        names = map(str, numbers)
        yield from zip(names, batch.images.numpy(), batch.landmarks.tolist(), strict=True)
