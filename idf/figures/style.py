"""One look for all figures: matplotlib's settings, a title, a picture without axes, and `keep`.

Colours say which series it is; line styles and markers say the same once more.
"""

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idf.colours import COLOURS

WIDTH = 9.0  # inches: a notebook's width
plt.rcParams.update(
    {
        "figure.dpi": 100,
        "savefig.dpi": 100,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.titlesize": 10.5,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "axes.axisbelow": True,
        "lines.linewidth": 1.8,
        "lines.markersize": 5.5,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "figure.titlesize": 12,
        "figure.titleweight": "bold",
        "axes.prop_cycle": cycler(color=COLOURS),
    }
)


def keep(figure: Figure, name: str, caption: str, headline: str = "") -> Figure:
    """Saves a result figure in the folder that IDF_OUT names, if any; returns the figure.

    The picture is <name>.png, its caption <name>.txt. headline: what came out, in a sentence; such
    a figure stands first on the page of a run (<name>.headline.txt).
    """
    if os.environ.get("IDF_OUT"):
        folder = Path(os.environ["IDF_OUT"])
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(caption, encoding="utf-8")
        if headline:
            (folder / f"{name}.headline.txt").write_text(headline, encoding="utf-8")
    return figure


def entitled(figure: Figure, title: str) -> Figure:
    """The figure, with a bold title at its upper left."""
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def show(axis: Axes, picture: np.ndarray, **options) -> None:
    """A picture, uint8 (S, S, 3) or one number a pixel (S, S), without ticks and frame."""
    axis.imshow(picture, interpolation="nearest", **options)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def mark(axis: Axes, *, x: float | None = None, y: float | None = None) -> None:
    """A thin dashed line across the panel at x, or at y: a threshold or a goal."""
    look = {"color": "black", "linestyle": "--", "linewidth": 1}
    if x is not None:
        axis.axvline(x, **look)
    if y is not None:
        axis.axhline(y, **look)


def name_columns(axes: list[Axes], names: list[str]) -> None:
    """Small titles, centred above pictures that stand in a row."""
    for axis, name in zip(axes, names):
        axis.set_title(name, fontsize=9, loc="center")
