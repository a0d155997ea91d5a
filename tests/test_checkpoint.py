"""Resume to the last bit; a kill, a full disk or a damaged file loses nothing."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from idf import checkpoint
from idf.checkpoint import Checkpoint, load_network, save_json, save_tensors
from idf.config import ROOT, WEIGHTS, Config, UserError, load_config
from idf.data import open_faces
from idf.editing import make_training, train
from idf.judge import train_judge
from idf.networks import Judge, Res
from idf.weights import NAMES, check_manifest, export

CONFIG = load_config("smoke")  # 12 iterations, a checkpoint every 4


@pytest.fixture(scope="module")
def faces():
    return open_faces(CONFIG, "surrogate"), open_faces(CONFIG, "validation")


@pytest.fixture(scope="module")
def unbroken(faces):
    return train(make_training(CONFIG), *faces, quiet=True)


def assert_same(training, unbroken):
    assert training.iteration == unbroken.iteration == 12
    assert_close(training.tensors(), unbroken.tensors(), rtol=0, atol=0)
    assert training.best_distance == unbroken.best_distance
    assert training.history == unbroken.history


def test_a_stopped_training_goes_on_bit_identically(faces, unbroken, tmp_path):
    assert train(make_training(CONFIG), *faces, folder=tmp_path, until=4, quiet=True).iteration == 4
    other = make_training(load_config("smoke", seed=7))  # its weights must all be replaced
    other.config = CONFIG
    seconds = Checkpoint(tmp_path).load()[1]["seconds"]
    assert_same(train(other, *faces, folder=tmp_path, quiet=True), unbroken)
    assert other.seconds > seconds > 0  # both sessions count
    assert_same(
        train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True), unbroken
    )  # nothing left to do


CHILD = """
import time
from idf.config import load_config
from idf.data import open_faces
from idf.editing import make_training, train

def watch(training):
    print(training.iteration, flush=True)
    if training.iteration == 7:
        time.sleep(600)

config = load_config("smoke")
train(make_training(config), open_faces(config, "surrogate"), open_faces(config, "validation"),
      folder=__import__("sys").argv[1], watch=watch, quiet=True)
