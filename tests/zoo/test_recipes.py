"""How scenario 1's networks are made: every recipe at two iterations, in order."""

import pytest
import torch

from idf.config import DOMAINS, UserError, load_config
from idf.zoo import recipes
from idf.zoo.grid import CRITIC, EDITORS, GRID_POISONERS
from idf.zoo.load import load_poisoner, load_surrogate, load_target
from idf.zoo.manifest import check_manifest, read_manifest

LENGTHS = {f"{part}.iterations": 2 for part in ("editor", "target", "judge")}
CONFIG = load_config("smoke", **LENGTHS)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with all of RECIPES."""
    out, work = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("work")
    for name, recipe in recipes.ALL.items():
        recipe(CONFIG, work, out)
        recipes.load(CONFIG, name, out)
    return out, work


def test_every_recipe_leaves_its_files_and_entries(made):
    out, _ = made
    check_manifest(out)
    manifest = read_manifest(out)
    assert set(manifest) == {*recipes.ALL, CRITIC, "d_a", "poisoner"}
    assert manifest["judge"]["accuracy"].keys() >= {"Smiling", "Pale_Skin", "mean", "balanced"}
    # half of the iterations, four images a batch
    assert manifest["poisoner_queries"]["queries"] == 1 * 4
    assert manifest["poisoner_queries"]["settings"]["poisoner.lambda_dom"] == 0


def test_who_has_which_domains_and_seed(made):
    manifest = read_manifest(made[0])
    for name, entry in manifest.items():
        setting = "DD" if "_DD" in name else "SD"
        assert tuple(entry["domains"]) == DOMAINS["procedural"][setting], name
        if name not in (*EDITORS, *GRID_POISONERS):
            assert entry["seed"] == (100 if name.startswith("target") else 0), name
        assert entry["data"] == "procedural" and entry["preset"] == "smoke"


def test_finished_trainings_are_not_repeated(made, tmp_path, monkeypatch):
    out, work = made
    monkeypatch.setattr(recipes, "train_editor", None)
    recipes.RECIPES["surrogate"](CONFIG, work, tmp_path)
    for name in ("surrogate", "d_a", "poisoner"):
        file = f"{name}.safetensors"
        assert (out / file).read_bytes() == (tmp_path / file).read_bytes()


def distance(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max((p - q).abs().max().item() for p, q in pairs)


def test_the_tuned_target_begins_with_the_surrogates_weights(made):
    out, _ = made
    surrogate, _ = load_surrogate(CONFIG, out)
    # one step of Adam moves no weight by more than about its rate
    assert 0 < distance(load_target(CONFIG, out, tuned=True), surrogate) < 3e-3
    assert distance(load_target(CONFIG, out), surrogate) > 0.02, "of another seed"


def test_three_poisoners_differ(made):
    names = ("poisoner", "poisoner_no_ats", "poisoner_queries")
    first, second, third = (load_poisoner(CONFIG, name, made[0]) for name in names)
    assert distance(first, second) > 0 and distance(first, third) > 0
    assert distance(second, third) > 0


def test_the_targets_settings_are_its_own():
    config = load_config("demo")
    own = recipes.target_config(config)
    assert (own.editor.iterations, own.editor.decay) == (10_000, config.target.decay)
    assert own.seed == config.seed + 100 and own.domains == config.domains
    assert own.changed(seed=config.seed, editor=config.editor) == config
    assert recipes.target_config(config, 7).editor.iterations == 7


def test_a_notebook_trains_shortly():
    short = recipes.shorten(load_config("demo"))
    assert (short.editor.iterations, short.target.iterations) == (300, 300)
    assert short.judge.iterations == 300 and short.identity() == load_config("demo").identity()
    assert recipes.shorten(load_config("paper")).judge.iterations == 1000


@pytest.mark.parametrize("name", recipes.ALL)
def test_what_a_folder_lacks_is_said(made, tmp_path, name):
    with pytest.raises(UserError, match="No weights at"):
        recipes.load(CONFIG, name, tmp_path)
    with pytest.raises(UserError, match="another architecture"):
        wide = {"editor.width": 8, "poisoner.width": 8, "judge.width": 8}
        recipes.load(CONFIG.changed(**wide), name, made[0])


def test_the_trainings_of_stage_b_leave_the_surrogate_alone(made, tmp_path):
    out, work = made
    before, _ = load_surrogate(CONFIG, out)
    recipes.RECIPES["poisoner_no_ats"](CONFIG, tmp_path, out)
    after, _ = load_surrogate(CONFIG, out)
    assert distance(before, after) == 0 and torch.isfinite(next(after.parameters())).all()
