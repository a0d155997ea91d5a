"""`idf ablations`: what each part of PG's training is worth (Figure 7 and beyond).

A PG at a time is trained where its weights are missing, and measured; a stopped call goes on where
it was. Editors and judge are those that ship, or those of --weights.
"""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from idf.commands.measuring import DATASETS, measure_into, open_config, trained
from idf.commands.options import (
    Data,
    Images,
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
from idf.zoo.ablations import ANOTHER_NETWORK, VARIANTS, SummaryVariant
from idf.zoo.cells import Cell
from idf.zoo.grid import EDITORS, SEEDS
from idf.zoo.load import ships

FILE = RESULTS / "ablations.json"
STRENGTHS = (0.02, 0.05)
FULL_EPS = STRENGTHS[-1]
MARKS = ("<!-- ablations: written by `idf ablations` -->", "<!-- end of ablations -->")

Seeds = Annotated[
    list[int], typer.Option(metavar="NUMBER ...", help="Of PG: of 0, 1 and 2; by default all.")
]
Variants = Annotated[
    list[str],
    typer.Option(metavar="NAME ...", help=f"Of {', '.join(VARIANTS)}; by default all."),
]
Out = Annotated[str, typer.Option(metavar="FILE", help="By default data/results/ablations.json.")]


def main(
    preset: Preset = "demo",
    data: Data = "",
    skip_bad: SkipBad = False,
    seeds: Seeds = SEEDS,
    variants: Variants = (),
    work: Work = "",
    images: Images = 200,
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
    check_choices("--variants", variants, VARIANTS)
    check_choices("--seeds", map(str, seeds), map(str, SEEDS))
    config = open_config(preset, data, skip_bad, weights, changes, {"--out": out, "--work": work})
    poisoners = Path(work or ROOT / "runs" / "ablations" / f"{preset}-{config.dataset}")
    file = Path(out or FILE)
    check_writable(poisoners, file.parent)

    failed = 0
    for seed in seeds:  # the first seed of all variants before the second of one
        for name in variants or VARIANTS:
            if not train_missing(config, name, seed, poisoners):
                failed += 1
                continue
            cells = cells_of(config, name, seed, poisoners)
            failed += measure_into(file, config, cells, images, 1, resume, in_order)
    if file == FILE:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
    return 1 if failed else 0


def train_missing(config: Config, name: str, seed: int, work: Path) -> bool:
    """Sees to it that the PG is there. False, and said, where its training failed."""
    variant = VARIANTS[name]
    if ships(variant.folder(config, seed, work), variant.file_name(seed)):
        return True
    name = f"{name}, seed {seed}"
    place = work / variant.file_name(seed)
    return trained(name, place, lambda: variant.train(config, seed, work))


def cells_of(config: Config, name: str, seed: int, work: Path) -> list[Cell]:
    """The cells of one PG, of the forgers whose weights are there."""
    variant = VARIANTS[name]
    forgers = [one for one in variant.forgers(seed) if ships(config.weights, one)]
    folder = variant.folder(config, seed, work)
    return [
        Cell(forger, variant.method, eps, seed, variant=name, poisoners=folder)
        for eps in STRENGTHS
        for forger in forgers
    ]


def in_order(rows: dict[tuple, dict]) -> list[dict]:
    """The rows by data set, in the order of VARIANTS, then by forger, eps and seed."""
    place = {name: number for number, name in enumerate(VARIANTS)}
    variant = {key: place[row["variant"]] for key, row in rows.items()}
    keys = sorted(rows, key=lambda key: (*key[:2], variant[key], *key))
    return [rows[key] for key in keys]


# README's tables


def readme_table(rows: list[dict]) -> str:
    """Markdown: for each data set a line a variant; the summary's, of other forgers, apart."""
    parts = []
    for dataset, heading in DATASETS.items():
        own = pd.DataFrame([row for row in rows if row["dataset"] == dataset])
        if len(own):
            first = own.iloc[0]
            size = f"{first['size']} px, {first['images']} held-out faces"
            parts.append(f"**{heading}, {size}, eps {FULL_EPS:g} but where said.**")
            tables = (table_of_variants(own), table_of_summary(own))
            parts += [markdown(table) for table in tables if len(table)]
    return "\n\n".join(parts)


def table_of_variants(table: pd.DataFrame) -> pd.DataFrame:
    """A line a variant of Table 1's PGs: mean and range over seeds of PG and gray-box forgers."""
    lines = []
    for name, variant in VARIANTS.items():
        own = table[table.variant == name]
        if len(own) and not isinstance(variant, SummaryVariant):
            full = own[own.eps == FULL_EPS]
            surrogate, gray_box = full[full.target_seed == 0], full[full.target_seed > 0]
            faint = own[(own.eps == STRENGTHS[0]) & (own.target_seed > 0)]
            line = {
                "variant": variant.label,
                "seeds": own.seed.nunique(),
                "L2, surrogate": spread(surrogate.l2),
                "DSR, surrogate": spread(surrogate.dsr, 2),
                "L2, gray-box": spread(gray_box.l2),
                "DSR, gray-box": spread(gray_box.dsr, 2),
                f"DSR, gray-box, eps {STRENGTHS[0]:g}": spread(faint.dsr, 2),
                "edits seen, gray-box": spread(gray_box.infected_edit_success, 2),
                "PSNR of x'": spread(full.psnr, 1, " dB"),
            }
            lines.append(line)
    return pd.DataFrame(lines)


def table_of_summary(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each PG(x, c): mean and range over its seeds, each with a forger to query."""
    black_box = EDITORS[ANOTHER_NETWORK].kind
    lines = []
    for name, variant in VARIANTS.items():
        own = table[table.variant == name]
        if len(own) and isinstance(variant, SummaryVariant):
            full = own[own.eps == FULL_EPS]
            is_surrogate, is_black_box = full.target_seed == 0, full.target == black_box
            forgers = {
                "surrogate": full[is_surrogate],
                "the queried": full[~is_surrogate & ~is_black_box],
                black_box: full[is_black_box],
            }
            line = {"variant": variant.label, "seeds": own.seed.nunique()}
            line |= {f"L2, {who}": spread(cell.l2) for who, cell in forgers.items()}
            line |= {f"DSR, {who}": spread(cell.dsr, 2) for who, cell in forgers.items()}
            lines.append(line | {"PSNR of x'": spread(full.psnr, 1, " dB")})
    return pd.DataFrame(lines)
