"""A face of a photo, aligned as CelebA's are.

Alignment is a similarity that brings five points of a face (eyes, tip of the nose, corners of the
mouth) to where they lie in CelebA's aligned pictures of 178 x 218.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idf.data.celeba import CROP

# where the five points lie in CelebA's aligned pictures without their upper and lower 20 rows,
# measured with the same landmarks on 392 of them
TEMPLATE = np.array([[69.7, 93.3], [108.3, 93.3], [88.5, 115.5], [71.5, 133.5], [106.5, 133.5]])
# of a crop, in pixels of the photo: below it the networks see more pixels than there are
LEAST_SIDE = 64


@dataclass(frozen=True, eq=False)
class Alignment:
    """The similarity from CelebA's square crop (CROP x CROP) to a face in the photo, in pixels."""

    matrix: np.ndarray  # (2, 3)

    @property
    def side(self) -> float:
        """Side of the crop in pixels of the photo."""
        return CROP * float(np.hypot(*self.matrix[:, 0]))

    def corners(self) -> np.ndarray:
        """The crop's four corners in the photo, (4, 2)."""
        square = np.array([[0, 0], [CROP, 0], [CROP, CROP], [0, CROP]])
        return square @ self.matrix[:, :2].T + self.matrix[:, 2]

    @property
    def centre(self) -> np.ndarray:
        """The crop's centre in the photo, (2,): x, y."""
        return self.corners().mean(0)

    def share_inside(self, shape: tuple[int, ...]) -> float:
        """How much of the crop lies in a photo of this shape (H, W, ...), from 0 to 1."""
        steps = (np.arange(64) + 0.5) * (CROP / 64)
        points = np.stack(np.meshgrid(steps, steps), -1) @ self.matrix[:, :2].T + self.matrix[:, 2]
        return float(((points >= 0) & (points < [shape[1], shape[0]])).all(-1).mean())

    def rectangle(self, shape: tuple[int, ...]) -> tuple[slice, slice]:
        """Rows and columns of a photo of this shape (H, W, ...) that hold the crop."""
        left, top = np.floor(self.corners().min(0)).astype(int).clip(0)
        right, bottom = np.ceil(self.corners().max(0)).astype(int)
        return slice(top, min(bottom, shape[0])), slice(left, min(right, shape[1]))

    def moved(self, scale: float = 1, shift: tuple[float, float] = (0, 0)) -> Self:
        """A crop `scale` times as wide, its centre moved by shares of its side (right, down)."""
        u, v = CROP * ((1 - scale) / 2 + np.array(shift))
        return type(self)(self.matrix @ [[scale, 0, u], [0, scale, v], [0, 0, 1]])

    def cut_to(self, rectangle: tuple[slice, slice]) -> Self:
        """The same face in the part of the photo that has these rows and columns."""
        rows, columns = rectangle
        matrix = self.matrix.copy()
        matrix[:, 2] -= columns.start, rows.start
        return type(self)(matrix)


def alignment_of(landmarks: np.ndarray) -> Alignment:
    """The least-squares similarity for a face with 68 landmarks (x, y) in pixels of the photo."""
    from skimage.transform import estimate_transform  # with SciPy, which imports slowly

    left_eye = landmarks[36:42].mean(0)
    right_eye = landmarks[42:48].mean(0)
    points = np.stack([left_eye, right_eye, landmarks[30], landmarks[48], landmarks[54]])
    return Alignment(estimate_transform("similarity", TEMPLATE, points).params[:2])


def aligned(pixels: np.ndarray, alignment: Alignment, size: int) -> Tensor:
    """The face as CelebA's is cropped, uint8 (3, size, size).

    What lies outside the photo repeats its border.
    """
    window, corner = window_of(pixels, alignment)
    x = torch.from_numpy(window.copy()).permute(2, 0, 1).float()
    sample = sampler(alignment, corner, x.shape[-2:], size)
    return sample(x).round().clamp(0, 255).to(torch.uint8)


def window_of(pixels: np.ndarray, alignment: Alignment) -> tuple[np.ndarray, np.ndarray]:
    """The part of the photo that the crop is sampled from, and its corner (left, top).

    A whole photo in floats may be large.
    """
    height, width = pixels.shape[:2]
    corners = alignment.corners()
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, (width - 1, height - 1))
    right, bottom = np.clip(
        np.ceil(corners.max(0)).astype(int) + 2, (left + 1, top + 1), (width, height)
    )
    return pixels[top:bottom, left:right], np.array([left, top])


def sampler(
    alignment: Alignment, corner: np.ndarray, shape: tuple[int, ...], size: int
) -> Callable[[Tensor], Tensor]:
    """The linear map from a window of the photo to the aligned face (3, size, size).

    The window (3, h, w) has this shape (h, w), and its left and top at `corner`.
    """
    # about one sample a pixel of the photo, at least as many as CelebA's own pictures have
    n = CROP * max(1, round(alignment.side / CROP))
    steps = (torch.arange(n, dtype=torch.float64) + 0.5) * (CROP / n)
    v, u = torch.meshgrid(steps, steps, indexing="ij")

    # where they lie in the window, as grid_sample counts: -1 to 1 from edge to edge
    in_photo = torch.stack([u, v, torch.ones_like(u)], -1) @ torch.tensor(alignment.matrix).T
    in_window = in_photo - torch.tensor(corner)
    grid = (in_window * 2 / torch.tensor([shape[1], shape[0]]) - 1)[None].float()
    rows = _shrinking(n, size)

    def sample(x: Tensor) -> Tensor:
        samples = F.grid_sample(x[None], grid, "bilinear", "border", False)[0]
        return rows @ samples @ rows.T

    return sample


@lru_cache(maxsize=8)
def _shrinking(n: int, size: int) -> Tensor:
    """(size, n): bicubic shrinking along one axis with antialiasing, as Pillow's resize does it."""
    eye = torch.eye(n)[None, None]
    return F.interpolate(eye, (size, n), mode="bicubic", antialias=True)[0, 0]