"""


def test_kill_9_in_the_middle_of_a_training(faces, unbroken, tmp_path):
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-c", CHILD, str(tmp_path)]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        reached = [
            line.strip()
            for line in iter(child.stdout.readline, "7\n")
            if line or pytest.fail("it ended early")
        ]
    finally:
        child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert reached == ["1", "2", "3", "4", "5", "6"]
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4
    assert_same(train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True), unbroken)


class Killed(BaseException):
    """Nothing in the code may catch it."""


@pytest.mark.parametrize("write", range(2), ids=["tensors", "index"])
@pytest.mark.parametrize("before", [True, False], ids=["before the move", "after the move"])
def test_a_kill_while_saving_leaves_a_whole_state(tmp_path, monkeypatch, write, before):
    store = Checkpoint(tmp_path)
    store.save(1, {"a": torch.ones(3)}, {"note": "old"})
    moves, replace = [], os.replace

    def stop(source, destination):
        moves.append(destination)
        if len(moves) == write + 1 and before:
            raise Killed
        replace(source, destination)
        if len(moves) == write + 1:
            raise Killed

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(Killed):
        store.save(2, {"a": torch.zeros(3)}, {"note": "new"})
    monkeypatch.undo()
    new = write == 1 and not before
    tensors, info = store.load()
    assert (info["iteration"], info["note"]) == ((2, "new") if new else (1, "old"))
    assert torch.equal(tensors["a"], torch.zeros(3) if new else torch.ones(3))
    store.save(3, {"a": torch.full((3,), 3.0)}, {})
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.json", "state-3.safetensors"}


def test_what_a_kill_leaves_behind_does_no_harm(tmp_path):
    store = Checkpoint(tmp_path)
    (tmp_path / "state-9.safetensors.123.tmp").write_bytes(b"half a fi")
    assert store.load() is None
    store.save(1, {"a": torch.ones(3)}, {})
    assert store.load()[1]["iteration"] == 1
    assert not list(tmp_path.glob("state-9*"))


FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.mark.parametrize("error", FULL, ids=["OSError", "SafetensorError"])
def test_a_full_disk(tmp_path, monkeypatch, error):
    store = Checkpoint(tmp_path)
    store.save(1, {"a": torch.ones(3)}, {})

    def full(tensors, path):
        path.write_bytes(b"the part that still fitted")
        raise error

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="disk is full.*state-2.*free some space") as caught:
        store.save(2, {"a": torch.zeros(3)}, {})
    assert "\n" not in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.json", "state-1.safetensors"}
    assert torch.equal(store.load()[0]["a"], torch.ones(3))


def test_a_disk_too_full_for_the_index(tmp_path, monkeypatch):
    store = Checkpoint(tmp_path)
    store.save(1, {"a": torch.ones(3)}, {})

    def full(self, text, *_):
        raise FULL[0]

    monkeypatch.setattr(type(tmp_path), "write_text", full)
    with pytest.raises(UserError, match="disk is full"):
        store.save(2, {"a": torch.zeros(3)}, {})
    monkeypatch.undo()
    assert store.load()[1]["iteration"] == 1 and torch.equal(store.load()[0]["a"], torch.ones(3))


def test_another_error_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def refuse(tensors, path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    with pytest.raises(PermissionError):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(3)})


def test_a_training_survives_a_full_disk(faces, unbroken, tmp_path, monkeypatch):
    save = checkpoint.save_file

    def full(tensors, path):
        if "state-8" in path.name:
            raise FULL[0]
        save(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(UserError, match="disk is full"):
        train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True)
    monkeypatch.undo()
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4
    assert_same(train(make_training(CONFIG), *faces, folder=tmp_path, quiet=True), unbroken)


def test_a_checkpoint_of_another_architecture(faces, tmp_path):
    train(make_training(CONFIG), *faces, folder=tmp_path, until=1, quiet=True)
    with pytest.raises(
        UserError, match=r"holds a training with width=4, not 8: delete that folder"
    ):
        train(make_training(load_config("smoke", width=8)), *faces, folder=tmp_path, quiet=True)
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 1


@pytest.mark.parametrize(
    "damage", ["cut", "emptied", "lost", "json", "json without its keys", "json of a list"]
)
def test_a_damaged_checkpoint(tmp_path, damage):
    store = Checkpoint(tmp_path)
    store.save(1, {"a": torch.ones(300)}, {})
    state = tmp_path / "state-1.safetensors"
    {
        "cut": lambda: state.write_bytes(state.read_bytes()[:-100]),
        "emptied": lambda: state.write_bytes(b""),
        "lost": lambda: state.unlink(),
        "json": lambda: store.index.write_text('{"iteration": 1, "sta'),
        "json without its keys": lambda: store.index.write_text("{}"),
        "json of a list": lambda: store.index.write_text("[]"),
    }[damage]()
    with pytest.raises(
        UserError, match="checkpoint.json cannot be read .*: delete the folder"
    ) as error:
        store.load()
    assert "\n" not in str(error.value)


def test_the_index_is_plain_json(faces, tmp_path):
    train(make_training(CONFIG), *faces, folder=tmp_path, until=4, quiet=True)
    info = json.loads((tmp_path / "checkpoint.json").read_text())
    assert (
        info["iteration"] == 4 and info["config"]["preset"] == "smoke" and len(info["history"]) == 4
    )
    kinds = {path.suffix for path in tmp_path.iterdir() if not path.name.startswith("events.")}
    assert kinds == {".json", ".safetensors"}  # nothing pickled


def test_load_network_widens_half_precision(tmp_path):
    network = Judge(3, 4)
    path = tmp_path / "judge.safetensors"
    save_tensors(path, network.state_dict(), half=True)
    stored = load_file(path)
    assert {value.dtype for value in stored.values()} == {torch.float16, torch.int64}
    loaded = load_network(Judge(3, 4).train(), path)
    assert not loaded.training
    for name, value in loaded.state_dict().items():
        assert torch.equal(
            value, network.state_dict()[name].half().float() if value.is_floating_point() else value
        )
        assert value.dtype != torch.float16


def test_load_network_drops_the_published_statistics(tmp_path):
    network = Res(5, 4)
    statistics = {
        "main.1.running_mean": torch.ones(4),
        "main.1.num_batches_tracked": torch.tensor(3),
    }
    path = tmp_path / "published.safetensors"
    save_file(network.state_dict() | statistics, path)
    assert_close(dict(load_network(Res(5, 4), path).state_dict()), dict(network.state_dict()))


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "No weights at .*make weights"),
        (b"", "not a readable safetensors file .*fetch or train it again"),
        (
            b"\x80\x04not safetensors at all",
            "not a readable safetensors file .*fetch or train it again",
        ),
    ],
)
def test_weights_missing_or_damaged(tmp_path, content, words):
    path = tmp_path / "surrogate.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words) as error:
        load_network(Res(5, 4), path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "other",
    [lambda: Res(5, 8), lambda: Res(4, 4), lambda: Res(5, 4, 9), lambda: Judge(5, 4)],
    ids=["width", "domains", "blocks", "kind"],
)
def test_weights_of_another_architecture(tmp_path, other):
    path = tmp_path / "surrogate.safetensors"
    save_tensors(path, other().state_dict())
    with pytest.raises(
        UserError, match="another architecture than Res .*width, size and domains"
    ) as error:
        load_network(Res(5, 4), path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_save_json_is_readable(tmp_path):
    save_json(tmp_path / "new" / "rows.json", [{"a": 1.5}])
    assert json.loads((tmp_path / "new" / "rows.json").read_text()) == [{"a": 1.5}]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["rows.json"]


def test_the_judge_resumes_bit_identically(tmp_path, monkeypatch):
    config = load_config("smoke", judge_iterations=8)
    train_faces = open_faces(config, "train")
    whole = train_judge(config, train_faces, quiet=True)
    save = Checkpoint.save

    def killed(self, iteration, *rest):
        save(self, iteration, *rest)
        raise Killed

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(Killed):
        train_judge(config, train_faces, tmp_path, quiet=True)
    monkeypatch.undo()
    assert Checkpoint(tmp_path).load()[1]["iteration"] == 4
    resumed = train_judge(config, train_faces, tmp_path, quiet=True)
    assert_close(dict(resumed.state_dict()), dict(whole.state_dict()), rtol=0, atol=0)
    assert not resumed.training


@pytest.mark.parametrize("data", ["procedural", "celeba"])
def test_shipped_weights_are_those_of_the_manifest(data):
    folder = WEIGHTS / data
    if not folder.is_dir():
        pytest.skip(f"data/weights/{data} does not exist yet: `make weights` trains it")
    check_manifest(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {entry["file"] for entry in manifest.values()} == {
        path.name for path in folder.glob("*.safetensors")
    }
    # a target of other domains is shipped for procedural faces only
    needed = {"d_a", "poisoner", *NAMES} - ({"target_Res6_DD"} if data == "celeba" else set())
    assert needed <= set(manifest)
    for entry in manifest.values():
        assert (
            entry["data"] == data
            and entry["seconds"] > 0
            and entry["iterations"] > 0
            and entry["hardware"]
        )
        assert entry["command"].startswith("idf weights") and "/" not in entry["command"]
        assert ("non-commercial research" in entry["terms"]) == (data == "celeba")


def test_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 25e6


@pytest.mark.parametrize("damage", ["tampered", "lost"])
def test_the_manifest_finds_a_file_that_is_not_its_own(tmp_path, monkeypatch, damage):
    words = [
        "idf",
        "weights",
        "--data",
        "/home/me/faces",
        "--only",
        "judge",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr(sys, "argv", words)
    config = load_config("smoke", lambda_rec=7.0)
    export(config, tmp_path, "judge", Judge(3, 4), 20, 1.4, {"accuracy": 0.9})
    check_manifest(tmp_path)
    entry = json.loads((tmp_path / "manifest.json").read_text())["judge"]
    assert entry["command"] == "idf weights --data CELEBA --only judge"
    assert entry["seconds"] == 1 and entry["accuracy"] == 0.9
    told = {name: entry[name] for name in ("preset", "seed", "size")} | {
        "domains": tuple(entry["domains"])
    }
    assert (
        Config(**told, **entry["settings"]) == config
    )  # the entry alone says how to train it again
    path = tmp_path / entry["file"]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content) if damage == "tampered" else path.unlink()
    with pytest.raises(
        UserError, match="judge.safetensors is missing or differs from its manifest entry 'judge'"
    ):
        check_manifest(tmp_path)
