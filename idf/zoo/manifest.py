"""manifest.json beside shipped weights: what each file is, how it was made, on what terms."""

import fcntl
import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn

from idf.config import Config, FilmConfig, UserError
from idf.data.files import save_json, save_tensors

TERMS = {
    "procedural": "MIT",
    "procedural-video": "MIT",
    "real-video": "trained on a video of your own",
    "celeba": "trained on CelebA: for non-commercial research only",
}
# options whose values are places of this machine, and what stands for them
PLACES = {
    "--data": "CELEBA",
    "--video": "VIDEO",
    "--landmarks": "LANDMARKS",
    "--masks": "CELEBAMASK",
    "--weights": "WEIGHTS",
}


def export(
    config: Config | FilmConfig,
    out: Path,
    name: str,
    network: nn.Module,
    iterations: int,
    seconds: float,
    more: dict | None = None,
) -> None:
    """Write a network in half precision, and its entry in the manifest beside it."""
    if PartialState().is_main_process:
        path = out / f"{name}.safetensors"
        save_tensors(path, network.state_dict(), half=True)
        entry = {
            "file": path.name,
            "command": command(),
            "preset": config.preset,
            "data": config.dataset,
            "size": config.size,
            "seed": config.seed,
            "settings": changed_settings(config),
            "iterations": iterations,
            "hardware": hardware(),
            "seconds": round(seconds),
            "terms": TERMS[config.dataset],
            "sha256": digest_of_file(path),
        }
        if isinstance(config, Config):
            entry["domains"] = list(config.domains)
        with _alone(out):
            manifest = read_manifest(out) | {name: entry | (more or {})}
            save_json(out / "manifest.json", dict(sorted(manifest.items())))
    PartialState().wait_for_everyone()  # the next training may read the file


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Trainings side by side share a manifest: one at a time reads it and writes it again."""
    # a file, not the folder itself, which network file systems do not lock; never deleted, for
    # another process may be waiting for it
    with (folder / "manifest.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def read_manifest(folder: Path) -> dict[str, dict]:
    """The entries by network, none where there is no manifest."""
    index = folder / "manifest.json"
    return json.loads(index.read_text()) if index.is_file() else {}


def check_manifest(folder: Path) -> None:
    """Raises UserError for a weight file that is missing or not the one the manifest describes."""
    for name, entry in read_manifest(folder).items():
        path = folder / entry["file"]
        if not path.is_file() or digest_of_file(path) != entry["sha256"]:
            raise UserError(
                f"{path} is missing or differs from its manifest entry {name!r}: fetch it again "
                "or retrain it with `idf weights`."
            )


def digest_of_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changed_settings(config: Config | FilmConfig) -> dict:
    """What differs from the paper's settings, so that a later change of a preset hides nothing.

    Without what has entries of its own, and places of this machine.
    """
    stated = ("preset", "seed", "domains", "size", "data_root", "video", "landmarks")
    places = ("weights_folder", "parser.checkpoint")
    settings = config.differences()
    return {name: value for name, value in settings.items() if name not in stated + places}


def hardware() -> str:
    """What this runs on, in words."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    kind = f"{platform.machine()} CPU ({torch.backends.cpu.get_cpu_capability()})"
    return f"{torch.get_num_threads()} threads of {kind}, no GPU"


def command() -> str:
    """The command line that was given, without the places of this machine."""
    words: list[str] = []
    given = iter(sys.argv[1:])
    for word in given:
        option, _, value = word.partition("=")
        if option in PLACES:
            words += [option, PLACES[option]] if value or next(given, "") else []
        elif option in ("--work", "--out"):
            value or next(given, "")
        else:
            words.append(f"{option}=FILE" if "/" in value else word)
    return "idf " + shlex.join(words)
