"""How scenario 2's networks are made, and which film a shipped PG serves."""

import json
import shutil
from contextlib import nullcontext

import pytest
import torch

from idf.config import UserError, load_film_config
from idf.zoo import film_recipes
from idf.zoo.film_recipes import FORGERS, RECIPES
from idf.zoo.manifest import check_manifest, read_manifest

CONFIG = load_film_config("smoke")


@pytest.fixture(scope="module")
def made(tmp_path_factory, parser_folder):
    """A folder with a parser for drawn faces, PG and the three forgers."""
    out, work = tmp_path_factory.mktemp("weights") / "video", tmp_path_factory.mktemp("work")
    shutil.copytree(parser_folder, out)
    for name in ("poisoner", *FORGERS):
        RECIPES[name](CONFIG, work, out)
    return out


def test_every_recipe_leaves_its_file_and_entry(made):
    check_manifest(made)
    manifest = read_manifest(made)
    assert set(manifest) == set(RECIPES) - {"parser_photos"}
    assert [manifest[name]["film"] for name in FORGERS] == ["clean", "reseed", "ours"]
    for name, entry in manifest.items():
        assert "domains" not in entry and entry["preset"] == "smoke" and entry["terms"] == "MIT"
        assert entry["iterations"] == {"parser": 6, "poisoner": 6}.get(name, 8)
        assert not film_recipes.load(CONFIG, name, made).training
    weights = [
        film_recipes.load(CONFIG, name, made).main[0].weight.sum().item() for name in FORGERS
    ]
    assert len(set(weights)) == 3


def test_the_parsers_quality_is_kept(made):
    quality = read_manifest(made)["parser"]["quality"]
    assert {"miou", "face_iou"} <= quality.keys()
    [row] = json.loads((made / "face_parsing.json").read_text())
    assert row["dataset"] == "procedural" and row["miou"] == quality["miou"]
    assert row["images"] and row["size"] == 32 and row["iterations"] == 6
    assert "skin" in row["iou"] and "miou" not in row["iou"]


def test_without_masks_at_hand_the_parser_of_photos_learns_drawn_faces(tmp_path):
    RECIPES["parser_photos"](CONFIG, tmp_path / "work", tmp_path)
    assert read_manifest(tmp_path)["parser_photos"]["data"] == "procedural"
    video = load_film_config("smoke", video="me.mp4")
    assert not film_recipes.load(video, "parser_photos", tmp_path).training


@pytest.mark.parametrize(
    "changes, fits",
    [
        ({}, True),
        ({"eps": 0.05}, True),
        ({"forger.iterations": 9}, True),
        ({"person": 5}, False),
        ({"masked": False}, False),
        ({"follow": 0}, False),
        ({"frames": 90}, False),
        ({"video": "me.mp4"}, False),
    ],
    ids=str,
)
def test_another_film_gets_a_poisoner_of_its_own(made, monkeypatch, changes, fits):
    monkeypatch.setattr("idf.config.WEIGHTS", made.parent)
    config = CONFIG.changed(**changes)
    with nullcontext() if fits else pytest.raises(UserError, match="belongs to another film"):
        film_recipes.load(config, "poisoner")


def test_the_shipped_poisoner_serves_preset_demo_alone():
    assert not film_recipes.load(load_film_config("demo"), "poisoner").training
    for preset in ("smoke", "gpu", "paper"):
        with pytest.raises(UserError, match="belongs to another film"):
            film_recipes.load(load_film_config(preset), "poisoner")


def test_a_users_video_is_trained_for_in_full():
    config = load_film_config("demo", video="me.mp4")
    assert film_recipes.shorten(config) == config
    demo = load_film_config("demo")
    short = film_recipes.shorten(demo)
    lengths = [part.iterations for part in (short.forger, short.poisoner, short.parser)]
    assert lengths == [demo.live_iterations] * 3 and short.identity() == demo.identity()
    quick = load_film_config("smoke", video="me.mp4")
    assert film_recipes.shorten(quick).forger.iterations == quick.live_iterations


def test_a_notebook_asks_for_the_parser_that_its_film_needs():
    assert film_recipes.needed(CONFIG) == ["parser"]
    assert film_recipes.needed(load_film_config("smoke", video="me.mp4")) == ["parser_photos"]
    assert film_recipes.needed(load_film_config("smoke", checkpoint="79999_iter.pth")) == []


def test_a_poisoner_of_another_seed_is_another(made, tmp_path):
    other = shutil.copytree(made, tmp_path / "other")
    RECIPES["poisoner"](CONFIG.changed(seed=1), tmp_path / "work", other)
    first, second = (film_recipes.load(CONFIG, "poisoner", folder) for folder in (made, other))
    assert not torch.equal(first.last[0].weight, second.last[0].weight)
