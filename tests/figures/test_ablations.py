"""The figure of the ablations: a line a variant, a dot for each forger and seed of PG."""

import matplotlib.pyplot as plt
import pytest

from idf import figures

LABELS = {"full": "all of it", "no-bs": "without L_bs", "no-cyc": "without L_cyc"}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def rows_of(variant, seeds=(0, 1)):
    """L2 .5 on the surrogate, .01 to .03 on the forgers, a little more for each seed of PG."""
    return [
        {"variant": variant, "target_seed": target, "seed": seed, "l2": l2 + 0.1 * seed}
        for seed in seeds
        for target, l2 in enumerate((0.5, 0.01, 0.02, 0.03))
    ]


def dots(axis):
    return {found.get_label(): found.get_offsets().data for found in axis.collections}


def test_every_forger_and_seed_is_a_dot_and_means_stand_apart():
    rows = rows_of("no-bs") + rows_of("full", seeds=[0])
    figure = figures.ablation_dots({"drawn": rows}, LABELS, "title")
    (axis,) = figure.axes
    found = dots(axis)
    assert len(found["the surrogate"]) == 3 and len(found["forger 2"]) == 3
    assert sorted(found["mean"][:, 0]) == pytest.approx([0.02, 0.07, 0.5, 0.55])
    surrogate, forger = found["the surrogate"][:, 1], found["forger 1"][:, 1]
    assert set(surrogate.round()) == {0, 1} and (surrogate < forger).all()


def test_panels_share_lines_in_the_order_of_the_labels():
    panels = {"drawn": rows_of("no-bs"), "CelebA": rows_of("full") + rows_of("summary")}
    left, right = figures.ablation_dots(panels, LABELS, "title").axes
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["all of it", "without L_bs"], "neither what was not measured nor others"
    assert (left.get_title("left"), right.get_title("left")) == ("drawn", "CelebA")
    assert "L2" in left.get_xlabel() and left.get_ylim() == (1.5, -0.5)
    assert len(dots(right)["the surrogate"]) == 2


def test_legend_names_every_series_once_and_the_line_is_at_the_threshold():
    figure = figures.ablation_dots({"a": rows_of("full"), "b": []}, LABELS)
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["the surrogate", "forger 1", "forger 2", "forger 3", "mean"]
    for axis in figure.axes:
        assert axis.lines[0].get_xdata()[0] == 0.05
    figure.canvas.draw()
