"""Weights for a notebook: the shipped ones where they fit the settings, else small ones trained on the spot."""

import dataclasses
import hashlib
import os
import shutil
from pathlib import Path

from idf import weights
from idf.config import ROOT, Config, UserError


def ready(config: Config, *names: str) -> Path:
    """The folder that holds the networks called `names` (of weights.NAMES, trained in that order) for `config`.

    It says which are shipped and which are trained on the spot, for config.live_iterations; the latter are kept beside
    the cache, for the next notebook. A UserError of the data, or of a damaged shipped file, passes through.
    """
    if (config.weights / "manifest.json").is_file():
        weights.check_manifest(config.weights)
    missing = [name for name in weights.NAMES if name in names and not _ships(config, name)]
    if not missing:
        print(f"Weights: the shipped ones for {config.dataset} faces, data/weights/{config.dataset}.")
        return config.weights
    print(f"Weights: not shipped for preset {config.preset} with these settings on {config.dataset} faces: "
          f"{', '.join(missing)}; trained here for {config.live_iterations} iterations, so what they show is rough.")
    short = dataclasses.replace(config, iterations=config.live_iterations, target_iterations=config.live_iterations,
                                judge_iterations=max(config.live_iterations, config.judge_iterations // 10))
    key = hashlib.sha256(repr(short).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("IDF_CACHE") or ROOT / "runs" / "cache") / f"live-{key}"
    if len(missing) < len(names):
        shutil.copytree(config.weights, folder, dirs_exist_ok=True)
    for name in missing:
        weights.TRAIN[name](short, folder / "work" / name, folder)
    return folder


def _ships(config: Config, name: str) -> bool:
    try:
        _load(config, name, config.weights)
    except UserError:
        return False
    return True


def _load(config: Config, name: str, folder: Path) -> None:
    if name.endswith("_DD"):
        weights.load_target(weights.wild(config), folder)
    elif name.startswith("target"):
        weights.load_target(config, folder, tuned=name.endswith("_tuned"))
    elif name.startswith("poisoner"):
        weights.load_poisoner(config, name, folder)
    elif name == "judge":
        weights.load_judge(config, folder)
    else:
        weights.load_surrogate(config, folder)
        weights.load_poisoner(config, "poisoner", folder)
