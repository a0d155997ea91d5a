"""The shipped weights, and a forger of other domains beside them."""

import pytest

from idf.apps.explorer import networks, state
from idf.config import WEIGHTS, load_config
from idf.data.files import save_tensors
from idf.zoo.grid import EDITORS, GridEditor
from idf.zoo.load import make_editor


@pytest.fixture
def other_domains(monkeypatch, tmp_path):
    """The name of a forger of other domains, untrained, that ships for drawn faces alone."""
    forger = GridEditor("Res6", "DD", 9)
    config = load_config("demo")
    (tmp_path / "procedural").mkdir()
    for file in (WEIGHTS / "procedural").iterdir():
        (tmp_path / "procedural" / file.name).symlink_to(file)
    for name in ("celeba", "video"):
        (tmp_path / name).symlink_to(WEIGHTS / name)
    editor = make_editor(forger.config(config), forger.network)
    save_tensors(tmp_path / "procedural" / f"{forger.name}.safetensors", editor.state_dict())

    monkeypatch.setitem(EDITORS, forger.name, forger)
    monkeypatch.setattr("idf.config.WEIGHTS", tmp_path)
    state.targets_of.cache_clear()
    yield forger.name
    state.targets_of.cache_clear()
    networks.editor.cache_clear()
