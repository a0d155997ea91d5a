"""Feeds malformed inputs to all that reads a user's files and settings: `make fuzz N=1000`.

Pictures, label lists, films, landmarks, weights, settings and notebooks' parameters, made by
hypothesis, the same in each run. A reader may take an input or refuse it with a UserError; anything
else would have been a traceback. data/results/reliability.json gets the counts; the exit status is
1 where there was a traceback, or where a file was changed by reading it.
"""

import string
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import av
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save

from idf.apps.photo.files import open_photo
from idf.commands.options import parse_settings
from idf.config import Config, FilmConfig, UserError, load_config, load_film_config
from idf.data.drawn.film import talking_face
from idf.data.lists import read_labels, read_numbers
from idf.data.movies import write_film
from idf.data.pictures import as_jpeg, read_image
from idf.data.sightings import find_landmarks
from idf.networks.judge import Judge
from idf.settings import setting_names
from idf.zoo.load import load_network
from tools.reliability import main

SMALL = 48  # pixels


# Whole inputs, which are then damaged


@cache
def whole_pictures() -> list[tuple[str, bytes]]:
    pixels = talking_face(3, range(1), SMALL).images[0].permute(1, 2, 0).numpy()
    made = [(".jpg", as_jpeg(pixels, 90))]
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".png", ".webp", ".gif", ".tif", ".bmp"):
            file = Path(folder) / f"a{suffix}"
            Image.fromarray(pixels).save(file)
            made.append((suffix, file.read_bytes()))
    return made


@cache
def whole_films() -> list[tuple[str, bytes]]:
    frames = talking_face(3, range(20), SMALL).images.permute(0, 2, 3, 1).numpy()
    with tempfile.TemporaryDirectory() as folder:
        files = [write_film(Path(folder) / f"a{suffix}", frames, 25) for suffix in (".mp4", ".mkv")]
        return [(file.suffix, file.read_bytes()) for file in files]


@cache
def whole_landmarks() -> list[tuple[str, bytes]]:
    points = talking_face(3, range(20), SMALL).landmarks.numpy()
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "a.npz", landmarks=points)
        archive = (Path(folder) / "a.npz").read_bytes()
    names = [f"{axis}_{i}" for i in range(68) for axis in "xy"]
    rows = [names, *points.reshape(20, -1).tolist()]
    return [(".npz", archive), (".csv", _table(rows))]


def whole_lists() -> list[tuple[str, bytes]]:
    rows = [["image_id", "Smiling", "Male"], *([f"{i:06d}.jpg", 1, -1] for i in range(9))]
    official = f"9\nSmiling Male\n{_table(rows[1:]).decode().replace(',', ' ')}"
    return [(".csv", _table(rows)), (".txt", official.encode())]


@cache
def whole_weights() -> list[tuple[str, bytes]]:
    return [(".safetensors", save(Judge(2, 4).state_dict()))]


def _table(rows: list) -> bytes:
    return "\n".join(",".join(map(str, row)) for row in rows).encode()


# Malformed ones


@st.composite
def damaged(draw, wholes: Callable[[], list[tuple[str, bytes]]]) -> tuple[str, bytes]:
    """(suffix, content): bytes of any kind, or a whole file with one to three places damaged."""
    suffix, whole = draw(st.sampled_from(wholes()))
    if draw(st.integers(0, 5)) == 0:
        return suffix, draw(st.binary(max_size=200))
    content = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        # the header, where most can go wrong, as often as all the rest
        last = draw(st.sampled_from([min(64, len(content)), len(content)]))
        start = draw(st.integers(0, last))
        how = draw(st.sampled_from(["replace", "insert", "cut", "leave out"]))
        if how == "cut":
            del content[start:]
        elif how == "leave out":
            del content[start : start + draw(st.integers(1, 64))]
        else:
            new = draw(st.binary(min_size=1, max_size=32))
            content[start : start + (len(new) if how == "replace" else 0)] = new
    return suffix, bytes(content)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*setting_names(Config), *setting_names(FilmConfig), "overrides"])
