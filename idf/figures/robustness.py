"""What is left of a defence under ever stronger transformations: a panel for each kind."""

import math
from collections.abc import Sequence
from statistics import mean

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idf.data.transforms import KINDS, name_of
from idf.figures.style import WIDTH, entitled
from idf.methods import of_scenario

COLUMNS = 4  # of panels
ALONE = ("none", "unrounded")  # kinds without strengths: where each curve begins
MEASURES = {
    "dsr": "DSR",
    "l2": "L2 of y′",
    "infected_edit_success": "edits seen",
}


def strength_curves(rows: Sequence[dict], measure: str = "dsr", title: str = "") -> Figure:
    """Rows of `idf robustness` of one data set, mean over the forgers, a line for each method.

    A panel for each kind that was measured, which begins with the picture as it was published.
    measure: of MEASURES; beside the edits seen stand those on T(x), for what T itself costs the
    forger.
    """
    measured = {row["transform"] for row in rows}
    kinds = []
    for name, kind in KINDS.items():
        ways = {name_of(name, strength) for strength in kind.strengths}
        if name not in ALONE and ways & measured:
            kinds.append(name)
    count = math.ceil((len(kinds) + 1) / COLUMNS)
    size = (WIDTH, 1.75 * count + 0.5)
    figure, axes = plt.subplots(count, COLUMNS, figsize=size, sharey=True, squeeze=False)
    for axis, name in zip(axes.flat, kinds):
        _draw_kind(axis, rows, name, measure)
    for axis in axes[:, 0]:
        axis.set_ylabel(MEASURES[measure], fontsize=9)

    # the legend takes what is left of the last row
    for axis in axes.flat[len(kinds) :]:
        axis.set_axis_off()
    handles = axes.flat[0].get_legend_handles_labels()
    axes.flat[len(kinds)].legend(*handles, loc="center left", title="x′ made by", fontsize=8)
    return entitled(figure, title)


def _draw_kind(axis: Axes, rows: Sequence[dict], name: str, measure: str) -> None:
    kind, measured = KINDS[name], {row["transform"] for row in rows}
    strengths = [one for one in kind.strengths if name_of(name, one) in measured]
    ways = ["none", *(name_of(name, strength) for strength in strengths)]
    for method in of_scenario(1).values():
        own = [row for row in rows if row["method"] == method.name]
        line = {"color": method.colour, "marker": method.marker, "linestyle": method.line}
        _draw_means(axis, own, ways, measure, label=method.legend, markersize=4, **line)
    if measure == "infected_edit_success":
        _draw_means(axis, rows, ways, "edit_success", label="nobody: T(x)", color="black")
    if measure != "l2":
        axis.set_ylim(-0.05, 1.05)
    axis.set_title(kind.label, fontsize=9)
    ticks = ["none", *(f"{strength:g}" for strength in strengths)]
    axis.set_xticks(range(len(ways)), ticks, fontsize=8)
    axis.set_xlabel(" ".join(kind.unit.format("").split()), fontsize=8)


def _draw_means(axis: Axes, rows: Sequence[dict], ways: Sequence[str], column: str, **look) -> None:
    """A column's mean under each transformation, where it was measured for this method."""
    points = []
    for place, way in enumerate(ways):
        values = [row[column] for row in rows if row["transform"] == way]
        if values:
            points.append((place, mean(values)))
    if points:
        axis.plot(*zip(*points, strict=True), **look)
