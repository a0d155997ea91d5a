"""`idf adaptive`: trains what is missing, measures it, goes on; its stored rows and table."""

import json
import math

import pytest

from idf.commands import adaptive, main
from idf.commands.adaptive import FILE, MARKS, METHODS_MEASURED, in_order, lines, readme_table
from idf.config import ROOT, load_config
from idf.zoo import cells
from idf.zoo.adaptive import DIETS, EPS, AdaptedEditor
from idf.zoo.cells import key_of
from idf.zoo.grid import EDITORS, GRAY_BOX
from idf.zoo.load import SURROGATE
from idf.zoo.manifest import read_manifest
from idf.zoo.recipes import ALL

STORED = (SURROGATE, *GRAY_BOX[:2])
CHOSEN = ("clean", "ours")
METHODS = ("ours", "random-colour")
NAMES = {AdaptedEditor(name, diet, None).name for name in STORED[1:] for diet in CHOSEN}
NUMBERS = ("l1", "l2", "psnr", "edit_success", "infected_edit_success", "reconstruction_l1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Judge, surrogate, two forgers and the paper's PG, of a few iterations."""
    out, work = tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("work")
    lengths = {f"{part}.iterations": 2 for part in ("editor", "judge", "poisoner")}
    for name in ("judge", *STORED, "poisoner_ours_0"):
        ALL[name](load_config("smoke", **lengths), work, out)
    return out


@pytest.fixture
def shipped(folder, monkeypatch):
    """This folder in place of the shipped weights."""
    monkeypatch.setattr("idf.config.Config.weights", folder)
    return folder


def call(tmp_path, *options, diets=CHOSEN):
    file = tmp_path / "rows.json"
    words = ["--preset", "smoke", "--editors", *GRAY_BOX[:2], "--diets", *diets, "--images", "4"]
    words += ["--methods", *METHODS, "--work", str(tmp_path / "work"), "--out", str(file)]
    status = main(["adaptive", *words, *options])
    return status, json.loads(file.read_text()) if file.exists() else []


def test_what_is_missing_is_trained_and_all_is_measured(shipped, tmp_path):
    status, rows = call(tmp_path)
    assert status == 0 and set(read_manifest(tmp_path / "work")) == NAMES
    found = [(row["target"], row["target_seed"], row["method"]) for row in rows]
    kinds = ["Res6", "Res6-adapted-clean", "Res6-adapted-ours"]
    assert found == [(kind, seed, way) for kind in kinds for seed in (1, 2) for way in METHODS]
    assert {(row["images"], row["seed"], row["eps"]) for row in rows} == {(4, 0, EPS)}
    assert len({row["edit_success"] for row in rows}) <= 6 < len({r["weights"] for r in rows})


def test_trainings_side_by_side_then_one_call_that_measures(shipped, tmp_path, monkeypatch):
    for diet in CHOSEN:
        status, rows = call(tmp_path, "--train-only", diets=[diet])
        assert status == 0 and not rows
    assert set(read_manifest(tmp_path / "work")) == NAMES
    monkeypatch.setattr(AdaptedEditor, "train", None)  # all are there
    status, rows = call(tmp_path)
    assert status == 0 and len(rows) == 12


def test_a_call_goes_on_where_it_was(shipped, tmp_path, monkeypatch):
    real, done = cells.measure, []

    def killed(config, cell, *rest):
        if len(done) == 5:
            raise KeyboardInterrupt
        done.append(cell)
        return real(config, cell, *rest)

    monkeypatch.setattr(cells, "measure", killed)
    status, rows = call(tmp_path)
    assert status == 130 and len(rows) == 5

    again = []
    monkeypatch.setattr(cells, "measure", lambda *a: (again.append(a[1]), real(*a))[1])
    monkeypatch.setattr(AdaptedEditor, "train", None)
    status, rows = call(tmp_path, "--resume")
    assert status == 0 and len(rows) == 12 and len(again) == 7 and not set(again) & set(done)


def test_an_editor_trained_again_is_measured_again(shipped, tmp_path):
    call(tmp_path)
    work = tmp_path / "work"
    manifest = read_manifest(work)
    manifest[f"{GRAY_BOX[0]}_adapted-ours"]["sha256"] = "0" * 64
    (work / "manifest.json").write_text(json.dumps(manifest))
    measured = json.loads((tmp_path / "rows.json").read_text())
    _, rows = call(tmp_path, "--resume")
    changed = [new for old, new in zip(measured, rows, strict=True) if old != new]
    assert len(changed) == 2 and {row["target"] for row in changed} == {"Res6-adapted-ours"}


def test_a_failing_training_is_reported_and_the_others_go_on(
    shipped, tmp_path, monkeypatch, capsys
):
    real = AdaptedEditor.train

    def broken(one, config):
        if one.diet == "ours":
            raise RuntimeError("no training today")
        real(one, config)

    monkeypatch.setattr(AdaptedEditor, "train", broken)
    status, rows = call(tmp_path)
    assert status == 1 and {row["target"] for row in rows} == {"Res6", "Res6-adapted-clean"}
    said = capsys.readouterr().err
    assert f"{GRAY_BOX[1]}_adapted-ours failed: RuntimeError: no training today" in said


@pytest.mark.parametrize(
    "words", [["--diets", "vegan"], ["--editors", SURROGATE], ["--methods", "tiles"]]
)
def test_unknown_names_are_refused(capsys, words):
    assert main(["adaptive", *words]) == 2
    said = capsys.readouterr().err
    assert f"{words[0]} {words[1]} is not known: use one of " in said and said.count("\n") == 1


# The stored rows


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text()) if FILE.exists() else []