WORDS = st.text(string.printable, max_size=20)
SETTING = st.builds(
    "{}={}".format, NAMES | WORDS, WORDS | st.integers().map(str) | st.floats().map(str)
)
OVERRIDES = st.dictionaries(NAMES | st.text(max_size=8), ANY, max_size=3) | ANY
PARAMETERS = st.fixed_dictionaries(
    {"preset": st.sampled_from(["smoke", "demo"]) | ANY},
    optional={"seed": st.integers() | ANY, "data_root": ANY, "overrides": OVERRIDES},
)


# Readers


def read_picture(file: Path) -> None:
    read_image(file)


def read_photo(file: Path) -> None:
    open_photo(file)


def read_list(file: Path) -> None:
    read_numbers(file)
    read_labels(file, ("Smiling",))


def read_film(file: Path) -> None:
    marks = file.with_name("marks.npz")
    np.savez(marks, landmarks=np.zeros((20, 68, 2)))
    find_landmarks(file, marks, 0)


def read_points(file: Path) -> None:
    film = file.with_name("film.mp4")
    film.write_bytes(whole_films()[0][1])
    find_landmarks(film, file, 0)


def read_weights(file: Path) -> None:
    load_network(Judge(2, 4), file)


def read_setting(text: str) -> None:
    changes = parse_settings([text], {})
    for load in (load_config, load_film_config):
        load("smoke", **{name: value for name, value in changes.items() if name != "preset"})


def read_parameters(given: dict) -> None:
    load_config(**given)


READERS = {
    "picture": (damaged(whole_pictures), read_picture),
    "photo": (damaged(whole_pictures), read_photo),
    "list": (damaged(whole_lists), read_list),
    "film": (damaged(whole_films), read_film),
    "landmarks": (damaged(whole_landmarks), read_points),
    "weights": (damaged(whole_weights), read_weights),
    "setting": (SETTING, read_setting),
    "parameters": (PARAMETERS, read_parameters),
}


def attempt(reader: Callable, value, folder: Path) -> str:
    """accepted, refused, or what else came of it: the traceback a user would have seen."""
    content = b""
    if isinstance(value, tuple):
        suffix, content = value
        value = folder / f"input{suffix}"
        value.write_bytes(content)
    try:
        reader(value)
        outcome = "accepted"
    except UserError as error:
        outcome = "refused" if str(error) else "refused without a word"
    except Exception as error:
        outcome = f"{type(error).__name__}: {error}"
    if isinstance(value, Path) and value.read_bytes() != content:
        return "the file was changed"
    return outcome


def trial(kind: str, reader: Callable, folder: Path, counts: Counter, faults: list) -> Callable:
    """A function of one input that only counts, so that the first fault does not end the run."""

    def one(value):
        outcome = attempt(reader, value, folder)
        if outcome not in ("accepted", "refused"):
            faults.append(f"{kind}: {outcome}: {str(value)[:200]!r}")
            outcome = "tracebacks"
        counts["tried"] += 1
        counts[outcome] += 1

    return one


def fuzz(count: int) -> tuple[Counter, list[str]]:
    """Tries `count` inputs, an equal share a reader: how many were accepted, refused, neither."""
    counts, faults = Counter(), []
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, (strategy, reader)) in enumerate(READERS.items()):
            share = count // len(READERS) + (number < count % len(READERS))

            run = settings(
                max_examples=share,
                database=None,
                deadline=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            one = trial(kind, reader, Path(folder), counts, faults)
            if share:
                run(seed(number)(given(strategy)(one)))()
    return counts, faults


def counted(count: int) -> tuple[dict[str, int], list[str]]:
    """fuzz, its counts in the order of the stored row."""
    av.logging.set_level(av.logging.PANIC)
    counts, faults = fuzz(count)
    names = ("tried", "tracebacks", "refused", "accepted")
    return {name: counts[name] for name in names}, faults


if __name__ == "__main__":
    sys.exit(main("fuzz", __doc__.splitlines()[0], 1000, counted))
