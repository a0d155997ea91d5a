"""`idf weights`: trains the networks that the project ships, each resumable, and writes them with their manifest."""

import dataclasses
import hashlib
import json
import platform
import shlex
import sys
import time
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn

from idf.checkpoint import save_json, save_tensors
from idf.config import (
    ROOT,
    WEIGHTS,
    Config,
    UserError,
    VideoConfig,
    find_data,
    load_config,
    parse_settings,
)
from idf.data import open_faces
from idf.editing import Training, make_training, train
from idf.judge import judge_accuracy, train_judge
from idf.shipped import (
    judged_domains,
    load_judge,
    load_poisoner,
    load_surrogate,
    load_target,
    target_name,
    wild,
)

TERMS = {
    "procedural": "MIT",
    "procedural-video": "MIT",
    "real-video": "trained on a video of your own",
    "celeba": "trained on CelebA: for non-commercial research only",
}


def load(config: Config, name: str, folder: Path) -> None:
    """Loads what NAMES calls `name`, to see whether folder holds it for these settings. Raises UserError if not."""
    if name.endswith("_DD"):
        load_target(wild(config), folder)
    elif name.startswith("target"):
        load_target(config, folder, tuned=name.endswith("_tuned"))
    elif name.startswith("poisoner"):
        load_poisoner(config, name, folder)
    elif name == "judge":
        load_judge(config, folder)
    else:
        load_surrogate(config, folder)
        load_poisoner(config, "poisoner", folder)


