"""What may happen to a published picture before a forger edits it, on its way or by his own hand.

A transformation T takes pictures (..., 3, S, S) in [-1, 1] to the same. What is asked of a poison
is whether it outlives T, so the forger's edit of T(x') is held against his edit of T(x): both
pictures go the same way, shifted and cropped ones too. Then a difference is the poison's, never
T's. Purification, where a forger washes what he found, is the same set.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from idf.data.pictures import in_8_bits, recompressed, to_model, to_picture

BICUBIC = Image.Resampling.BICUBIC
SCREENSHOT_QUALITY = 90  # of its JPEG, whose colours have a quarter of the pixels


# Pixels: uint8 (H, W, 3) -> uint8 (H, W, 3), by Pillow


def jpeg(pixels: np.ndarray, quality: float, full_colour: bool = False) -> np.ndarray:
    """After a JPEG of this quality, 4:4:4 or 4:2:0."""
    return recompressed(pixels, int(quality), full_colour)


def webp(pixels: np.ndarray, quality: float) -> np.ndarray:
    """After a lossy WebP of this quality; its colours always have a quarter of the pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "WEBP", quality=int(quality))
    return np.asarray(Image.open(buffer))


def resized(pixels: np.ndarray, share: float) -> np.ndarray:
    """Brought to this share of its size and back, both bicubic."""
    image = Image.fromarray(pixels)
    other = [round(share * length) for length in image.size]
    return np.asarray(image.resize(other, BICUBIC).resize(image.size, BICUBIC))


def screenshot(pixels: np.ndarray, zoom: float) -> np.ndarray:
    """Shown at `zoom` times its size, captured as JPEG, and brought back, bicubic."""
    image = Image.fromarray(pixels)
    shown = image.resize([round(zoom * length) for length in image.size], BICUBIC)
    captured = jpeg(np.asarray(shown), SCREENSHOT_QUALITY)
    return np.asarray(Image.fromarray(captured).resize(image.size, BICUBIC))


def cropped(pixels: np.ndarray, margin: float) -> np.ndarray:
    """Without `margin` px at each side, and brought back to its size, bicubic."""
    height, width = pixels.shape[:2]
    box = (margin, margin, width - margin, height - margin)
    return np.asarray(Image.fromarray(pixels).resize((width, height), BICUBIC, box=box))


