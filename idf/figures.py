"""Every figure of the notebooks, as a function from numbers or tensors to a matplotlib Figure, in one style.

Colours are Okabe and Ito's, which colour-blind readers tell apart; line styles and markers say the same once more.
"""

import io
import os
import time
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from textwrap import fill

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure
from torch import Tensor

from idf import metrics
from idf.data import to_picture

BLUE, ORANGE, GREEN, RED, SKY, PINK, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#777777",
)
COLOURS = (BLUE, RED, GREEN, ORANGE, PINK, SKY, GREY)
METHODS = {  # colour, marker, line, name in a legend
    "ours": (BLUE, "o", "-", "ours"),
    "ours-no-ats": (SKY, "D", "-", "ours, no alternation"),
    "ours-queries": (BLUE, "*", "--", "ours, with queries"),
    "ruiz": (RED, "s", "-", "Ruiz, transferred"),
    "ruiz-white-box": (ORANGE, "P", "-", "Ruiz, white-box"),
    "random-noise": (GREY, "^", ":", "random noise"),
    "random-colour": (GREY, "<", "-", "random colour noise"),
    "brightened": (GREEN, "v", "--", "brightened"),
    "untrained-pg": (PINK, "X", "-.", "untrained PG"),
}
STYLE = {
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
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
}
plt.rcParams.update(STYLE)
WIDTH = 9.0  # inches: a notebook's width


def keep(figure: Figure, name: str, caption: str) -> Figure:
    """Save a result figure as <name>.png, with <name>.txt as its caption, in the folder IDF_OUT names, if any."""
    if folder := os.environ.get("IDF_OUT"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        figure.savefig(Path(folder) / f"{name}.png")
        (Path(folder) / f"{name}.txt").write_text(caption, encoding="utf-8")
    return figure


def _entitled(figure: Figure, title: str) -> Figure:
    figure.suptitle(title, x=0.01, ha="left")
    return figure


def _show(axis, image: np.ndarray, **options) -> None:
    axis.imshow(image, interpolation="nearest", **options)
    axis.set(xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(False)


def grid(
    images: Sequence[Sequence[Tensor]],
    rows: Sequence[str] = (),
    columns: Sequence[str] = (),
    title: str = "",
) -> Figure:
    """R rows of C images (3, S, S) in [-1, 1], or one tensor (R, C, 3, S, S), with labels at their sides."""
    count = len(images[0])
    left = 0.09 * max((len(line) for name in rows for line in name.split("\n")), default=0)
    cell = min(1.5, (WIDTH - left) / count)  # inches of one image
    head = 0.08 + 0.17 * (1 + max(name.count("\n") for name in columns)) if columns else 0
    size = (cell * count + left, cell * len(images) + head + (0.45 if title else 0))
    figure, axes = plt.subplots(len(images), count, squeeze=False, figsize=size)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.01, hspace=0.01)
    for row, line in zip(axes, images, strict=True):
        for axis, image in zip(row, line, strict=True):
            _show(axis, to_picture(image))
    for axis, name in zip(axes[:, 0], rows):
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
    for axis, name in zip(axes[0], columns):
        axis.set_title(name, fontsize=9, loc="center")
    return _entitled(figure, title)


def sheet(images: Tensor, title: str = "", columns: int = 16) -> Figure:
    """A contact sheet of N images (N, 3, S, S) in [-1, 1], its last row filled up with white."""
    images = torch.cat([images, images.new_ones(-len(images) % columns, *images.shape[1:])])
    n, channels, s, _ = images.shape
    joined = (
        images.reshape(n // columns, columns, channels, s, s)
        .permute(2, 0, 3, 1, 4)
        .reshape(channels, -1, columns * s)
    )
    figure, axis = plt.subplots(
        figsize=(WIDTH, WIDTH * (n // columns) / columns + (0.4 if title else 0))
    )
    _show(axis, to_picture(joined))
    return _entitled(figure, title)


def counterfactuals(
    without: Tensor, having: Tensor, names: Sequence[str], title: str = ""
) -> Figure:
    """K pairs of the same face (K, 3, S, S) without and with one attribute each."""
    return grid(
        [without, having], ("without", "with"), [name.replace("_", "\n") for name in names], title
    )


def anatomy(
    x: Tensor, landmarks: Tensor, labels: Tensor, names: Sequence[str], title: str = ""
) -> Figure:
    """A face (3, S, S), its landmarks (68, 2) in pixels on it, and its parsing label (S, S), indices into `names`."""
    figure, axes = plt.subplots(1, 3, figsize=(WIDTH, 3.3))
    _show(axes[0], to_picture(x))
    _show(axes[1], to_picture(x))
    axes[1].scatter(*landmarks.T, s=9, color=SKY, edgecolor="black", linewidth=0.4)
    present = labels.unique().tolist()
    colours = plt.get_cmap("tab20", len(names))
    _show(axes[2], labels.numpy(), cmap=colours, vmin=-0.5, vmax=len(names) - 0.5)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours(k)) for k in present]
    axes[2].legend(
        handles, [names[k] for k in present], loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8
    )
    for axis, name in zip(axes, ("image x", "68 landmarks", "parsing label"), strict=True):
        axis.set_title(name)
    return _entitled(figure, title)


def bars(
    groups: dict[str, dict[str, float]],
    title: str,
    unit: str = "",
    limit: float | None = None,
    goal: float | None = None,
) -> Figure:
    """Bars: {series: {name: value}}, beside each other where series share their names; goal: a dashed line."""
    every = [name for values in groups.values() for name in values]
    names = list(dict.fromkeys(every))
    beside = len(groups) if len(names) < len(every) else 1
    figure, axis = plt.subplots(figsize=(WIDTH, 2.8))
    for k, (series, values) in enumerate(groups.items()):
        shift = (k - (beside - 1) / 2) * 0.8 / beside if beside > 1 else 0
        places = [names.index(name) + shift for name in values]
        drawn = axis.bar(
            places, list(values.values()), 0.76 / beside, color=COLOURS[k], label=series
        )
        axis.bar_label(drawn, fmt="%.2f", fontsize=8, padding=1)
    if goal is not None:
        axis.axhline(goal, color="black", linestyle="--", linewidth=1)
    axis.set_xticks(range(len(names)), [name.replace("_", "\n") for name in names])
    axis.set(ylabel=unit, ylim=(0, limit))
    axis.grid(axis="x", visible=False)
    if len(groups) > 1:
        axis.legend(ncols=len(groups), loc="lower right", bbox_to_anchor=(1, 1))
    return _entitled(figure, title)


def curves(
    panels: dict[str, dict[str, tuple[Sequence[float], Sequence[float]]]],
    title: str = "",
    x_name: str = "iteration",
) -> Figure:
    """One panel for each quantity: {quantity: {series: (x, y)}}. A series keeps its colour over all panels."""
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 2.9), squeeze=False)
    series = list(dict.fromkeys(name for panel in panels.values() for name in panel))
    for axis, (quantity, panel) in zip(axes[0], panels.items(), strict=True):
        for name, (x, y) in panel.items():
            style = dict(
                color=COLOURS[series.index(name)],
                linestyle=("-", "--", "-.", ":")[series.index(name) % 4],
            )
            axis.plot(x, y, label=name, **style)
        axis.set(title=quantity, xlabel=x_name)
        if len(panel) > 1:  # names in one row, with room above the curves
            low, high = axis.get_ylim()
            axis.set_ylim(low, high + 0.2 * (high - low))
            axis.legend(
                ncols=len(panel),
                loc="upper center",
                fontsize=8,
                handlelength=1.4,
                columnspacing=0.8,
            )
    return _entitled(figure, title)


