"""`idf joint`: both defences on one film, measured, resumed; its stored rows and its table."""

import json
import math
import shutil

import pytest

from idf.commands import joint as command
from idf.commands import main
from idf.commands.joint import FIGURE, FILE, MARKS, in_order, readme_table
from idf.config import ROOT, load_config, load_film_config
from idf.methods import METHODS
from idf.zoo import film_recipes
from idf.zoo.grid import GRAY_BOX
from idf.zoo.joint import CASES, CONTROLS, POISONS
from idf.zoo.joint_forgeries import EDITED_BY, EDITING, REENACTMENT, jobs_of, key_of
from idf.zoo.load import SURROGATE
from idf.zoo.recipes import ALL

POISON = "poisoner_keyless-no-ats_0"
STORED = (SURROGATE, GRAY_BOX[0])


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Judge, two editors, a PG of faces and the parser of drawn faces, of a few iterations."""
    out, work = tmp_path_factory.mktemp("weights"), tmp_path_factory.mktemp("work")
    lengths = {f"{part}.iterations": 2 for part in ("editor", "judge", "poisoner")}
    for name in ("judge", *STORED, POISON):
        ALL[name](load_config("smoke", **lengths), work, out / "procedural")
    film_recipes.RECIPES["parser"](load_film_config("smoke"), work, out / "video")
    return out


@pytest.fixture
def shipped(weights, monkeypatch, tmp_path):
    """data/weights with these alone, and no other editors."""
    monkeypatch.setattr("idf.config.WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr("idf.zoo.joint_forgeries.EDITED_BY", STORED)
    return shutil.copytree(weights, tmp_path / "weights")


def call(tmp_path, *options):
    file = tmp_path / "rows.json"
    words = ["--preset", "smoke", "--poisons", "keyless-no-ats", "--images", "6", "--seeds", "0"]
    words += ["--work", str(tmp_path / "work"), "--out", str(file)]
    status = main(["joint", *words, *options])
    return status, json.loads(file.read_text()) if file.exists() else []


def test_both_manipulations_are_tried_and_a_call_goes_on(shipped, tmp_path, monkeypatch):
    real, done = command.measure, []

    def killed(joint, job, *rest):
        if len(done) == 12:
            raise KeyboardInterrupt
        done.append(job)
        return real(joint, job, *rest)

    monkeypatch.setattr(command, "measure", killed)
    status, rows = call(tmp_path)
    assert status == 130 and {row["manipulation"] for row in rows} == {EDITING, REENACTMENT}

    again = []
    monkeypatch.setattr(command, "measure", lambda *a: (again.append(a[1]), real(*a))[1])
    status, rows = call(tmp_path, "--resume")
    jobs = jobs_of([0], ["keyless-no-ats"])
    assert status == 0 and len(jobs) == 17 and len(again) == 5 and not set(again) & set(done)
    assert (tmp_path / "work" / FIGURE.format("keyless-no-ats", 0)).exists()

    # five films that are edited twice; seven forgers, of which M has no row against itself
    assert len(rows) == 5 * 2 + 7 * 2 - 1 == len({key_of(row) for row in rows})
    assert rows == in_order({key_of(row): row for row in reversed(rows)})
    for row in rows:
        check_row(row)
        assert row["frames"] == (6 if row["manipulation"] == EDITING else 12)

    again.clear()
    monkeypatch.setattr("idf.forger.update_reenactor", None)  # all are trained
    assert call(tmp_path, "--resume") == (0, rows) and not again


def test_a_failing_job_is_reported_and_the_others_go_on(shipped, tmp_path, monkeypatch, capsys):
    real = command.measure

    def broken(joint, job, *rest):
        if job.publication.case == "both":
            raise RuntimeError("no measuring today")
        return real(joint, job, *rest)

    monkeypatch.setattr(command, "measure", broken)
    status, rows = call(tmp_path, "--manipulations", EDITING)
    assert status == 1 and {row["method"] for row in rows} == {
        "scenario-1",
        "scenario-2",
        "exchanged",
        "random-noise",
    }
    said = capsys.readouterr().err
    assert "both keyless-no-ats, editing by Res6_SD_0 failed: RuntimeError: no measuring" in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--poisons", "brightened"), "--poisons brightened is not known: use one of ours, key"),
        (("--manipulations", "swap"), "--manipulations swap is not known: use one of editing, r"),
        (("--video", "nowhere.mp4"), "There is no video nowhere.mp4: give an MP4"),
        (("--landmarks", "none.csv"), "There is no landmark file none.csv"),
        (("--preset", "tiny"), "Unknown preset 'tiny'"),
        (("--seeds", "-1"), "--seeds -1: "),
        (("--poisons", "ours"), "No weights at "),
    ],
)
def test_a_mistake_is_one_sentence(shipped, tmp_path, capsys, options, said):
    words = ["joint", "--preset", "smoke", "--work", str(tmp_path / "work")]
    assert main([*words, "--out", str(tmp_path / "rows.json"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"idf: {said}") and error.count("\n") == 1


# The stored rows


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text()) if FILE.exists() else []


def check_row(row):
    case, editing = CASES[row["method"]], row["manipulation"] == EDITING
    assert row["poison"] in (POISONS if case.needs_poison else ("",))
    assert row["control"] == (row["method"] in CONTROLS)
    assert math.isfinite(row["l1"]) and 0 <= row["dsr"] <= 1 and row["l2"] >= 0
    assert (row["psnr"] is None) == (not case.stages)
    assert (row["psnr_first"] is None) == (len(case.stages) < 2)
    if row["psnr_first"]:
        assert row["psnr"] < row["psnr_first"], "the second poison costs quality, too"
    assert row["reference"] in (("y",) if editing else ("M", "x"))
    if editing:
        assert f"editor_{row['target']}_{row['domains']}_{row['target_seed']}" in EDITED_BY
        assert 0 <= row["edit_success"] <= 1 and 0 <= row["infected_edit_success"] <= 1
    assert row["weights"] and row["hardware"]


def test_stored_rows_have_their_keys_in_range(rows):
    assert len({key_of(row) for row in rows}) == len(rows)
    for row in rows:
        check_row(row)
        assert row["dataset"] in command.FILMS and row["frames"] >= 100
        assert row["command"].startswith("idf joint") and "/" not in row["command"]


def test_noise_is_as_strong_as_both_poisons(rows):
    psnr = {(row["dataset"], row["poison"], row["method"]): row["psnr"] for row in rows}
    for (dataset, poison, case), value in psnr.items():
        if case == "random-noise":
            assert value == pytest.approx(psnr[dataset, poison, "both"], abs=0.3)


def test_readme_holds_the_table_of_the_stored_rows(rows):
    text = (ROOT / "README.md").read_text()
    assert f"{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}" in text


# README's table

ROW = {
    "dataset": "procedural-video",
    "size": 64,
    "method": "both",
    "poison": "ours",
    "psnr": 35.0,
    "psnr_first": 36.0,
}
EDIT = {
    "manipulation": EDITING,
    "reference": "y",
    "dsr": 0.5,
    "edit_success": 0.9,
    "infected_edit_success": 0.4,
}
FORGED = {"manipulation": REENACTMENT, "dsr": 0.25, "expression_error": None, "seed": 0}


def rows_by_hand():
    rows = [ROW | EDIT | {"target_seed": seed, "l2": seed / 10} for seed in range(3)]
    plain = ROW | FORGED | {"poison": "", "psnr": None, "psnr_first": None}
    rows.append(plain | {"method": "clean", "reference": "x", "l1": 0.03})
    for reference, l1 in (("M", 0.02), ("x", 0.04)):
        rows.append(plain | {"method": "reseed", "reference": reference, "l1": l1})
        rows.append(ROW | FORGED | {"reference": reference, "l1": 2 * l1})
    return rows


def test_the_table_by_hand():
    said = readme_table(rows_by_hand())
    assert said.startswith("**The drawn film, 64 px.**")
    label = f"{CASES['both'].label} | {METHODS['ours'].legend}"
    edits = "0.000 | 0.50 | 0.40 | 0.150 (0.100 to 0.200) | 0.50 | 0.40"
    assert f"| {label} | 36.0, 35.0 dB | {edits} | 0.040 | 2.00 | 25% | – |" in said
    assert "| nothing | – | – | – | – | 0.90 | – | – | 0.90 | – | – | – | – |" in said
    assert f"| {CASES['reseed'].label} | – | – {6 * '| – '}| 0.020 | 1.00 | 25% | – |" in said


def test_one_manipulation_alone_has_its_table():
    edits = [row for row in rows_by_hand() if row["manipulation"] == EDITING]
    forged = [row for row in rows_by_hand() if row["manipulation"] == REENACTMENT]
    for rows in (edits, forged):
        assert "36.0, 35.0 dB" in readme_table(rows)
    without_floor = [row for row in forged if row["method"] != "reseed"]
    assert readme_table(without_floor).splitlines()[-1].endswith("| – | – | – | – |")
    assert readme_table([]) == ""


def test_the_stored_rows_become_readmes_table(monkeypatch, tmp_path):
    monkeypatch.setattr(command, "FILE", tmp_path / "joint.json")
    monkeypatch.setattr(command, "ROOT", tmp_path)
    (tmp_path / "joint.json").write_text(json.dumps(rows_by_hand()))
    (tmp_path / "README.md").write_text("\n".join(["above", *MARKS, "below"]))
    assert main(["joint", "--table"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == f"above\n{MARKS[0]}\n{readme_table(rows_by_hand())}\n{MARKS[1]}\nbelow"
