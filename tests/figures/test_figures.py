"""Figures: they draw and show the numbers they are given; `keep` writes picture and caption."""

import math
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from idf import figures
from idf.data.pictures import to_uint8

S = 32


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture
def x():
    return torch.rand(6, 3, S, S, generator=torch.Generator().manual_seed(0)) * 2 - 1


def pictures(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axis.images[0].get_array()) for axis in figure.axes if axis.images]


def texts(figure: Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(plt.Text))


def test_grid_shows_each_image_at_its_place(x):
    figure = figures.grid([x[:3], x[3:]], ("above", "below"), ("a", "b", "c"), "title")
    shown = pictures(figure)
    assert len(shown) == 6
    for image, pixels in zip(x, shown, strict=True):
        np.testing.assert_array_equal(pixels, to_uint8(image).permute(1, 2, 0).numpy())
    assert {"above", "below", "a", "b", "c", "title"} <= set(texts(figure).split())


def test_grid_refuses_rows_of_different_lengths(x):
    with pytest.raises(ValueError):
        figures.grid([x[:3], x[3:5]])


def test_sheet_fills_its_last_row_with_white(x):
    (sheet,) = pictures(figures.sheet(x, columns=4))
    assert sheet.shape == (2 * S, 4 * S, 3)
    np.testing.assert_array_equal(sheet[S:, S : 2 * S], to_uint8(x[5]).permute(1, 2, 0).numpy())
    assert (sheet[S:, 2 * S :] == 255).all()


def test_heatmaps_show_and_name_every_number():
    maps = {
        "left": {"a": {"p": 0.1, "q": 0.2}},
        "right": {"b": {"r": 0.75, "s": 1}, "c": {"r": 0.5}},
    }
    figure = figures.heatmaps(maps, "title")
    left, right = pictures(figure)
    np.testing.assert_array_equal(left, [[0.1, 0.2]])
    np.testing.assert_array_equal(right, [[0.75, 1], [0.5, np.nan]])
    assert "nan" not in texts(figure)
    assert {"left", "right", "a", "b", "c", "p", "q", "r", "0.20", "0.75"} <= set(
        texts(figure).split()
    )


def test_bars_stand_beside_each_other_or_apart():
    beside = figures.bars({"a": {"p": 0.1, "q": 0.2}, "b": {"p": 0.3, "q": 0.4}}, "title").axes[0]
    apart = figures.bars({"a": {"p": 0.1}, "b": {"q": 0.4}}, "title").axes[0]
    assert sorted(bar.get_height() for bar in beside.patches) == [0.1, 0.2, 0.3, 0.4]
    assert [bar.get_x() + bar.get_width() / 2 for bar in apart.patches] == pytest.approx([0, 1])
    spans = sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in beside.patches)
    for (_, end), (start, _) in zip(spans, spans[1:]):
        assert end <= start, "no bar covers the next"


def row(method: str, eps: float) -> dict:
    return {
        "method": method,
        "eps": eps,
        "psnr": 30 + eps,
        "l2": eps,
        "lpips": eps,
        "perceptual": None,
        "dsr": eps,
    }


def test_eps_curves_draw_every_method_and_say_what_is_left_out():
    rows = [row(method, eps) for eps in (0.05, 0.01) for method in ("ours", "ruiz")]
    figure = figures.eps_curves(rows, {"perceptual": "no network"})
    psnr, lpips = figure.axes[:2]
    assert [list(line.get_xdata()) for line in psnr.lines] == [[0.01, 0.05]] * 2
    assert list(lpips.lines[0].get_ydata()) == [0.01, 0.05]
    assert "no network" in texts(figure)
    for axis in figure.axes[:4]:
        assert list(axis.get_xticks()) == [0.01, 0.05], "a panel left out takes no ticks away"
    assert psnr.lines[0].get_color() != psnr.lines[1].get_color()


