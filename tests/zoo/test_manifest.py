"""The manifest beside weights: how each file was made, and that it is still that file."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from shipping import NEEDED

from idf.config import WEIGHTS, Config, FilmConfig, UserError, load_config, load_film_config
from idf.networks import Judge
from idf.settings import setting_names
from idf.zoo import film_recipes, recipes
from idf.zoo.grid import GRID_POISONERS, QUERIED
from idf.zoo.load import CRITIC
from idf.zoo.manifest import (
    changed_settings,
    check_manifest,
    command,
    export,
    hardware,
    read_manifest,
)

CONFIG = load_config("smoke", lambda_rec=7.0)


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """A folder with a judge; the command line has places of this machine."""
    words = ["--data", "/home/me/faces", "--only", "judge", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["idf", "weights", *words])
    export(CONFIG, tmp_path, "judge", Judge(3, 4), 20, 1.4, {"accuracy": 0.9})
    return tmp_path


def test_an_entry_says_how_its_network_was_made(exported):
    check_manifest(exported)
    entry = read_manifest(exported)["judge"]
    assert entry["command"] == "idf weights --data CELEBA --only judge"
    assert (entry["iterations"], entry["seconds"], entry["accuracy"]) == (20, 1, 0.9)
    assert entry["hardware"] == hardware() and entry["terms"] == "MIT"
    assert entry["settings"]["editor.lambda_rec"] == 7


def test_an_entry_alone_says_how_to_train_it_again(exported):
    entry = read_manifest(exported)["judge"]
    stated = {name: entry[name] for name in ("preset", "seed", "size", "domains")}
    assert Config(**stated).changed(**entry["settings"]) == CONFIG


def test_entries_are_sorted_and_replaced(exported):
    for name in ("b", "a", "judge"):
        export(CONFIG, exported, name, Judge(2, 4), 7, 1.0)
    manifest = read_manifest(exported)
    assert list(manifest) == ["a", "b", "judge"] and manifest["judge"]["iterations"] == 7
    check_manifest(exported)


def test_trainings_side_by_side_lose_no_entry(tmp_path):
    names = [f"judge_{number}" for number in range(16)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: export(CONFIG, tmp_path, name, Judge(2, 4), 7, 1.0), names))
    assert list(read_manifest(tmp_path)) == sorted(names)
    check_manifest(tmp_path)


@pytest.mark.parametrize("damage", ["tampered", "lost"])
def test_a_file_that_is_not_its_own_is_named(exported, damage):
    path = exported / "judge.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "tampered":
        path.write_bytes(content)
    else:
        path.unlink()
    words = "judge.safetensors is missing or differs from its manifest entry 'judge'"
    with pytest.raises(UserError, match=words):
        check_manifest(exported)


def test_a_folder_without_manifest_has_no_entries(tmp_path):
    assert read_manifest(tmp_path) == {}
    check_manifest(tmp_path)


@pytest.mark.parametrize(
    "words, told",
    [
        (["weights", "--data=/home/me", "--seeds", "0", "1"], "idf weights --data CELEBA --seeds "),
        (["reenact", "--video", "/me.mp4", "--landmarks=/a.npz"], "idf reenact --video VIDEO "),
        (["weights", "--work=/tmp/w", "--out", "/tmp/o", "--only", "judge"], "idf weights --only"),
        (["x", "--set", "parser.checkpoint=/home/79999.pth"], "idf x --set "),
        (["table1", "--weights=/home/w", "--resume"], "idf table1 --weights WEIGHTS --resume"),
        (["film-weights", "--masks", "/home/masks"], "idf film-weights --masks CELEBAMASK"),
    ],
    ids=str,
)
def test_a_command_names_no_place_of_this_machine(monkeypatch, words, told):
    monkeypatch.setattr(sys, "argv", ["idf", *words])
    said = command()
    assert said.startswith(told) and "/" not in said and "me" not in said.split()


def test_changed_settings_name_no_place_of_this_machine():
    config = load_film_config("smoke", video="/a.mp4", landmarks="/b.npz", checkpoint="/c.pth")
    assert "/" not in json.dumps(changed_settings(config))
    photos = load_config("smoke", data_root="/home/me/celeba")
    assert "/" not in json.dumps(changed_settings(photos))


# What ships


@pytest.mark.parametrize("data", ["procedural", "celeba", "video"])
def test_shipped_weights_are_those_of_the_manifest(data):
    folder = WEIGHTS / data
    check_manifest(folder)
    manifest = read_manifest(folder)
    files = {path.name for path in folder.glob("*.safetensors")}
    assert {entry["file"] for entry in manifest.values()} == files
    if data == "video":
        assert set(manifest) == set(film_recipes.RECIPES)
    else:
        assert {*NEEDED[data], CRITIC} <= set(manifest) <= {*recipes.ALL, CRITIC}
    for entry in manifest.values():
        assert entry["seconds"] > 0 and entry["iterations"] > 0 and entry["hardware"]
        verb = "film-weights" if data == "video" else "weights"
        assert entry["command"].startswith(f"idf {verb} ") and "/" not in entry["command"]


def test_shipped_weights_are_told_their_terms():
    for data in ("procedural", "celeba", "video"):
        for name, entry in read_manifest(WEIGHTS / data).items():
            of_photos = data == "celeba" or name == "parser_photos"
            assert ("non-commercial research" in entry["terms"]) == of_photos, name


@pytest.mark.parametrize("data", ["procedural", "celeba", "video"])
def test_shipped_settings_have_todays_names_and_meanings(data):
    kind = FilmConfig if data == "video" else Config
    for name, entry in read_manifest(WEIGHTS / data).items():
        assert set(entry["settings"]) <= set(setting_names(kind))
        stated = {name: entry[name] for name in ("preset", "seed", "size")}
        remade = kind(**stated).changed(**entry["settings"])
        assert remade.size == 64 and remade.poisoner.width in (16, 64)
        part = name.split("_")[0].replace("critic", "editor")
        planned = getattr(remade, part).iterations
        if "side by side" in entry["hardware"]:  # they end together, when the time is over
            assert 0.9 * planned <= entry["iterations"] <= planned, name
        else:
            assert entry["iterations"] == planned, name


@pytest.mark.parametrize("data", ["procedural", "celeba"])
def test_shipped_pgs_say_their_method_and_whom_they_asked_how_often(data):
    manifest = read_manifest(WEIGHTS / data)
    pgs = {name: which for name, which in GRID_POISONERS.items() if name in manifest}
    assert pgs
    for name, (method, seed) in pgs.items():
        entry = manifest[name]
        assert (entry["method"], entry["seed"]) == (method, seed)
        if method == "one-pass":
            assert entry["target"] == QUERIED[seed]
        if method == "ours-queries":
            assert entry["queried"] == QUERIED[seed]
            asked = entry["settings"].get("editor.batch", 16) * entry["iterations"]
            assert entry["queries"] == asked


def test_shipped_weights_are_small():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 80e6
