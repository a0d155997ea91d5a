"""How the networks of scenario 2 that ship were trained, each resumable. As zoo/recipes.py."""

import time
from functools import partial
from pathlib import Path

from torch import nn

from idf.config import RESULTS, FilmConfig, UserError
from idf.data.files import read_json_rows, save_json
from idf.data.film import open_film
from idf.data.parsed import open_parsed
from idf.networks import frozen
from idf.zoo.films import poisoner_for, train_forger
from idf.zoo.load import (
    load_film_forger,
    load_parser,
    load_poisoner,
    parser_name,
    small_forger,
)
from idf.zoo.manifest import changed_settings, command, export, hardware, read_manifest
from idf.zoo.parsing import ParserTraining, parsing_quality, train_parser

# the film that each forger learned from
FORGERS = {"forger": "clean", "forger_reseed": "reseed", "forger_infected": "ours"}
PHOTO_TERMS = "trained on CelebAMask-HQ: for non-commercial research only"


def load(config: FilmConfig, name: str, folder: Path | None = None) -> nn.Module:
    """One network of RECIPES from folder (config.weights by default), frozen.

    Raises UserError for a file that is missing or does not fit; and for PG of another film than the
    one it was made for.
    """
    folder = folder or config.weights
    if name in FORGERS:
        return load_film_forger(config, name, folder)
    if name != "poisoner":
        return load_parser(config, name, folder)
    if folder == config.weights and not _made_for(config, folder):
        raise UserError("The shipped PG belongs to another film: train one on this.")
    return load_poisoner(config, name, folder)


def _made_for(config: FilmConfig, folder: Path) -> bool:
    """Is the shipped PG one for this film?"""
    entry = read_manifest(folder).get("poisoner", {})
    made, asked = _of_poisoner(entry.get("settings", {})), _of_poisoner(changed_settings(config))
    return not config.video and entry.get("size") == config.size and made == asked


def _of_poisoner(settings: dict) -> dict:
    """What makes another PG: it serves for every eps, and knows nothing of the forger's length."""
    free = ("poisoner.eps", "forger.iterations", "checkpoint_every", "live_iterations")
    return {name: value for name, value in settings.items() if name not in free}


def needed(config: FilmConfig) -> list[str]:
    """The parser that a notebook of scenario 2 asks `ready` for, if it is one of ours."""
    return [] if config.parser.checkpoint else [parser_name(config)]


def fitting_parser(config: FilmConfig, work: Path, folder: Path | None = None) -> Path:
    """A folder with the face parser of these settings: this one, the shipped one, or work's own.

    It is trained there, resumable, where none fits; so other sizes than the shipped one's work.
    """
    if config.parser.checkpoint:
        load_parser(config)  # says what is wrong with it, if anything
        return config.weights
    own = work / "weights"
    for place in (folder, config.weights, own):
        if place and _has_parser(config, place):
            return place
    print(f"No shipped face parser fits these settings: one is trained, in {own}.", flush=True)
    RECIPES[parser_name(config)](config, work, own)
    return own


def _has_parser(config: FilmConfig, folder: Path) -> bool:
    try:
        load_parser(config, folder=folder)
    except UserError:
        return False
    return True


def shorten(config: FilmConfig) -> FilmConfig:
    """The few iterations that a notebook trains where no weights ship for its settings.

    A user's own video gets all of them.
    """
    if config.video and config.preset != "smoke":
        return config
    n = config.live_iterations
    lengths = {"forger.iterations": n, "poisoner.iterations": n, "parser.iterations": n}
    return config.changed(**lengths)


def _parser(config: FilmConfig, work: Path, out: Path, name: str = "parser") -> None:
    run = train_parser(config, open_parsed(config, "train"), folder=work / "parser")
    facts = {"data": "procedural", "quality": measure_parser(config, run, out, "procedural")}
    export(config, out, name, run.parser, run.iteration, run.seconds, facts)


def train_photo_parser(config: FilmConfig, work: Path, out: Path, masks: str) -> None:
    """The parser of drawn faces, trained on with the photos of a CelebAMask-HQ folder."""
    start = load(config, "parser", out).requires_grad_(True)
    faces = open_parsed(config, "train", masks)
    run = train_parser(config, faces, start, folder=work / "parser_photos")
    quality = measure_parser(config, run, out, "celebamask", masks)
    facts = {"data": "celebamask", "quality": quality, "terms": PHOTO_TERMS}
    export(config, out, "parser_photos", run.parser, run.iteration, run.seconds, facts)


def measure_parser(
    config: FilmConfig, run: ParserTraining, out: Path, dataset: str, masks: str = ""
) -> dict[str, float]:
    """The parser's quality on its test faces, kept in data/results/face_parsing.json.

    For other weights than the shipped ones: beside them.
    """
    faces = open_parsed(config, "test", masks)
    quality = parsing_quality(frozen(run.parser), faces, config)
    iou = {name: v for name, v in quality.items() if name not in ("miou", "face_iou")}
    row = {
        "dataset": dataset,
        "miou": quality["miou"],
        "face_iou": quality["face_iou"],
        "iou": iou,
        "images": len(faces),
        "size": faces.stack.shape[-1],
        "iterations": run.iteration,
        "seed": config.seed,
        "hardware": hardware(),
        "command": command(),
    }
    file = (RESULTS if out == config.weights else out) / "face_parsing.json"
    others = [other for other in read_json_rows(file) if other["dataset"] != dataset]
    save_json(file, [*others, row])
    print(
        f"{dataset}: mean IoU {quality['miou']:.3f}, face IoU {quality['face_iou']:.3f}", flush=True
    )
    return quality


def _poisoner(config: FilmConfig, work: Path, out: Path) -> None:
    parser = fitting_parser(config, work, out)
    run = poisoner_for("ours", config, open_film(config), work, parser)
    export(config, out, "poisoner", run.best, run.iteration, run.seconds)


def _forger(config: FilmConfig, work: Path, out: Path, name: str) -> None:
    film = FORGERS[name]
    poisoner = load(config, "poisoner", out) if film == "ours" else None
    own, start = small_forger(config), time.monotonic()
    network, _ = train_forger(film, own, open_film(own), "CNet", work, poisoner)
    facts = (own.forger.iterations, time.monotonic() - start)
    export(own, out, name, network, *facts, {"film": film, "target": "CNet"})


RECIPES = {
    "parser": _parser,
    # without CelebAMask-HQ pairs at hand, drawn faces must do
    "parser_photos": partial(_parser, name="parser_photos"),
    "poisoner": _poisoner,
    **{name: partial(_forger, name=name) for name in FORGERS},
}
ALL = RECIPES
