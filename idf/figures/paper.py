"""The figures of the paper's experiments: its Figures 4 and 5, and what we add to them."""

from collections.abc import Sequence
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from idf import metrics
from idf.colours import BLUE, COLOURS, GREY, SKY
from idf.data.pictures import to_picture
from idf.figures.generic import grid
from idf.figures.style import WIDTH, entitled, mark, name_columns, show
from idf.methods import METHODS, of_scenario

LINES = ("-", "--", ":")


def counterfactuals(
    without: Tensor, having: Tensor, names: Sequence[str], title: str = ""
) -> Figure:
    """K pairs of the same face (K, 3, S, S) without and with one attribute each."""
    columns = [name.replace("_", "\n") for name in names]
    return grid([without, having], ("without", "with"), columns, title)


def anatomy(
    x: Tensor, landmarks: Tensor, labels: Tensor, names: Sequence[str], title: str = ""
) -> Figure:
    """A face (3, S, S), the same with its landmarks (68, 2) in pixels, and its parsing label.

    labels (S, S): indices into `names`.
    """
    figure, (face, marked, parsed) = plt.subplots(1, 3, figsize=(WIDTH, 3.3))
    face.set_title("image x")
    show(face, to_picture(x))

    marked.set_title("68 landmarks")
    show(marked, to_picture(x))
    marked.scatter(*landmarks.T, s=9, color=SKY, edgecolor="black", linewidth=0.4)

    parsed.set_title("parsing label")
    colours = plt.get_cmap("tab20", len(names))
    show(parsed, labels.numpy(), cmap=colours, vmin=-0.5, vmax=len(names) - 0.5)
    present = labels.unique().tolist()
    patches = [plt.Rectangle((0, 0), 1, 1, color=colours(k)) for k in present]
    names_present = [names[k] for k in present]
    parsed.legend(patches, names_present, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return entitled(figure, title)


def eps_curves(rows: Sequence[dict], left_out: dict[str, str], title: str = "") -> Figure:
    """Figure 4 of the paper, from rows with method, eps, psnr, l2, lpips, perceptual, dsr.

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
    for axis, (measure, heading) in zip(axes.flat, panels.items()):
        axis.set_title(heading)
        if measure in left_out:
            _say(axis, left_out[measure])
        else:
            _draw_over_eps(axis, rows, measure)
    axes[0, 2].set_ylim(-0.05, 1.05)
    mark(axes[1, 0], y=metrics.DSR_THRESHOLD)
    for axis in axes[1, :2]:
        axis.set_xlabel("eps on [-1, 1]")

    # the sixth panel is the legend
    axes[1, 2].set_axis_off()
    axes[1, 2].legend(*axes[0, 0].get_legend_handles_labels(), loc="center", title="x′ made by")
    return entitled(figure, title)


def _say(axis: Axes, sentence: str) -> None:
    """A sentence in place of a panel's curves."""
    middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
    axis.text(0.5, 0.5, fill(sentence, 32), fontsize=9, **middle)
    axis.set_axis_off()


def _draw_over_eps(axis: Axes, rows: Sequence[dict], measure: str) -> None:
    """A line for each method that was measured at more than one eps."""
    for method in of_scenario(1).values():
        points = sorted((row["eps"], row[measure]) for row in rows if row["method"] == method.name)
        if len(points) > 1:
            axis.plot(
                *zip(*points, strict=True),
                color=method.colour,
                marker=method.marker,
                linestyle=method.line,
                label=method.legend,
            )
    axis.set_xticks(sorted({row["eps"] for row in rows}))


def lbp_comparison(columns: dict[str, Tensor], title: str = "") -> Figure:
    """Figure 5 of the paper: images (3, S, S) in [-1, 1] above their local binary patterns."""
    count = len(columns)
    size = (WIDTH, 2 * (WIDTH - 0.3) / count + 0.5)
    figure, (above, below) = plt.subplots(2, count, squeeze=False, figsize=size)
    for k, image in enumerate(columns.values()):
        show(above[k], to_picture(image))
        show(below[k], metrics.lbp(image), cmap="gray", vmin=0, vmax=255)
    name_columns(above, list(columns))
    above[0].set_ylabel("pixels")
    below[0].set_ylabel("LBP")
    return entitled(figure, title)


def histogram(values: dict[str, Tensor], title: str = "") -> Figure:
    """How L2(y, y') is spread over the pairs (image, domain), a panel a method, and their DSR."""
    count = len(values)
    size = (WIDTH, 0.6 + 0.85 * count)
    figure, axes = plt.subplots(count, 1, figsize=size, sharex=True, squeeze=False)
    largest = max(float(distances.max()) for distances in values.values())
    top = max(largest, 2 * metrics.DSR_THRESHOLD)
    edges = np.logspace(-5, np.log10(top), 60)
    for axis, (name, distances) in zip(axes[:, 0], values.items(), strict=True):
        legend = METHODS[name].legend if name in METHODS else name
        colour = METHODS[name].colour if name in METHODS else GREY
        pairs = distances.flatten().double().numpy()
        axis.hist(np.clip(pairs, edges[0], edges[-1]), edges, color=colour)
        mark(axis, x=metrics.DSR_THRESHOLD)
        axis.set(xscale="log", yticks=[])
        axis.set_ylabel(legend, rotation=0, ha="right", va="center")
        share = (distances > metrics.DSR_THRESHOLD).float().mean()
        words = f"{share:.0%} beyond {metrics.DSR_THRESHOLD}"
        axis.text(0.005, 0.8, words, transform=axis.transAxes, fontsize=8.5)
    axes[-1, 0].set_xlabel("L2(y, y′), mean squared difference on [-1, 1]")
    return entitled(figure, title)


def fragility(
    values: dict[str, dict[str, list[float]]], bands: Sequence[float], title: str = ""
) -> Figure:
    """What noise of each band of frequencies does: a panel for a kind of noise, a line an editor.

    values: {kind: {editor: L2(y, y') for each band}}; bands: their edges, in cycles per pixel.
    """
    figure, axes = plt.subplots(1, len(values), figsize=(WIDTH, 3.1), sharey=True, squeeze=False)
    between = [f"{low:g}–{high:g}" for low, high in zip(bands, bands[1:])]
    for axis, (kind, editors) in zip(axes[0], values.items(), strict=True):
        for k, (name, distances) in enumerate(editors.items()):
            look = {"color": COLOURS[k], "marker": "os^v"[k % 4], "linestyle": LINES[k % 3]}
            axis.plot(range(len(distances)), distances, label=name, **look)
        mark(axis, y=metrics.DSR_THRESHOLD)
        axis.set(yscale="log", title=kind, xlabel="frequency of the noise (cycles per pixel)")
        axis.set(xticks=range(len(between)), xticklabels=between)
    axes[0, 0].set_ylabel("L2(y, y′)")
    axes[0, 0].legend()
    return entitled(figure, title)


def spectra(deltas: dict[str, Tensor], title: str = "") -> Figure:
    """The first of each delta (B, 3, S, S) in [-1, 1], and the mean power of all over frequency."""
    count = len(deltas)
    ratios = [1.0] * count + [1.5]
    figure, axes = plt.subplots(1, count + 1, figsize=(WIDTH, 2.9), width_ratios=ratios)
    *pictures, powers = axes
    for k, (axis, (name, delta)) in enumerate(zip(pictures, deltas.items(), strict=True)):
        show(axis, to_picture(delta[0]))
        axis.set_title(name, fontsize=9)
        frequency, power = radial_power(delta)
        powers.plot(frequency, power, label=name, color=COLOURS[k], linestyle=LINES[k % 3])
    powers.set(yscale="log", xlabel="frequency (cycles per picture)", title="mean power")
    powers.legend()
    return entitled(figure, title)


def radial_power(delta: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies 0..S/2 in cycles per picture, and the mean power over the ring of each.

    The power is |FFT|^2 / S^2 of delta (B, 3, S, S), averaged over images and channels too.
    """
    size = delta.shape[-1]
    power = torch.fft.fft2(delta.float()).abs().square().flatten(0, -3).mean(0) / size**2
    frequency = torch.fft.fftfreq(size) * size
    radius = (frequency[:, None] ** 2 + frequency[None, :] ** 2).sqrt()
    ring = radius.round().long().flatten()
    means = torch.bincount(ring, power.flatten()) / torch.bincount(ring)
    half = size // 2 + 1
    return np.arange(half), means[:half].numpy()


def carrier_maps(deltas: dict[str, Tensor], title: str = "", columns: int = 4) -> Figure:
    """The power of each delta's colour contrast over both frequencies (-1/2 to 1/2, no grey).

    delta (B, 3, S, S). Rings mark the waves of period 4 px: multiples of 1/4 cycle per pixel.
    """
    rows = -(-len(deltas) // columns)
    size = (WIDTH, WIDTH / columns * rows + 0.5 * rows)
    figure, axes = plt.subplots(rows, columns, squeeze=False, figsize=size)
    carriers = [(a / 4, b / 4) for a in range(-2, 3) for b in range(-2, 3) if (a, b) != (0, 0)]
    for axis in axes.flat[len(deltas) :]:
        axis.set_visible(False)
    for axis, (name, delta) in zip(axes.flat, deltas.items(), strict=False):
        power = colour_power(delta)
        half = 0.5 + 0.5 / len(power)
        axis.imshow(power / power.max(), cmap="magma", extent=(-half, half, half, -half), vmax=0.5)
        axis.scatter(*zip(*carriers, strict=True), s=60, facecolors="none", edgecolors=SKY, lw=0.8)
        axis.set(title=name, xticks=(-0.5, -0.25, 0, 0.25, 0.5), yticks=(-0.5, -0.25, 0, 0.25, 0.5))
        axis.grid(False)
        axis.tick_params(labelsize=7)
    return entitled(figure, title)


def colour_power(delta: Tensor) -> np.ndarray:
    """|FFT|^2 of delta (B, 3, S, S) without grey, averaged over images and channels: (S+1, S+1).

    Frequency 0 in the middle; the frequency 1/2 stands at both ends, since it is -1/2, too.
    """
    colour = delta.float() - delta.float().mean(dim=1, keepdim=True)
    power = torch.fft.fft2(colour).abs().square().mean(dim=(0, 1))
    power = torch.fft.fftshift(power)
    power = torch.cat([power, power[:1]], dim=0)
    return torch.cat([power, power[:, :1]], dim=1).numpy()


def floors(rows: Sequence[dict], title: str = "") -> Figure:
    """L1 to M and to x of scenario 2's rows: a bar a method, the mean over seeds, with their range.

    A third panel has LPIPS to M, if it was measured in every row.
    """
    panels = [("l1", "M"), ("l1", "x")]
    if all(row["lpips"] is not None for row in rows):
        panels.append(("lpips", "M"))
    measured = {row["method"] for row in rows}
    methods = [method for name, method in of_scenario(2).items() if name in measured]
    methods.reverse()  # bars are drawn from below

    figure, axes = plt.subplots(1, len(panels), figsize=(WIDTH, 3.2), sharey=True)
    for axis, (measure, reference) in zip(axes, panels, strict=True):
        for height, method in enumerate(methods):
            wanted = (method.name, reference)
            own = [row for row in rows if (row["method"], row["reference"]) == wanted]
            if own:
                colour = BLUE if method.name.startswith("ours") else GREY
                _bar_with_range(axis, height, [row[measure] for row in own], colour)
        legends = [method.legend_of(2) for method in methods]
        axis.set(title=f"{measure.upper()} against {reference}")
        axis.set(yticks=range(len(methods)), yticklabels=legends)
        axis.margins(x=0.35)
        axis.grid(axis="y", visible=False)
    mark(axes[0], x=metrics.DSR_THRESHOLD)
    return entitled(figure, title)


def _bar_with_range(axis: Axes, height: float, values: list[float], colour: str) -> None:
    """A horizontal bar of the mean, a line from the least to the greatest, the mean in figures."""
    mean = sum(values) / len(values)
    least = min(values)
    greatest = max(values)
    axis.barh(height, mean, 0.7, color=colour)
    axis.plot([least, greatest], [height, height], color="black", linewidth=1.2)
    white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    axis.text(greatest, height, f" {mean:.4f}", va="center", fontsize=8.5, zorder=4, bbox=white)


def checked(face, domains: Sequence[str], editors: dict[str, str]) -> Figure:
    """One face of `idf check`: clean, protected and ten times their difference, then forgeries.

    face: its pictures face.x["clean"], its forgeries face.y[editor]["clean"] (J, 3, S, S), both for
    "protected" too, and face.asked, bool (J), what they should show; editors: {name: label}.
    """
    clean = face.x["clean"]
    protected = face.x["protected"]
    difference = (10 * (protected - clean)).clamp(-1, 1)
    blank = torch.ones_like(clean)
    images = [[clean, protected, difference] + [blank] * (len(domains) - 3)]
    rows = ["clean, protected,\nchange times 10"]
    for name, label in editors.items():
        for variant in ("clean", "protected"):
            images.append(face.y[name][variant])
            rows.append(label.replace(", ", ",\n") + f":\n{variant}")
    figure = grid(images, rows)

    # what is asked for stands above the first row of forgeries
    requests = []
    for domain, wanted in zip(domains, face.asked.tolist(), strict=True):
        words = domain.replace("_", " ")
        requests.append(words if wanted else f"not {words}")
    name_columns(figure.axes[len(domains) :], requests)
    return figure