def shorten(config: Config) -> Config:
    """The few iterations that a notebook trains where no weights ship for its settings."""
    n = config.live_iterations
    return dataclasses.replace(
        config,
        iterations=n,
        target_iterations=n,
        judge_iterations=max(n, config.judge_iterations // 10),
    )


def add_arguments(parser) -> None:
    parser.add_argument(
        "--preset", default="demo", help="smoke, demo, gpu or paper (default: demo)"
    )
    parser.add_argument(
        "--data", default="", metavar="FOLDER", help="a CelebA folder (default: procedural faces)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="default: 0; the target is trained with seed + 100"
    )
    add_training_arguments(parser, NAMES, "<data>")


def add_training_arguments(parser, names: tuple[str, ...], data: str) -> None:
    """What `idf weights` and `idf film-weights` share; `data` stands for the data set in the help."""
    parser.add_argument(
        "--only", nargs="+", default=list(names), choices=names, help="default: all, in this order"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting, repeatable",
    )
    parser.add_argument(
        "--work",
        default="",
        metavar="FOLDER",
        help=f"checkpoints (default: runs/weights/<preset>-{data})",
    )
    parser.add_argument("--out", default="", metavar="FOLDER", help=f"default: data/weights/{data}")


def main(args) -> int:
    """Trains and exports; a second call continues where the first was stopped."""
    config = load_config(
        args.preset, data_root=find_data(args.data), seed=args.seed, **parse_settings(args.set)
    )
    work = Path(args.work or ROOT / "runs" / "weights" / f"{config.preset}-{config.dataset}")
    out = Path(args.out or WEIGHTS / config.dataset)
    for name in args.only:
        print(
            f"{name}: {config.dataset}, preset {config.preset}, checkpoints in {work / name}",
            flush=True,
        )
        TRAIN[name](config, work, out)
    return 0


def _judge(config: Config, work: Path, out: Path) -> None:
    start = time.monotonic()
    domains = judged_domains(config)
    judge = train_judge(config, open_faces(config, "train", domains), work / "judge")
    accuracy = judge_accuracy(judge, open_faces(config, "test", domains))
    print({name: round(value, 3) for name, value in accuracy.items()})
    export(
        config,
        out,
        "judge",
        judge,
        config.judge_iterations,
        time.monotonic() - start,
        {"accuracy": accuracy},
    )


def _target(config: Config, work: Path, out: Path, tuned: bool = False) -> None:
    # the forger draws its own seed: it shares neither initial weights nor batches with the surrogate
    apart = dataclasses.replace(config, seed=config.seed + 100, iterations=config.target_iterations)
    start: tuple[nn.Module, ...] = ()
    if tuned:  # a forger who downloads published weights and trains them on with faces of its own
        apart = dataclasses.replace(apart, iterations=max(1, config.iterations // 4))
        start = load_surrogate(config, out)
    name = target_name(config, tuned)
    training = _run(
        apart, make_training(apart, *start, network=config.target), "target", "A", work / name
    )
    export(apart, out, name, training.surrogate, training.iteration, training.seconds)


def _surrogate(config: Config, work: Path, out: Path) -> None:
    training = _run(config, make_training(config), "surrogate", "AB", work / "surrogate")
    facts = (training.iteration, training.seconds)
    export(config, out, "surrogate", training.surrogate, *facts)
    export(config, out, "d_a", training.d_a, *facts)
    export(config, out, "poisoner", training.best, *facts, {"stage_b_every": config.poison_every})


def _poisoner_no_ats(config: Config, work: Path, out: Path) -> None:
    surrogate, d_a = load_surrogate(config, out)
    training = _run(
        config, make_training(config, surrogate, d_a), "surrogate", "B", work / "poisoner_no_ats"
    )
    export(
        config,
        out,
        "poisoner_no_ats",
        training.best,
        training.iteration,
        training.seconds,
        {"stage_b_every": config.poison_every},
    )


def _poisoner_queries(config: Config, work: Path, out: Path) -> None:
    # the editor that is imitated has no D_A that we could know
    short = dataclasses.replace(
        config, iterations=max(1, config.iterations // 2), decay=0.5, lambda_dom=0.0
    )
    training = make_training(short, *load_surrogate(config, out))
    target = load_target(config, out).to(training.accelerator.device)
    training = _run(short, training, "surrogate", "IB", work / "poisoner_queries", target)
    export(
        short,
        out,
        "poisoner_queries",
        training.best,
        training.iteration,
        training.seconds,
        {"stage_b_every": config.poison_every, "queries": training.iteration * config.batch},
    )


TRAIN = {
    "judge": _judge,
    "target_Res6": _target,
    "surrogate": _surrogate,
    "poisoner_no_ats": _poisoner_no_ats,
    "poisoner_queries": _poisoner_queries,
    "target_Res6_tuned": lambda config, work, out: _target(config, work, out, tuned=True),
    "target_Res6_DD": lambda config, work, out: _target(wild(config), work, out),
}
NAMES = tuple(TRAIN)


def _run(
    config: Config,
    training: Training,
    part: str,
    stages: str,
    folder: Path,
    target: nn.Module | None = None,
) -> Training:
    with training.accelerator.main_process_first():  # one process fills the cache for all
        faces, validation = open_faces(config, part), open_faces(config, "validation")
    return train(training, faces, validation, stages, folder, target=target)


def hardware() -> str:
    """What this runs on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    kind = f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()})"
    return f"{torch.get_num_threads()} threads of {kind}, no GPU"


def export(
    config: Config | VideoConfig,
    out: Path,
    name: str,
    network: nn.Module,
    iterations: int,
    seconds: float,
    more: dict | None = None,
) -> None:
    """Write a network in half precision, and its entry in manifest.json beside it."""
    if PartialState().is_main_process:
        path, index = out / f"{name}.safetensors", out / "manifest.json"
        save_tensors(path, network.state_dict(), half=True)
        manifest = json.loads(index.read_text()) if index.is_file() else {}
        manifest[name] = {
            "file": path.name,
            "command": command(),
            "preset": config.preset,
            "data": config.dataset,
            **({"domains": list(config.domains)} if isinstance(config, Config) else {}),
            "size": config.size,
            "seed": config.seed,
            "settings": changed_settings(config),
            "iterations": iterations,
            "hardware": hardware(),
            "seconds": round(seconds),
            "terms": TERMS[config.dataset],
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            **(more or {}),
        }
        save_json(index, dict(sorted(manifest.items())))
    PartialState().wait_for_everyone()  # the next training may read the file


def changed_settings(config: Config | VideoConfig) -> dict:
    """What differs from the defaults beyond the entries of its own, so that a later change of a preset hides nothing."""
    told = ("preset", "seed", "domains", "size", "data_root", "video", "landmarks", "parser")
    return {
        name: value
        for name, value in dataclasses.asdict(config).items()
        if name not in told and value != getattr(type(config), name)
    }


PLACES = {
    "--data": "CELEBA",
    "--video": "VIDEO",
    "--landmarks": "LANDMARKS",
    "--masks": "CELEBAMASK",
}


def command() -> str:
    """The command line that was given, without the places of this machine."""
    words: list[str] = []
    given = iter(sys.argv[1:])
    for word in given:
        option, _, value = word.partition("=")
        if option in (*PLACES, "--work", "--out"):
            value = value or next(given, "")
            words += [option, PLACES[option]] if option in PLACES and value else []
        else:
            words.append(f"{option}=FILE" if "/" in value else word)
    return "idf " + shlex.join(words)


def check_manifest(folder: Path) -> None:
    """Raises UserError for a weight file that is missing or not the one the manifest describes."""
    for name, entry in json.loads((folder / "manifest.json").read_text()).items():
        path = folder / entry["file"]
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            raise UserError(
                f"{path} is missing or differs from its manifest entry {name!r}: fetch it again or retrain it "
                "with `idf weights`."
            )
