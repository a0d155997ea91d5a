"""By how much two photos of one size differ."""

import numpy as np

from idf.apps.photo.align import Alignment

MOST_PSNR = 99.0  # dB, where nothing changed


def largest_change(a: np.ndarray, b: np.ndarray) -> int:
    """In grey levels, of two photos uint8 (H, W, 3)."""
    return int((np.maximum(a, b) - np.minimum(a, b)).max())


def psnr_of_faces(original: np.ndarray, pixels: np.ndarray, faces: list[Alignment]) -> float:
    """dB over the upright rectangles around the crops; MOST_PSNR where nothing changed."""
    total = 0.0
    count = 0
    for face in faces:
        rectangle = face.rectangle(original.shape)
        square = np.square(original[rectangle].astype(np.float32) - pixels[rectangle])
        total += float(square.sum())
        count += square.size
    error = total / max(1, count)
    return float(min(MOST_PSNR, 10 * np.log10(255**2 / max(error, 1e-9))))
