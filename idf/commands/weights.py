"""`idf weights`: train the networks of scenario 1 that ship; a second call continues."""

from pathlib import Path
from typing import Annotated

import typer

from idf.commands.options import (
    Data,
    Preset,
    Seed,
    Set,
    SkipBad,
    Work,
    check_choices,
    check_writable,
    find_data,
    parse_settings,
)
from idf.config import ROOT, WEIGHTS, load_config
from idf.zoo.recipes import ALL

Only = Annotated[
    list[str],
    typer.Option(metavar="NAME ...", help=f"Of {', '.join(ALL)}; by default all, in this order."),
]
Out = Annotated[str, typer.Option(metavar="FOLDER", help="By default data/weights/<data set>.")]


def main(
    preset: Preset = "demo",
    data: Data = "",
    seed: Seed = 0,
    only: Only = (),
    changes: Set = (),
    skip_bad: SkipBad = False,
    work: Work = "",
    out: Out = "",
) -> int:
    """Trains and exports. A forger of number n is trained with seed + 100 n."""
    check_choices("--only", only, ALL)
    options = {"preset": "--preset", "data_root": "--data", "seed": "--seed"}
    options["skip_bad"] = "--skip-bad"
    settings = parse_settings(changes, options)
    config = load_config(
        preset, data_root=find_data(data), seed=seed, skip_bad=skip_bad, **settings
    )
    checkpoints = Path(work or ROOT / "runs" / "weights" / f"{preset}-{config.dataset}")
    weights = Path(out or WEIGHTS / config.dataset)
    check_writable(checkpoints, weights)
    for name in only or ALL:
        print(
            f"{name}: {config.dataset}, preset {preset}, checkpoints in {checkpoints / name}",
            flush=True,
        )
        ALL[name](config, checkpoints, weights)
    return 0