def scaled(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Larger or smaller by `factor` about its middle, bicubic.

    The size stays: a larger picture loses its rim, a smaller one goes on with its outermost pixels.
    """
    height, width = pixels.shape[:2]
    margin = max(0, math.ceil(max(height, width) * (1 / factor - 1) / 2))
    padded = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    left = margin + width * (1 - 1 / factor) / 2
    top = margin + height * (1 - 1 / factor) / 2
    box = (left, top, left + width / factor, top + height / factor)
    return np.asarray(Image.fromarray(padded).resize((width, height), BICUBIC, box=box))


def shifted(pixels: np.ndarray, by: float) -> np.ndarray:
    """`by` whole px to the right and down; the outermost pixels fill what opens."""
    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((int(by), 0), (int(by), 0), (0, 0)), mode="edge")
    return np.ascontiguousarray(padded[:height, :width])


# Batches: float (..., 3, S, S) in [-1, 1] -> the same, by torch

Change = Callable[[Tensor, float], Tensor]


def by_pixels(change: Callable[..., np.ndarray], **options) -> Change:
    """A function of one picture's pixels and a strength, as a function of a batch."""

    def changed(x: Tensor, strength: float) -> Tensor:
        pictures = [change(to_picture(one), strength, **options) for one in x.flatten(0, -4)]
        pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
        return to_model(pixels).reshape(x.shape).to(x.device)

    return changed


def unchanged(x: Tensor, strength: float) -> Tensor:
    return x


def fewer_bits(x: Tensor, bits: float) -> Tensor:
    """Rounded to 2^bits levels in each channel."""
    levels = 2**bits - 1
    return ((x + 1) / 2 * levels).round() / levels * 2 - 1


def blurred(x: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` px, cut off behind 3 sigma; the border is mirrored."""
    from torchvision.transforms.functional import gaussian_blur  # imports slowly

    flat = gaussian_blur(x.flatten(0, -4), 2 * math.ceil(3 * sigma) + 1, sigma)
    return flat.reshape(x.shape)


def median(x: Tensor, side: float) -> Tensor:
    """Each value's median over side x side px of its channel, side odd; the border is repeated."""
    side = int(side)
    padded = F.pad(x.flatten(0, -4), (side // 2,) * 4, mode="replicate")
    windows = padded.unfold(-2, side, 1).unfold(-2, side, 1)  # (N, 3, S, S, side, side)
    return windows.flatten(-2).median(-1).values.reshape(x.shape)


def noisy(x: Tensor, sigma: float) -> Tensor:
    """Gaussian noise of deviation `sigma` on [-1, 1], each picture's own.

    It depends on a picture's place in the batch alone: x and x' get the same.
    """
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape[-4:], generator=generator).to(x)
    return (x + sigma * noise).clamp(-1, 1)


def brighter(x: Tensor, factor: float) -> Tensor:
    """Its light, from 0 (black) to 1, times `factor`."""
    return ((x + 1) * factor - 1).clamp(-1, 1)


# The table


@dataclass(frozen=True)
class Kind:
    """A kind of transformation, and its strengths from weak to strong."""

    label: str
    unit: str  # a strength in words: "{} px"
    strengths: tuple[float, ...]
    change: Change
    rounded: bool = True  # False: the picture is looked at before it is saved in 8 bits

    def in_words(self, *strengths: float) -> str:
        """Strengths, as tables and the explorer write them."""
        return self.unit.format(", ".join(f"{strength:g}" for strength in strengths))

    def __call__(self, x: Tensor, strength: float) -> Tensor:
        """T of x (..., 3, S, S) in [-1, 1]; a file of 8 bits before, and one behind it."""
        if not self.rounded:
            return self.change(x, strength)
        return in_8_bits(self.change(in_8_bits(x), strength))


KINDS = {
    "none": Kind("none", "none", (0,), unchanged),
    "unrounded": Kind("not even saved in 8 bits", "none", (0,), unchanged, rounded=False),
    "jpeg-444": Kind(
        "JPEG, full colours", "quality {}", (95, 90, 85, 75, 50), by_pixels(jpeg, full_colour=True)
    ),
    "jpeg": Kind(
        "JPEG, a quarter of the colours", "quality {}", (95, 90, 85, 75, 50), by_pixels(jpeg)
    ),
    "webp": Kind("WebP", "quality {}", (95, 80, 50), by_pixels(webp)),
    "bits": Kind("fewer bits", "{} bits", (7, 6, 5, 4), fewer_bits),
    "resize": Kind("resize and back", "{} times its size", (0.9, 0.75, 0.5), by_pixels(resized)),
    "screenshot": Kind("screenshot", "at {} times its size", (2, 1.5, 0.75), by_pixels(screenshot)),
    "shift": Kind("shift", "{} px", (1, 2, 3), by_pixels(shifted)),
    "crop": Kind("crop, enlarged again", "{} px at each side", (1, 2, 3), by_pixels(cropped)),
    "enlarge": Kind("enlarged about the middle", "{} times", (1.05, 1.1), by_pixels(scaled)),
    "reduce": Kind("reduced about the middle", "{} times", (0.95, 0.9), by_pixels(scaled)),
    "blur": Kind("blur", "sigma {} px", (0.5, 1, 1.5, 2), blurred),
    "median": Kind("median", "{} px wide", (3, 5), median),
    "noise": Kind("noise", "sigma {}", (0.02, 0.05, 0.1), noisy),
    "brighten": Kind("brighter", "{} times", (1.1, 1.25), brighter),
    "darken": Kind("darker", "{} times", (0.9, 0.75), brighter),
}


@dataclass(frozen=True)
class Transform:
    """One transformation: a kind at one strength."""

    kind: Kind
    strength: float

    @property
    def label(self) -> str:
        if len(self.kind.strengths) == 1:
            return self.kind.label
        return f"{self.kind.label}, {self.kind.in_words(self.strength)}"

    def __call__(self, x: Tensor) -> Tensor:
        return self.kind(x, self.strength)


def name_of(kind: str, strength: float) -> str:
    """Of the transformation in TRANSFORMS and in rows, as "jpeg-75"; a kind alone has no number."""
    return kind if len(KINDS[kind].strengths) == 1 else f"{kind}-{strength:g}"


TRANSFORMS = {
    name_of(name, strength): Transform(kind, strength)
    for name, kind in KINDS.items()
    for strength in kind.strengths
}
