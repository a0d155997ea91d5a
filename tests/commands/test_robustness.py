"""`idf robustness`: cells under transformations, stored rows, and README's table of them."""

import json
import math

import pytest

from idf.commands import main, robustness
from idf.commands.robustness import EPS, FILE, MARKS, METHODS_MEASURED, readme_table
from idf.config import RESULTS, ROOT, load_config
from idf.data.transforms import TRANSFORMS
from idf.zoo import cells
from idf.zoo.cells import Cell, key_of
from idf.zoo.grid import CODELESS, EDITORS, GRAY_BOX, QUERIED
from idf.zoo.load import SURROGATE
from idf.zoo.recipes import ALL

CONFIG = load_config("smoke")
METHODS = ("ruiz-white-box", "random-colour")
WAYS = ("none", "unrounded", "jpeg-75", "noise-0.1")
STORED = (SURROGATE, *GRAY_BOX[:2], CODELESS)
GRAY_BOX_KIND, CODELESS_KIND = EDITORS[GRAY_BOX[0]].kind, EDITORS[CODELESS].kind
NUMBERS = ("l1", "l2", "psnr", "edit_success", "infected_edit_success", "transform_psnr")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a few iterations for two gray-box forgers."""
    out, work = tmp_path_factory.mktemp("grid"), tmp_path_factory.mktemp("work")
    short = load_config("smoke", **{"editor.iterations": 2, "judge.iterations": 2})
    for name in ("judge", *STORED):
        ALL[name](short, work, out)
    return out


@pytest.fixture
def shipped(folder, monkeypatch):
    """This folder in place of the shipped weights."""
    monkeypatch.setattr("idf.config.Config.weights", folder)
    return folder


def call(tmp_path, *options, command="robustness"):
    file = tmp_path / f"{command}.json"
    words = ["--preset", "smoke", "--methods", *METHODS, "--images", "4", "--out", str(file)]
    if command == "robustness":
        words += ["--transforms", *WAYS]
    status = main([command, *words, *options])
    return status, json.loads(file.read_text()) if file.exists() else []


def wanted():
    """PGD on a forger's own weights meets the first forger alone."""
    pairs = [(GRAY_BOX[0], METHODS[0]), (GRAY_BOX[0], METHODS[1]), (GRAY_BOX[1], METHODS[1])]
    return {Cell(name, method, EPS, 0, way) for name, method in pairs for way in WAYS}


def test_a_row_for_each_forger_method_and_transformation(shipped, tmp_path):
    status, rows = call(tmp_path)
    assert status == 0 and len(rows) == len(wanted())
    assert {key_of(row) for row in rows} == {cell.key(CONFIG) for cell in wanted()}
    assert [row["transform"] for row in rows[: len(WAYS)]] == list(WAYS), "weak before strong"
    for row in rows:
        assert row["images"] == 4 and row["psnr"] > 28 and "lpips" not in row
        assert (row["transform_psnr"] > 100) == (row["transform"] in ("none", "unrounded"))


def test_the_editor_without_a_code_is_measured_where_it_is_named(shipped, tmp_path):
    status, rows = call(tmp_path, "--editors", CODELESS)
    assert status == 0 and len(rows) == len(METHODS) * len(WAYS)
    assert {(row["target"], row["method"]) for row in rows} == {
        (CODELESS_KIND, method) for method in METHODS
    }


def test_untouched_is_table_1(shipped, tmp_path):
    """The same way of measuring: a cell without a transformation differs in no number."""
    _, rows = call(tmp_path)
    _, table1 = call(tmp_path, "--eps", str(EPS), command="table1")
    plain = {key_of(row)[:-1]: row for row in table1}
    untouched = [row for row in rows if row["transform"] == "none"]
    assert len(untouched) == 3
    for row in untouched:
        own = plain[key_of(row)[:-1]]
        for name in set(row) & set(own) - {"command"}:
            assert row[name] == own[name], name
    before = [row["psnr"] for row in rows if row["transform"] == "unrounded"]
    assert before != [row["psnr"] for row in untouched], "8 bits change a fine poison"


