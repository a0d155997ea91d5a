"""The PGs of the ablations: what each changes, that none is trained twice, how it is measured."""

import pytest
import torch

from idf import metrics, summary
from idf.config import load_config
from idf.zoo import cells
from idf.zoo.ablations import ANOTHER_NETWORK, VARIANTS, SummaryVariant
from idf.zoo.cells import Cell, weights_behind
from idf.zoo.grid import (
    EDITORS,
    GRAY_BOX,
    GRID_POISONERS,
    OF_ONE_FORGER,
    POISONERS,
    QUERIED,
    SEEDS,
    THROUGH,
    poisoner_config,
    poisoner_name,
)
from idf.zoo.load import SURROGATE
from idf.zoo.manifest import check_manifest, read_manifest
from idf.zoo.recipes import ALL

LENGTHS = {"editor.iterations": 2, "judge.iterations": 2, "poisoner.iterations": 10}
CONFIG = load_config("smoke", **LENGTHS)
DEMO = load_config("demo")
STORED = (SURROGATE, GRAY_BOX[0], ANOTHER_NETWORK)
OF_TABLE_1 = {name: one for name, one in VARIANTS.items() if not isinstance(one, SummaryVariant)}
OF_THE_SUMMARY = {name: one for name, one in VARIANTS.items() if name not in OF_TABLE_1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Editors and judge of a few iterations."""
    out, work = tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("work")
    for name in ("judge", *STORED):
        ALL[name](CONFIG, work, out)
    return out


@pytest.fixture
def shipped(folder, monkeypatch):
    """This folder in place of the shipped weights; the pixels in place of VGG16's features."""
    monkeypatch.setattr("idf.config.Config.weights", folder)
    monkeypatch.setattr(metrics, "perceptual_loss", metrics.l2)
    return folder


# Who they are


def test_each_has_words_and_a_file_of_its_own():
    assert all(one.name == name for name, one in VARIANTS.items())
    assert len({one.label for one in VARIANTS.values()}) == len(VARIANTS)
    for seed in SEEDS:
        assert len({one.file_name(seed) for one in VARIANTS.values()}) == len(VARIANTS)


def test_a_variant_of_table_1_differs_in_what_it_says_alone():
    for variant in OF_TABLE_1.values():
        plain = poisoner_config(DEMO, variant.method, 1)
        own = variant.config(DEMO, 1)
        old = {name: getattr(plain.poisoner, name.split(".")[1]) for name in variant.changes}
        assert own.changed(**old) == plain
        assert (own == plain) == (not variant.changes), variant.name
        assert all(old[name] != value for name, value in variant.changes.items())


def test_what_changes_nothing_is_a_pg_of_table_1_and_nothing_else_has_its_name():
    of_table_1 = {one.file_name(2) for one in OF_TABLE_1.values() if not one.changes}
    others = (*OF_ONE_FORGER, *THROUGH)
    of_no_forger = [method for method in POISONERS if method not in others]
    assert of_table_1 == {poisoner_name(method, 2) for method in of_no_forger}
    others = {one.file_name(2) for one in VARIANTS.values()} - of_table_1
    assert not others & set(GRID_POISONERS)


def test_every_term_of_the_loss_is_off_in_one_of_them():
    off = {name.removeprefix("poisoner.") for one in VARIANTS.values() for name in one.changes}
    assert {"lambda_bs", "lambda_cyc", "lambda_dom", "lambda_adv", "previous", "summed"} <= off
    assert VARIANTS["dom-1"].config(DEMO, 0).poisoner.lambda_dom == 1
    assert VARIANTS["full"].config(DEMO, 0).poisoner.lambda_dom == 0.01
    assert VARIANTS["keyless-no-cap"].config(DEMO, 0).poisoner.cap == 2
    one_key = VARIANTS["one-key"].config(DEMO, 0).poisoner
    assert (one_key.head, one_key.keys) == ("Waves", 0)


def test_the_summarys_have_as_many_steps_of_pg_as_the_papers():
    for variant in OF_THE_SUMMARY.values():
        own = variant.config(DEMO, 1)
        steps = [summary.imitates(i) for i in range(own.poisoner.iterations)]
        assert steps.count(False) == DEMO.poisoner.iterations == steps.count(True)
        assert own.seed == DEMO.seed + 1
    assert VARIANTS["summary"].infection == summary.AS_WRITTEN
    assert VARIANTS["summary-working"].infection == summary.WORKING


def test_the_summarys_pg_meets_the_forger_that_it_may_query_and_a_black_box():
    assert VARIANTS["full"].forgers(1) == (SURROGATE, *GRAY_BOX)
    assert VARIANTS["summary"].forgers(1) == (SURROGATE, QUERIED[1], "editor_CNet_SD_1")
    assert EDITORS[ANOTHER_NETWORK].config(DEMO).domains == DEMO.domains


# How they are trained


def test_what_ships_is_not_trained_again(folder, shipped, tmp_path):
    full, no_bs = VARIANTS["full"], VARIANTS["no-bs"]
    assert full.folder(CONFIG, 0, tmp_path) == tmp_path
    file = folder / f"{full.file_name(0)}.safetensors"
    file.touch()
    assert full.folder(CONFIG, 0, tmp_path) == folder
    assert no_bs.folder(CONFIG, 0, tmp_path) == full.folder(CONFIG, 1, tmp_path) == tmp_path
    file.unlink()


def test_a_pg_without_changes_is_the_grids_bit_for_bit(folder, shipped, tmp_path):
    name = VARIANTS["full"].file_name(1)
    for place in ("own", "grid"):
        (tmp_path / place).mkdir()
    VARIANTS["full"].train(CONFIG, 1, tmp_path / "own")
    for file in folder.glob("*Res6_SD_0.safetensors"):
        (tmp_path / "grid" / file.name).write_bytes(file.read_bytes())
    ALL[name](CONFIG, tmp_path / "work", tmp_path / "grid")
    digests = [read_manifest(tmp_path / place)[name]["sha256"] for place in ("own", "grid")]
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", ["no-previous", "one-key", *OF_THE_SUMMARY])
def test_a_variant_is_trained_and_measured(shipped, tmp_path, name):
    variant, before = VARIANTS[name], set(shipped.iterdir())
    variant.train(CONFIG, 0, tmp_path)
    check_manifest(tmp_path)
    assert set(read_manifest(tmp_path)) == {variant.file_name(0)}
    entry = read_manifest(tmp_path)[variant.file_name(0)]
    assert entry["method"] == variant.method and set(shipped.iterdir()) == before
    for setting, value in variant.changes.items():
        assert entry["settings"].get(setting, value) == value

    rows = []
    for editor in (SURROGATE, ANOTHER_NETWORK):
        cell = Cell(editor, variant.method, 0.05, variant=name, poisoners=tmp_path)
        row = cells.measure(CONFIG, cell, 4)
        assert cells.key_of(row) == cell.key(CONFIG) and row["variant"] == name
        assert row["psnr"] > 31 and row["weights"] == weights_behind(CONFIG, cell)
        assert row["weights"].endswith(entry["sha256"][:8])
        rows.append(row)
    # as the summary stands, PG_best is the one that does least: here one that does nothing yet
    assert (rows[0]["l2"] == rows[1]["l2"] == 0) == (name == "summary")


def test_the_summarys_manifest_counts_its_queries(shipped, tmp_path):
    asked = {}
    for name, variant in OF_THE_SUMMARY.items():
        variant.train(CONFIG, 0, tmp_path)
        entry = read_manifest(tmp_path)[variant.file_name(0)]
        assert entry["queried"] == QUERIED[0] and entry["iterations"] == 20
        asked[name] = entry["queries"]
    # a round of 10 and 10; as it stands each poisoned face is asked for, too
    imitation = 10 * CONFIG.editor.batch
    assert asked["summary-working"] == imitation
    assert asked["summary"] == imitation + 10 * CONFIG.poisoner.batch


def test_a_variant_is_no_cell_of_table_1(tmp_path):
    keys = {Cell(SURROGATE, "ours", 0.05).key(CONFIG)}
    keys |= {
        Cell(SURROGATE, one.method, 0.05, variant=name).key(CONFIG)
        for name, one in VARIANTS.items()
    }
    assert len(keys) == len(VARIANTS) + 1


def test_the_summarys_pgs_are_told_the_class(shipped, tmp_path):
    variant = VARIANTS["summary"]
    variant.train(CONFIG, 0, tmp_path)
    poisoner = variant.load(CONFIG, 0, tmp_path)
    x, c = torch.zeros(1, 3, 32, 32), torch.zeros(1, 5)
    assert not poisoner.training and not torch.equal(poisoner(x, c), poisoner(x, 1 - c))
