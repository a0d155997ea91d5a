"""`idf reenact`: train forgers on clean, poisoned and control films, and measure them.

A second call continues where the first was stopped: finished trainings are not repeated.
"""

from pathlib import Path
from typing import Annotated

import typer
from accelerate import PartialState

from idf.commands.options import (
    Landmarks,
    Preset,
    Set,
    Start,
    Video,
    Work,
    check_choices,
    check_writable,
    find_landmarks,
    find_video,
    parse_settings,
)
from idf.commands.readme import write_table
from idf.config import MOST_SEED, RESULTS, ROOT, FilmConfig, load_film_config
from idf.data.files import read_json_rows, save_json
from idf.data.film import open_film
from idf.figures.tables import NETWORKS, table_of_methods, table_of_networks
from idf.methods import of_scenario
from idf.settings import setting_names
from idf.zoo.film_recipes import fitting_parser
from idf.zoo.films import experiment

FILE = RESULTS / "reenactment_defence.json"
METHODS = [name for name, method in of_scenario(2).items() if method.make]
FILMS = {"procedural-video": "The drawn film", "real-video": "A filmed person"}
MARKS = ("<!-- films: written by `idf reenact` -->", "<!-- end of films -->")
# what makes a row another one
KEY = ("dataset", "size", "method", "reference", "target", "eps", "seed", "settings")

Seeds = Annotated[list[int], typer.Option(metavar="NUMBER ...", min=0, max=MOST_SEED)]
Targets = Annotated[list[str], typer.Option(metavar="NAME ...", help=f"Of {', '.join(NETWORKS)}.")]
Methods = Annotated[
    list[str], typer.Option(metavar="NAME ...", help=f"Of {', '.join(METHODS)}; by default all.")
]
Out = Annotated[
    str, typer.Option(metavar="FILE", help="By default data/results/reenactment_defence.json.")
]


def main(
    preset: Preset = "demo",
    video: Video = "",
    landmarks: Landmarks = "",
    start: Start = 0.0,
    seeds: Seeds = (0, 1, 2),
    targets: Targets = ("UNet256",),
    methods: Methods = (),
    changes: Set = (),
    work: Work = "",
    out: Out = "",
) -> int:
    """Writes the rows into `out`, in place of old ones of the same settings, and README's table."""
    check_choices("--targets", targets, NETWORKS)
    check_choices("--methods", methods, METHODS)
    options = {
        "preset": "--preset",
        "video": "--video",
        "landmarks": "--landmarks",
        "start": "--start",
        "seed": "--seeds",
    }
    settings = parse_settings(changes, options)
    sources = {"video": find_video(video), "landmarks": find_landmarks(landmarks), "start": start}
    config = load_film_config(preset, **sources, **settings)
    checkpoints = Path(work or ROOT / "runs" / "reenact" / f"{preset}-{config.dataset}")
    check_writable(checkpoints, Path(out or FILE).parent)

    film = open_film(config)
    print(*film.notes, sep="\n", end="\n" if film.notes else "")
    for reason, count in film.dropped.items():
        print(f"{count} frames left out: {reason}.")

    # what PG needs comes first: M trains for long, and a mistake is to be said before
    measured, parser = methods or METHODS, None
    if config.poisoner.masked and any(name.startswith("ours") for name in measured):
        parser = fitting_parser(config, checkpoints)

    changed = {full_name(name): value for name, value in settings.items()}
    changed.pop("poisoner.eps", None)  # has a column of its own
    for seed in seeds:
        for network in targets:
            own = config.changed(seed=seed)
            rows = experiment(own, film, network, list(measured), checkpoints, parser)
            if PartialState().is_main_process:
                store([row | {"settings": changed} for row in rows], Path(out or FILE))
    return 0


def full_name(name: str) -> str:
    """inner_steps as poisoner.inner_steps, so that rows with equal settings say so alike."""
    known = setting_names(FilmConfig)
    return next(one for one in known if one == name or one.endswith(f".{name}"))


def store(rows: list[dict], file: Path) -> None:
    """Rows replace old ones of the same key; README's table follows where `file` is its source."""
    new = {key(row) for row in rows}
    kept = [row for row in read_json_rows(file) if key(row) not in new]
    save_json(file, kept + rows)
    if file == FILE:
        write_table(ROOT / "README.md", readme_table(read_json_rows(file)), MARKS)


def key(row: dict) -> tuple:
    return tuple(repr(row[name]) for name in KEY)


def readme_table(rows: list[dict], eps: float = 0.02) -> str:
    """Markdown: for each film what each method's forger does, then the other target networks."""
    rows = [row for row in rows if row["eps"] == eps and not row["settings"]]
    films = {(row["dataset"], row["size"]) for row in rows}
    parts = []
    for dataset, heading in FILMS.items():
        for size in sorted(size for name, size in films if name == dataset):
            own = [row for row in rows if (row["dataset"], row["size"]) == (dataset, size)]
            first = min({row["target"] for row in own}, key=NETWORKS.index)
            of_first = [row for row in own if row["target"] == first]
            others = [row for row in own if row["target"] != first]
            parts.append(table_of_methods(of_first, f"{heading}, {size} px, {first}"))
            if others:
                parts.append(table_of_networks(others, f"{heading}, {size} px, other forgers"))
    return "\n\n".join(parts)