class LiveCurve:
    """Draws the history of a training while it runs: pass it as `watch` to idf.editing.train.

    terms: {quantity: names in the history}; total: iterations; at most one picture every `seconds`, and the last.
    """

    def __init__(
        self, terms: dict[str, Sequence[str]], total: int, title: str = "", seconds: float = 3.0
    ):
        self.terms, self.total, self.title, self.seconds = terms, total, title, seconds
        self.start, self.drawn, self.handle = time.monotonic(), float("-inf"), None

    def __call__(self, training) -> None:
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
        spent = time.monotonic() - self.start
        left = spent / max(iteration, 1) * (self.total - iteration)
        bar = "█" * round(20 * iteration / self.total)
        state = f"{bar:░<20} {iteration} of {self.total}, {spent:.0f} s, {left:.0f} s left"
        panels = {}
        for quantity, names in self.terms.items():
            points = {
                name: [(r["iteration"], r[name]) for r in history if name in r] for name in names
            }
            panels[quantity] = {name: tuple(zip(*some)) for name, some in points.items() if some}
        return curves(panels, f"{self.title}\n{state}")


def eps_curves(rows: Sequence[dict], left_out: dict[str, str], title: str = "") -> Figure:
    """Figure 4 of the paper, from rows with method, eps, psnr, l2, lpips, perceptual, dsr, all over eps.

    left_out: {"lpips": why, ...} for what could not be computed, where the panel says so.
    """
    figure, axes = plt.subplots(2, 3, figsize=(WIDTH, 5.6))
    panels = {
        "psnr": "PSNR of x′ (dB)",
        "lpips": "LPIPS of y′",
        "dsr": "DSR (share of pairs)",
        "l2": "L2 of y′ (mean squared)",
        "perceptual": "Perceptual loss of y′",
    }
    for axis, (name, heading) in zip(axes.flat, panels.items()):
        axis.set_title(heading)
        if name in left_out:
            axis.text(
                0.5,
                0.5,
                fill(left_out[name], 32),
                ha="center",
                va="center",
                transform=axis.transAxes,
                fontsize=9,
            )
            axis.set_axis_off()
            continue
        for method, (colour, marker, line, label) in METHODS.items():
            some = sorted((row["eps"], row[name]) for row in rows if row["method"] == method)
            if len(some) > 1:
                axis.plot(*zip(*some), color=colour, marker=marker, linestyle=line, label=label)
        axis.set_xticks(sorted({row["eps"] for row in rows}))
    axes[0, 2].set_ylim(-0.05, 1.05)
    axes[1, 0].axhline(metrics.DSR_THRESHOLD, color="black", linestyle="--", linewidth=1)
    for axis in axes[1, :2]:
        axis.set_xlabel("eps on [-1, 1]")
    axes[1, 2].set_axis_off()
    axes[1, 2].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", title="x′ made by")
    return _entitled(figure, title)


