"""`idf table1`: the paper's Table 1, a cell at a time; a stopped call goes on where it was."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from idf.commands.measuring import DATASETS, measure_into, open_config
from idf.commands.options import (
    Data,
    Images,
    Jobs,
    Preset,
    Resume,
    Set,
    SkipBad,
    TableOnly,
    Weights,
    check_choices,
    check_writable,
)
from idf.commands.readme import write_table
from idf.config import MOST_SEED, RESULTS, ROOT
from idf.data.files import read_json_rows
from idf.figures.tables import markdown, printed, spread
from idf.methods import METHODS
from idf.zoo.cells import cells_of, that_ship
from idf.zoo.grid import EDITORS, NETWORKS

FILE = RESULTS / "table1.json"
STRENGTHS = (0.02, 0.05)
FULL_EPS = STRENGTHS[-1]
METHODS_MEASURED = (
    "ours",
    "ours-no-ats",
    "ours-queries",
    "keyless",
    "keyless-no-ats",
    "keyless-untrained",
    "ruiz",
    "ruiz-per-class",
    "ruiz-white-box",
    "universal",
    "lab",
    "one-pass",
    "random-noise",
    "random-colour",
    "brightened",
    "untrained-pg",
    "tiles",
    "tiles-wrong-period",
    "tiles-period-5",
    "tiles-one-region",
)
WHITE_BOX = "ruiz-white-box"
# forgers that are told of in the text, beside their twins, and have no column
OTHER_RECIPES = {editor.kind for editor in EDITORS.values() if editor.variant not in ("", "tuned")}
GRAY_COLUMN = "Res6 SD"  # of the gray-box forgers
MARKS = ("<!-- table1: written by `idf table1` -->", "<!-- end of table1 -->")

Seeds = Annotated[
    list[int], typer.Option(metavar="NUMBER ...", min=0, max=MOST_SEED, help="Of PG.")
]
Editors = Annotated[
    list[str], typer.Option(metavar="NAME ...", help="Of the forgers; by default all that ship.")
]
Methods = Annotated[list[str], typer.Option(metavar="NAME ...", help="By default all.")]
Strengths = Annotated[list[float], typer.Option("--eps", metavar="NUMBER ...")]
Out = Annotated[str, typer.Option(metavar="FILE", help="By default data/results/table1.json.")]


def main(
    preset: Preset = "demo",
    data: Data = "",
    skip_bad: SkipBad = False,
    seeds: Seeds = (0, 1, 2),
    editors: Editors = (),
    methods: Methods = (),
    strengths: Strengths = STRENGTHS,
    images: Images = 200,
    jobs: Jobs = 1,
    resume: Resume = False,
    weights: Weights = "",
    changes: Set = (),
    out: Out = "",
    table_only: TableOnly = False,
) -> int:
    """Measures every cell whose weights are there. Returns 1 if one failed."""
    if table_only:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
        return 0
    check_choices("--editors", editors, EDITORS)
    check_choices("--methods", methods, METHODS_MEASURED)
    config = open_config(preset, data, skip_bad, weights, changes, {"--out": out})
    for eps in strengths:
        config.changed(eps=eps)  # raises UserError for one out of range
    file = Path(out or FILE)
    check_writable(file.parent)
    cells = cells_of(editors or EDITORS, methods or METHODS_MEASURED, strengths, seeds)
    failed = measure_into(file, config, that_ship(config, cells), images, jobs, resume, with_bounds)
    if file == FILE:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
    return 1 if failed else 0


def with_bounds(rows: dict[tuple, dict]) -> list[dict]:
    """The rows in order, each with what PGD on the forger's own editor reaches at its eps."""
    bounds = {
        (*key[:5], row["eps"]): row for key, row in rows.items() if row["method"] == WHITE_BOX
    }
    ordered = []
    for key in sorted(rows):
        bound = bounds.get((*key[:5], rows[key]["eps"]), {})
        own = {"white_box_l2": bound.get("l2"), "white_box_dsr": bound.get("dsr")}
        ordered.append(rows[key] | own)
    return ordered


def readme_table(rows: list[dict]) -> str:
    """Markdown: for each data set the forgers, then what every method does to them."""
    parts = []
    for dataset, heading in DATASETS.items():
        own = pd.DataFrame([row for row in rows if row["dataset"] == dataset])
        if len(own):
            own["forger"] = (own.target + " " + own.domains).where(own.target_seed > 0, "surrogate")
            first = own.iloc[0]
            parts.append(f"**{heading}, {first['size']} px, {first['images']} held-out faces.**")
            one_recipe = own[~own.target.isin(OTHER_RECIPES)]
            parts += [markdown(table_of_forgers(own)), markdown(table_of_methods(one_recipe))]
    return "\n\n".join(parts)


def table_of_forgers(table: pd.DataFrame) -> pd.DataFrame:
    """A line a forger: the quality of its clean forgeries, and what PGD on itself reaches."""
    lines = []
    for name in columns_of(table):
        own = table[table.forger == name].drop_duplicates("target_seed")
        bound = table[(table.forger == name) & (table.method == WHITE_BOX)]
        bound = bound[bound.eps == FULL_EPS]
        line = {"forger": name, "seeds": len(own)}
        line["edit success"] = spread(own.edit_success, 2)
        line["reconstruction L1"] = spread(own.reconstruction_l1, 3)
        line["white-box DSR"] = spread(bound.dsr, 2)
        line["white-box L2"] = spread(bound.l2, 3)
        lines.append(line)
    return pd.DataFrame(lines)


def table_of_methods(table: pd.DataFrame) -> pd.DataFrame:
    """A line a method, a column a kind of forger: DSR at FULL_EPS, mean and range over seeds.

    For GRAY_COLUMN also the DSR at the lower eps, and the edits that the judge sees at FULL_EPS.
    """
    faint = table[(table.forger == GRAY_COLUMN) & (table.eps == STRENGTHS[0])]
    table = table[table.eps == FULL_EPS]
    paper = {(r["method"], f"{r['target']} {r['domains']}"): r["dsr"] for r in printed(1)}
    lines = []
    for method in METHODS_MEASURED:
        own = table[table.method == method]
        if not len(own):
            continue
        line = {f"DSR at eps {FULL_EPS:g}": METHODS[method].label}
        for name in columns_of(table):
            cell = own[own.forger == name]
            line[name] = spread(cell.dsr, 2)
            if (method, name) in paper:
                line[name] += f"; paper {paper[method, name]:.2f}"
        gray = own[own.forger == GRAY_COLUMN]
        faint_dsr = faint[faint.method == method].dsr
        line[f"{GRAY_COLUMN} at eps {STRENGTHS[0]:g}"] = spread(faint_dsr, 2)
        line[f"edits seen, {GRAY_COLUMN}"] = spread(gray.infected_edit_success, 2)
        line["PSNR of x'"] = f"{own.psnr.mean():.1f} dB"
        lines.append(line)
    return pd.DataFrame(lines)


def columns_of(table: pd.DataFrame) -> list[str]:
    """The kinds of forgers in it: white-box, then in the paper's order, then other recipes."""
    order = ["surrogate", "Res6-tuned SD"]
    order += [f"{network} {setting}" for network in NETWORKS for setting in ("SD", "DD")]
    order += sorted(set(table.forger) - set(order))
    return [name for name in order if (table.forger == name).any()]
