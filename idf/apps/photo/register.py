"""A photo brought to a copy of it that was scaled, cropped, or shot from a screen."""

import numpy as np
from PIL import Image

from idf.apps.photo.files import Photo
from idf.config import UserError

LONGEST = 700  # pixels of a side at which points are looked for
MOST_POINTS = 1000  # of each picture
LEAST_COMMON = 12  # points that agree on where the photo lies in the copy
WITHIN = 2.0  # pixels, at LONGEST: those agree
MOST_TURN = 0.1  # of an edge that was upright: no site turns or shears a photo by more


def register(photo: Photo, copy: Photo) -> Photo:
    """The photo as it lies in the copy, of the copy's size.

    Elsewhere, as around a screenshot's photo, it is transparent, over the copy's own pixels. Raises
    UserError, with the reason, where the copy does not show the photo.
    """
    matrix = _matrix_between(photo, copy)

    # scaled down as sites do it, before the rest is moved by parts of a pixel
    height, width = photo.pixels.shape[:2]
    scale = np.hypot(matrix[0, :2], matrix[1, :2]).clip(max=1)  # across, down
    size = max(1, round(width * scale[0])), max(1, round(height * scale[1]))
    image = Image.fromarray(photo.pixels).resize(size, Image.Resampling.BICUBIC)
    to_copy = matrix @ np.diag([width / size[0], height / size[1], 1])

    # Pillow asks where a pixel of the copy comes from
    back = np.linalg.inv(to_copy)[:2].ravel().tolist()
    there = copy.pixels.shape[1::-1]
    moved = image.transform(there, Image.Transform.AFFINE, back, Image.Resampling.BICUBIC)
    whole = Image.new("L", size, 255)
    shows = whole.transform(there, Image.Transform.AFFINE, back, Image.Resampling.NEAREST)
    alpha = np.asarray(shows)
    pixels = np.where(alpha[..., None] > 0, np.asarray(moved), copy.pixels)
    return Photo(photo.name, pixels, alpha)


def _matrix_between(photo: Photo, copy: Photo) -> np.ndarray:
    """The affine map (3, 3) from pixels of the photo to those of the copy; 0 is an edge."""
    from skimage.feature import match_descriptors  # with SciPy, which imports slowly
    from skimage.measure import ransac
    from skimage.transform import AffineTransform

    points, descriptors = _points_of(photo)
    others, other_descriptors = _points_of(copy)
    common = 0
    if min(len(points), len(others)) >= LEAST_COMMON:
        pairs = match_descriptors(descriptors, other_descriptors, max_ratio=0.8)
        points, others = points[pairs[:, 0]], others[pairs[:, 1]]
        if len(pairs) >= LEAST_COMMON:
            within = WITHIN * max(1, max(copy.pixels.shape) / LONGEST)
            model, agree = ransac(
                (points, others),
                AffineTransform,
                3,
                within,
                max_trials=2000,
                stop_probability=0.9999,
                rng=0,
            )
            common = 0 if agree is None else int(agree.sum())
    if common < LEAST_COMMON:
        raise UserError(
            f"{copy.name} does not show what {photo.name} shows: {common} points of the two agree, "
            f"and {LEAST_COMMON} are needed; give the photo and a copy of it that is neither "
            "mirrored nor very small."
        )
    matrix = model.params
    turned = abs(matrix[1, 0]) + abs(matrix[0, 1])
    if turned > MOST_TURN * np.sqrt(abs(np.linalg.det(matrix[:2, :2]))) or matrix[0, 0] < 0:
        raise UserError(
            f"{copy.name} shows {photo.name} mirrored, turned or slanted: turn it back, and give "
            "that."
        )
    return matrix


def _points_of(photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """SIFT's points (N, 2), x and y in pixels of the photo, and what each looks like (N, 128)."""
    from skimage.feature import SIFT

    grey = Image.fromarray(photo.pixels).convert("L")
    scale = min(1.0, LONGEST / max(grey.size))
    size = [max(1, round(scale * length)) for length in grey.size]
    sift = SIFT(upsampling=1)
    try:
        sift.detect_and_extract(np.asarray(grey.resize(size, Image.Resampling.BICUBIC)))
    except RuntimeError:  # nothing to be seen on it
        return np.zeros((0, 2)), np.zeros((0, 128))
    best = slice(MOST_POINTS)
    points = (sift.positions[best, ::-1] + 0.5) * [
        length / side for length, side in zip(grey.size, size)
    ]
    return points, sift.descriptors[best]
