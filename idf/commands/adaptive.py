"""`idf adaptive`: forgers who train on with infected faces, and what then is left of the defence.

An editor at a time is trained where its weights are missing; then all that are there are measured,
beside the forgers as they were. M+(x') is held against M+(x), of the same adapted editor M+.
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from idf.commands.measuring import DATASETS, measure_into, open_config, trained
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
    Work,
    check_choices,
    check_writable,
)
from idf.commands.readme import write_table
from idf.config import RESULTS, ROOT, Config
from idf.data.files import read_json_rows
from idf.figures.tables import markdown, spread
from idf.methods import METHODS
from idf.zoo.adaptive import DIETS, EPS, SEED, AdaptedEditor
from idf.zoo.cells import Cell, that_ship
from idf.zoo.grid import EDITORS, GRAY_BOX
from idf.zoo.load import ships

FILE = RESULTS / "adaptive.json"
METHODS_MEASURED = ("ours", "keyless-no-ats", "random-colour", "ruiz-white-box")
POISONS = METHODS_MEASURED[:2]  # of which the table says more than the DSR
MARKS = ("<!-- adaptive: written by `idf adaptive` -->", "<!-- end of adaptive -->")

Editors = Annotated[
    list[str], typer.Option(metavar="NAME ...", help="Of the forgers; by default the gray-box.")
]
Diets = Annotated[
    list[str],
    typer.Option(
        metavar="NAME ...",
        help=f"What they train on with: of {', '.join(DIETS)}; by default all.",
    ),
]
Methods = Annotated[list[str], typer.Option(metavar="NAME ...", help="By default all.")]
TrainOnly = Annotated[
    bool,
    typer.Option(
        "--train-only",
        help="Measure nothing; such calls, of other editors or diets, may run side by side.",
    ),
]
Out = Annotated[str, typer.Option(metavar="FILE", help="By default data/results/adaptive.json.")]


def main(
    preset: Preset = "demo",
    data: Data = "",
    skip_bad: SkipBad = False,
    editors: Editors = GRAY_BOX,
    diets: Diets = (),
    methods: Methods = (),
    work: Work = "",
    train_only: TrainOnly = False,
    images: Images = 200,
    jobs: Jobs = 1,
    resume: Resume = False,
    weights: Weights = "",
    changes: Set = (),
    out: Out = "",
    table_only: TableOnly = False,
) -> int:
    """Trains and measures. Returns 1 if a training or a cell failed."""
    if table_only:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
        return 0
    check_choices("--editors", editors, GRAY_BOX)
    check_choices("--diets", diets, DIETS)
    check_choices("--methods", methods, METHODS_MEASURED)
    places = {"--work": work} if train_only else {"--out": out, "--work": work}
    config = open_config(preset, data, skip_bad, weights, changes, places)
    folder = Path(work or ROOT / "runs" / "adaptive" / f"{preset}-{config.dataset}")
    file = Path(out or FILE)
    check_writable(folder, file.parent)

    # the first forger on every diet before the second
    adapted = [AdaptedEditor(name, diet, folder) for name in editors for diet in diets or DIETS]
    failed = sum(not train_missing(config, one) for one in adapted)
    if not train_only:
        cells = cells_of(config, editors, adapted, methods or METHODS_MEASURED)
        failed += measure_into(file, config, cells, images, jobs, resume, in_order)
        if file == FILE:
            write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
    return 1 if failed else 0


def train_missing(config: Config, one: AdaptedEditor) -> bool:
    """Sees to it that the editor is there. False, and said, where its training failed."""
    if ships(one.folder, one.name):
        return True
    return trained(one.name, one.folder / one.name, lambda: one.train(config))


def cells_of(
    config: Config, editors: list[str], adapted: list[AdaptedEditor], methods: list[str]
) -> list[Cell]:
    """The cells whose weights are there: of the forgers as they were, then of the adapted."""
    plain = [Cell(name, method, EPS, SEED) for name in editors for method in methods]
    cells = that_ship(config, plain)
    for one in adapted:
        if ships(one.folder, one.name):
            cells += [Cell(one.forger, method, EPS, SEED, adapted=one) for method in methods]
    return cells


def lines() -> dict[str, str]:
    """The table's lines: what an editor is called in rows, and what it was trained on with."""
    kinds = {EDITORS[GRAY_BOX[0]].kind: "nothing: the forger as he was"}
    for name, diet in DIETS.items():
        kinds[AdaptedEditor(GRAY_BOX[0], name, Path()).kind] = diet.label
    return kinds


def in_order(rows: dict[tuple, dict]) -> list[dict]:
    """The rows by data set, diet, forger and method."""
    kinds = list(lines())
    keys = sorted(rows, key=lambda key: (*key[:2], kinds.index(key[2]), *key[3:]))
    return [rows[key] for key in keys]


def readme_table(rows: list[dict]) -> str:
    """Markdown: for each data set a line a diet."""
    parts = []
    for dataset, heading in DATASETS.items():
        own = pd.DataFrame([row for row in rows if row["dataset"] == dataset])
        if len(own):
            first = own.iloc[0]
            size = f"{first['size']} px, {first['images']} held-out faces"
            parts += [f"**{heading}, {size}, eps {EPS:g}.**", markdown(table_of_diets(own))]
    return "\n\n".join(parts)


def table_of_diets(table: pd.DataFrame) -> pd.DataFrame:
    """Mean and range over the forgers: how well they edit clean faces, and DSR of each method.

    Then L2 and the edits that the judge sees on faces infected by the PGs.
    """
    methods = [name for name in METHODS_MEASURED if (table.method == name).any()]
    result = []
    for kind, label in lines().items():
        own = table[table.target == kind]
        if not len(own):
            continue
        forgers = own.drop_duplicates("target_seed")
        line = {
            "trained on with": label,
            "edit success": spread(forgers.edit_success, 2),
            "reconstruction L1": spread(forgers.reconstruction_l1),
        }
        for method in methods:
            cell = own[own.method == method]
            line[f"DSR, {METHODS[method].legend}"] = spread(cell.dsr, 2)
        for method in [name for name in POISONS if name in methods]:
            cell, name = own[own.method == method], METHODS[method].legend
            line[f"L2, {name}"] = spread(cell.l2)
            line[f"edits seen, {name}"] = spread(cell.infected_edit_success, 2)
        result.append(line)
    return pd.DataFrame(result)
