"""Weights for a notebook: the shipped ones where they fit its settings, else small ones."""

import os
import platform
import shutil
from pathlib import Path

import torch

from idf.config import Config, FilmConfig, UserError
from idf.data.cache import cache_folder, digest
from idf.zoo import film_recipes, recipes
from idf.zoo.manifest import check_manifest


def ready(config: Config | FilmConfig, *names: str) -> Path:
    """The folder that holds the networks called `names` (of ALL) for these settings.

    It says which are shipped and which are trained on the spot, for config.live_iterations; the
    latter are kept beside the cache, for the next notebook. A UserError of the data, or of a
    damaged shipped file, passes through.
    """
    scenario = recipes if isinstance(config, Config) else film_recipes
    check_manifest(config.weights)
    wanted = [name for name in scenario.ALL if name in names]
    missing = [name for name in wanted if not _fits(scenario, config, name)]
    if not missing:
        print(f"Weights: the shipped ones, data/weights/{config.weights.name}.")
        return config.weights

    short = scenario.shorten(config)
    rough = ""
    if short != config:
        rough = f" for {config.live_iterations} iterations, so what they show is rough"
    print(
        f"Weights: not shipped for preset {config.preset} with these settings ({config.dataset}): "
        f"{', '.join(missing)}; trained here{rough}."
    )
    folder = kept_in(short)
    if len(missing) < len(names):
        shutil.copytree(config.weights, folder, dirs_exist_ok=True)
    for name in missing:
        scenario.ALL[name](short, folder / "work" / name, folder)
    return folder


def kept_in(config: Config | FilmConfig) -> Path:
    """Where a notebook keeps what it trains itself, beside the cache: a folder for each setting."""
    return cache_folder() / f"live-{digest(config)}"


def _fits(scenario, config: Config | FilmConfig, name: str) -> bool:
    try:
        scenario.load(config, name, config.weights)
    except UserError:
        return False
    return True


def describe(config: Config | FilmConfig) -> None:
    """Prints what a notebook runs on and with: versions, hardware, preset and data."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    print(f"{versions}, {os.cpu_count()} cores, {device}")
    subject = f"domains {', '.join(config.domains)}" if isinstance(config, Config) else "one person"
    print(f"preset {config.preset}: {config.dataset}, {config.size} px, {subject}")
