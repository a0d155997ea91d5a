"""Procedural faces from a seed: image, attributes, 68 landmarks and classes of pixels, all exact.

>>> render_faces(range(4), size=64, Smiling=True).images.shape
torch.Size([4, 3, 64, 64])
"""

import operator
from collections.abc import Iterable
from dataclasses import dataclass, fields
from types import SimpleNamespace

import torch
from torch import Tensor

from idf.config import HAIR, UserError
from idf.data.drawn.anatomy import landmarks
from idf.data.drawn.attributes import ATTRIBUTES, LABELS
from idf.data.drawn.paint import draw
from idf.data.drawn.sample import sample

__all__ = ["ATTRIBUTES", "LABELS", "FaceBatch", "join", "paint_faces", "render_faces"]

CHUNK = 2**17  # pixels painted at a time: a layer stays within the processor's cache


@dataclass(frozen=True)
class FaceBatch:
    """N drawn faces. As in CelebAMask-HQ, "left" is the person's left: the picture's right half."""

    images: Tensor  # uint8 (N, 3, S, S)
    attributes: Tensor  # bool (N, len(ATTRIBUTES))
    landmarks: Tensor  # float32 (N, 68, 2): x, y in pixels, 0 is the first one's centre; iBUG order
    labels: Tensor  # uint8 (N, S, S), as indices into LABELS


def render_faces(seeds: Iterable[int], size: int = 64, **attributes: bool) -> FaceBatch:
    """The faces of `seeds`, each the same at any size and in any batch.

    attributes: forced on all of them, like Smiling=True. Raises UserError for an unknown attribute,
    contradictory hair colours, a size outside 32..256, or unusable seeds.
    """
    if type(size) is not int or not 32 <= size <= 256:
        raise UserError(
            f"size={size!r} is not supported by render_faces: use a whole number from 32 to 256."
        )
    seeds = _whole_numbers(seeds)
    _check_attributes(attributes)
    chunk = max(1, CHUNK // size**2)
    parts = []
    for start in range(0, len(seeds), chunk):
        sampled = sample(seeds[start : start + chunk], **attributes)
        parts.append(paint_faces(*sampled, size))
    return join(parts)


def paint_faces(attributes: Tensor, numbers: dict[str, Tensor], size: int) -> FaceBatch:
    """The faces that these attributes and numbers, as from `sample`, describe."""
    face = SimpleNamespace(**numbers)
    face.lips_w = face.mouth_w + 0.055 * face.smile + face.spread
    images, labels = draw(face, size)
    return FaceBatch(images, attributes, landmarks(face, size), labels)


def join(parts: list[FaceBatch]) -> FaceBatch:
    """One batch of several."""
    joined = {}
    for field in fields(FaceBatch):
        joined[field.name] = torch.cat([getattr(part, field.name) for part in parts])
    return FaceBatch(**joined)


def _whole_numbers(seeds: Iterable[int]) -> list[int]:
    try:
        numbers = [operator.index(seed) for seed in seeds]
    except TypeError:
        numbers = []
    if not numbers or min(numbers) < 0 or max(numbers) >= 2**63:
        raise UserError(
            "seeds of render_faces must be whole numbers from 0 to 2**63 - 1, at least one: "
            "try range(64)."
        )
    return numbers


def _check_attributes(attributes: dict[str, bool]) -> None:
    for name, value in attributes.items():
        if name not in ATTRIBUTES or not isinstance(value, bool):
            raise UserError(
                f"Cannot force {name}={value!r}: set one of {', '.join(ATTRIBUTES)} "
                "to True or False."
            )
    hair = [attributes.get(name) for name in HAIR]
    if hair.count(True) > 1 or hair.count(False) == len(HAIR):
        raise UserError(
            f"A face has one hair colour: set only one of {', '.join(HAIR)} to True, "
            "or leave one free."
        )
