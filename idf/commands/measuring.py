"""Cells of Table 1 and of its robustness measured into a file of rows, which grows row by row."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from idf.commands.options import check_places, find_data, find_weights, parse_settings
from idf.config import Config, load_config
from idf.data.faces import open_faces
from idf.data.files import read_json_rows, save_json
from idf.zoo.cells import Cell, key_of, measure_all, weights_behind
from idf.zoo.manifest import command

DATASETS = {"procedural": "Procedural faces", "celeba": "CelebA"}


# settings that are options of these commands
OPTIONS = {
    "preset": "--preset",
    "data_root": "--data",
    "skip_bad": "--skip-bad",
    "weights_folder": "--weights",
}


def open_config(
    preset: str,
    data: str,
    skip_bad: bool,
    weights: str,
    changes: Iterable[str],
    places: dict[str, str],
) -> Config:
    """The settings of a command that measures editors, by its options.

    changes: of --set. places: as check_places takes them. Raises UserError for a wrong value.
    """
    settings = parse_settings(changes, OPTIONS)
    sources = {"data_root": find_data(data), "weights_folder": find_weights(weights)}
    config = load_config(preset, skip_bad=skip_bad, **sources, **settings)
    if weights or settings:
        check_places(places)
    return config


def measure_into(
    file: Path,
    config: Config,
    cells: list[Cell],
    images: int,
    jobs: int,
    resume: bool,
    arrange: Callable[[dict[tuple, dict]], list[dict]],
) -> int:
    """Measures the cells and saves after each; returns how many failed.

    resume: leave out those whose row is there, of as many faces and of the same weights. arrange:
    the rows {key: row} in the order in which they are stored.
    """
    if not cells:
        print("Nothing to measure: the networks that this rests on are not there.")
    rows = {key_of(row): row for row in read_json_rows(file)}
    if resume:
        count = len(open_faces(config, "test", limit=images))
        done = {key: row["weights"] for key, row in rows.items() if row["images"] == count}
        cells = [
            cell for cell in cells if done.get(cell.key(config)) != weights_behind(config, cell)
        ]

    failed = 0
    measured = measure_all(config, cells, images, jobs)
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


def say(cell: Cell, row: dict | Exception) -> str:
    """One line about a finished cell."""
    method = cell.variant or cell.method
    name = f"{cell.target.name.removeprefix('editor_')} {method} eps {cell.eps} seed {cell.seed}"
    if cell.transform:
        name = f"{name}, {cell.transform}"
    if isinstance(row, Exception):
        return f"{name} failed: {type(row).__name__}: {row}"
    return (
        f"{name}: DSR {row['dsr']:.3f}, L2 {row['l2']:.3f}, PSNR {row['psnr']:.1f}, "
        f"edit {row['edit_success']:.2f} to {row['infected_edit_success']:.2f}"
    )


def trained(name: str, place: Path, train: Callable[[], None]) -> bool:
    """Trains, with checkpoints in `place`. False, and said, where that failed: others go on."""
    print(f"{name}: checkpoints in {place}", flush=True)
    try:
        train()
    except Exception as error:
        print(f"{name} failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return False
    return True
