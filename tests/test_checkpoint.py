"""A checkpoint on disk: a kill, a full disk or a damaged file loses nothing."""

import errno
import os

import pytest
import torch
from safetensors import SafetensorError
from torch import nn
from torch.testing import assert_close

from idf.checkpoint import (
    Checkpoint,
    network_and_optimizer_tensors,
    refuse_other_training,
    restore,
)
from idf.config import UserError
from idf.data import files

FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


@pytest.fixture
def store(tmp_path):
    """A folder in which iteration 1 is saved."""
    store = Checkpoint(tmp_path)
    store.save(1, {"a": torch.ones(300)}, {"note": "old"})
    return store


def names(store):
    return {path.name for path in store.folder.iterdir()}


def test_what_is_saved_comes_back(store):
    tensors, info = store.load()
    assert torch.equal(tensors["a"], torch.ones(300)) and tensors.keys() == {"a"}
    assert info == {"iteration": 1, "state": "state-1.safetensors", "note": "old"}
    store.save(2, {"b": torch.zeros(2)}, {})
    assert names(store) == {"checkpoint.json", "state-2.safetensors"}
    assert store.load()[0].keys() == {"b"}


def test_an_empty_folder_holds_nothing(tmp_path):
    assert Checkpoint(tmp_path / "new").load() is None


class Killed(BaseException):
    """Nothing in the code may catch it."""


@pytest.mark.parametrize("write", range(2), ids=["tensors", "index"])
@pytest.mark.parametrize("before", [True, False], ids=["before the move", "after the move"])
def test_a_kill_while_saving_leaves_a_whole_state(store, monkeypatch, write, before):
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
        store.save(2, {"a": torch.zeros(300)}, {"note": "new"})
    monkeypatch.undo()
    new = write == 1 and not before
    tensors, info = store.load()
    assert (info["iteration"], info["note"]) == ((2, "new") if new else (1, "old"))
    assert torch.equal(tensors["a"], torch.zeros(300) if new else torch.ones(300))
    store.save(3, {"a": torch.full((3,), 3.0)}, {})
    assert names(store) == {"checkpoint.json", "state-3.safetensors"}


def test_what_a_kill_leaves_behind_does_no_harm(tmp_path):
    store = Checkpoint(tmp_path)
    (tmp_path / "state-9.safetensors.123.tmp").write_bytes(b"half a fi")
    assert store.load() is None
    store.save(1, {"a": torch.ones(3)}, {})
    assert store.load()[1]["iteration"] == 1
    assert not list(tmp_path.glob("state-9*"))


@pytest.mark.parametrize("error", FULL, ids=["OSError", "SafetensorError"])
def test_a_full_disk(store, monkeypatch, error):
    def full(tensors, path):
        path.write_bytes(b"the part that still fitted")
        raise error

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(UserError, match="disk is full.*state-2.*free some space") as caught:
        store.save(2, {"a": torch.zeros(300)}, {})
    assert "\n" not in str(caught.value)
    assert names(store) == {"checkpoint.json", "state-1.safetensors"}
    assert torch.equal(store.load()[0]["a"], torch.ones(300))


def test_a_disk_too_full_for_the_index(store, monkeypatch):
    def full(self, text, *_):
        raise FULL[0]

    monkeypatch.setattr(type(store.folder), "write_text", full)
    with pytest.raises(UserError, match="disk is full"):
        store.save(2, {"a": torch.zeros(300)}, {})
    monkeypatch.undo()
    assert store.load()[1]["iteration"] == 1
    assert torch.equal(store.load()[0]["a"], torch.ones(300))


@pytest.mark.parametrize(
    "damage", ["cut", "emptied", "lost", "json", "json without its keys", "json of a list"]
)
def test_a_damaged_checkpoint(store, damage):
    state = store.folder / "state-1.safetensors"
    if damage == "cut":
        state.write_bytes(state.read_bytes()[:-100])
    elif damage == "emptied":
        state.write_bytes(b"")
    elif damage == "lost":
        state.unlink()
    else:
        index = {"json": '{"iteration": 1, "sta', "json of a list": "[]"}
        store.index.write_text(index.get(damage, "{}"))
    words = "checkpoint.json cannot be read .*: delete the folder"
    with pytest.raises(UserError, match=words) as error:
        store.load()
    assert "\n" not in str(error.value) and str(store.folder) in str(error.value)


# A network with its optimizer


def learned(width=3, steps=3):
    """A network after some steps of Adam, and its optimizer."""
    torch.manual_seed(width)
    network = nn.Sequential(nn.Linear(2, width), nn.BatchNorm1d(width))
    adam = torch.optim.Adam(network.parameters(), lr=0.1)
    for _ in range(steps):
        adam.zero_grad()
        network(torch.rand(4, 2)).square().sum().backward()
        adam.step()
    return network, adam


def test_a_network_and_its_optimizer_come_back():
    network, adam = learned()
    tensors = network_and_optimizer_tensors("a.net", network, adam)
    assert {"a.net.0.weight", "a.net.1.running_mean", "a.net.adam.0.exp_avg"} <= set(tensors)
    other, other_adam = learned(steps=1)
    # another network's tensors beside it are left alone
    tensors["a.netx.0.weight"] = torch.zeros(1)
    restore("a.net", tensors, other, other_adam)
    again = network_and_optimizer_tensors("a.net", other, other_adam)
    del tensors["a.netx.0.weight"]
    assert_close(again, tensors, rtol=0, atol=0)


def test_a_network_of_another_architecture_is_refused():
    network, adam = learned(width=4)
    tensors = network_and_optimizer_tensors("d_a", *learned())
    words = "The checkpoint's d_a has another architecture than these settings: delete"
    with pytest.raises(UserError, match=words) as error:
        restore("d_a", tensors, network, adam)
    assert "\n" not in str(error.value)


def test_another_training_is_refused(tmp_path):
    identity = {"seed": 0, "domains": ["a"], "editor": {"lr": 1e-3, "gone": 1}}
    info = {"identity": identity, "iteration": 8}
    same = {"domains": ("a",), "editor": {"lr": 1e-3}, "new": 2}
    refuse_other_training(info, same, 8, tmp_path)
    for other, words in (
        ({"editor": {"lr": 0.5}}, r"holds a training with editor\.lr=0.001, not 0.5: delete that"),
        ({"domains": ("b",)}, r"domains=\['a'\], not \['b'\]"),
    ):
        with pytest.raises(UserError, match=words):
            refuse_other_training(info, other, 8, tmp_path)
    with pytest.raises(UserError, match="training of 8 iterations, more than the 7 asked for"):
        refuse_other_training(info, same, 7, tmp_path)
    with pytest.raises(UserError, match="of an older version"):
        refuse_other_training({"iteration": 8}, same, 8, tmp_path)
