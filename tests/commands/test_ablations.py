"""`idf ablations`: trains what is missing, measures it, goes on; its stored rows and tables."""

import json
import math

import pytest

from idf.commands import ablations, main
from idf.commands.ablations import FILE, FULL_EPS, MARKS, STRENGTHS, in_order, readme_table
from idf.config import ROOT, load_config
from idf.zoo import cells, grid
from idf.zoo.ablations import VARIANTS
from idf.zoo.cells import key_of
from idf.zoo.grid import EDITORS, GRAY_BOX
from idf.zoo.load import SURROGATE
from idf.zoo.manifest import read_manifest
from idf.zoo.recipes import ALL

STORED = (SURROGATE, GRAY_BOX[0])
NAMES = ("full", "no-bs")
PLACES = {(editor.kind, editor.setting, editor.seed): name for name, editor in EDITORS.items()}
NUMBERS = ("l1", "l2", "psnr", "edit_success", "infected_edit_success")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Judge, surrogate and a forger of a few iterations, and the first PG of Table 1."""
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


def call(tmp_path, *options, names=NAMES):
    file = tmp_path / "rows.json"
    words = ["--preset", "smoke", "--variants", *names, "--images", "4", "--seeds", "0"]
    words += ["--work", str(tmp_path / "work"), "--out", str(file)]
    status = main(["ablations", *words, *options])
    return status, json.loads(file.read_text()) if file.exists() else []


def test_what_is_missing_is_trained_and_all_is_measured(shipped, tmp_path):
    status, rows = call(tmp_path)
    assert status == 0 and set(read_manifest(tmp_path / "work")) == {"poisoner_no-bs_0"}
    found = [(row["variant"], row["target_seed"], row["eps"]) for row in rows]
    assert found == [(name, seed, eps) for name in NAMES for seed in (0, 1) for eps in STRENGTHS]
    assert {(row["method"], row["images"], row["seed"]) for row in rows} == {("ours", 4, 0)}
    assert len({row["weights"] for row in rows}) == 4, "two forgers, two PGs"


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
    monkeypatch.setattr("idf.zoo.ablations.train_grid_poisoner", None)  # all are trained
    status, rows = call(tmp_path, "--resume")
    assert status == 0 and len(rows) == 8 and len(again) == 3 and not set(again) & set(done)


def test_a_failing_training_is_reported_and_the_others_go_on(
    shipped, tmp_path, monkeypatch, capsys
):
    def broken(config, method, seed, work, out, name, *rest, **more):
        if name == "poisoner_no-bs_0":
            raise RuntimeError("no training today")
        grid.train_grid_poisoner(config, method, seed, work, out, name, *rest, **more)

    monkeypatch.setattr("idf.zoo.ablations.train_grid_poisoner", broken)
    status, rows = call(tmp_path, names=("full", "no-bs", "no-cyc"))
    assert status == 1 and {row["variant"] for row in rows} == {"full", "no-cyc"}
    assert "no-bs, seed 0 failed: RuntimeError: no training today" in capsys.readouterr().err


def test_unknown_names_are_refused(capsys):
    assert main(["ablations", "--variants", "no-sm"]) == 2
    assert "--variants no-sm is not known" in capsys.readouterr().err
    assert main(["ablations", "--seeds", "3"]) == 2
    assert "--seeds 3 is not known: use one of 0, 1, 2" in capsys.readouterr().err


# The stored rows


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text()) if FILE.exists() else []


def test_every_row_has_its_keys_in_range(rows):
    assert len({key_of(row) for row in rows}) == len(rows)
    for row in rows:
        variant = VARIANTS[row["variant"]]
        editor = PLACES[row["target"], row["domains"], row["target_seed"]]
        assert row["method"] == variant.method and editor in variant.forgers(row["seed"])
        assert all(math.isfinite(row[name]) for name in NUMBERS) and 0 <= row["dsr"] <= 1
        assert row["images"] >= 100 and row["weights"] and row["hardware"]
        assert row["eps"] in STRENGTHS
        assert row["command"].startswith("idf ablations") and "/" not in row["command"]


def test_no_forger_of_a_pg_is_left_out(rows):
    met = {}
    for row in rows:
        own = (row["dataset"], row["variant"], row["seed"], row["eps"])
        place = (row["target"], row["domains"], row["target_seed"])
        met.setdefault(own, set()).add(PLACES[place])
    for (_, name, seed, _), editors in met.items():
        assert editors == set(VARIANTS[name].forgers(seed))


def test_readme_holds_the_table_of_the_stored_rows(rows):
    text = (ROOT / "README.md").read_text()
    assert f"{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}" in text


# README's tables

ROW = {
    "dataset": "procedural",
    "size": 64,
    "images": 200,
    "target": "Res6",
    "domains": "SD",
    "eps": FULL_EPS,
    "seed": 0,
    "infected_edit_success": 0.3,
    "psnr": 35.0,
}


def test_the_table_by_hand():
    rows = []
    for target_seed, seed, dsr in ((0, 0, 1.0), (1, 0, 0.2), (2, 0, 0.4), (1, 1, 0.9)):
        own = {"target_seed": target_seed, "seed": seed, "dsr": dsr, "l2": dsr / 10}
        rows.append(ROW | own | {"variant": "no-bs"})
    rows.append(rows[1] | {"eps": STRENGTHS[0], "dsr": 0.1})
    said = readme_table(rows)
    assert said.startswith("**Procedural faces, 64 px, 200 held-out faces, eps 0.05 but where")
    heads = (
        "L2, surrogate | DSR, surrogate | L2, gray-box | DSR, gray-box | DSR, gray-box, eps 0.02"
    )
    assert f"| variant | seeds | {heads} | edits seen, gray-box | PSNR of x' |" in said
    gray_box = "0.050 (0.020 to 0.090) | 0.50 (0.20 to 0.90) | 0.10 | 0.30 | 35.0 dB"
    assert f"| without L_bs | 2 | 0.100 | 1.00 | {gray_box} |" in said
    assert said.count("| variant |") == 1, "nothing of the summary was measured"


def test_the_summarys_table_by_hand():
    rows = []
    for target, target_seed, seed, dsr in (
        ("Res6", 0, 0, 0.8),
        ("Res6", 1, 0, 0.2),
        ("Res6", 0, 1, 0.6),
        ("Res6", 2, 1, 0.3),
        ("CNet", 1, 0, 0.0),
    ):
        own = {"target": target, "target_seed": target_seed, "seed": seed, "dsr": dsr, "l2": dsr}
        rows.append(ROW | own | {"variant": "summary-working"})
    said = readme_table(rows)
    heads = "L2, surrogate | L2, the queried | L2, CNet | DSR, surrogate | DSR, the queried"
    assert f"| variant | seeds | {heads} | DSR, CNet | PSNR of x' |" in said
    l2 = "0.700 (0.600 to 0.800) | 0.250 (0.200 to 0.300) | 0.000"
    dsr = "0.70 (0.60 to 0.80) | 0.25 (0.20 to 0.30) | 0.00"
    assert f"| PG(x, c) of the summary, the loss mended | 2 | {l2} | {dsr} | 35.0 dB |" in said


def test_lines_and_rows_are_in_the_order_of_the_variants():
    rows = [
        ROW | {"variant": name, "method": "ours", "target_seed": 1, "dsr": 0.5, "l2": 0.1}
        for name in reversed(VARIANTS)
    ]
    stored = in_order({key_of(row): row for row in rows})
    assert [row["variant"] for row in stored] == list(VARIANTS)
    said = readme_table(rows)
    places = [said.index(f"\n| {variant.label} |") for variant in VARIANTS.values()]
    assert places == sorted(places) and readme_table([]) == ""


def test_the_stored_rows_become_readmes_table(monkeypatch, tmp_path):
    monkeypatch.setattr(ablations, "FILE", tmp_path / "ablations.json")
    monkeypatch.setattr(ablations, "ROOT", tmp_path)
    rows = [ROW | {"variant": "full", "target_seed": 1, "dsr": 0.5, "l2": 0.1}]
    (tmp_path / "ablations.json").write_text(json.dumps(rows))
    (tmp_path / "README.md").write_text("\n".join(["above", *MARKS, "below"]))
    assert main(["ablations", "--table"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == f"above\n{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}\nbelow"
