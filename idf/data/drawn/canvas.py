"""Where faces are painted: every pixel's coordinates, the picture, and every pixel's class."""

from dataclasses import dataclass

import torch
from torch import Tensor

from idf.data.drawn import anatomy
from idf.data.drawn.attributes import LABELS
from idf.data.drawn.shapes import mix, rgb


@dataclass
class Grid:
    """Coordinates of every pixel of N faces, and what follows from them: (N, S, S) or less."""

    picture_x: Tensor  # x to the right and y down, the picture spans [-1, 1]
    picture_y: Tensor
    body_x: Tensor  # shifted and scaled with the person
    body_y: Tensor
    head_x: Tensor  # upright in the rolled head
    head_y: Tensor
    x: Tensor  # as the face has them from the front, if yaw and pitch turn it
    y: Tensor
    fold: Tensor  # |x|: both halves of the face in one, since most features come in pairs
    is_left: Tensor  # the person's left half
    head: Tensor  # signed distance to the outline of the head
    lit: Tensor  # (N, 1, S, S): light on the head, about 1


def make_grid(face, size: int) -> Grid:
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    picture_x, picture_y = axis[None, None, :], axis[None, :, None]
    body_x = (picture_x - face.shift_x) / face.zoom
    body_y = (picture_y - face.shift_y) / face.zoom

    sin, cos = face.roll.sin(), face.roll.cos()
    head_x = cos * body_x + sin * body_y
    head_y = cos * body_y - sin * body_x
    depth = anatomy.depth(head_x, head_y)
    x = head_x - face.yaw * depth
    y = head_y - face.pitch * depth

    # light comes from one side and from above, and fades towards the outline
    across, down = head_x / 0.62, (head_y - 0.05) / 0.86
    rim = (across * across + down * down - 0.4).clamp(0, 1)
    lit = 1.02 + 0.1 * face.light * across - 0.07 * down - 0.2 * rim
    return Grid(
        picture_x=picture_x,
        picture_y=picture_y,
        body_x=body_x,
        body_y=body_y,
        head_x=head_x,
        head_y=head_y,
        x=x,
        y=y,
        fold=x.abs(),
        is_left=x > 0,
        head=anatomy.head(face, head_x, head_y),
        lit=lit[:, None],
    )


class Canvas:
    """N pictures in the making, on a wall that changes its colour from top to bottom."""

    def __init__(self, face, grid: Grid):
        down = (grid.picture_y + face.wall_turn * grid.picture_x) * 0.5 + 0.5
        down = down.clamp(0, 1)[:, None]
        smooth = down * down * (3 - 2 * down)
        self.image = mix(face.wall, face.wall_low, smooth)  # float32 (N, 3, S, S) in [0, 1]
        self.pixel = 2 / self.image.shape[-1]
        self.labels = torch.zeros(self.image[:, 0].shape, dtype=torch.uint8)

    def mark(self, label: str | Tensor, where: Tensor) -> None:
        """Gives the pixels `where` (N, S, S) this class: its name, or numbers as from `sided`."""
        if isinstance(label, str):
            label = torch.tensor(LABELS.index(label), dtype=torch.uint8)
        self.labels = torch.where(where, label, self.labels)

    def paint(
        self,
        colour: Tensor,
        distance: Tensor,
        label: str | Tensor | None = None,
        alpha: Tensor | float = 1.0,
        soft: float = 0.0,
    ) -> None:
        """Covers what has a negative distance; its edge is one pixel wide, and `soft` more."""
        cover = (0.5 - distance / (self.pixel + soft)).clamp(0, 1) * alpha
        self.image += cover.unsqueeze(1) * (colour - self.image)
        if label is not None:
            self.mark(label, (distance < 0) & (cover > 0))

    def shade(self, amount: Tensor) -> None:
        """Darkens; red least, as light under the skin does."""
        self.image *= 1 - amount.unsqueeze(1) * rgb(0.75, 1.0, 1.05)

    def light(self, amount: Tensor) -> None:
        """Brightens towards white."""
        self.image += amount.unsqueeze(1) * (1 - self.image)


def sided(name: str, is_left: Tensor) -> Tensor:
    """The classes "left NAME" and "right NAME", for each pixel."""
    left, right = (
        torch.tensor(LABELS.index(f"{side} {name}"), dtype=torch.uint8)
        for side in ("left", "right")
    )
    return torch.where(is_left, left, right)
