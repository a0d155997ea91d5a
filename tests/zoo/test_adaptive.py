"""Forgers who train on: what each diet shows them, where they begin, and how they are measured."""

import numpy as np
import pytest
import torch
from compare import weights

from idf.config import load_config
from idf.data.faces import open_faces
from idf.data.pictures import to_model, to_uint8
from idf.methods import METHODS
from idf.zoo import adaptive, cells
from idf.zoo.adaptive import DIETS, EPS, AdaptedEditor, faces_of
from idf.zoo.cells import Cell, weights_behind
from idf.zoo.grid import EDITORS, GRAY_BOX, POISONERS, load_grid_poisoner
from idf.zoo.load import SURROGATE, load_surrogate
from idf.zoo.manifest import check_manifest, read_manifest
from idf.zoo.recipes import ALL

LENGTHS = {"editor.iterations": 8, "judge.iterations": 2, "poisoner.iterations": 2}
CONFIG = load_config("smoke", **LENGTHS)
FORGER = GRAY_BOX[0]
INFECTED = ("ours", "keyless-no-ats")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Judge, surrogate, a forger and both PGs, of a few iterations."""
    out, work = tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("work")
    names = ("judge", SURROGATE, FORGER, *(f"poisoner_{method}_0" for method in INFECTED))
    for name in names:
        ALL[name](CONFIG, work, out)
    return out


@pytest.fixture
def shipped(folder, monkeypatch):
    """This folder in place of the shipped weights."""
    monkeypatch.setattr("idf.config.Config.weights", folder)
    return folder


def adapted(diet, folder=None):
    return AdaptedEditor(FORGER, diet, folder)


# Who they are


def test_none_is_taken_for_another_editor():
    every = [AdaptedEditor(name, diet, None) for name in GRAY_BOX for diet in DIETS]
    names = [one.name for one in every]
    assert len(set(names)) == len(every) and not set(names) & set(ALL)
    places = {(one.kind, one.setting, one.seed) for one in every}
    assert len(places) == len(every)
    assert not {one.kind for one in every} & {one.kind for one in EDITORS.values()}


def test_diets_have_words_and_known_methods():
    assert len({diet.label for diet in DIETS.values()}) == len(DIETS)
    assert all(diet.method in METHODS for diet in DIETS.values() if diet.method)


def test_all_train_for_a_quarter_with_the_recipe_and_the_seed_that_the_forger_had():
    demo = load_config("demo")
    before = EDITORS[FORGER].config(demo)
    shorter = before.changed(editor={"iterations": before.editor.iterations // 4})
    for diet in DIETS:
        own = adapted(diet).config(demo)
        assert own.changed(**{"editor.noise": 0.0}) == shorter
        assert (own.editor.noise > 0) == (diet == "codeless")


# What they are shown


@pytest.mark.parametrize("diet", DIETS)
def test_faces_are_the_forgers_own_in_8_bits_and_within_eps(shipped, diet):
    own = adapted(diet).config(CONFIG)
    clean, faces = open_faces(own, "target"), faces_of(diet, CONFIG, own, CPU)
    assert faces.images.dtype == np.uint8 and faces.images.shape == clean.images.shape
    assert faces.names == clean.names and torch.equal(faces.labels, clean.labels)
    moved = np.abs(faces.images.astype(int) - clean.images).max()
    assert moved <= np.ceil(EPS * 127.5)
    assert (moved > 0) == bool(DIETS[diet].method)


def test_the_papers_poison_is_that_of_the_pg_in_eval_mode(shipped):
    """A face's x' is the same whatever batch it stands in: BatchNorm's statistics are fixed."""
    own = adapted("ours").config(CONFIG)
    clean, faces = open_faces(own, "target"), faces_of("ours", CONFIG, own, CPU)
    poisoner = load_grid_poisoner(CONFIG, "ours")
    x = to_model(np.array(clean.images[7:8]))
    with torch.no_grad():
        alone = to_uint8((x + EPS * poisoner(x)).clamp(-1, 1)).numpy()
    assert np.abs(alone.astype(int) - faces.images[7:8]).max() <= 1