def lbp_comparison(columns: dict[str, Tensor], title: str = "") -> Figure:
    """Figure 5 of the paper: images (3, S, S) in [-1, 1] above their local binary patterns."""
    figure, axes = plt.subplots(
        2, len(columns), figsize=(WIDTH, 2 * (WIDTH - 0.3) / len(columns) + 0.5)
    )
    for (above, below), (name, image) in zip(axes.T, columns.items(), strict=True):
        _show(above, to_picture(image))
        _show(below, metrics.lbp(image), cmap="gray", vmin=0, vmax=255)
        above.set_title(name, fontsize=9, loc="center")
    axes[0, 0].set_ylabel("pixels")
    axes[1, 0].set_ylabel("LBP")
    return _entitled(figure, title)


def histogram(values: dict[str, Tensor], title: str = "") -> Figure:
    """How L2(y, y') is spread over the (image, domain) pairs, method by method, with the success line."""
    figure, axes = plt.subplots(
        len(values), 1, figsize=(WIDTH, 0.6 + 0.85 * len(values)), sharex=True, squeeze=False
    )
    top = max(float(v.max()) for v in values.values())
    edges = np.logspace(-5, np.log10(max(top, 2 * metrics.DSR_THRESHOLD)), 60)
    for axis, (method, v) in zip(axes[:, 0], values.items(), strict=True):
        colour, _, _, label = METHODS.get(method, (GREY, "", "", method))
        axis.hist(np.clip(v.flatten().double().numpy(), edges[0], edges[-1]), edges, color=colour)
        axis.axvline(metrics.DSR_THRESHOLD, color="black", linestyle="--", linewidth=1)
        axis.set(xscale="log", yticks=[])
        axis.set_ylabel(label, rotation=0, ha="right", va="center")
        share = (v > metrics.DSR_THRESHOLD).float().mean()
        axis.text(
            0.005,
            0.8,
            f"{share:.0%} beyond {metrics.DSR_THRESHOLD}",
            transform=axis.transAxes,
            fontsize=8.5,
        )
    axes[-1, 0].set_xlabel("L2(y, y′), mean squared difference on [-1, 1]")
    return _entitled(figure, title)


def fragility(
    values: dict[str, dict[str, list[float]]], bands: Sequence[float], title: str = ""
) -> Figure:
    """{kind of noise: {editor: L2(y, y') for each band}}: a panel a kind, a line an editor, with the line of the DSR."""
    figure, axes = plt.subplots(1, len(values), figsize=(WIDTH, 3.1), sharey=True, squeeze=False)
    for axis, (kind, lines) in zip(axes[0], values.items(), strict=True):
        for k, (name, line) in enumerate(lines.items()):
            axis.plot(
                range(len(line)),
                line,
                label=name,
                color=COLOURS[k],
                marker="os^v"[k % 4],
                linestyle=("-", "--", ":")[k % 3],
            )
        axis.axhline(metrics.DSR_THRESHOLD, color="black", linestyle="--", linewidth=1)
        axis.set(
            yscale="log",
            title=kind,
            xlabel="frequency of the noise (cycles per pixel)",
            xticks=range(len(bands) - 1),
            xticklabels=[f"{a:g}–{b:g}" for a, b in zip(bands, bands[1:])],
        )
    axes[0, 0].set_ylabel("L2(y, y′)")
    axes[0, 0].legend()
    return _entitled(figure, title)


