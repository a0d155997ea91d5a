"""`idf film-weights`: train the networks of scenario 2 that ship; a second call continues."""

from pathlib import Path
from typing import Annotated

import typer

from idf.commands.options import (
    Preset,
    Seed,
    Set,
    Work,
    check_choices,
    check_writable,
    parse_settings,
)
from idf.config import ROOT, load_film_config
from idf.zoo.film_recipes import RECIPES, train_photo_parser

Masks = Annotated[
    str, typer.Option(metavar="FOLDER", help="CelebAMask-HQ pairs, for parser_photos.")
]
Only = Annotated[
    list[str],
    typer.Option(metavar="NAME ...", help=f"Of {', '.join(RECIPES)}; by default all, in order."),
]
Out = Annotated[str, typer.Option(metavar="FOLDER", help="By default data/weights/video.")]


def main(
    preset: Preset = "demo",
    masks: Masks = "",
    seed: Seed = 0,
    only: Only = (),
    changes: Set = (),
    work: Work = "",
    out: Out = "",
) -> int:
    """Trains and exports."""
    check_choices("--only", only, RECIPES)
    settings = parse_settings(changes, {"preset": "--preset", "seed": "--seed"})
    config = load_film_config(preset, seed=seed, **settings)
    checkpoints = Path(work or ROOT / "runs" / "weights" / f"{preset}-video")
    weights = Path(out or config.weights)
    check_writable(checkpoints, weights)
    for name in only or RECIPES:
        if name == "parser_photos" and not masks:
            print("parser_photos: left out, it needs --masks with a CelebAMask-HQ folder.")
            continue
        print(f"{name}: preset {preset}, checkpoints in {checkpoints / name}", flush=True)
        if name == "parser_photos":
            train_photo_parser(config, checkpoints, weights, masks)
        else:
            RECIPES[name](config, checkpoints, weights)
    return 0
