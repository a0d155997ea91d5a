"""`idf weights`: which networks it trains, with which settings, and where they go."""

import pytest

from idf.commands import main, weights
from idf.config import load_config
from idf.zoo.grid import EDITORS, GRAY_BOX
from idf.zoo.load import CRITIC, SURROGATE
from idf.zoo.manifest import check_manifest, read_manifest
from idf.zoo.recipes import ALL


@pytest.fixture
def trained(monkeypatch):
    """What would have been trained: (name, config, work, out) each."""
    calls = []

    def recipe(name):
        return lambda *given: calls.append((name, *given))

    monkeypatch.setattr(weights, "ALL", {name: recipe(name) for name in ALL})
    return calls


def test_by_default_all_are_trained_in_the_order_of_their_needs(trained, capsys):
    assert main(["weights", "--preset", "smoke"]) == 0
    assert [name for name, *_ in trained] == list(ALL)
    config = load_config("smoke")
    assert {given for _, given, *_ in trained} == {config}
    assert {out for *_, out in trained} == {config.weights}
    said = capsys.readouterr().out
    assert all(f"{name}: procedural, preset smoke, checkpoints in" in said for name in ALL)


def test_some_may_be_chosen_with_other_settings_and_folders(trained, tmp_path):
    words = ["--seed", "3", "--set", "poisoner.eps=.03", "--work", "w", "--out", str(tmp_path)]
    assert main(["weights", "--preset", "smoke", "--only", "judge", GRAY_BOX[1], *words]) == 0
    assert [name for name, *_ in trained] == ["judge", GRAY_BOX[1]]
    for _, config, work, out in trained:
        assert config == load_config("smoke", seed=3, eps=0.03)
        assert (work.name, out) == ("w", tmp_path)


def test_what_was_trained_can_be_loaded(tmp_path):
    folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    changes = ["--set", "editor.iterations=2", "--set", "judge.iterations=2"]
    names = ["judge", SURROGATE, GRAY_BOX[0]]
    assert main(["weights", "--preset", "smoke", "--only", *names, *changes, *folders]) == 0
    check_manifest(tmp_path / "out")
    assert set(read_manifest(tmp_path / "out")) == {*names, CRITIC}
    assert not EDITORS[GRAY_BOX[0]].load(load_config("smoke"), tmp_path / "out").training
