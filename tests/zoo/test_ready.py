"""Weights for a notebook: what ships is used, what is missing is trained, what is damaged named."""

import json

import numpy as np
import pytest
from shipping import NEEDED

from idf.config import UserError, load_config, load_film_config
from idf.data.drawn.film import talking_face
from idf.data.movies import write_film
from idf.zoo import film_recipes, grid, recipes
from idf.zoo.grid import EDITORS, GRAY_BOX, TUNED
from idf.zoo.load import CRITIC, SURROGATE
from idf.zoo.ready import describe, kept_in, ready

FORGER = GRAY_BOX[0]
LENGTHS = {f"{part}.iterations": 2 for part in ("editor", "poisoner", "judge")}
CONFIG = load_config("smoke", live_iterations=2, **LENGTHS)
FILM = load_film_config("smoke")


@pytest.fixture
def shipped(no_weights, tmp_path):
    """A data/weights that holds the judge alone."""
    recipes.ALL["judge"](CONFIG, tmp_path / "work", CONFIG.weights)
    return CONFIG.weights


def test_what_ships_is_used_and_nothing_trained(shipped, capsys):
    assert ready(CONFIG, "judge") == shipped
    assert "the shipped ones, data/weights/procedural" in capsys.readouterr().out


def test_only_what_is_missing_is_trained(shipped, capsys):
    folder = ready(CONFIG, "judge", FORGER)
    said = capsys.readouterr().out
    assert f"{FORGER}; trained here." in said, "in full: these are all the iterations it has"
    assert "judge" not in said.split("trained here")[0]
    kept, given = (place / "judge.safetensors" for place in (folder, shipped))
    assert folder == kept_in(CONFIG) and kept.read_bytes() == given.read_bytes()
    EDITORS[FORGER].load(CONFIG, folder)
    assert not (shipped / f"{FORGER}.safetensors").exists()


def test_what_rests_on_another_is_trained_after_it(shipped, capsys):
    folder = ready(CONFIG, "poisoner_keyless_0", TUNED, SURROGATE)
    assert f"{SURROGATE}, {TUNED}, poisoner_keyless_0; trained here" in capsys.readouterr().out
    assert {path.stem for path in folder.glob("*.safetensors")} == {
        SURROGATE,
        CRITIC,
        TUNED,
        "poisoner_keyless_0",
    }


def test_a_short_training_is_said_to_be_rough(shipped, capsys):
    ready(CONFIG.changed(**{"editor.iterations": 5}), FORGER)
    said = capsys.readouterr().out
    assert f"{FORGER}; trained here for 2 iterations, so what they show is rough" in said


def test_a_second_notebook_finds_what_the_first_trained(shipped, monkeypatch):
    folder = ready(CONFIG, FORGER)
    content = (folder / f"{FORGER}.safetensors").read_bytes()
    monkeypatch.setattr(grid, "train_target", _resumed)
    assert ready(CONFIG, FORGER) == folder
    assert (folder / f"{FORGER}.safetensors").read_bytes() == content


def _resumed(run, faces, folder, until=None):
    """The run as its checkpoint left it: not one iteration is done."""
    for _ in run.loop(run.config.editor.iterations, folder=folder, quiet=True):
        pytest.fail("it was trained again")


def test_each_setting_has_a_folder_of_its_own(no_weights):
    assert kept_in(CONFIG) != kept_in(CONFIG.changed(seed=1))
    assert kept_in(CONFIG) == kept_in(load_config("smoke", live_iterations=2, **LENGTHS))


def test_a_damaged_file_is_named_instead_of_retrained(shipped):
    path = shipped / "judge.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="judge.safetensors.*differs from its manifest"):
        ready(CONFIG, "judge")


def test_the_shipped_weights_serve_the_demo_notebooks(capsys, monkeypatch):
    monkeypatch.setattr(recipes, "shorten", lambda config: pytest.fail("not all of them ship"))
    config, film = load_config("demo"), load_film_config("demo")
    assert ready(config, *NEEDED["procedural"]) == config.weights
    assert ready(film, *film_recipes.RECIPES) == film.weights
    assert capsys.readouterr().out.count("the shipped ones") == 2


# Films


def test_films_are_served_too(shipped_parser, capsys):
    folder = ready(FILM, "parser", "poisoner")
    assert "poisoner; trained here for 4 iterations" in capsys.readouterr().out
    film_recipes.load(FILM, "poisoner", folder)
    assert not (shipped_parser / "poisoner.safetensors").exists()


def test_a_users_video(shipped_parser, tmp_path):
    batch = talking_face(12, range(60), 128)
    path = write_film(tmp_path / "me.mp4", batch.images.permute(0, 2, 3, 1).numpy(), 25)
    np.savez(tmp_path / "me.npz", landmarks=batch.landmarks.numpy() + 0.5)
    video = {"video": str(path), "landmarks": str(tmp_path / "me.npz")}
    config = load_film_config("smoke", **video)
    folder = ready(config, *film_recipes.needed(config), "poisoner")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["poisoner"]["data"] == "real-video"
    assert "of your own" in manifest["poisoner"]["terms"]
    assert str(tmp_path) not in json.dumps(manifest)


def test_a_notebook_says_what_it_runs_on(capsys):
    describe(CONFIG)
    describe(FILM)
    first, second = capsys.readouterr().out.split("preset smoke")[1:]
    assert "procedural, 32 px, domains Black_Hair" in first and "torch" in first
    assert "procedural-video, 32 px, one person" in second
