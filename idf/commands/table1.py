"""`idf table1`: the paper's Table 1, a cell at a time; a stopped call goes on where it was."""

from pathlib import Path
from typing import Annotated

import typer

from idf.commands.options import Data, Preset, check_choices, find_data
from idf.config import RESULTS, load_config
from idf.data.files import read_json_rows, save_json
from idf.zoo.cells import Cell, cells_that_ship, key_of, measure_all, say, weights_behind
from idf.zoo.grid import EDITORS
from idf.zoo.manifest import command

FILE = RESULTS / "table1.json"
STRENGTHS = (0.02, 0.05)
METHODS_MEASURED = (
    "ours",
    "ours-no-ats",
    "keyless",
    "keyless-no-ats",
    "ours-queries",
    "ruiz",
    "ruiz-per-class",
    "ruiz-white-box",
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

Seeds = Annotated[list[int], typer.Option(metavar="NUMBER ...", help="Of PG.")]
Editors = Annotated[
    list[str], typer.Option(metavar="NAME ...", help="Of the forgers; by default all that ship.")
]
Methods = Annotated[list[str], typer.Option(metavar="NAME ...", help="By default all.")]
Strengths = Annotated[list[float], typer.Option("--eps", metavar="NUMBER ...")]
Images = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Held-out faces.")]
Jobs = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Cells at a time.")]
Resume = Annotated[bool, typer.Option("--resume", help="Leave out the cells that are done.")]
Out = Annotated[str, typer.Option(metavar="FILE", help="By default data/results/table1.json.")]


def main(
    preset: Preset = "demo",
    data: Data = "",
    seeds: Seeds = (0, 1, 2),
    editors: Editors = (),
    methods: Methods = (),
    strengths: Strengths = STRENGTHS,
    images: Images = 200,
    jobs: Jobs = 1,
    resume: Resume = False,
    out: Out = "",
) -> int:
    """Measures every cell whose weights are there. Returns 1 if one failed."""
    check_choices("--editors", editors, EDITORS)
    check_choices("--methods", methods, METHODS_MEASURED)
    config = load_config(preset, data_root=find_data(data))
    file = Path(out or FILE)
    rows = {key_of(row): row for row in read_json_rows(file)}
    cells = cells_that_ship(
        config, editors or EDITORS, methods or METHODS_MEASURED, strengths, seeds
    )
    if resume:
        cells = [cell for cell in cells if not is_done(rows.get(cell.key(config)), config, cell)]

    failed = 0
    for number, (cell, row) in enumerate(measure_all(config, cells, images, jobs), start=1):
        print(f"{number}/{len(cells)} {say(cell, row)}", flush=True)
        if isinstance(row, Exception):
            failed += 1
            continue
        row.pop("left_out")
        rows[key_of(row)] = row | {"command": command()}
        save_json(file, with_bounds(rows))
    if failed:
        print(f"{failed} of {len(cells)} cells failed: the same command with --resume tries them.")
    return 1 if failed else 0


def is_done(row: dict | None, config, cell: Cell) -> bool:
    """Is there a row of these very weights?"""
    return row is not None and row["weights"] == weights_behind(config, cell)


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
