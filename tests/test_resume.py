"""Whole trainings resume to the last bit, after a stop, a kill or a full disk."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from idf import metrics, summary
from idf.checkpoint import Checkpoint
from idf.config import ROOT, UserError, load_config
from idf.data import files
from idf.data.faces import open_faces
from idf.editing import make_training, train, train_target
from idf.imitation import imitate
from idf.judge import judge_accuracy, train_judge

CONFIG = load_config("smoke")  # 12 iterations, a checkpoint every 4


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate"), open_faces(CONFIG, "validation")


@pytest.fixture(scope="module")
def unbroken(faces):
    return train(make_training(CONFIG), *faces, quiet=True)


def assert_same(run, unbroken):
    assert run.iteration == unbroken.iteration == 12
    assert_close(run.tensors(), unbroken.tensors(), rtol=0, atol=0)
    assert run.best_distance == unbroken.best_distance
    assert run.history == unbroken.history


def test_a_stopped_training_goes_on_bit_identically(faces, unbroken, tmp_path):
    first = train(make_training(CONFIG), *faces, folder=tmp_path, until=4, quiet=True)
    assert first.iteration == 4
    seconds = Checkpoint(tmp_path).load()[1]["seconds"]

    other = make_training(CONFIG)
    with torch.no_grad():  # its weights must all be replaced
        for network in (*other.networks().values(), other.best):
            for value in (*network.parameters(), *network.buffers()):
                value.zero_()
    train(other, *faces, folder=tmp_path, quiet=True)
    assert_same(other, unbroken)
    assert other.seconds > seconds > 0, "both sessions count"
    again = train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True)
    assert_same(again, unbroken)  # nothing left to do


def test_a_training_does_not_depend_on_the_global_generator(faces):
    tensors = []
    for seed in (1, 2):
        run = make_training(CONFIG)
        torch.manual_seed(seed)
        tensors.append(train(run, *faces, until=3, quiet=True).tensors())
    assert_close(*tensors, rtol=0, atol=0)


VARIANTS = {
    "queries": {},
    "a given surrogate": {},
    "aids": {"robust": 0.1, "noise": 0.1, "n_critic": 2},
    "random keys": {"head": "Waves", "keys": 1},
    "batches of two sizes": {"poisoner.batch": 8},
}


@pytest.mark.parametrize("kind", VARIANTS)
def test_its_variants_resume_too(faces, tmp_path, kind):
    config = CONFIG.changed(**VARIANTS[kind])
    target = make_training(CONFIG.changed(seed=5)).surrogate.requires_grad_(False)

    def go(folder, until=None):
        options = {"folder": tmp_path / folder, "until": until, "quiet": True}
        if kind == "queries":
            return train(make_training(config), *faces, imitate(target), **options)
        if kind != "a given surrogate":
            return train(make_training(config), *faces, **options)
        given = make_training(CONFIG.changed(seed=9))
        run = make_training(config, given.surrogate, given.d_a)
        return train(run, *faces, None, **options)

    whole = go("whole")
    go("broken", until=5)
    assert_same(go("broken"), whole)


@pytest.mark.parametrize("until", [2, 5])  # in a phase of imitation, and of infection
def test_the_summarys_variant_resumes_too(faces, tmp_path, monkeypatch, until):
    monkeypatch.setattr(metrics, "perceptual_loss", metrics.l2)
    target = make_training(CONFIG.changed(seed=5)).surrogate.requires_grad_(False)

    def go(folder, until=None):
        options = {"folder": tmp_path / folder, "until": until, "quiet": True, "k": 3}
        return summary.train(summary.make_training(CONFIG), *faces, target, **options)

    whole = go("whole")
    go("broken", until=until)
    assert_same(go("broken"), whole)
    with pytest.raises(UserError, match="holds a training with infection.lambda_l1=0.01, not 1"):
        weights = summary.Infection(1.0, 1.0, 1.0, "clean")
        summary.train(
            summary.make_training(CONFIG), *faces, target, weights, k=3, folder=tmp_path / "whole"
        )


CHILD = """
import sys, time
from idf.config import load_config
from idf.data.faces import open_faces
from idf.editing import make_training, train

def watch(run):
    print(run.iteration, flush=True)
    if run.iteration == 7:
        time.sleep(600)

