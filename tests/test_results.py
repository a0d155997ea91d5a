"""The stored results have the promised shape, and the README's table is what they say."""

import json
import math

import pytest

from idf.config import ROOT, UserError
from idf.evaluation import METHODS
from idf.results import FILE, MARKS, table, write_table

KEYS = {
    "dataset",
    "size",
    "method",
    "target",
    "domains",
    "eps",
    "dsr",
    "l1",
    "l2",
    "psnr",
    "lpips",
    "edit_success",
    "reconstruction_l1",
    "judge_accuracy",
    "images",
    "seed",
    "hardware",
    "command",
}


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text())


def test_every_row_has_its_keys_in_range(rows):
    assert rows
    for row in rows:
        assert KEYS <= row.keys()
        assert (
            row["dataset"] in ("procedural", "celeba")
            and row["domains"] in ("SD", "DD")
            and row["method"] in METHODS
        )
        assert all(0 <= row[name] <= 1 for name in ("dsr", "edit_success", "judge_accuracy"))
        assert all(math.isfinite(row[name]) for name in ("l1", "l2", "psnr", "reconstruction_l1"))
        assert row["lpips"] is None or row["lpips"] >= 0
        assert (
            row["images"] >= 100
            and row["command"].startswith("idf results")
            and "/" not in row["command"]
        )


def test_each_data_set_has_every_method_and_control_at_eps_05(rows):
    for dataset in {row["dataset"] for row in rows}:
        found = {
            r["method"]
            for r in rows
            if (r["dataset"], r["domains"], r["eps"]) == (dataset, "SD", 0.05)
        }
        assert found == set(METHODS)


def test_the_readme_table_is_generated_from_the_results(rows):
    text = (ROOT / "README.md").read_text()
    assert text.split(MARKS[0])[1].split(MARKS[1])[0].strip() == table(rows)


def test_write_table_touches_nothing_else(rows, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n")
    write_table(readme, table(rows))
    text = readme.read_text()
    assert (
        text.startswith("above\n")
        and text.endswith("\nbelow\n")
        and "old" not in text
        and table(rows) in text
    )


@pytest.mark.parametrize("content", ["nothing", MARKS[0], MARKS[1] + MARKS[0]])
def test_a_readme_without_the_marks_is_refused(rows, tmp_path, content):
    readme = tmp_path / "README.md"
    readme.write_text(content)
    with pytest.raises(UserError, match="lacks the lines"):
        write_table(readme, table(rows))
    assert readme.read_text() == content
