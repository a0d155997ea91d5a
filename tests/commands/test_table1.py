"""`idf table1`: stored rows have the promised shape, README's table is what they say."""

import json
import math

import pandas as pd
import pytest

from idf.commands import main, table1
from idf.commands.table1 import (
    FILE,
    FULL_EPS,
    MARKS,
    OTHER_RECIPES,
    readme_table,
    with_bounds,
)
from idf.config import ROOT
from idf.zoo.cells import key_of
from idf.zoo.grid import EDITORS, OF_ONE_FORGER, QUERIED

PLACES = {(editor.kind, editor.setting, editor.seed): name for name, editor in EDITORS.items()}
NUMBERS = ("l1", "l2", "psnr", "spread", "edit_success", "infected_edit_success", "judge_accuracy")


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text())


def test_every_row_has_its_keys_in_range(rows):
    assert rows and len({key_of(row) for row in rows}) == len(rows)
    for row in rows:
        place = (row["target"], row["domains"], row["target_seed"])
        assert place in PLACES and row["method"] in table1.METHODS_MEASURED
        assert all(math.isfinite(row[key]) for key in NUMBERS) and 0 <= row["dsr"] <= 1
        assert row["lpips"] is None or row["lpips"] >= 0
        assert row["images"] >= 100 and row["weights"] and row["hardware"]
        assert row["command"].startswith("idf table1") and "/" not in row["command"]


def test_no_seed_of_a_forger_is_left_out(rows):
    """But for the PGs that may query one forger, or know it: they meet that one alone."""
    table = pd.DataFrame(rows)
    gray_box = table[(table.target == "Res6") & (table.domains == "SD") & (table.target_seed > 0)]
    for (_, method, _, _), own in gray_box.groupby(["dataset", "method", "eps", "seed"]):
        if method in OF_ONE_FORGER:
            assert [PLACES["Res6", "SD", n] for n in own.target_seed] == [QUERIED[own.seed.iloc[0]]]
        else:
            assert sorted(own.target_seed) == [1, 2, 3], method


def test_every_forger_has_its_bound_and_meets_the_keyless_pg_and_noise(rows):
    table = pd.DataFrame(rows)
    plain = table[(table.eps == FULL_EPS) & ~table.target.isin(OTHER_RECIPES)]
    forgers = plain.groupby(["dataset", "target", "domains", "target_seed"])
    one_recipe = [editor for editor in EDITORS.values() if editor.variant in ("", "tuned")]
    assert len(forgers) == 2 * len(one_recipe)
    for _, own in forgers:
        methods = {"ours", "keyless-no-ats", "random-colour", "ruiz", "ruiz-white-box"}
        assert methods <= set(own.method)
        assert own.white_box_l2.notna().all() and own.white_box_dsr.notna().all()


def test_the_bound_of_a_row_is_its_own_forgers():
    facts = {"dataset": "d", "size": 64, "target": "Res6", "domains": "SD", "seed": 0}
    rows = [
        facts | {"method": method, "eps": eps, "target_seed": seed, "l2": l2, "dsr": 10 * l2}
        for method, eps, seed, l2 in (
            ("ours", 0.05, 1, 0.01),
            ("ruiz-white-box", 0.05, 1, 0.02),
            ("ruiz-white-box", 0.02, 1, 0.03),
            ("ours", 0.05, 2, 0.04),
        )
    ]
    bounds = {
        (row["method"], row["eps"], row["target_seed"]): (row["white_box_l2"], row["white_box_dsr"])
        for row in with_bounds({key_of(row): row for row in rows})
    }
    assert bounds["ours", 0.05, 1] == bounds["ruiz-white-box", 0.05, 1] == (0.02, 0.2)
    assert bounds["ruiz-white-box", 0.02, 1][0] == 0.03
    assert bounds["ours", 0.05, 2] == (None, None)


def test_readme_holds_the_table_of_the_stored_rows(rows):
    text = (ROOT / "README.md").read_text()
    assert f"{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}" in text


ROW = {
    "dataset": "procedural",
    "size": 64,
    "images": 200,
    "target": "Res6",
    "domains": "SD",
    "eps": 0.05,
    "edit_success": 0.9,
    "reconstruction_l1": 0.07,
    "infected_edit_success": 0.3,
    "l2": 0.1,
    "psnr": 34.5,
}


def test_the_table_by_hand():
    rows = []
    for seed, dsr in ((0, 1.0), (1, 0.5), (2, 0.9)):
        for method in ("ours", "ruiz-white-box"):
            rows.append(ROW | {"target_seed": seed, "method": method, "dsr": dsr})
    rows.append(ROW | {"target_seed": 1, "method": "ours", "dsr": 0.2, "eps": 0.02})
    said = readme_table(rows)
    assert "| surrogate | 1 | 0.90 | 0.070 | 1.00 | 0.100 |" in said
    assert "| Res6 SD | 2 | 0.90 | 0.070 | 0.70 (0.50 to 0.90) | 0.100 |" in said
    heads = "| DSR at eps 0.05 | surrogate | Res6 SD | Res6 SD at eps 0.02 | edits seen, Res6 SD |"
    assert f"{heads} PSNR of x' |" in said
    ours = "1.00 | 0.70 (0.50 to 0.90); paper 1.00 | 0.20 | 0.30 | 34.5 dB"
    assert f"| PG, alternating (the paper) | {ours} |" in said


def test_each_kind_of_forger_has_a_line_and_a_column_and_so_has_the_surrogate():
    rows = []
    for editor in EDITORS.values():
        own = {"target": editor.kind, "domains": editor.setting, "target_seed": editor.seed}
        rows.append(ROW | own | {"method": "ours", "dsr": 0.5})
    said = readme_table(rows)
    for editor in EDITORS.values():
        forger = "surrogate" if editor.is_surrogate else f"{editor.kind} {editor.setting}"
        assert f"\n| {forger} | " in said
        assert (f" | {forger} |" in said) == (editor.kind not in OTHER_RECIPES)


def test_what_was_not_measured_is_a_dash():
    rows = [ROW | {"target": "CNet", "target_seed": 1, "method": "ours", "dsr": 0.5}]
    rows.append(ROW | {"target": "Res9", "target_seed": 1, "method": "tiles", "dsr": 0.4})
    said = readme_table(rows)
    assert "| CNet SD | 1 | 0.90 | 0.070 | – | – |" in said
    assert "| control: tiles by hand, untrained | 0.40 | – | – | – | 34.5 dB |" in said


def test_each_data_set_has_its_heading():
    own = {"target_seed": 1, "method": "ours", "dsr": 0.5}
    said = readme_table([ROW | own, ROW | own | {"dataset": "celeba", "images": 150}])
    assert said.startswith("**Procedural faces, 64 px, 200 held-out faces.**\n")
    assert "\n**CelebA, 64 px, 150 held-out faces.**\n" in said


def test_the_stored_rows_become_readmes_table(monkeypatch, tmp_path):
    monkeypatch.setattr(table1, "FILE", tmp_path / "table1.json")
    monkeypatch.setattr(table1, "ROOT", tmp_path)
    rows = [ROW | {"target_seed": 1, "method": "ours", "dsr": 0.5}]
    (tmp_path / "table1.json").write_text(json.dumps(rows))
    (tmp_path / "README.md").write_text("\n".join(["above", *MARKS, "below"]))
    assert main(["table1", "--table"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == f"above\n{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}\nbelow"