config = load_config("smoke")
faces = open_faces(config, "surrogate"), open_faces(config, "validation")
train(make_training(config), *faces, folder=sys.argv[1], watch=watch, quiet=True)
"""


def test_kill_9_in_the_middle_of_a_training(faces, unbroken, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    reached = []
    try:
        for line in iter(child.stdout.readline, "7\n"):
            assert line, "it ended early"
            reached.append(line.strip())
    finally:
        child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert reached == ["1", "2", "3", "4", "5", "6"]
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4
    assert_same(train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True), unbroken)


def test_a_training_survives_a_full_disk(faces, unbroken, tmp_path, monkeypatch):
    save = files.save_file

    def full(tensors, path):
        if "state-8" in path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(tensors, path)

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True)
    monkeypatch.undo()
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4
    assert_same(train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True), unbroken)


@pytest.mark.parametrize("name", ["surrogate", "d_a", "poisoner", "d_b"])
def test_nan_stops_a_training_that_goes_on_from_its_last_good_state(
    faces, unbroken, tmp_path, name
):
    def spoil(run):
        if run.iteration == 5:
            next(getattr(run, name).parameters()).data[0] = float("nan")

    with pytest.raises(UserError, match="nan at iteration .*: training stopped") as error:
        train(make_training(CONFIG), *faces, folder=tmp_path, watch=spoil, quiet=True)
    assert str(tmp_path) in str(error.value) and "lower its lr" in str(error.value)
    tensors, info = Checkpoint(tmp_path).load()
    assert info["iteration"] == 4 and all(value.isfinite().all() for value in tensors.values())
    assert_same(train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True), unbroken)


# Other settings


@pytest.mark.parametrize(
    "name, old, new",
    [("editor.lr", 0.001, 0.002), ("poisoner.width", 4, 8), ("seed", 0, 1), ("size", 32, 64)],
)
def test_other_settings_do_not_continue_a_training(faces, tmp_path, name, old, new):
    run = make_training(CONFIG)
    Checkpoint(tmp_path).save(1, {}, {"identity": run.identity})
    words = f"holds a training with {name}={old}, not {new}: delete that folder"
    with pytest.raises(UserError, match=words) as error:
        train(make_training(CONFIG.changed(**{name: new})), *faces, folder=tmp_path, quiet=True)
    assert "\n" not in str(error.value)
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 1


def test_another_architecture_does_not_continue_a_training(faces, tmp_path):
    train(make_training(CONFIG), *faces, folder=tmp_path, until=1, quiet=True)
    with pytest.raises(UserError, match="with network=Res6, not CNet"):
        train(make_training(CONFIG, network="CNet"), *faces, folder=tmp_path, quiet=True)
    # a checkpoint that does not say how it was made
    other = make_training(CONFIG, network="CNet")
    other.identity = {}
    with pytest.raises(UserError, match="checkpoint's surrogate has another architecture than"):
        train(other, *faces, folder=tmp_path, quiet=True)
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 1


def test_a_training_goes_on_to_another_length(faces, tmp_path):
    flat = CONFIG.changed(**{"poisoner.decay": 0.0})
    short = flat.changed(**{"poisoner.iterations": 4, "checkpoint_every": 3})
    assert train(make_training(short), *faces, folder=tmp_path, quiet=True).iteration == 4
    longer = train(make_training(flat), *faces, folder=tmp_path, quiet=True)
    assert longer.iteration == 12
    whole = train(make_training(flat), *faces, quiet=True)
    assert_close(longer.tensors(), whole.tensors(), rtol=0, atol=0)


# The judge


def test_the_judge_resumes_bit_identically(tmp_path):
    config = CONFIG.changed(**{"judge.iterations": 8})
    faces = open_faces(config, "train")
    whole = train_judge(config, faces, quiet=True)
    train_judge(config, faces, folder=tmp_path, until=5, quiet=True)
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 5
    resumed = train_judge(config, faces, folder=tmp_path, quiet=True)
    assert_close(resumed.tensors(), whole.tensors(), rtol=0, atol=0)
    assert not resumed.judge.training
    rates = [entry["judge"] for entry in whole.history]
    assert len(rates) == 8 and rates == [entry["judge"] for entry in resumed.history]


def test_the_judge_learns_and_its_accuracy_is_counted_by_domain(faces):
    config = CONFIG.changed(**{"judge.iterations": 60})
    run = train_judge(config, faces[0], quiet=True)
    assert run.history[-1]["judge"] < 0.9 * run.history[0]["judge"]

    blind = torch.nn.Module()
    blind.forward = lambda x: torch.ones(len(x), 5)
    accuracy = judge_accuracy(blind, faces[0])
    share = faces[0].labels.mean(0)
    assert [accuracy[name] for name in CONFIG.domains] == pytest.approx(share.tolist())
    assert accuracy["mean"] == pytest.approx(share.mean().item())
    assert accuracy["balanced"] == pytest.approx(0.5), "all of one value, none of the other"


def test_stage_a_alone_resumes(faces, tmp_path):
    whole = train_target(make_training(CONFIG), faces[0], quiet=True)
    train_target(make_training(CONFIG), faces[0], folder=tmp_path, until=5, quiet=True)
    again = train_target(make_training(CONFIG), faces[0], folder=tmp_path, quiet=True)
    assert_same(again, whole)


def test_the_index_is_plain_json(faces, tmp_path):
    train(make_training(CONFIG), *faces, folder=tmp_path, until=4, quiet=True)
    info = json.loads((tmp_path / "checkpoint.json").read_text())
    assert info["iteration"] == 4 and len(info["history"]) == 4
    assert info["identity"]["preset"] == "smoke" and info["identity"]["editor"]["lr"] == 1e-3
    kinds = {path.suffix for path in tmp_path.iterdir() if not path.name.startswith("events.")}
    assert kinds == {".json", ".safetensors"}  # nothing pickled
