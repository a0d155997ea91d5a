"""What may happen to a published picture before the forger gets it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from torch import Tensor

from idf.data.pictures import recompressed, to_model, to_picture


def unchanged(picture: Image.Image, strength: float) -> Image.Image:
    return picture


def jpeg(picture: Image.Image, quality: float) -> Image.Image:
    return Image.fromarray(recompressed(np.asarray(picture), int(quality)))


def blurred(picture: Image.Image, radius: float) -> Image.Image:
    return picture.filter(ImageFilter.GaussianBlur(radius))


def resized(picture: Image.Image, side: float) -> Image.Image:
    """Scaled to side x side pixels, and back to its own size."""
    small = picture.resize((int(side), int(side)), Image.Resampling.BICUBIC)
    return small.resize(picture.size)


@dataclass(frozen=True)
class Transformation:
    """One of them, with the strengths that the page offers."""

    label: str
    strengths: tuple[float, ...]
    strength_label: str
    change: Callable[[Image.Image, float], Image.Image]

    def in_words(self, strength: float) -> str:
        """The strength, as the page writes it."""
        return self.strength_label.format(strength)


TRANSFORMATIONS = {
    "none": Transformation("none", (0,), "none", unchanged),
    "jpeg": Transformation("JPEG", (95, 90, 75, 50, 25, 10), "quality {:g}", jpeg),
    "blur": Transformation("blur", (0.5, 1.0, 1.5, 2.0), "{:g} px", blurred),
    "resize": Transformation("resize and back", (56, 48, 32, 24, 16), "{:g} px", resized),
}


def transformed(x: Tensor, name: str, strength: float) -> Tensor:
    """What is left of a published picture (1, 3, S, S) when it reaches the forger."""
    picture = Image.fromarray(to_picture(x[0]))
    arrived = TRANSFORMATIONS[name].change(picture, strength)
    return to_model(np.array(arrived).transpose(2, 0, 1))[None]
