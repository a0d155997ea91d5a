"""Cells of Table 1 and of its robustness measured into a file of rows, which grows row by row."""

import sys
from collections.abc import Callable
from pathlib import Path

from idf.config import Config
from idf.data.faces import open_faces
from idf.data.files import read_json_rows, save_json
from idf.zoo.cells import Cell, key_of, measure_all, say, weights_behind
from idf.zoo.manifest import command

DATASETS = {"procedural": "Procedural faces", "celeba": "CelebA"}


def measure_into(
    file: Path,
    config: Config,
    cells: list[Cell],
    images: int,
    jobs: int,
    resume: bool,
    arrange: Callable[[dict[tuple, dict]], list[dict]],
    folder: Path | None = None,
) -> int:
    """Measures the cells and saves after each; returns how many failed.

    resume: leave out those whose row is there, of as many faces and of the same weights. arrange:
    the rows {key: row} in the order in which they are stored. folder: of the weights, by default
    those that ship.
    """
    rows = {key_of(row): row for row in read_json_rows(file)}
    if resume:
        count = len(open_faces(config, "test", limit=images))
        done = {key: row["weights"] for key, row in rows.items() if row["images"] == count}
        cells = [
            cell
            for cell in cells
            if done.get(cell.key(config)) != weights_behind(config, cell, folder)
        ]

    failed = 0
    measured = measure_all(config, cells, images, jobs, folder)
    for number, (cell, row) in enumerate(measured, start=1):
        failing = isinstance(row, Exception)
        place = sys.stderr if failing else sys.stdout
        print(f"{number}/{len(cells)} {say(cell, row)}", file=place, flush=True)
        if failing:
            failed += 1
            continue
        row.pop("left_out")
        rows[key_of(row)] = row | {"command": command()}
        save_json(file, arrange(rows))
    if failed:
        print(f"{failed} of {len(cells)} cells failed: the same command with --resume tries them.")
    return failed
