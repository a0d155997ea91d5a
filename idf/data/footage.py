"""A video file as frames of one face: landmarks, one square crop for all, what spoils a take."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from idf.config import FilmConfig, UserError
from idf.data.cache import progress
from idf.data.landmarks import face_describer, face_finder, read_landmarks
from idf.data.movies import read_frames

LEAST_FRAMES = 50
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
    points, times, dropped = find_landmarks(path, marks, config.frames)
    left, top, side = _crop(path, points)
    kept = _inside(points, left, top, side, dropped)
    if len(kept) < LEAST_FRAMES:
        raise UserError(_too_few(path, len(kept), len(points), dropped))
    fps, notes = _frame_rate(times)
    known |= {"fps": fps, "dropped": dropped, "notes_of_video": notes}

    # the second pass
    take = _Take(path, kept)
    box = (left, top, left + side, top + side)
    size = (config.size, config.size)
    usable = set(kept)
    for number, (frame, time) in enumerate(read_frames(path, len(points))):
        take.watch(number, frame, time, points[number])
        if number in usable:
            crop = Image.fromarray(frame).resize(size, Image.Resampling.BOX, box=box)
            inside = (points[number] - (left, top)) * (config.size / side) - 0.5
            yield str(number), np.asarray(crop).transpose(2, 0, 1), inside.round(3).tolist()
    take.end()


def _too_few(path: Path, kept: int, count: int, dropped: dict[str, int]) -> str:
    reasons = ", ".join(f"{number} with {reason}" for reason, number in dropped.items())
    lost = f" ({reasons})" if reasons else ""
    return (
        f"{path} has only {kept} usable frames of {count}{lost}: at least {LEAST_FRAMES} frames "
        "with exactly one face are needed."
    )


def find_landmarks(
    path: Path, marks: Path | None, most: int
) -> tuple[list[np.ndarray | None], list[float], dict[str, int]]:
    """For each frame 68 points or None, its time in seconds; and {reason: frames without points}.

    The points are x, y in pixels of the whole frame, 0 the edge of the first pixel.
    """
    find = None if marks else face_finder()
    points: list[np.ndarray | None] = []
    times: list[float] = []
    dropped: dict[str, int] = {}
    for frame, time in progress(read_frames(path, most), "Finding faces", "frame"):
        times.append(time)
        if find:
            faces = find(frame)
            points.append(faces[0] if len(faces) == 1 else None)
            if len(faces) != 1:
                _count(dropped, "several faces" if faces else "no face")
    if not times:
        raise UserError(f"{path} holds no frames: give another video.")
    if marks:
        points = _points_of_file(marks, path, len(times), most)
        missing = sum(face is None for face in points)
        if missing:
            dropped["no landmarks in the file"] = missing
    return points, times, dropped


def _points_of_file(marks: Path, path: Path, count: int, most: int) -> list[np.ndarray | None]:
    """The rows of `count` frames; only a film cut short to `most` may have more of them."""
    rows = read_landmarks(marks)
    if len(rows) < count or (len(rows) > count and count != most):
        raise UserError(
            f"{marks} has landmarks for {len(rows)} frames, {path} has {count}: give one row a "
            "frame."
        )
    return [row if np.isfinite(row).all() else None for row in rows[:count]]


def _count(dropped: dict[str, int], reason: str) -> None:
    dropped[reason] = dropped.get(reason, 0) + 1


def _crop(path: Path, points: list[np.ndarray | None]) -> tuple[float, float, float]:
    """left, top and side of one square for the whole video: the head moves in it, not the crop."""
    faces = np.array([face for face in points if face is not None])
    if not len(faces):
        raise UserError(
            f"No face was found in any of the {len(points)} frames of {path}: use a video that "
            "shows one face from the front, at least 80 pixels wide."
        )
    low, high = faces.min(1), faces.max(1)
    width = np.median(high[:, 0] - low[:, 0])
    if width < LEAST_FACE:
        raise UserError(
            f"The face is {width:.1f} pixels wide by its landmarks: they must be in pixels of the "
            f"whole frame, and the face at least {LEAST_FACE} pixels wide."
        )

    # large enough for nearly all positions of the face, within the frame
    first, _ = next(read_frames(path, 1))
    frame_height, frame_width = first.shape[:2]
    reach = (np.quantile(high, 0.99, 0) - np.quantile(low, 0.01, 0)).max()
    side = min(max(CROP * width, 1.15 * reach), frame_height, frame_width)

    # brows are the highest landmarks: the hair above them wants room
    x, y = np.median((low + high) / 2, 0)
    left = np.clip(x - side / 2, 0, frame_width - side)
    top = np.clip(y - 0.55 * side, 0, frame_height - side)
    return float(left), float(top), float(side)


def _inside(points: list, left: float, top: float, side: float, dropped: dict) -> list[int]:
    """The frames whose landmarks all lie in the crop; counts the others that have some."""
    kept = []
    for number, face in enumerate(points):
        if face is None:
            continue
        inside = face - (left, top)
        if inside.min() >= 0 and inside.max() <= side:
            kept.append(number)
        else:
            _count(dropped, "face leaves the crop")
    return kept


def _frame_rate(times: list[float]) -> tuple[float, list[str]]:
    """Frames a second, and a note where it varies."""
    gaps = np.diff(times)
    typical = np.median(gaps)
    notes = []
    if gaps.max() > 1.5 * typical:
        notes.append("The frame rate varies: films are written at the most common one.")
    return round(1 / max(float(typical), 1e-3), 3), notes


class _Take:
    """Sees every frame of a video in turn, and raises UserError for a cut or a second person."""

    def __init__(self, path: Path, kept: list[int]):
        self.path = path
        self.previous: np.ndarray | None = None
        self.describe = face_describer()  # None without dlib: then nobody compares faces
        self.sampled = kept[:: math.ceil(len(kept) / SAMPLES)]
        self.faces: list[np.ndarray] = []
        self.times: list[float] = []

    def watch(self, number: int, frame: np.ndarray, time: float, points: np.ndarray | None) -> None:
        small = _thumbnail(frame)
        if self.previous is not None and _is_cut(self.previous, small):
            raise UserError(f"{self.path} has a cut at {time:.1f} s: {_one_take(number)}")
        self.previous = small
        if self.describe and number in self.sampled:
            self.faces.append(self.describe(frame, points))
            self.times.append(time)

    def end(self) -> None:
        change = other_person(self.faces)
        if change is not None:
            raise UserError(
                f"{self.path} shows another person from about {self.times[change]:.1f} s on: "
                f"{_one_take(self.sampled[change])}"
            )


def _thumbnail(frame: np.ndarray) -> np.ndarray:
    """Every few pixels of a frame, in [0, 1]."""
    height, width = frame.shape[:2]
    small = frame[:: max(1, height // 64), :: max(1, width // 64)]
    return small.astype(np.float32) / 255


def _is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    return before.shape != after.shape or bool(np.abs(after - before).mean() > CUT)


def _one_take(number: int) -> str:
    remedy = f", for example its first part by frames={number}" if number >= LEAST_FRAMES else ""
    return f"give one take of one person{remedy}."


def other_person(faces: list[np.ndarray]) -> int | None:
    """From which of these descriptors on another person is seen, if any.

    Three faces in a row must differ from the first three more than those of one person do.
    """
    for start in range(3, len(faces) - 2):
        change = np.mean(faces[start : start + 3], 0) - np.mean(faces[:3], 0)
        if np.linalg.norm(change) > OTHER:
            return start
    return None
