"""The cache: decoded pictures as one memory-mapped array and an index, in a folder of its own."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from idf.config import ROOT, UserError


def digest(value: Any) -> str:
    """16 letters that stand for a value in a folder's name, equal for values that print alike."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where pictures, and what notebooks train, are kept: by IDF_CACHE, else runs/cache."""
    return Path(os.environ.get("IDF_CACHE") or ROOT / "runs" / "cache")


def progress(items: Iterable, title: str, unit: str, total: int | None = None) -> Iterable:
    """The items, with a bar on standard output where they take longer than a second."""
    return tqdm(items, title, total, leave=False, unit=unit, delay=1, file=sys.stdout)


def open_cache(
    folder: Path,
    size: int,
    items: Iterable[tuple],
    known: dict | None = None,
    channels: int = 3,
) -> tuple[np.ndarray, dict]:
    """The pictures uint8 (N, channels, size, size), memory-mapped, and their index.

    items: (name, picture, note) each, gone through only where `folder` is new; a picture that
    cannot be used is None, its note the reason. known: what else to keep in the index; `items`
    may fill it on the way. The index has "names" and "notes" of the N pictures, and "bad":
    {name: reason}. Raises UserError where the cache cannot be written, or is damaged.
    """
    if not folder.exists():
        _write(folder, items, known if known is not None else {})
    return _read(folder, channels, size)


def _write(folder: Path, items: Iterable[tuple], known: dict) -> None:
    """Made beside `folder` and then moved, so that a folder of this name is always complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(suffix=".tmp", dir=folder.parent) as temporary:
            new = Path(temporary) / folder.name
            new.mkdir()
            with (new / "images.u8").open("wb") as file:
                index = _write_pictures(file, items)
            (new / "index.json").write_text(json.dumps(index | known))
            new.rename(folder)
    except OSError as error:
        if not folder.exists():  # else another process was first, and its cache is the same
            raise UserError(
                f"Cannot write the cache {folder} ({error}): free space, or set IDF_CACHE."
            ) from error


def _write_pictures(file, items: Iterable[tuple]) -> dict:
    index = {"names": [], "notes": [], "bad": {}}
    for name, picture, note in items:
        if picture is None:
            index["bad"][name] = note
        else:
            file.write(np.ascontiguousarray(picture, dtype=np.uint8))
            index["names"].append(name)
            index["notes"].append(note)
    return index


def _read(folder: Path, channels: int, size: int) -> tuple[np.ndarray, dict]:
    try:
        index = json.loads((folder / "index.json").read_text())
        shape = (len(index["names"]), channels, size, size)
        if not index["names"]:  # an empty file cannot be mapped
            return np.empty(shape, np.uint8), index
        return np.memmap(folder / "images.u8", np.uint8, "r", shape=shape), index
    except (OSError, ValueError) as error:
        raise UserError(
            f"The cache {folder} is damaged ({error}): delete that folder and run again."
        ) from error
