"""Files: written whole or not at all, and in plain words when the disk is full."""

import errno
import json
import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from idf.config import UserError
from idf.data import files
from idf.data.files import read_json_rows, save_json, save_tensors, write_atomically

FULL = [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
]


def test_save_json_is_readable(tmp_path):
    path = tmp_path / "new" / "rows.json"
    save_json(path, [{"a": 1.5}])
    assert json.loads(path.read_text()) == read_json_rows(path) == [{"a": 1.5}]
    assert [file.name for file in path.parent.iterdir()] == ["rows.json"]


def test_no_rows_without_a_file(tmp_path):
    assert read_json_rows(tmp_path / "rows.json") == []


def test_tensors_come_back_and_halves_are_float16(tmp_path):
    tensors = {"a": torch.rand(3, 4, requires_grad=True).T, "n": torch.tensor(3)}
    save_tensors(tmp_path / "whole.safetensors", tensors)
    save_tensors(tmp_path / "half.safetensors", tensors, half=True)
    whole, half = (
        load_file(tmp_path / "whole.safetensors"),
        load_file(tmp_path / "half.safetensors"),
    )
    assert torch.equal(whole["a"], tensors["a"]) and torch.equal(half["a"], tensors["a"].half())
    assert half["n"].dtype == torch.int64


@pytest.mark.parametrize("error", FULL, ids=["OSError", "SafetensorError"])
def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch, error):
    path = tmp_path / "state.safetensors"
    save_tensors(path, {"a": torch.ones(3)})

    def full(tensors, path):
        path.write_bytes(b"the part that still fitted")
        raise error

    monkeypatch.setattr(files, "save_file", full)
    with pytest.raises(UserError, match="disk is full.*state.*free some space") as caught:
        save_tensors(path, {"a": torch.zeros(3)})
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.iterdir()] == ["state.safetensors"]
    assert torch.equal(load_file(path)["a"], torch.ones(3))


def test_another_error_is_not_called_a_full_disk(tmp_path, monkeypatch):
    def refuse(tensors, path):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "save_file", refuse)
    with pytest.raises(PermissionError):
        save_tensors(tmp_path / "a.safetensors", {"a": torch.ones(3)})


def test_a_crash_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("old")

    def torn(temporary):
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, torn)
    assert path.read_text() == "old" and [file.name for file in tmp_path.iterdir()] == ["notes.txt"]
