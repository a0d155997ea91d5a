"""`make kills`: a killed command ends as the unbroken one; what differs is told."""

import json
from random import Random

import pytest

from tools import kills


def test_a_killed_training_ends_as_the_unbroken_one():
    counts, faults = kills.kills(1)
    assert counts == {"tried": 1, "equal": 1}, faults


@pytest.mark.parametrize("left", [2, 1])
def test_a_lost_row_is_told_and_another_duration_is_not(left, tmp_path, monkeypatch):
    """A stand-in for a command of two rows, of which `left` outlast a kill."""

    def write(folder, kill_after=None):
        rows = [{"dsr": 0.5, "seconds": int(folder.name == "table1-whole")}, {"dsr": 0.7}]
        if not (folder / "out").exists():
            (folder / "out").mkdir(parents=True)
            kept = rows if kill_after is None else rows[:left]
            (folder / "out" / "rows.json").write_text(json.dumps(kept))
        return "" if kill_after is None else None

    monkeypatch.setattr(kills, "run", write)
    monkeypatch.setattr(kills, "words_of", lambda command, folder, photos: folder)
    faults = kills.kill_and_repeat("table1", 1, Random(0), tmp_path, tmp_path)
    assert ["rows.json" in fault for fault in faults] == [True] * (2 - left)
