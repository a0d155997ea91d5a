"""Weights for a notebook: what ships is used, what is missing is trained, what is damaged is named."""

import pytest

from idf import live, weights
from idf.config import UserError, load_config

CONFIG = load_config("smoke", iterations=2, judge_iterations=2, live_iterations=2)


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    """A data/weights that holds the judge alone."""
    monkeypatch.setattr("idf.config.WEIGHTS", tmp_path / "weights")
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "cache"))
    weights.TRAIN["judge"](CONFIG, tmp_path / "work", CONFIG.weights)
    return CONFIG.weights


def test_what_ships_is_used_and_nothing_trained(shipped, capsys):
    assert live.ready(CONFIG, "judge") == shipped
    assert "the shipped ones" in capsys.readouterr().out


def test_only_what_is_missing_is_trained(shipped, capsys):
    folder = live.ready(CONFIG, "judge", "target_Res6")
    said = capsys.readouterr().out
    assert (
        "target_Res6; trained here for 2 iterations" in said
        and "judge" not in said.split("trained here")[0]
    )
    assert (folder / "judge.safetensors").read_bytes() == (
        shipped / "judge.safetensors"
    ).read_bytes()
    weights.load_target(CONFIG, folder)
    assert not (shipped / "target_Res6.safetensors").exists()


def test_a_damaged_file_is_named_instead_of_retrained(shipped):
    path = shipped / "judge.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="judge.safetensors.*differs from its manifest"):
        live.ready(CONFIG, "judge")
