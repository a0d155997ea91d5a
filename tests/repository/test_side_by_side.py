"""Many editors at once: what is trained, what is exported, and when. Graphs need a GPU."""

import math
import time

import pytest
import torch

from idf import editing
from idf.config import load_config
from idf.data.faces import open_faces
from idf.zoo import grid
from idf.zoo.grid import EDITORS
from idf.zoo.load import CRITIC, SURROGATE
from idf.zoo.manifest import read_manifest
from tools.side_by_side import Lane, train_together

CPU = torch.device("cpu")
NAMES = (SURROGATE, "editor_CNet_DD_1", "editor_Res6_SD_1_codeless")


def lanes(iterations=5):
    config = load_config("smoke", **{"editor.iterations": iterations})
    for name in NAMES:
        own = EDITORS[name].config(config)
        part = "surrogate" if EDITORS[name].is_surrogate else "target"
        yield Lane(EDITORS[name], config, open_faces(own, part), CPU)


def test_all_are_trained_to_their_end_and_load(tmp_path):
    together = list(lanes())
    train_together(together, tmp_path, math.inf)
    manifest = read_manifest(tmp_path)
    assert set(manifest) == {*NAMES, CRITIC}
    for lane in together:
        name, fresh = lane.editor.name, Lane(lane.editor, lane.own, lane.faces, CPU)
        assert manifest[name]["iterations"] == 5 and manifest[name]["seed"] == lane.own.seed
        assert lane.own.editor.noise == (0.1 if lane.editor.variant == "codeless" else 0)
        trained = EDITORS[name].load(load_config("smoke"), tmp_path)
        pairs = zip(trained.parameters(), fresh.run.surrogate.parameters(), strict=True)
        assert any(not torch.allclose(p, q, atol=1e-3) for p, q in pairs)


def test_a_step_takes_the_same_faces_at_the_same_rate_as_idf_weights(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "tools.side_by_side.train_editor", lambda run, *batch: seen.append(batch) or {}
    )
    lane = next(lanes(iterations=8))
    run = editing.make_training(lane.own)
    for _ in run.loop(8, lane.own.editor.decay, quiet=True):
        lane.step()
        x, c = lane.faces.batch(run.iteration, lane.own.editor.batch, run.seed, flip=False)
        for own, mine, label, wanted in zip(seen[-1][0], x, c, seen[-1][1], strict=True):
            assert torch.equal(own, mine) or torch.equal(own, mine.flip(-1))
            assert torch.equal(label, wanted)
        assert sorted(map(tuple, seen[-1][2].tolist())) == sorted(map(tuple, c.tolist()))
        for network, (now, _) in zip((run.surrogate, run.d_a), lane.rates, strict=True):
            assert now.item() == pytest.approx(run.optimizers[network].param_groups[0]["lr"])


def test_at_the_deadline_what_there_is_is_exported(tmp_path):
    train_together(list(lanes()), tmp_path, time.monotonic() - 1)
    assert {entry["iterations"] for entry in read_manifest(tmp_path).values()} == {0}


def test_a_training_in_negative_begins_again_from_the_next_seed(tmp_path, monkeypatch):
    answers = iter([False, True, True, True])
    monkeypatch.setattr("tools.side_by_side.looks_upright", lambda run, faces: next(answers))
    monkeypatch.setattr("tools.side_by_side.LOOK", 2)
    train_together(list(lanes()), tmp_path, math.inf)
    assert sorted(e["attempt"] for e in read_manifest(tmp_path).values()) == [0, 0, 1, 1]
    assert {e["iterations"] for e in read_manifest(tmp_path).values()} == {5}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs need a GPU")
def test_a_graph_does_what_its_step_does(tmp_path):
    config = load_config("smoke", **{"editor.iterations": 60})
    own = EDITORS[SURROGATE].config(config)
    lane = Lane(EDITORS[SURROGATE], config, open_faces(own, "surrogate"), torch.device("cuda"))
    train_together([lane], tmp_path, math.inf)
    assert lane.run.iteration == lane.number.item() == 60
    assert all(torch.isfinite(p).all() for p in lane.run.surrogate.parameters())
    assert grid.looks_upright(lane.run, lane.faces)
