"""`idf robustness`: what is left of Table 1 where T(x') reaches the forger in place of x'.

A cell at a time; a stopped call goes on where it was. What T is: idf/data/transforms.py.
"""

from collections.abc import Iterable
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
from idf.config import RESULTS, ROOT
from idf.data.files import read_json_rows
from idf.data.transforms import KINDS, TRANSFORMS, name_of
from idf.figures.tables import markdown
from idf.methods import METHODS
from idf.zoo.cells import Cell, cells_of, that_ship, transformed
from idf.zoo.grid import CODELESS, EDITORS, GRAY_BOX

FILE = RESULTS / "robustness.json"
EPS = 0.05
SEED = 0  # of PG
SAME = 100  # dB: above it two pictures in 8 bits are equal
KEYLESS = "keyless-no-ats"
WHITE_BOX = "ruiz-white-box"
METHODS_MEASURED = (
    "ours",
    "ours-through",
    "ours-queries",
    "keyless",
    KEYLESS,
    "keyless-through",
    "ruiz",
    WHITE_BOX,
    "random-colour",
)
FORGERS = (*GRAY_BOX, CODELESS)
MARKS = ("<!-- robustness: written by `idf robustness` -->", "<!-- end of robustness -->")

Editors = Annotated[
    list[str],
    typer.Option(
        metavar="NAME ...", help=f"Of the gray-box forgers, by default all, and {CODELESS}."
    ),
]
Methods = Annotated[list[str], typer.Option(metavar="NAME ...", help="By default all.")]
Transforms = Annotated[list[str], typer.Option(metavar="NAME ...", help="By default all.")]
Out = Annotated[str, typer.Option(metavar="FILE", help="By default data/results/robustness.json.")]


def main(
    preset: Preset = "demo",
    data: Data = "",
    skip_bad: SkipBad = False,
    editors: Editors = GRAY_BOX,
    methods: Methods = (),
    transforms: Transforms = (),
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
    check_choices("--editors", editors, FORGERS)
    check_choices("--methods", methods, METHODS_MEASURED)
    check_choices("--transforms", transforms, TRANSFORMS)
    config = open_config(preset, data, skip_bad, weights, changes, {"--out": out})
    file = Path(out or FILE)
    check_writable(file.parent)
    plain = plain_cells(editors, methods or METHODS_MEASURED)
    cells = transformed(that_ship(config, plain), transforms or TRANSFORMS)
    failed = measure_into(file, config, cells, images, jobs, resume, in_order)
    if file == FILE:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
    return 1 if failed else 0


def plain_cells(editors: Iterable[str], methods: Iterable[str]) -> list[Cell]:
    """The cells, before T; PGD on a forger's own weights meets one of the gray-box alone."""
    cells = cells_of(editors, methods, (EPS,), (SEED,))
    return [cell for cell in cells if cell.method != WHITE_BOX or cell.editor not in GRAY_BOX[1:]]


def in_order(rows: dict[tuple, dict]) -> list[dict]:
    """The rows by data set, forger and method, and from weak to strong."""
    place = {name: number for number, name in enumerate(TRANSFORMS)}
    keys = sorted(rows, key=lambda key: (*key[:-1], place.get(key[-1], len(place))))
    return [rows[key] for key in keys]


def readme_table(rows: list[dict]) -> str:
    """For each data set: a line a kind of transformation, a column a method.

    Of the gray-box forgers, then of the one who was trained without a code.
    """
    parts = []
    for dataset, heading in DATASETS.items():
        for name, words in ((GRAY_BOX[0], ""), (CODELESS, ", the editor without a code")):
            kind = EDITORS[name].kind
            own = [row for row in rows if (row["dataset"], row["target"]) == (dataset, kind)]
            if own:
                size = f"{own[0]['size']} px, {own[0]['images']} held-out faces"
                parts.append(f"**{heading}{words}, {size}, eps {EPS:g}.**")
                parts.append(markdown(table_of_kinds(pd.DataFrame(own))))
    return "\n\n".join(parts)


def table_of_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """DSR over the strengths of each kind that were measured, mean of the forgers.

    Then the edits that the judge sees, of T(x) and of the keyless PG's T(x'), and how far T alone
    moves x.
    """
    methods = [name for name in METHODS_MEASURED if (table.method == name).any()]
    keyless = table[table.method == KEYLESS]
    lines = []
    for name, kind in KINDS.items():
        measured = table["transform"].unique()
        strengths = [one for one in kind.strengths if name_of(name, one) in measured]
        if not strengths:
            continue
        names = [name_of(name, strength) for strength in strengths]
        words = kind.label
        if len(kind.strengths) > 1:
            words = f"{words}: {kind.in_words(*strengths)}"
        line = {"what happens to the picture": words}
        for method in methods:
            line[METHODS[method].legend] = along(table[table.method == method], "dsr", names)
        line["edits seen, T(x)"] = along(table, "edit_success", names)
        line["edits seen, T(x'), keyless PG"] = along(keyless, "infected_edit_success", names)
        line["PSNR of T(x) beside x"] = decibels(table, names)
        lines.append(line)
    return pd.DataFrame(lines)


def along(table: pd.DataFrame, column: str, names: list[str]) -> str:
    """Means over the forgers under each transformation; a dash where nothing was measured."""
    means = table.groupby("transform")[column].mean()
    return ", ".join(f"{means[name]:.2f}" if name in means else "–" for name in names)


def decibels(table: pd.DataFrame, names: list[str]) -> str:
    """transform_psnr in the same way; that of a picture which stays itself has no number."""
    means = table.groupby("transform").transform_psnr.mean()
    texts = []
    for name in names:
        if name not in means:
            texts.append("–")
        else:
            texts.append("same" if means[name] > SAME else f"{means[name]:.0f}")
    return ", ".join(texts)
