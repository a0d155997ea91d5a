"""`idf results`: stored rows have the promised shape, README's table is what they say."""

import json
import math

import pytest

from idf.commands import main, readme, results
from idf.commands.results import FILE, MARKS, readme_table, stored_name
from idf.config import ROOT, UserError, load_config
from idf.methods import of_scenario
from idf.zoo.forgers import ATTACKERS
from idf.zoo.recipes import RECIPES

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
        assert row.keys() >= KEYS
        assert row["dataset"] in ("procedural", "celeba") and row["domains"] in ("SD", "DD")
        assert row["method"] in of_scenario(1)
        assert all(0 <= row[name] <= 1 for name in ("dsr", "edit_success", "judge_accuracy"))
        assert all(math.isfinite(row[name]) for name in ("l1", "l2", "psnr", "reconstruction_l1"))
        assert row["lpips"] is None or row["lpips"] >= 0
        assert row["images"] >= 100
        assert row["command"].startswith("idf results") and "/" not in row["command"]


def test_each_data_set_has_every_method_and_control_at_eps_05(rows):
    for dataset in {row["dataset"] for row in rows}:
        wanted = (dataset, "SD", 0.05)
        measured = {r["method"] for r in rows if (r["dataset"], r["domains"], r["eps"]) == wanted}
        assert measured == set(results.MEASURED)


def test_the_readme_table_is_generated_from_the_results(rows):
    text = (ROOT / "README.md").read_text()
    assert text.split(MARKS[0])[1].split(MARKS[1])[0].strip() == readme_table(rows)


def row_of(key, method, network="Res6", **changes):
    row = {
        "dataset": "procedural",
        "size": 64,
        "method": method,
        "target": stored_name(key, network),
        "domains": ATTACKERS[key].setting,
        "eps": 0.05,
        "dsr": 0.25,
        "l2": 0.125,
        "psnr": 35.04,
        "edit_success": 0.9,
        "reconstruction_l1": 0.08,
        "judge_accuracy": 0.98,
        "images": 100,
    }
    return row | changes


def test_table_by_hand():
    rows = [
        row_of("apart", "ours", dsr=1.0),
        row_of("apart", "ruiz", psnr=34.0),
        row_of("apart-DD", "ours", l2=0.5, edit_success=0.8),
        row_of("apart", "ours", eps=0.01, dsr=0.0),
    ]
    lines = readme_table(rows).splitlines()
    assert lines[0] == (
        "**Procedural faces, 64 px, 100 held-out faces, Res6**, judge accuracy 0.980. "
        "Clean forgeries:"
    )
    assert "| apart, DD | trained apart on domains that PG never met | 0.80 | 0.080 |" in lines
    assert "| DSR / L2 at eps .05 (6.4/255) | apart | apart, DD | PSNR of x' |" in lines
    labels = [of_scenario(1)[name].label for name in ("ours", "ruiz")]
    assert lines[-2:] == [
        f"| {labels[0]} | 100.0% / 0.125 | 25.0% / 0.500 | 35.0 dB |",
        f"| {labels[1]} | 25.0% / 0.125 | | 34.0 dB |",
    ]


def test_rows_and_table_name_the_network_that_was_attacked():
    rows = [row_of(key, "ours", "CNet") for key in ATTACKERS]
    assert [row["target"] for row in rows] == ["CNet", "CNet-tuned", "surrogate", "CNet"]
    text = readme_table(rows)
    assert "held-out faces, CNet**" in text and "| apart | tuned | surrogate | apart, DD |" in text


def test_results_of_weights_of_ones_own(tmp_path, monkeypatch, capsys):
    """Smoke's networks, trained by `idf weights`, measured and put into a README."""
    for name in ("idf.config.WEIGHTS", "idf.commands.weights.WEIGHTS"):
        monkeypatch.setattr(name, tmp_path / "weights")
    monkeypatch.setattr(results, "ROOT", tmp_path)
    monkeypatch.setattr(results, "FILE", tmp_path / "rows.json")
    monkeypatch.setattr(results, "EPS", (0.02, 0.05))
    (tmp_path / "README.md").write_text("\n".join(["above", *MARKS, "below"]))

    work = ["--work", str(tmp_path / "work")]
    assert main(["weights", "--preset", "smoke", *work]) == 0
    said = capsys.readouterr().out
    assert all(f"{name}: procedural, preset smoke" in said for name in RECIPES)

    assert main(["results", "--preset", "smoke", "--images", "6"]) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {row["method"] for row in rows if row["eps"] == 0.05} == set(results.MEASURED)
    gradient = {"ruiz", "ruiz-white-box", "i-fgsm"}
    assert {row["method"] for row in rows if row["eps"] == 0.02} == set(results.MEASURED) - gradient
    assert {(row["target"], row["domains"]) for row in rows} == {
        ("Res6", "SD"),
        ("Res6-tuned", "SD"),
        ("surrogate", "SD"),
        ("Res6", "DD"),
    }
    assert all(row.keys() >= KEYS and row["images"] == 6 for row in rows)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow") and readme_table(rows) in text

    config = load_config("smoke")
    again = results.measure(config, 6)
    assert [row["l2"] for row in again] == [row["l2"] for row in rows]


def test_write_table_touches_nothing_else(rows, tmp_path):
    file = tmp_path / "README.md"
    file.write_text(f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n")
    readme.write_table(file, readme_table(rows), MARKS)
    text = file.read_text()
    assert text.startswith("above\n") and text.endswith("\nbelow\n")
    assert "old" not in text and readme_table(rows) in text


@pytest.mark.parametrize("content", ["nothing", MARKS[0], MARKS[1] + MARKS[0]])
def test_a_readme_without_the_marks_is_refused(rows, tmp_path, content):
    file = tmp_path / "README.md"
    file.write_text(content)
    with pytest.raises(UserError, match="lacks the lines"):
        readme.write_table(file, readme_table(rows), MARKS)
    assert file.read_text() == content