def spectra(deltas: dict[str, Tensor], title: str = "") -> Figure:
    """The first of each delta (B, 3, S, S) in [-1, 1] as a picture, and the mean power of all over spatial frequency."""
    figure, axes = plt.subplots(
        1, len(deltas) + 1, figsize=(WIDTH, 2.9), width_ratios=[1] * len(deltas) + [1.5]
    )
    for k, (axis, (name, delta)) in enumerate(zip(axes, deltas.items())):
        _show(axis, to_picture(delta[0]))
        axis.set_title(name, fontsize=9)
        axes[-1].plot(
            *radial_power(delta), label=name, color=COLOURS[k], linestyle=("-", "--", ":")[k % 3]
        )
    axes[-1].set(yscale="log", xlabel="frequency (cycles per picture)", title="mean power")
    axes[-1].legend()
    return _entitled(figure, title)


def radial_power(delta: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies 0..S/2 in cycles per picture, and the mean of |FFT|^2 / S^2 over each ring, images and channels."""
    s = delta.shape[-1]
    power = torch.fft.fft2(delta.float()).abs().square().flatten(0, -3).mean(0) / s**2
    f = torch.fft.fftfreq(s) * s
    ring = (f[:, None] ** 2 + f[None, :] ** 2).sqrt().round().long().flatten()
    sums = torch.bincount(ring, power.flatten()) / torch.bincount(ring)
    return np.arange(s // 2 + 1), sums[: s // 2 + 1].numpy()


def table(rows: Sequence[dict], columns: dict[str, Callable]) -> HTML:
    """Rows as an HTML table for a notebook: {heading: function of a row giving its text}."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(of(row)))}</td>" for of in columns.values()) + "</tr>"
        for row in rows
    )
    return HTML(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def coloured(classes: Tensor) -> Tensor:
    """19 classes (N, S, S) as pictures (N, 3, S, S) in [-1, 1], a colour each, for `grid`."""
    colours = torch.tensor(plt.get_cmap("tab20", 19)(range(19))[:, :3], dtype=torch.float32)
    return 2 * colours[classes.long()].permute(0, 3, 1, 2) - 1


FILM_METHODS = {
    "clean": "clean",
    "reseed": "clean, another seed",
    "random-noise": "random noise",
    "fine-pattern": "one fine pattern",
    "coarse-pattern": "one coarse pattern",
    "brightened": "brightened",
    "wrong-pairs": "clean, wrong pairs",
    "moved-landmarks": "searched pattern",
    "ours-no-ats": "PG, no alternation",
    "ours-no-mask": "PG, no mask",
    "ours": "PG (ours)",
}


def floors(rows: Sequence[dict], title: str = "") -> Figure:
    """L1 to M and to x of scenario 2's rows: a bar a method, the mean over seeds, with their range.

    A third panel has LPIPS to M, if it was measured in every row.
    """
    panels = [("l1", "M"), ("l1", "x"), ("lpips", "M")][
        : 3 if all(row["lpips"] is not None for row in rows) else 2
    ]
    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.2), sharey=True)
    names = [name for name in FILM_METHODS if any(row["method"] == name for row in rows)][::-1]
    for axis, (measure, reference) in zip(axes, panels, strict=True):
        for place, name in enumerate(names):
            values = [
                r[measure] for r in rows if (r["method"], r["reference"]) == (name, reference)
            ]
            if values:
                mean = sum(values) / len(values)
                colour = COLOURS[0] if name.startswith("ours") else GREY
                axis.barh(place, mean, 0.7, color=colour)
                axis.plot([min(values), max(values)], [place, place], color="black", linewidth=1.2)
                axis.text(
                    max(values),
                    place,
                    f" {mean:.4f}",
                    va="center",
                    fontsize=8.5,
                    zorder=4,
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
                )
        axis.set(
            yticks=range(len(names)),
            title=f"{measure.upper()} against {reference}",
            yticklabels=[FILM_METHODS[n] for n in names],
        )
        axis.margins(x=0.35)
        axis.grid(axis="y", visible=False)
    axes[0].axvline(metrics.DSR_THRESHOLD, color="black", linestyle="--", linewidth=1)
    return _entitled(figure, title)


def checked(face, domains: Sequence[str], editors: dict[str, str]) -> Figure:
    """One face of idf.check: clean, protected and their difference; below, each editor's forgeries of both."""
    blank = torch.ones_like(face.x["clean"])
    top = [
        face.x["clean"],
        face.x["protected"],
        (10 * (face.x["protected"] - face.x["clean"])).clamp(-1, 1),
    ]
    images, rows = [[*top, *[blank] * (len(domains) - 3)]], ["clean, protected,\nchange times 10"]
    for key, label in editors.items():
        for variant in ("clean", "protected"):
            images.append(face.y[key][variant])
            rows.append(label.replace(", ", ",\n") + f":\n{variant}")
    wishes = [
        f"{'' if wanted else 'not '}{name.replace('_', ' ')}"
        for name, wanted in zip(domains, face.asked.tolist())
    ]
    figure = grid(images, rows)
    for axis, name in zip(figure.axes[len(domains) :], wishes):
        axis.set_title(name, fontsize=9, loc="center")
    return figure
