"""Figure 7 of the paper in numbers: what is left of a poison when a part of its training is not."""

from collections.abc import Mapping, Sequence
from statistics import mean

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from idf.colours import BLUE, GREEN, ORANGE, RED
from idf.figures.style import WIDTH, entitled, mark

THRESHOLD = 0.05  # of L2: beyond it a pair counts in the DSR
FORGERS = {  # by the forger's seed: the surrogate's is 0
    0: ("the surrogate", BLUE, "o"),
    1: ("forger 1", ORANGE, "^"),
    2: ("forger 2", GREEN, "s"),
    3: ("forger 3", RED, "D"),
}
APART = 0.19  # from a variant's line: the surrogate's dots above it, the forgers' below


def ablation_dots(
    panels: Mapping[str, Sequence[dict]], labels: Mapping[str, str], title: str = ""
) -> Figure:
    """Rows of `idf ablations` at one eps, {heading: rows}: a panel for each, a line a variant.

    Every forger and every seed of PG is a dot at its L2; a black stroke is the mean of the dots on
    the surrogate, another that of all gray-box forgers. labels: {variant: what is written beside
    its line}, in the order from above; rows of other variants are left out.
    """
    measured = {row["variant"] for rows in panels.values() for row in rows}
    names = [name for name in labels if name in measured]
    size = (WIDTH, 0.36 * len(names) + 1.5)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, sharey=True)
    for axis, (heading, rows) in zip(figure.axes, panels.items(), strict=True):
        _draw_panel(axis, rows, names)
        axis.set_title(heading)
    first = figure.axes[0]
    first.set_yticks(range(len(names)), [labels[name] for name in names], fontsize=9)
    first.set_ylim(len(names) - 0.5, -0.5)
    first.set_xlim(left=-0.02)
    handles = first.get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower right", ncols=len(FORGERS) + 1)
    return entitled(figure, title)


def _draw_panel(axis: Axes, rows: Sequence[dict], names: Sequence[str]) -> None:
    for seed, (label, colour, marker) in FORGERS.items():
        own = [row for row in rows if row["target_seed"] == seed and row["variant"] in names]
        places = [names.index(row["variant"]) + (APART if seed else -APART) for row in own]
        look = {"color": colour, "alpha": 0.75, "linewidths": 0, "s": 26}
        axis.scatter([row["l2"] for row in own], places, marker=marker, label=label, **look)

    means, places = [], []
    for place, name in enumerate(names):
        for is_forger in (False, True):
            own = [row for row in rows if row["variant"] == name]
            values = [row["l2"] for row in own if (row["target_seed"] > 0) == is_forger]
            if values:
                means.append(mean(values))
                places.append(place + (APART if is_forger else -APART))
    look = {"color": "black", "marker": "|", "s": 90, "linewidths": 1.6}
    axis.scatter(means, places, label="mean", **look)
    mark(axis, x=THRESHOLD)
    axis.set_xlabel("L2 of y′ to y (dashed: the DSR's .05)", fontsize=9)
