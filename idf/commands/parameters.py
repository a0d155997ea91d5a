"""What each notebook of `idf run` is given: its parameters, checked before anything runs."""

from pathlib import Path
from typing import Any

import papermill

from idf.config import (
    ROOT,
    Config,
    FilmConfig,
    UserError,
    load_config,
    load_film_config,
)
from idf.settings import setting_names

NOTEBOOKS = ROOT / "notebooks"
# the parameter that names a notebook's data tells its scenario, and so the settings that it knows
SCENARIOS = {"data_root": Config, "video": FilmConfig}
OPTIONS = {
    "preset": "--preset",
    "seed": "--seed",
    "data_root": "--data",
    "video": "--video",
    "landmarks": "--landmarks",
    "start": "--start",
    "skip_bad": "--skip-bad",
}


def check_settings(
    preset: str, seed: int, sources: dict[str, str], settings: dict[str, Any]
) -> list[int]:
    """The sizes of what will be run.

    Raises UserError for a setting that neither scenario knows, and for a wrong value.
    """
    of_film, of_photos = {}, {}
    for name, value in settings.items():
        if is_setting(FilmConfig, name):
            of_film[name] = value
        if is_setting(Config, name) or name not in of_film:
            of_photos[name] = value
    data_root, video = sources["data_root"], sources["video"]
    photos = load_config(preset, seed=seed, data_root=data_root, **of_photos)
    film = load_film_config(preset, seed=seed, video=video, **of_film)
    sizes = set()
    if data_root or not video:
        sizes.add(photos.size)
    if video or not data_root:
        sizes.add(film.size)
    return sorted(sizes)


def is_setting(model: type, name: str) -> bool:
    """Has this scenario a setting of this name, whole or without its part?"""
    known = setting_names(model)
    return name in known or any(one.endswith(f".{name}") for one in known)


def find_notebooks(folder: Path | None = None) -> list[Path]:
    """The numbered notebooks in order. Raises UserError where there are none."""
    folder = folder or NOTEBOOKS
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise UserError(
            f"No numbered notebook in {folder}: run `idf` from a clone of the project "
            "(pip install -e .)."
        )
    return notebooks


def plan(
    notebooks: list[Path],
    standard: dict[str, Any],
    settings: dict[str, Any],
    sources: dict[str, str],
    skip_bad: bool = False,
) -> dict[Path, dict]:
    """The parameters of each notebook to run.

    All of `standard` go to every notebook. Each has one of `sources` (data_root, video); where one
    is given, the notebooks of the other are left out. A setting goes to the parameter of its name,
    else into the dict `overrides` of the scenario that knows it. Raises UserError if no notebook
    takes a setting, or one lacks a standard parameter.
    """
    if skip_bad:
        settings = settings | {"skip_bad": True}
    planned, used = {}, set()
    for notebook in notebooks:
        known = papermill.inspect_notebook(str(notebook))
        source = check_parameters(notebook, known, standard)
        if any(sources.values()) and not sources[source]:
            continue
        own, overrides = {}, {}
        for name, value in settings.items():
            if name in known:
                own[name] = value
            elif "overrides" in known and is_setting(SCENARIOS[source], name):
                overrides[name] = value
        planned[notebook] = standard | {source: sources[source]} | own
        if overrides:
            planned[notebook]["overrides"] = overrides
        used |= {*own, *overrides}

    if not planned:
        source = next(name for name in sources if sources[name])
        raise UserError(f"No notebook here takes {source}: leave the option {OPTIONS[source]} out.")
    for name in settings:
        if name not in used:
            raise UserError(
                f"No notebook has a parameter {name!r} or `overrides`: add one to a cell "
                "`parameters`."
            )
    return planned


def check_parameters(notebook: Path, known: dict, standard: dict) -> str:
    """Which of SCENARIOS the notebook takes. Raises UserError if it lacks a parameter."""
    missing = [repr(name) for name in standard if name not in known]
    source = [name for name in SCENARIOS if name in known]
    if not source:
        missing.append(" or ".join(map(repr, SCENARIOS)))
    if missing:
        raise UserError(
            f"{notebook.name} has no parameter {missing[0]}: set it in the cell tagged "
            "`parameters`."
        )
    return source[0]
