"""Pictures: reading them, JPEG, and the one conversion between uint8 and the models' [-1, 1]."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from idf.config import UserError


def to_model(images: Tensor | np.ndarray) -> Tensor:
    """uint8 (..., 3, H, W) -> float32 in [-1, 1].

    Raises TypeError for another dtype, so that nothing is converted twice.
    """
    images = torch.as_tensor(images)
    if images.dtype != torch.uint8:
        raise TypeError(f"to_model takes uint8 pictures, not {images.dtype}")
    return images.float() / 127.5 - 1


def to_uint8(x: Tensor) -> Tensor:
    """Float (..., 3, H, W) in [-1, 1] -> uint8, rounded to the nearest, clamped where outside."""
    return ((x.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def in_8_bits(x: Tensor) -> Tensor:
    """Rounded to whole grey levels of 255, still in [-1, 1]."""
    return to_model(to_uint8(x))


def to_picture(x: Tensor) -> np.ndarray:
    """Float (3, H, W) in [-1, 1] -> uint8 (H, W, 3), as Pillow and imshow take it."""
    return to_uint8(x.detach().cpu()).permute(1, 2, 0).numpy()


def read_image(path: str | Path) -> Tensor:
    """The picture as uint8 (3, H, W) in RGB, read as by read_rgb.

    Raises UserError, naming the file, where it is missing, truncated, too large or no picture.
    """
    try:
        pixels = np.array(read_rgb(Path(path)))
    except ValueError as error:
        raise UserError(
            f"{path} cannot be read as a picture ({error}): replace the file."
        ) from error
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def read_rgb(path: Path) -> Image.Image:
    """The picture in RGB: upright by its EXIF tag, transparency on white, 16 bits scaled to 8.

    Raises ValueError with the reason alone, without the file's folder.
    """
    try:
        with Image.open(path) as image:
            return _in_rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # decoders fail on broken files with nearly every exception there is
        reason = str(error).replace(str(path), path.name)
        raise ValueError(reason or type(error).__name__) from error


def _in_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    if image.mode.startswith("I"):
        image = scaled_to_8_bits(image)
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")


def scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """A grey picture of 16 bits as one of 8; Pillow's own convert would clip at 255 instead."""
    levels = np.asarray(image).clip(0, 65535) / 257
    return Image.fromarray(levels.round().astype(np.uint8))


def as_jpeg(pixels: np.ndarray, quality: int, full_colour: bool = False, **options) -> bytes:
    """uint8 (H, W, 3) as a JPEG, with Pillow's further options (exif, icc_profile).

    Unless full_colour, the colours have a quarter of the pixels (4:2:0), as in most JPEGs.
    """
    buffer = io.BytesIO()
    subsampling = "4:4:4" if full_colour else "4:2:0"
    Image.fromarray(pixels).save(
        buffer, "JPEG", quality=quality, subsampling=subsampling, **options
    )
    return buffer.getvalue()


def recompressed(pixels: np.ndarray, quality: int, full_colour: bool = False) -> np.ndarray:
    """uint8 (H, W, 3) after such a JPEG."""
    return np.array(Image.open(io.BytesIO(as_jpeg(pixels, quality, full_colour))))
