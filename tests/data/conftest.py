"""A cache of its own for every test, and stand-ins for CelebA."""

import os
import shutil
from pathlib import Path

import pytest
from standin import write_stand_in


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """The stand-in in both layouts; tests that change one copy it first."""
    root = tmp_path_factory.mktemp("standin")
    return {
        layout: write_stand_in(root / layout, layout=layout) for layout in ("official", "kaggle")
    }


@pytest.fixture
def folder(stand_ins, tmp_path):
    """A stand-in to break."""
    return shutil.copytree(stand_ins["official"], tmp_path / "celeba")


@pytest.fixture(scope="session")
def celeba(stand_ins):
    """The folder that IDF_CELEBA names, else a stand-in."""
    return Path(os.environ.get("IDF_CELEBA") or stand_ins["official"])