def test_the_keys_of_the_training_faces_are_not_those_of_the_test_faces(shipped, monkeypatch):
    seeds = []
    real = adaptive.protection

    def watched(method, context, eps):
        seeds.append(context.seed)
        return real(method, context, eps)

    monkeypatch.setattr(adaptive, "protection", watched)
    faces_of("keyless-no-ats", CONFIG, adapted("keyless-no-ats").config(CONFIG), CPU)
    monkeypatch.setattr(cells, "protection", watched)
    cells._published.cache_clear()
    cells._published(CONFIG, Cell("", "keyless-no-ats", EPS), 4)
    assert len(set(seeds)) == 2


def test_every_diet_has_the_same_batches_and_begins_as_the_forger(shipped, monkeypatch, tmp_path):
    seen = {}
    began = []
    real_draw, make = adaptive.train_target, adaptive.make_training

    def make_watched(*arguments, **options):
        run = make(*arguments, **options)
        began.append((weights(run.surrogate), weights(run.d_a)))
        return run

    def train_watched(run, faces, **options):
        batches = [faces.batch(i, 4, run.seed) for i in range(3)]
        seen[options["folder"].name] = batches
        return real_draw(run, faces, **options)

    monkeypatch.setattr(adaptive, "make_training", make_watched)
    monkeypatch.setattr(adaptive, "train_target", train_watched)
    for diet in ("clean", *INFECTED):
        adapted(diet, tmp_path).train(CONFIG)
    editor, d_a = EDITORS[FORGER].load(CONFIG), load_surrogate(CONFIG)[1]
    for first, critic in began:
        assert torch.equal(first, weights(editor)) and torch.equal(critic, weights(d_a))
    clean, *others = seen.values()
    for batches in others:
        for (x, c), (x_infected, c_infected) in zip(clean, batches, strict=True):
            assert torch.equal(c, c_infected)
            assert 0 < (x_infected - x).abs().max() <= EPS + 1 / 127.5


# What comes of it


@pytest.mark.parametrize("diet", ["clean", "keyless-no-ats"])
def test_an_adapted_editor_is_trained_and_measured(shipped, tmp_path, diet):
    one, before = adapted(diet, tmp_path), set(shipped.iterdir())
    one.train(CONFIG)
    check_manifest(tmp_path)
    assert set(read_manifest(tmp_path)) == {one.name} and set(shipped.iterdir()) == before
    entry = read_manifest(tmp_path)[one.name]
    assert (entry["began_as"], entry["diet"], entry["iterations"]) == (FORGER, diet, 2)
    editor = EDITORS[FORGER].load(CONFIG)
    assert not torch.equal(weights(one.load(CONFIG)), weights(editor))

    for method in ("ours", "ruiz-white-box"):
        plain = cells.measure(CONFIG, Cell(FORGER, method, EPS), 4)
        cell = Cell(FORGER, method, EPS, adapted=one)
        row = cells.measure(CONFIG, cell, 4)
        assert cells.key_of(row) == cell.key(CONFIG) != cells.key_of(plain)
        assert row["weights"] == weights_behind(CONFIG, cell) != plain["weights"]
        assert row["weights"].startswith(entry["sha256"][:8])
        # the same x' meets both, but for one who knows the weights
        assert (row["psnr"] == plain["psnr"]) == (method in POISONERS)
        assert row["reconstruction_l1"] != plain["reconstruction_l1"]


def test_the_infected_forgery_is_held_against_the_same_editors_clean_one(
    shipped, tmp_path, monkeypatch
):
    """With x' = x nothing moves, however far the adapted editor is from the one before."""
    one = adapted("clean", tmp_path)
    one.train(CONFIG)
    faces = open_faces(CONFIG, "test", limit=4)
    x = to_model(np.array(faces.images))
    monkeypatch.setattr(cells, "_published", lambda *arguments: x)
    row = cells.measure(CONFIG, Cell(FORGER, "ours", EPS, adapted=one), 4)
    assert row["l2"] == row["dsr"] == 0 and row["edit_success"] == row["infected_edit_success"]