def test_every_row_has_its_keys_in_range(rows):
    assert len({key_of(row) for row in rows}) == len(rows)
    for row in rows:
        assert row["target"] in lines() and row["domains"] == "SD"
        assert row["method"] in METHODS_MEASURED and row["eps"] == EPS
        assert all(math.isfinite(row[name]) for name in NUMBERS) and 0 <= row["dsr"] <= 1
        assert row["images"] >= 100 and row["weights"] and row["hardware"]
        assert row["command"].startswith("idf adaptive") and "/" not in row["command"]


def test_every_diet_is_of_the_same_forgers_and_methods(rows):
    met = {}
    for row in rows:
        own = (row["target_seed"], row["method"])
        met.setdefault(row["dataset"], {}).setdefault(row["target"], set()).add(own)
    for kinds in met.values():
        assert len({frozenset(own) for own in kinds.values()}) == 1


def test_readme_holds_the_table_of_the_stored_rows(rows):
    text = (ROOT / "README.md").read_text()
    assert f"{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}" in text


# README's table

ROW = {
    "dataset": "procedural",
    "size": 64,
    "images": 100,
    "target": "Res6",
    "domains": "SD",
    "eps": EPS,
    "seed": 0,
    "method": "ours",
    "edit_success": 0.9,
    "reconstruction_l1": 0.07,
    "infected_edit_success": 0.3,
    "l2": 0.1,
}


def test_the_table_by_hand():
    rows = []
    for target_seed, dsr in ((1, 0.2), (2, 0.4)):
        own = {"target_seed": target_seed, "dsr": dsr, "edit_success": 0.8 + dsr / 10}
        rows.append(ROW | own)
        rows.append(ROW | own | {"method": "ruiz-white-box", "dsr": 1.0})
        rows.append(ROW | own | {"target": "Res6-adapted-ours", "dsr": 0.0, "l2": 0.01})
    said = readme_table(rows)
    assert said.startswith(
        "**Procedural faces, 64 px, 100 held-out faces, eps 0.05.**\n\n| trained"
    )
    heads = "DSR, PG, as in the paper | DSR, Ruiz, white-box | L2, PG, as in the paper"
    assert (
        f"| edit success | reconstruction L1 | {heads} | edits seen, PG, as in the paper |" in said
    )
    quality = "0.83 (0.82 to 0.84) | 0.070"
    assert f"| {quality} | 0.30 (0.20 to 0.40) | 1.00 | 0.100 | 0.30 |" in said
    label = DIETS["ours"].label
    assert f"| {label} | {quality} | 0.00 | – | 0.010 | 0.30 |" in said


def test_lines_and_rows_are_in_the_order_of_the_diets():
    rows = [ROW | {"target": kind, "target_seed": 1, "dsr": 0.5} for kind in reversed(lines())]
    stored = in_order({key_of(row): row for row in rows})
    assert [row["target"] for row in stored] == list(lines())
    said = readme_table(rows)
    places = [said.index(f"\n| {label} |") for label in lines().values()]
    assert places == sorted(places) and readme_table([]) == ""


def test_each_data_set_has_its_table():
    row = ROW | {"target_seed": 1, "dsr": 0.5}
    said = readme_table([row | {"dataset": "celeba"}, row])
    assert said.index("**Procedural faces") < said.index("**CelebA, 64 px, 100 held-out faces")


def test_a_forger_of_a_line_is_a_gray_box_forger():
    assert {EDITORS[name].kind for name in GRAY_BOX} == {next(iter(lines()))}


def test_the_stored_rows_become_readmes_table(monkeypatch, tmp_path):
    monkeypatch.setattr(adaptive, "FILE", tmp_path / "adaptive.json")
    monkeypatch.setattr(adaptive, "ROOT", tmp_path)
    rows = [ROW | {"target_seed": 1, "dsr": 0.5}]
    (tmp_path / "adaptive.json").write_text(json.dumps(rows))
    (tmp_path / "README.md").write_text("\n".join(["above", *MARKS, "below"]))
    assert main(["adaptive", "--table"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == f"above\n{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}\nbelow"
