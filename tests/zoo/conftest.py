"""A face parser for the smoke preset, trained once; data/weights with it alone."""

import shutil

import pytest

from idf.config import load_film_config
from idf.zoo import film_recipes


@pytest.fixture(scope="session")
def parser_folder(tmp_path_factory):
    """A folder with a face parser for drawn faces, and its manifest."""
    folder = tmp_path_factory.mktemp("parser")
    config = load_film_config("smoke")
    film_recipes.RECIPES["parser"](config, tmp_path_factory.mktemp("work"), folder)
    return folder


@pytest.fixture
def no_weights(monkeypatch, tmp_path):
    """An empty data/weights, and a cache of its own."""
    monkeypatch.setattr("idf.config.WEIGHTS", tmp_path / "weights")
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "weights"


@pytest.fixture
def shipped_parser(no_weights, parser_folder):
    """data/weights/video with a copy of this parser alone."""
    return shutil.copytree(parser_folder, no_weights / "video")
