"""`idf table1`: stored rows have the promised shape, README's table is what they say."""

import json
import math

import pandas as pd
import pytest

from idf.commands import table1
from idf.commands.table1 import FILE, MARKS, PAPER, readme_table, with_bounds
from idf.config import ROOT
from idf.zoo.cells import key_of
from idf.zoo.grid import EDITORS, NETWORKS

NUMBERS = ("l1", "l2", "psnr", "spread", "edit_success", "infected_edit_success", "judge_accuracy")


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text())


def test_every_row_has_its_keys_in_range(rows):
    assert rows and len({key_of(row) for row in rows}) == len(rows)
    for row in rows:
        name = f"editor_{row['target']}_{row['domains']}_{row['target_seed']}"
        assert name in EDITORS and row["method"] in table1.METHODS_MEASURED
        assert all(math.isfinite(row[key]) for key in NUMBERS) and 0 <= row["dsr"] <= 1
        assert row["lpips"] is None or row["lpips"] >= 0
        assert row["images"] >= 100 and row["weights"] and row["hardware"]
        assert row["command"].startswith("idf table1") and "/" not in row["command"]


def test_a_forger_is_met_by_every_method_or_none(rows):
    table = pd.DataFrame(rows)
    for _, own in table.groupby(["dataset", "target", "domains", "target_seed"]):
        needed = set(table1.METHODS_MEASURED)
        others = table[table.dataset == own.dataset.iloc[0]]
        assert set(own.method) & needed == set(others.method) & needed
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


def test_the_table_by_hand():
    row = {
        "dataset": "procedural",
        "size": 64,
        "images": 200,
        "target": "Res6",
        "domains": "SD",
        "eps": 0.05,
        "edit_success": 0.9,
        "reconstruction_l1": 0.07,
        "l2": 0.1,
        "psnr": 34.5,
    }
    rows = []
    for seed, dsr in ((0, 1.0), (1, 0.5), (2, 0.9)):
        for method in ("ours", "ruiz-white-box"):
            rows.append(row | {"target_seed": seed, "method": method, "dsr": dsr})
    said = readme_table(rows)
    assert "| Res6 SD | 2 | 0.90 | 0.070 | 0.70 (0.50 to 0.90) | 0.100 |" in said
    # the surrogate, seed 0, is nobody's forger
    assert "| PG, alternating (the paper) | 0.70 (0.50 to 0.90); paper 1.00 | 34.5 dB |" in said


def test_the_papers_numbers_are_of_known_forgers():
    kinds = {f"{network} {setting}" for network in NETWORKS for setting in ("SD", "DD")}
    assert all(set(values) == kinds for values in PAPER.values())
