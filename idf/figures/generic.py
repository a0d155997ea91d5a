"""Figures of any pictures and numbers, and the curve that grows while a network trains."""

import io
import time
from collections.abc import Callable, Sequence
from html import escape
from itertools import chain

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure
from torch import Tensor

from idf.colours import COLOURS
from idf.data.pictures import to_picture
from idf.figures.style import WIDTH, entitled, mark, name_columns, show

Series = tuple[Sequence[float], Sequence[float]]  # x and y of a curve


def grid(
    images: Sequence[Sequence[Tensor]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """R rows of C images (3, S, S) in [-1, 1], or one tensor (R, C, 3, S, S), with names beside."""
    count = len(images[0])

    # inches: the names of the rows at the left, the names of the columns at the head
    lines = "\n".join(rows).split("\n")
    left = 0.09 * max(len(line) for line in lines)
    head = 0.0
    if columns:
        head = 0.08 + 0.17 * (1 + max(name.count("\n") for name in columns))
    if title:
        head += 0.45
    cell = min(1.5, (WIDTH - left) / count)  # of one image
    size = (cell * count + left, cell * len(images) + head)

    figure, axes = plt.subplots(len(images), count, squeeze=False, figsize=size)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    for axes_of_row, images_of_row in zip(axes, images, strict=True):
        for axis, image in zip(axes_of_row, images_of_row, strict=True):
            show(axis, to_picture(image))
    for axis, name in zip(axes[:, 0], rows):
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    name_columns(axes[0], columns)
    return entitled(figure, title)


def sheet(images: Tensor, title: str = "", columns: int = 16) -> Figure:
    """A contact sheet of N images (N, 3, S, S) in [-1, 1], its last row filled up with white."""
    white = images.new_ones(-len(images) % columns, *images.shape[1:])
    images = torch.cat([images, white])

    # (rows * columns, 3, S, S) -> one picture (3, rows * S, columns * S)
    _, channels, height, width = images.shape
    rows = len(images) // columns
    images = images.reshape(rows, columns, channels, height, width).permute(2, 0, 3, 1, 4)
    joined = images.reshape(channels, rows * height, columns * width)

    head = 0.4 if title else 0
    figure, axis = plt.subplots(figsize=(WIDTH, WIDTH * rows / columns + head))
    show(axis, to_picture(joined))
    return entitled(figure, title)


def bars(
    groups: dict[str, dict[str, float]],
    title: str,
    unit: str = "",
    limit: float | None = None,
    goal: float | None = None,
) -> Figure:
    """Bars {series: {name: value}}, beside each other where series share names; goal: a line."""
    names = list(dict.fromkeys(chain(*groups.values())))
    shared = len(names) < sum(len(values) for values in groups.values())
    beside = len(groups) if shared else 1  # bars of one name
    pitch = 0.8 / beside

    figure, axis = plt.subplots(figsize=(WIDTH, 2.8))
    for k, (series, values) in enumerate(groups.items()):
        shift = (k - (beside - 1) / 2) * pitch if shared else 0
        positions = [names.index(name) + shift for name in values]
        heights = list(values.values())
        drawn = axis.bar(positions, heights, 0.76 / beside, color=COLOURS[k], label=series)
        axis.bar_label(drawn, fmt="%.2f", fontsize=8, padding=1)
    if goal is not None:
        mark(axis, y=goal)
    axis.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axis.set(ylabel=unit, ylim=(0, limit))
    axis.grid(axis="x", visible=False)
    if len(groups) > 1:
        axis.legend(ncols=len(groups), loc="lower right", bbox_to_anchor=(1, 1))
    return entitled(figure, title)


def heatmaps(
    maps: dict[str, dict[str, dict[str, float]]], title: str = "", digits: int = 2
) -> Figure:
    """Tables of numbers {panel: {row: {column: number}}} side by side, darker where larger.

    A number that is missing, or nan, leaves its place empty. digits: after the point.
    """
    rows = max(len(table) for table in maps.values())
    size = (WIDTH, 1.1 + 0.33 * rows)
    widths = [len(next(iter(table.values()))) for table in maps.values()]
    figure, axes = plt.subplots(1, len(maps), squeeze=False, figsize=size, width_ratios=widths)
    for axis, (panel, table) in zip(axes[0], maps.items(), strict=True):
        columns = list(next(iter(table.values())))
        rows_of = [[row.get(column, np.nan) for column in columns] for row in table.values()]
        numbers = np.array(rows_of)
        axis.imshow(numbers, cmap="Blues", aspect="auto", vmin=0)
        for (i, j), number in np.ndenumerate(numbers):
            ink = "white" if number > 0.6 * np.nanmax(numbers) else "black"
            text = "" if np.isnan(number) else f"{number:.{digits}f}"
            axis.text(j, i, text, ha="center", va="center", color=ink, fontsize=9)
        axis.set_xticks(range(len(columns)), columns)
        axis.set_yticks(range(len(table)), list(table))
        axis.set_title(panel)
        axis.tick_params(length=0)
        axis.grid(False)
    return entitled(figure, title)


def curves(
    panels: dict[str, dict[str, Series]], title: str = "", x_name: str = "iteration"
) -> Figure:
    """A panel for each quantity, {quantity: {series: (x, y)}}; a series has one colour in all."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 2.9), squeeze=False)
    names = list(dict.fromkeys(chain(*panels.values())))
    lines = ("-", "--", "-.", ":")
    for axis, (quantity, panel) in zip(axes[0], panels.items(), strict=True):
        for name, (x, y) in panel.items():
            k = names.index(name)
            axis.plot(x, y, label=name, color=COLOURS[k], linestyle=lines[k % len(lines)])
        axis.set(title=quantity, xlabel=x_name)

        # the names in one row, with room above the curves
        if len(panel) > 1:
            low, high = axis.get_ylim()
            axis.set_ylim(low, high + 0.2 * (high - low))
            axis.legend(
                ncols=len(panel),
                loc="upper center",
                fontsize=8,
                handlelength=1.4,
                columnspacing=0.8,
            )
    return entitled(figure, title)


class LiveCurve:
    """Draws the history of a training while it runs: pass it as `watch` to idf.editing.train.

    terms: {quantity: names in the history}; total: iterations; at most one picture every `seconds`,
    and the last.
    """

    def __init__(
        self, terms: dict[str, Sequence[str]], total: int, title: str = "", seconds: float = 3.0
    ):
        self.terms = terms
        self.total = total
        self.title = title
        self.seconds = seconds
        self.start = time.monotonic()
        self.drawn = float("-inf")  # when it drew last
        self.handle = None

    def __call__(self, training) -> None:
        """Draws `training.history` up to `training.iteration`, if it is time to."""
        now = time.monotonic()
        if now - self.drawn < self.seconds and training.iteration < self.total:
            return
        self.drawn = now

        # a picture, not the figure itself: so it works with every backend, and headless
        content = io.BytesIO()
        figure = self.draw(training.history, training.iteration)
        figure.savefig(content, format="png")
        plt.close(figure)
        image = Image(content.getvalue())
        if self.handle:
            self.handle.update(image)
        else:
            self.handle = display(image, display_id=True)

    def draw(self, history: list[dict], iteration: int) -> Figure:
        """The curves of a history so far, under a bar that says how much is done and left."""
        spent = time.monotonic() - self.start
        left = spent / max(iteration, 1) * (self.total - iteration)
        bar = "█" * round(20 * iteration / self.total)
        state = f"{bar:░<20} {iteration} of {self.total}, {spent:.0f} s, {left:.0f} s left"

        panels = {}
        for quantity, names in self.terms.items():
            panels[quantity] = {}
            for name in names:
                records = [record for record in history if name in record]
                if records:
                    x = [record["iteration"] for record in records]
                    y = [record[name] for record in records]
                    panels[quantity][name] = (x, y)
        return curves(panels, f"{self.title}\n{state}")


def table(rows: Sequence[dict], columns: dict[str, Callable]) -> HTML:
    """Rows as an HTML table for a notebook: {heading: function of a row giving its text}."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = ""
    for row in rows:
        texts = [escape(str(text_of(row))) for text_of in columns.values()]
        cells = "".join(f"<td>{text}</td>" for text in texts)
        body += f"<tr>{cells}</tr>"
    return HTML(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def coloured(classes: Tensor) -> Tensor:
    """19 classes (N, S, S) as pictures (N, 3, S, S) in [-1, 1], a colour each, for `grid`."""
    rgb = plt.get_cmap("tab20", 19)(range(19))[:, :3]
    colours = torch.tensor(rgb, dtype=torch.float32)
    return 2 * colours[classes.long()].permute(0, 3, 1, 2) - 1