def test_histogram_counts_every_pair_and_names_the_share_beyond_the_line():
    figure = figures.histogram({"ours": torch.tensor([0.0, 0.01, 0.2, 0.3])})
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == 4
    assert "50% beyond 0.05" in texts(figure)


def test_radial_power_finds_the_frequency_of_a_wave():
    wave = torch.cos(2 * math.pi * 5 * torch.arange(S) / S).expand(2, 3, S, S)
    frequency, power = figures.radial_power(wave)
    assert frequency[power.argmax()] == 5 and len(frequency) == len(power) == S // 2 + 1


def test_radial_power_of_white_noise_is_flat_at_its_variance():
    noise = torch.randn(32, 3, S, S, generator=torch.Generator().manual_seed(0))
    assert figures.radial_power(noise)[1] == pytest.approx(1, abs=0.15)


def draw_counterfactuals(x):
    return figures.counterfactuals(x[:3], x[3:], ["Black_Hair", "Young", "Bangs"])


def draw_anatomy(x):
    labels = torch.arange(S).remainder(3).expand(S, S)
    return figures.anatomy(x[0], torch.rand(68, 2) * S, labels, ("a", "b", "c"))


def draw_lbp_comparison(x):
    return figures.lbp_comparison({"x": x[0], "y": x[1]})


def draw_spectra(x):
    return figures.spectra({"ours": x, "noise": -x})


def draw_curves(x):
    return figures.curves({"loss": {"a": ([1, 2], [3, 4])}})


@pytest.mark.parametrize(
    "draw", [draw_counterfactuals, draw_anatomy, draw_lbp_comparison, draw_spectra, draw_curves]
)
def test_other_figures_are_as_wide_as_the_notebook(draw, x):
    figure = draw(x)
    figure.canvas.draw()
    assert isinstance(figure, Figure) and figure.get_figwidth() <= figures.WIDTH


def test_checked_names_each_domain_as_it_was_requested(x):
    domains = ("Black_Hair", "Smiling", "Eyeglasses", "Young")
    face = SimpleNamespace(
        x={"clean": x[0], "protected": x[1]},
        y={"apart": {"clean": x[:4], "protected": x[2:]}},
        asked=torch.tensor([True, False, True, True]),
    )
    figure = figures.checked(face, domains, {"apart": "trained apart, gray-box"})
    assert len(pictures(figure)) == 3 * 4
    headings = [axis.get_title() for axis in figure.axes[4:8]]
    assert headings == ["Black Hair", "not Smiling", "Eyeglasses", "Young"]
    assert figure.axes[8].get_ylabel() == "trained apart,\ngray-box:\nprotected"


