"""A video file as frames of one face: landmarks, one square crop for all, what spoils a take."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from idf.config import FilmConfig, UserError
from idf.data.landmarks import face_describer
from idf.data.movies import read_frames
from idf.data.sightings import LEAST_FRAMES, Sightings, find_landmarks

LEAST_FACE = 16  # pixels from ear to ear
CROP = 2.0  # the crop's side over the face's width (landmarks 0 to 16): with hair and chin
SAMPLES = 20  # frames of a film whose faces are compared
# Between means of three descriptors of faces by dlib: .2 in one take, .7 for two people.
OTHER = 0.4
CUT = 0.12  # mean change of a pixel, in [0, 1], from one frame to the next that only a cut makes


def cropped_frames(
    path: Path, marks: Path | None, config: FilmConfig, known: dict
) -> Iterator[tuple[str, np.ndarray, list]]:
    """Frame by frame its number, uint8 (3, S, S), and its landmarks (68, 2) in pixels of the crop.

    In two passes, so that a long video never lies in memory: landmarks, then crops. In between
    fills `known`: fps, dropped, notes_of_video. marks: a landmark file, instead of dlib. Raises
    UserError where the video does not show one face in one take.
    """
    # the first pass
    seen = find_landmarks(path, marks, config.frames, config.start)
    if seen.first < 0:
        raise seen.too_few(0)
    left, top, side = _crop(seen)
    kept = _inside(seen, left, top, side)
    if len(kept) < LEAST_FRAMES:
        raise seen.too_few(len(kept))
    fps, notes = _frame_rate(seen.times[seen.first :])
    known |= {"fps": fps, "dropped": seen.dropped, "notes_of_video": [*seen.notes, *notes]}

    # the second pass, from the first face to the last: a title before it is no cut
    take = _Take(seen, kept)
    box = (left, top, left + side, top + side)
    size = (config.size, config.size)
    usable = set(kept)
    frames = enumerate(read_frames(path, kept[-1] + 1, config.start))
    for number, (frame, _) in islice(frames, kept[0], None):
        take.watch(number, frame)
        if number in usable:
            crop = Image.fromarray(frame).resize(size, Image.Resampling.BOX, box=box)
            inside = (seen.points[number] - (left, top)) * (config.size / side) - 0.5
            yield str(number), np.asarray(crop).transpose(2, 0, 1), inside.round(3).tolist()
    take.end()


def _crop(seen: Sightings) -> tuple[float, float, float]:
    """left, top and side of one square for the whole video: the head moves in it, not the crop."""
    faces = np.array([face for face in seen.points if face is not None])
    low, high = faces.min(1), faces.max(1)
    width = np.median(high[:, 0] - low[:, 0])
    if width < LEAST_FACE:
        raise UserError(
            f"The face is {width:.1f} pixels wide by its landmarks: they must be in pixels of the "
            f"whole frame, and the face at least {LEAST_FACE} pixels wide."
        )

    # large enough for nearly all positions of the face, within the frame
    frame_height, frame_width = seen.shape
    reach = (np.quantile(high, 0.99, 0) - np.quantile(low, 0.01, 0)).max()
    side = min(max(CROP * width, 1.15 * reach), frame_height, frame_width)

    # brows are the highest landmarks: the hair above them wants room
    x, y = np.median((low + high) / 2, 0)
    left = np.clip(x - side / 2, 0, frame_width - side)
    top = np.clip(y - 0.55 * side, 0, frame_height - side)
    return float(left), float(top), float(side)


def _inside(seen: Sightings, left: float, top: float, side: float) -> list[int]:
    """The frames whose landmarks all lie in the crop; leaves out the others that have some."""
    height, width = seen.shape
    kept = []
    for number, face in enumerate(seen.points):
        if face is None:
            continue
        inside = face - (left, top)
        in_picture = ((face >= 0) & (face <= (width, height))).all(1)
        if inside.min() >= 0 and inside.max() <= side:
            kept.append(number)
        elif in_picture.any() and not in_picture.all():
            seen.leave_out(number, "a face cut off by the picture's edge")
        else:
            seen.leave_out(number, "face leaves the crop")
    return kept


def _frame_rate(times: list[float]) -> tuple[float, list[str]]:
    """Frames a second, and a note where it varies."""
    gaps = np.diff(times)
    typical = np.median(gaps)
    notes = []
    if gaps.max() > 1.5 * typical:
        longest, at = gaps.max(), times[gaps.argmax()]
        notes.append(
            f"The frame rate varies (no frame for {longest:.1f} s from {at:.1f} s on): films are "
            "written at the most common one."
        )
    return round(1 / max(float(typical), 1e-3), 3), notes


class _Take:
    """Sees every frame of a video in turn, and raises UserError for a cut or a second person."""

    def __init__(self, seen: Sightings, kept: list[int]):
        self.seen = seen
        self.previous: np.ndarray | None = None
        self.describe = face_describer()  # None without dlib: then nobody compares faces
        self.sampled = kept[:: math.ceil(len(kept) / SAMPLES)]
        self.faces: list[np.ndarray] = []

    def watch(self, number: int, frame: np.ndarray) -> None:
        small = _thumbnail(frame)
        if self.previous is not None and _is_cut(self.previous, small):
            raise UserError(
                f"{self.seen.path} has a cut at {self.seen.times[number]:.1f} s: "
                f"{self._one_take(number)}"
            )
        self.previous = small
        if self.describe and number in self.sampled:
            self.faces.append(self.describe(frame, self.seen.points[number]))

    def end(self) -> None:
        change = other_person(self.faces)
        if change is not None:
            number = self.sampled[change]
            raise UserError(
                f"{self.seen.path} shows another person from about {self.seen.times[number]:.1f} s "
                f"on: {self._one_take(number)}"
            )

    def _one_take(self, number: int) -> str:
        """The remedy, where one of both parts is long enough."""
        parts = []
        if number - self.seen.first >= LEAST_FRAMES:
            parts.append(f"its first part by frames={number - self.seen.first}")
        if len(self.seen.points) - number >= LEAST_FRAMES:
            after = math.ceil(1000 * self.seen.times[number] - 1e-6) / 1000
            parts.append(f"what follows by start={after}")
        remedy = f", for example {' or '.join(parts)}" if parts else ""
        return f"give one take of one person{remedy}."


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """Every few pixels of a frame, in [0, 1]."""
    height, width = frame.shape[:2]
    small = frame[:: max(1, height // 64), :: max(1, width // 64)]
    return small.astype(np.float32) / 255


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    return before.shape != after.shape or bool(np.abs(after - before).mean() > CUT)


def other_person(faces: list[np.ndarray]) -> int | None:
    """From which of these descriptors on another person is seen, if any.

    Three faces in a row must differ from the first three more than those of one person do.
    """
    for start in range(3, len(faces) - 2):
        change = np.mean(faces[start : start + 3], 0) - np.mean(faces[:3], 0)
        if np.linalg.norm(change) > OTHER:
            return start
    return None
