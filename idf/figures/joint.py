"""Figure 8 of the paper: one frame as each defence publishes it, and what forgers make of it."""

from matplotlib.figure import Figure
from torch import Tensor

from idf.figures.generic import grid


def joint_sheet(columns: dict[str, dict[str, Tensor]], title: str = "") -> Figure:
    """{column: {row: picture (3, S, S) in [-1, 1]}}: a column a defence, all with the same rows."""
    rows = list(next(iter(columns.values())))
    images = [[pictures[row] for pictures in columns.values()] for row in rows]
    return grid(images, rows, list(columns), title)