def test_keep_writes_picture_and_caption_only_where_asked(tmp_path, monkeypatch, x):
    figure = figures.grid([x[:2]])
    monkeypatch.delenv("IDF_OUT", raising=False)
    assert figures.keep(figure, "faces", "Two faces.") is figure
    monkeypatch.setenv("IDF_OUT", str(tmp_path / "out"))
    figures.keep(figure, "faces", "Two faces.")
    assert (tmp_path / "out" / "faces.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "faces.txt").read_text() == "Two faces."


def test_live_curve_redraws_one_picture(monkeypatch):
    shown = []
    handle = SimpleNamespace(update=shown.append)

    def display(image, display_id):
        shown.append(image)
        return handle

    monkeypatch.setattr("idf.figures.generic.display", display)
    curve = figures.LiveCurve({"loss": ["a", "absent"]}, total=3, seconds=1000)
    training = SimpleNamespace(history=[], iteration=0)
    for i in (1, 2, 3):
        training.iteration = i
        training.history.append({"iteration": i, "a": i})
        curve(training)
    assert len(shown) == 2, "the first and the last record; the second comes too soon"
    assert all(image.data.startswith(b"\x89PNG") for image in shown) and not plt.get_fignums()
    assert "3 of 3" in texts(curve.draw(training.history, 3))


def test_table_escapes_what_it_is_given():
    html = figures.table([{"name": "<b>"}], {"a & b": lambda r: r["name"]}).data
    assert "&lt;b&gt;" in html and "a &amp; b" in html


def test_fragility_shows_every_editor_in_each_panel():
    values = {
        kind: {"surrogate": [0.001, 0.1], "apart": [0.002, 0.2]} for kind in ("grey", "coloured")
    }
    figure = figures.fragility(values, (0.0, 0.2, 0.7))
    for axis, kind in zip(figure.axes, values, strict=True):
        assert axis.get_title("left") == kind
        assert [tuple(line.get_ydata()) for line in axis.lines[:2]] == [(0.001, 0.1), (0.002, 0.2)]
        assert axis.lines[2].get_ydata()[0] == 0.05
        assert [t.get_text() for t in axis.get_xticklabels()] == ["0–0.2", "0.2–0.7"]


def test_floors_show_the_mean_and_range_over_seeds():
    measured = (
        ("reseed", "M", 0.02),
        ("reseed", "M", 0.04),
        ("ours", "M", 0.05),
        ("clean", "x", 0.06),
    )
    rows = []
    for method, reference, l1 in measured:
        rows.append({"method": method, "reference": reference, "l1": l1, "lpips": None})
    left, right = figures.floors(rows).axes
    assert widths(left) == [0.03, 0.05] and widths(right) == [0.06]
    names = [label.get_text() for label in left.get_yticklabels()]
    assert names == ["PG (ours)", "clean, another seed", "clean"]

    with_lpips = [row | {"lpips": 2 * row["l1"]} for row in rows]
    *_, third = figures.floors(with_lpips).axes
    assert third.get_title("left") == "LPIPS against M"
    assert widths(third) == [0.06, 0.1]


def widths(axis) -> list[float]:
    return sorted(round(bar.get_width(), 6) for bar in axis.patches)


def test_each_class_has_a_colour_of_its_own():
    classes = torch.arange(19).view(1, 1, 19).expand(2, 19, 19)
    seen = figures.coloured(classes)
    assert seen.shape == (2, 3, 19, 19) and seen.abs().max() <= 1
    assert len({tuple(colour) for colour in seen[0, :, 0].T.tolist()}) == 19


def test_strength_curves_are_means_over_the_forgers_from_the_untouched_on():
    rows = [
        {"method": "ours", "transform": way, "dsr": dsr, "infected_edit_success": dsr}
        | {"edit_success": 0.9}
        for way, values in {"none": (1.0, 0.8), "jpeg-75": (0.1, 0.3)}.items()
        for dsr in values
    ]
    figure = figures.strength_curves(rows, "dsr", "What is left")
    panels = {axis.get_title(loc="left"): axis for axis in figure.axes if axis.lines}
    (line,) = panels["JPEG, a quarter of the colours"].lines
    assert line.get_xdata().tolist() == [0, 1], "the strengths that were measured"
    assert line.get_ydata().tolist() == pytest.approx([0.9, 0.2])
    assert len(panels) == 1, "the other kinds were not measured"
    assert "PG, as in the paper" in texts(figure) and "What is left" in texts(figure)

    seen = figures.strength_curves(rows, "infected_edit_success")
    assert [len(axis.lines) for axis in seen.axes if axis.lines] == [2] * len(panels)
    assert figures.strength_curves([]).axes, "nothing measured yet"


def test_joint_sheet_has_a_column_a_defence(x):
    rows = ("published", "reenacted", "edited by\na forger")
    columns = {name: dict(zip(rows, x.roll(k, 0), strict=False)) for k, name in enumerate("abcde")}
    figure = figures.joint_sheet(columns, "title")
    assert [axis.get_title() for axis in figure.axes[:5]] == list("abcde")
    assert [axis.get_ylabel() for axis in figure.axes[::5]] == list(rows)
    shown = pictures(figure)
    assert len(shown) == 15
    second = to_uint8(columns["b"]["reenacted"]).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(shown[5 + 1], second)