def test_the_clean_forgery_is_of_the_picture_that_went_the_same_way(shipped, monkeypatch):
    """With x' = x nothing is left to see, whatever T does to both."""
    monkeypatch.setattr(cells, "_published", lambda config, *rest: x_of(config))

    def x_of(config):
        faces = cells._faces(config, config.domains, 4)
        return next(faces.in_order(4))[1]

    for way in ("shift-3", "crop-2", "jpeg-50", "noise-0.1", "median-3"):
        row = cells.measure(CONFIG, Cell(GRAY_BOX[0], "ours", EPS, 0, way), 4)
        assert row["l2"] == row["dsr"] == 0 and row["transform_psnr"] < 45
        assert row["edit_success"] == row["infected_edit_success"]


def test_x_infected_is_made_once_for_all_transformations(shipped, tmp_path, monkeypatch):
    made = []
    real = cells.protection

    def counted(method, *rest):
        made.append(method)
        return real(method, *rest)

    cells._published.cache_clear()
    monkeypatch.setattr(cells, "protection", counted)
    call(tmp_path)
    assert sorted(made) == sorted(METHODS)


def test_a_killed_call_goes_on_where_it_was(shipped, tmp_path, monkeypatch):
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
    status, rows = call(tmp_path, "--resume")
    assert status == 0 and len(rows) == len(wanted())
    assert set(again) | set(done) == wanted() and not set(again) & set(done)


def test_a_failing_cell_is_reported_and_the_others_go_on(shipped, tmp_path, monkeypatch, capsys):
    real = cells.measure

    def broken(config, cell, *rest):
        if cell.transform == "jpeg-75":
            raise RuntimeError("no JPEG today")
        return real(config, cell, *rest)

    monkeypatch.setattr(cells, "measure", broken)
    status, rows = call(tmp_path)
    said = capsys.readouterr()
    assert status == 1 and {row["transform"] for row in rows} == set(WAYS) - {"jpeg-75"}
    assert said.err.count("no JPEG today") == 3 and "3 of 12 cells failed" in said.out
    assert "Res6_SD_1 random-colour eps 0.05 seed 0, jpeg-75 failed" in said.err


def test_unknown_names_are_refused(capsys):
    for words in (["--transforms", "jpeg"], ["--methods", "tiles"], ["--editors", SURROGATE]):
        assert main(["robustness", *words]) == 2
        assert f"{words[0]} {words[1]} is not known" in capsys.readouterr().err


# The stored rows


@pytest.fixture(scope="module")
def rows():
    return json.loads(FILE.read_text()) if FILE.exists() else []


def test_every_row_has_its_keys_in_range(rows):
    assert rows and len({key_of(row) for row in rows}) == len(rows)
    for row in rows:
        assert row["method"] in METHODS_MEASURED and row["transform"] in TRANSFORMS
        assert all(math.isfinite(row[name]) for name in NUMBERS) and 0 <= row["dsr"] <= 1
        assert row["images"] >= 100 and row["weights"] and row["hardware"] and row["eps"] == EPS
        assert row["command"].startswith("idf robustness") and "/" not in row["command"]


def test_every_method_meets_the_same_transformations_and_forgers(rows):
    """But for PGD on a forger's own weights, and the PG that may query one: they meet one."""
    seeds: dict[tuple, list[int]] = {}
    for row in rows:
        if row["target"] == GRAY_BOX_KIND:
            own = (row["dataset"], row["method"], row["transform"])
            seeds.setdefault(own, []).append(row["target_seed"])
    met = {(dataset, method) for dataset, method, _ in seeds}
    for dataset, method in met:
        ways = {way for data, _, way in seeds if data == dataset}
        if method.endswith("-through"):  # what the goals name
            ways = {way for data, one, way in seeds if (data, one) == (dataset, method)}
            assert {"jpeg-75", "enlarge-1.05", "reduce-0.95"} <= ways
        assert ways <= set(TRANSFORMS) and "none" in ways
        one = method == "ruiz-white-box", method == "ours-queries"
        expected = [EDITORS[QUERIED[0]].seed] if any(one) else [1, 2, 3]
        for way in ways:
            assert sorted(seeds[dataset, method, way]) == expected, (dataset, method, way)


