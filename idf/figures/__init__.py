"""Every figure of the notebooks, as a function from numbers or tensors to a matplotlib Figure.

style: one look for all, and `keep`; generic: figures of any pictures and numbers; paper: those of
the paper's experiments, its Figure 7 in ablations and its Figure 8 in joint.
"""

from idf.figures.ablations import ablation_dots
from idf.figures.generic import LiveCurve, bars, coloured, curves, grid, heatmaps, sheet, table
from idf.figures.joint import joint_sheet
from idf.figures.paper import (
    anatomy,
    carrier_maps,
    checked,
    colour_power,
    counterfactuals,
    eps_curves,
    floors,
    fragility,
    histogram,
    lbp_comparison,
    radial_power,
    spectra,
)
from idf.figures.robustness import strength_curves
from idf.figures.style import WIDTH, keep

__all__ = [
    "WIDTH",
    "LiveCurve",
    "ablation_dots",
    "anatomy",
    "bars",
    "carrier_maps",
    "checked",
    "colour_power",
    "coloured",
    "counterfactuals",
    "curves",
    "eps_curves",
    "floors",
    "fragility",
    "grid",
    "heatmaps",
    "histogram",
    "joint_sheet",
    "keep",
    "lbp_comparison",
    "radial_power",
    "sheet",
    "spectra",
    "strength_curves",
    "table",
]
