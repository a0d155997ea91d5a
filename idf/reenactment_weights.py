"""`idf film-weights`: trains the networks of scenario 2 that ship, each resumable, and writes them with their manifest."""

import dataclasses
import json
import time
from functools import partial
from pathlib import Path

from torch import nn

from idf.checkpoint import load_network, save_json
from idf.config import RESULTS, ROOT, UserError, VideoConfig, load_video_config, parse_settings
from idf.faces import LABELS
from idf.networks import BiSeNet, PoisonGenerator, frozen
from idf.parsing import Parsing, open_parsed, parsing_quality, train_parser
from idf.reenactment_results import parser_name, poisoner_for, train_forger
from idf.results import stored
from idf.shipped import load_forger, small_forger
from idf.video import open_video
from idf.weights import add_training_arguments, changed_settings, command, export, hardware

FORGERS = {
    "forger": "clean",
    "forger_reseed": "reseed",
    "forger_infected": "ours",
}  # the film that each learned from
NAMES = ("parser", "parser_photos", "poisoner", *FORGERS)
# what does not make another PG: one serves for every eps, and knows nothing of the forger's length
FREE = ("eps", "iterations", "checkpoint_every", "live_iterations")


def add_arguments(parser) -> None:
    parser.add_argument(
        "--preset", default="demo", help="smoke, demo, gpu or paper (default: demo)"
    )
    parser.add_argument(
        "--masks", default="", metavar="FOLDER", help="CelebAMask-HQ pairs, for parser_photos"
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    add_training_arguments(parser, NAMES, "video")


def main(args) -> int:
    """Trains and exports; a second call continues where the first was stopped."""
    config = load_video_config(args.preset, seed=args.seed, **parse_settings(args.set))
    work = Path(args.work or ROOT / "runs" / "weights" / f"{config.preset}-video")
    out = Path(args.out or config.weights)
    for name in args.only:
        if name == "parser_photos" and not args.masks:
            print("parser_photos: left out, it needs --masks with a CelebAMask-HQ folder.")
            continue
        print(f"{name}: preset {config.preset}, checkpoints in {work / name}", flush=True)
        train_photos(config, work, out, args.masks) if name == "parser_photos" else TRAIN[name](
            config, work, out
        )
    return 0


def load(config: VideoConfig, name: str, folder: Path | None = None) -> nn.Module:
    """One network of NAMES from folder (config.weights unless told), frozen.

    Raises UserError for a file that is missing or does not fit; and for PG of another film than the one it was made for.
    """
    folder = folder or config.weights
    if name in FORGERS:
        return load_forger(config, name, folder)
    if name == "poisoner" and folder == config.weights and not _made_for(config, folder):
        raise UserError("The shipped PG belongs to another film: train one on this.")
    network = (
        PoisonGenerator(config.width_pg, config.levels_pg, config.affine_pg)
        if name == "poisoner"
        else BiSeNet(len(LABELS), config.width_parser)
    )
    return frozen(load_network(network, folder / f"{name}.safetensors"))


def _made_for(config: VideoConfig, folder: Path) -> bool:
    """Is the shipped PG one for this film?"""
    index = folder / "manifest.json"
    entry = json.loads(index.read_text()).get("poisoner", {}) if index.is_file() else {}
    made, asked = (
        {name: value for name, value in settings.items() if name not in FREE}
        for settings in (entry.get("settings", {}), changed_settings(config))
    )
    return not config.video and entry.get("size") == config.size and made == asked


def shorten(config: VideoConfig) -> VideoConfig:
    """The few iterations that a notebook trains where no weights ship for its settings; a user's video gets all."""
    if config.video and config.preset != "smoke":
        return config
    n = config.live_iterations
    return dataclasses.replace(config, iterations=n, poison_iterations=n, parser_iterations=n)


def _parser(config: VideoConfig, work: Path, out: Path, name: str = "parser") -> None:
    run = train_parser(config, open_parsed(config, "train"), work / "parser")
    export(
        config,
        out,
        name,
        run.parser,
        run.iteration,
        run.seconds,
        {"data": "procedural", "quality": score(config, run, out, "procedural")},
    )


def train_photos(config: VideoConfig, work: Path, out: Path, masks: str) -> None:
    """The parser of drawn faces, trained on with photos."""
    start = load(config, "parser", out).requires_grad_(True)
    run = train_parser(config, open_parsed(config, "train", masks), work / "parser_photos", start)
    terms = "trained on CelebAMask-HQ: for non-commercial research only"
    export(
        config,
        out,
        "parser_photos",
        run.parser,
        run.iteration,
        run.seconds,
        {
            "data": "celebamask",
            "quality": score(config, run, out, "celebamask", masks),
            "terms": terms,
        },
    )


def score(
    config: VideoConfig, run: Parsing, out: Path, dataset: str, masks: str = ""
) -> dict[str, float]:
    """The parser's quality on its test faces, kept in data/results/face_parsing.json (for other weights: beside them)."""
    faces = open_parsed(config, "test", masks)
    quality = parsing_quality(frozen(run.parser), faces, config)
    file = (RESULTS if out == config.weights else out) / "face_parsing.json"
    row = {
        "dataset": dataset,
        "miou": quality["miou"],
        "face_iou": quality["face_iou"],
        "iou": {name: value for name, value in quality.items() if name not in ("miou", "face_iou")},
        "images": len(faces),
        "size": faces.stack.shape[-1],
        "iterations": run.iteration,
        "seed": config.seed,
        "hardware": hardware(),
        "command": command(),
    }
    save_json(file, [other for other in stored(file) if other["dataset"] != dataset] + [row])
    print(
        f"{dataset}: mean IoU {quality['miou']:.3f}, face IoU {quality['face_iou']:.3f}", flush=True
    )
    return quality


def _poisoner(config: VideoConfig, work: Path, out: Path) -> None:
    parser = out if (out / f"{parser_name(config)}.safetensors").is_file() else config.weights
    run = poisoner_for("ours", config, open_video(config), work, parser)
    export(config, out, "poisoner", run.best, run.iteration, run.seconds)


def _forger(config: VideoConfig, work: Path, out: Path, name: str) -> None:
    poisoner = load(config, "poisoner", out) if FORGERS[name] == "ours" else None
    config, start = small_forger(config), time.monotonic()
    network, _ = train_forger(FORGERS[name], config, open_video(config), "CNet", work, poisoner)
    export(
        config,
        out,
        name,
        network,
        config.iterations,
        time.monotonic() - start,
        {"film": FORGERS[name], "target": "CNet"},
    )


TRAIN = {
    "parser": _parser,
    # without CelebAMask-HQ pairs at hand, drawn faces must do
    "parser_photos": lambda config, work, out: _parser(config, work, out, "parser_photos"),
    "poisoner": _poisoner,
    **{name: partial(_forger, name=name) for name in FORGERS},
}