def test_the_editor_without_a_code_meets_the_same_under_each_transformation(rows):
    met: dict[str, dict[str, set]] = {}
    for row in rows:
        if row["target"] == CODELESS_KIND:
            methods = met.setdefault(row["dataset"], {})
            methods.setdefault(row["method"], set()).add(row["transform"])
    for methods in met.values():
        first, *others = methods.values()
        assert "none" in first and all(ways == first for ways in others)


def test_untouched_rows_are_those_of_table_1(rows):
    table1 = json.loads((RESULTS / "table1.json").read_text())
    plain = {key_of(row)[:-1]: row for row in table1}
    for row in rows:
        own = plain.get(key_of(row)[:-1])
        if row["transform"] == "none" and own and own["weights"] == row["weights"]:
            # of fewer faces, and processors round differently
            assert row["images"] <= own["images"]
            assert row["dsr"] == pytest.approx(own["dsr"], abs=0.04)
            assert row["psnr"] == pytest.approx(own["psnr"], abs=0.1)


def test_readme_holds_the_table_of_the_stored_rows(rows):
    text = (ROOT / "README.md").read_text()
    assert f"{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}" in text


# README's table

ROW = {
    "dataset": "procedural",
    "size": 64,
    "images": 200,
    "target": GRAY_BOX_KIND,
    "method": "ours",
    "edit_success": 0.9,
    "infected_edit_success": 0.3,
    "transform_psnr": 30.4,
}


def test_the_table_by_hand():
    rows = [
        ROW | {"transform": way, "dsr": dsr, "target_seed": seed}
        for seed, shift in ((1, 0.0), (2, 0.2))
        for way, dsr in (("none", 0.8), ("jpeg-95", 0.5 + shift), ("jpeg-75", 0.1))
    ]
    rows = [row | {"transform_psnr": 120} if row["transform"] == "none" else row for row in rows]
    keyless = {"method": "keyless-no-ats", "transform": "jpeg-95", "dsr": 0.4}
    rows.append(ROW | keyless | {"infected_edit_success": 0.2})
    said = readme_table(rows)
    assert said.startswith("**Procedural faces, 64 px, 200 held-out faces, eps 0.05.**\n\n| what")
    heads = "PG, as in the paper | keyless PG | edits seen, T(x) | edits seen, T(x'), keyless PG"
    assert f"| what happens to the picture | {heads} | PSNR of T(x) beside x |" in said
    assert "\n| none | 0.80 | – | 0.90 | – | same |" in said
    jpeg = "0.60, 0.10 | 0.40, – | 0.90, 0.90 | 0.20, –"
    words = "JPEG, a quarter of the colours: quality 95, 75"
    assert f"\n| {words} | {jpeg} | 30, 30 |" in said
    assert "WebP" not in said, "not measured"


def test_each_data_set_has_its_table():
    row = ROW | {"transform": "none", "dsr": 0.5}
    said = readme_table([row | {"dataset": "celeba", "images": 150}, row])
    assert said.index("**Procedural faces") < said.index("**CelebA, 64 px, 150 held-out faces")
    without_code = readme_table([row, row | {"target": CODELESS_KIND, "dsr": 0.3}])
    first, second = without_code.split("**Procedural faces, the editor without a code, 64 px")
    assert "| none | 0.50 |" in first and "| none | 0.30 |" in second
    assert readme_table([]) == ""


def test_the_stored_rows_become_readmes_table(monkeypatch, tmp_path):
    monkeypatch.setattr(robustness, "FILE", tmp_path / "robustness.json")
    monkeypatch.setattr(robustness, "ROOT", tmp_path)
    rows = [ROW | {"transform": "none", "dsr": 0.5}]
    (tmp_path / "robustness.json").write_text(json.dumps(rows))
    (tmp_path / "README.md").write_text("\n".join(["above", *MARKS, "below"]))
    assert main(["robustness", "--table"]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text == f"above\n{MARKS[0]}\n{readme_table(rows)}\n{MARKS[1]}\nbelow"
