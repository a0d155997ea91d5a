"""Weights for a notebook: the shipped ones where they fit the settings, else small ones trained on the spot."""

import shutil
from pathlib import Path

from idf import reenactment_weights, weights
from idf.config import Config, UserError, VideoConfig, digest
from idf.data import cache_folder


def ready(config: Config | VideoConfig, *names: str) -> Path:
    """The folder that holds the networks called `names` (of the NAMES that ship, trained in that order) for `config`.

    It says which are shipped and which are trained on the spot, for config.live_iterations; the latter are kept beside
    the cache, for the next notebook. A UserError of the data, or of a damaged shipped file, passes through.
    """
    scenario = weights if isinstance(config, Config) else reenactment_weights
    if (config.weights / "manifest.json").is_file():
        weights.check_manifest(config.weights)
    missing = [
        name for name in scenario.NAMES if name in names and not _ships(scenario, config, name)
    ]
    if not missing:
        print(f"Weights: the shipped ones, data/weights/{config.weights.name}.")
        return config.weights
    short = scenario.shorten(config)
    rough = f" for {short.iterations} iterations, so what they show is rough" * (short != config)
    print(
        f"Weights: not shipped for preset {config.preset} with these settings ({config.dataset}): "
        f"{', '.join(missing)}; trained here{rough}."
    )
    folder = kept_in(short)
    if len(missing) < len(names):
        shutil.copytree(config.weights, folder, dirs_exist_ok=True)
    for name in missing:
        scenario.TRAIN[name](short, folder / "work" / name, folder)
    return folder


def kept_in(config: Config | VideoConfig) -> Path:
    """Where a notebook keeps what it trains itself, beside the cache: another folder for other settings."""
    return cache_folder() / f"live-{digest(config)}"


def _ships(scenario, config: Config | VideoConfig, name: str) -> bool:
    try:
        scenario.load(config, name, config.weights)
    except UserError:
        return False
    return True
