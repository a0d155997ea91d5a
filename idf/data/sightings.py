"""What is seen in a video, frame by frame: one face's landmarks, or why there are none."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from idf.config import UserError
from idf.data.cache import progress
from idf.data.landmarks import face_finder, read_landmarks
from idf.data.movies import DamagedFilm, film_length, read_frames

LEAST_FRAMES = 50
SPARSE = 10  # after LEAST_FRAMES without a face only each tenth is looked at, till there is one

# (number of the frame, uint8 (H, W, 3)) -> its points (68, 2), or None and why it is left out
Look = Callable[[int, np.ndarray], tuple[np.ndarray | None, str]]


@dataclass
class Sightings:
    """All frames of a video in turn; those ahead of the asked start have neither face nor reason.

    Points are x, y in pixels of the whole frame, 0 the edge of the first pixel.
    """

    path: Path
    start: float = 0.0  # in seconds
    points: list[np.ndarray | None] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # in seconds
    reasons: dict[str, list[int]] = field(default_factory=dict)  # {why left out: frames' numbers}
    first: int = -1  # the first frame with one face
    shape: tuple[int, int] = (0, 0)  # height and width of a frame
    damage: str = ""  # why the video cannot be read any further
    whole: bool = True  # read to its end, or to its damage

    def add(self, time: float, points: np.ndarray | None, reason: str) -> None:
        number = len(self.points)
        if reason:
            self.leave_out(number, reason)
        elif points is not None and self.first < 0:
            self.first = number
        self.points.append(points)
        self.times.append(time)

    def leave_out(self, number: int, reason: str) -> None:
        self.reasons.setdefault(reason, []).append(number)

    @property
    def dropped(self) -> dict[str, int]:
        return {reason: len(numbers) for reason, numbers in self.reasons.items()}

    @property
    def notes(self) -> list[str]:
        """Where the video begins and ends, where that is not at its own ends."""
        notes = []
        if self.first > 0 and self.reasons and min(map(min, self.reasons.values())) < self.first:
            notes.append(
                f"It is used from {self.times[self.first]:.1f} s on, the first frame with one face."
            )
        if self.damage:
            notes.append(f"It {self.damage}: the {len(self.points)} frames before that are read.")
        return notes

    def too_few(self, kept: int) -> UserError:
        """Says what was seen and where, how many frames are left, and what to do."""
        count = sum(time >= self.start for time in self.times)
        seen = [f"{len(n)} with {why} ({self._span(n)})" for why, n in self.reasons.items()]
        said = f"{self.path} has only {kept} usable frames of {count}"
        if seen:
            said += f", {', '.join(seen)}"
        if self.damage:
            said += f", and {self.damage}"
        return UserError(f"{said}: {LEAST_FRAMES} are needed; {self._remedy()}.")

    def _span(self, numbers: list[int]) -> str:
        first, last = (f"{self.times[number]:.1f}" for number in (numbers[0], numbers[-1]))
        return f"at {first} s" if first == last else f"{first} to {last} s"

    def _remedy(self) -> str:
        if not self.whole:
            length = film_length(self.path)
            return f"frames=0 reads all of it{f' ({length:.1f} s)' if length else ''}"
        if self.damage:
            return "copy or repair it"
        if "several faces" in self.reasons:
            return "show one person, or cut the picture to one"
        return "show one face from the front, 80 pixels wide or more"


def find_landmarks(path: Path, marks: Path | None, most: int, start: float = 0.0) -> Sightings:
    """Looks at a video's frames by dlib, or into the landmark file `marks`.

    most: stop after so many from the first with one face on (0: never). start: leave out what
    comes before, in seconds. Raises UserError where no frames are left.
    """
    rows = read_landmarks(marks) if marks else None
    look = _by_dlib() if rows is None else _by_file(rows)
    seen, found = Sightings(path, start), (None, "")
    try:
        for frame, time in progress(read_frames(path, start=start), "Finding faces", "frame"):
            number = len(seen.points)
            faceless = seen.first < 0 and sum(seen.dropped.values()) >= LEAST_FRAMES
            if frame is not None and not (faceless and not marks and number % SPARSE):
                seen.shape, found = frame.shape[:2], look(number, frame)
            seen.add(time, *found)
            if most and seen.first >= 0 and number + 1 == seen.first + most:
                seen.whole = False
                break
    except DamagedFilm as error:
        seen.damage = str(error).removeprefix(f"{path} ")
    if not seen.times:
        raise UserError(f"{path} holds no frames: give another video.")
    if seen.times[-1] < start:
        raise UserError(
            f"{path} ends at {seen.times[-1]:.1f} s, before start={start:g}: use a smaller number."
        )
    if rows is not None:
        _check_rows(rows, marks, seen)
    return seen


def _by_dlib() -> Look:
    find = face_finder()

    def look(number: int, frame: np.ndarray) -> tuple[np.ndarray | None, str]:
        faces = find(frame)
        if len(faces) == 1:
            return faces[0], ""
        return None, "several faces" if faces else "no face"

    return look


def _by_file(rows: np.ndarray) -> Look:
    def look(number: int, frame: np.ndarray) -> tuple[np.ndarray | None, str]:
        if number < len(rows) and np.isfinite(rows[number]).all():
            return rows[number], ""
        return None, "no landmarks in the file"

    return look


def _check_rows(rows: np.ndarray, marks: Path, seen: Sightings) -> None:
    """A row a frame; only a film that was not read to its end may have fewer frames."""
    count = len(seen.times)
    cut_short = not seen.whole or seen.damage
    if len(rows) < count or (len(rows) > count and not cut_short):
        raise UserError(
            f"{marks} has landmarks for {len(rows)} frames, {seen.path} has {count}: give one row "
            "a frame."
        )
