"""How scenario 1's networks are made: every recipe at a few iterations, in order."""

import shutil

import pytest
from compare import weights

from idf import editing
from idf.config import DOMAINS, UserError, load_config
from idf.zoo import recipes
from idf.zoo.grid import EDITORS, GRAY_BOX, GRID_POISONERS, POISONERS, QUERIED, TUNED
from idf.zoo.load import CRITIC, SURROGATE
from idf.zoo.manifest import check_manifest, read_manifest

LENGTHS = {"editor.iterations": 2, "judge.iterations": 2, "poisoner.iterations": 4}
CONFIG = load_config("smoke", **LENGTHS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with all of ALL."""
    out, work = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("work")
    for name, recipe in recipes.ALL.items():
        recipe(CONFIG, work, out)
        recipes.load(CONFIG, name, out)
    return out, work


def test_every_recipe_leaves_its_file_and_entry(made):
    out, _ = made
    check_manifest(out)
    manifest = read_manifest(out)
    assert set(manifest) == {*recipes.ALL, CRITIC}
    assert len({entry["sha256"] for entry in manifest.values()}) == len(manifest), "no two alike"
    assert manifest["judge"]["accuracy"].keys() >= {"Smiling", "Pale_Skin", "mean", "balanced"}


def test_all_are_the_judge_the_editors_and_the_pgs():
    assert list(recipes.ALL) == ["judge", *EDITORS, *GRID_POISONERS]
    assert len(GRID_POISONERS) == 3 * len(POISONERS)


def test_who_has_which_domains_and_seed(made):
    for name, entry in read_manifest(made[0]).items():
        setting = "DD" if "_DD_" in name else "SD"
        assert tuple(entry["domains"]) == DOMAINS["procedural"][setting], name
        seed = 0
        if name in EDITORS:
            seed = 100 * EDITORS[name].seed + 50 * (setting == "DD")
        elif name in GRID_POISONERS:
            seed = GRID_POISONERS[name][1]
        assert entry["seed"] == seed, name
        assert entry["data"] == "procedural" and entry["preset"] == "smoke"


def test_an_entry_says_of_which_kind_its_network_is(made):
    manifest = read_manifest(made[0])
    for name, editor in EDITORS.items():
        entry = manifest[name]
        assert (entry["network"], entry["setting"]) == (editor.network, editor.setting)
        assert entry["attempt"] == 0
    for name, (method, seed) in GRID_POISONERS.items():
        assert manifest[name]["method"] == method
        asked = {"queried", "queries"} <= manifest[name].keys()
        assert asked == (method == "ours-queries")
        assert manifest[name].get("target") == (QUERIED[seed] if method == "one-pass" else None)
        if asked:  # four images in each of four times four iterations
            assert manifest[name]["queried"] == QUERIED[seed] and manifest[name]["queries"] == 64


def test_finished_trainings_are_not_repeated(made, tmp_path, monkeypatch):
    out, work = made
    for step in ("train_editor", "update_poisoner"):
        monkeypatch.setattr(editing, step, None)
    for name in (SURROGATE, "poisoner_ours_0"):
        recipes.ALL[name](CONFIG, work, tmp_path)
    for name in (SURROGATE, CRITIC, "poisoner_ours_0"):
        file = f"{name}.safetensors"
        assert (out / file).read_bytes() == (tmp_path / file).read_bytes()


@pytest.mark.parametrize("name", recipes.ALL)
def test_a_training_reads_what_it_needs_and_no_more(made, tmp_path, name):
    out, work = made
    needed = recipes.needs(name)
    assert all(list(recipes.ALL).index(other) < list(recipes.ALL).index(name) for other in needed)
    for other in (*needed, CRITIC) if SURROGATE in needed else needed:
        shutil.copy(out / f"{other}.safetensors", tmp_path)
    recipes.ALL[name](CONFIG, work, tmp_path)
    recipes.load(CONFIG, name, tmp_path)
    for other in needed:
        (tmp_path / f"{other}.safetensors").unlink()
        with pytest.raises(UserError, match="No weights at"):
            recipes.ALL[name](CONFIG, work, tmp_path)
        shutil.copy(out / f"{other}.safetensors", tmp_path)


def distance(a, b):
    return (weights(a) - weights(b)).abs().max().item()


def test_the_tuned_forger_stays_near_the_surrogate(made):
    surrogate, tuned, apart = (
        EDITORS[name].load(CONFIG, made[0]) for name in (SURROGATE, TUNED, GRAY_BOX[0])
    )
    # one step of Adam moves no weight by more than about its rate
    assert 0 < distance(tuned, surrogate) < 3e-3
    assert distance(apart, surrogate) > 0.02, "of another seed"


@pytest.mark.parametrize("method", POISONERS)
def test_the_training_of_a_pg_leaves_the_surrogate_alone(made, tmp_path, method):
    out = shutil.copytree(made[0], tmp_path / "out")
    recipes.ALL[f"poisoner_{method}_0"](CONFIG, tmp_path / "work", out)
    for name in (SURROGATE, CRITIC, *GRAY_BOX):
        file = f"{name}.safetensors"
        assert (out / file).read_bytes() == (made[0] / file).read_bytes()


def test_a_notebook_trains_shortly():
    short = recipes.shorten(load_config("demo"))
    assert (short.editor.iterations, short.poisoner.iterations) == (300, 300)
    assert short.judge.iterations == 300 and short.identity() == load_config("demo").identity()
    assert recipes.shorten(load_config("paper")).judge.iterations == 1000


@pytest.mark.parametrize("name", recipes.ALL)
def test_what_a_folder_lacks_is_said(made, tmp_path, name):
    with pytest.raises(UserError, match="No weights at"):
        recipes.load(CONFIG, name, tmp_path)
    with pytest.raises(UserError, match="another architecture"):
        wide = {"editor.width": 8, "poisoner.width": 8, "judge.width": 8}
        recipes.load(CONFIG.changed(**wide), name, made[0])


@pytest.mark.parametrize("name", [SURROGATE, GRAY_BOX[0], "poisoner_ours_0"])
def test_weights_for_other_domains_are_refused(made, name):
    words = f"holds {name} for other domains: Black_Hair, Blond_Hair, Brown_Hair"
    with pytest.raises(UserError, match=words):
        recipes.load(CONFIG.changed(domains=CONFIG.domains[::-1]), name, made[0])
