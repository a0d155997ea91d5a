"""Table 1 a cell at a time: nothing is done twice, nothing is lost, one failure stops no other."""

import json

import pytest

from idf.commands import main, table1
from idf.config import load_config
from idf.zoo import cells
from idf.zoo.cells import Cell, cells_of, key_of, that_ship
from idf.zoo.grid import EDITORS, OF_ONE_FORGER, QUERIED, TUNED, poisoner_name
from idf.zoo.load import SURROGATE
from idf.zoo.manifest import read_manifest
from idf.zoo.recipes import ALL

CONFIG = load_config("smoke")
STORED = (SURROGATE, "editor_Res6_SD_1", "editor_CNet_DD_1", TUNED)
METHODS = ("brightened", "tiles", "ruiz-white-box", "ruiz-per-class", "universal", "lab")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Weights of a few iterations for a part of the table."""
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


def call(tmp_path, *options):
    file = tmp_path / "table1.json"
    names = ["--methods", *METHODS, "--images", "4", "--eps", "0.05", "--out", str(file)]
    status = main(["table1", "--preset", "smoke", *names, *options])
    return status, json.loads(file.read_text()) if file.exists() else []


def test_only_what_ships_is_a_cell(folder):
    config = CONFIG.changed(weights_folder=str(folder))
    found = that_ship(config, cells_of(EDITORS, ("tiles", "keyless"), (0.02, 0.05), (0, 1)))
    assert set(found) == {Cell(name, "tiles", eps) for name in STORED for eps in (0.02, 0.05)}


@pytest.fixture
def empty_files(tmp_path):
    """Settings with a folder that has a file for everything, without weights."""
    for name in ALL:
        (tmp_path / f"{name}.safetensors").touch()
    return CONFIG.changed(weights_folder=str(tmp_path))


@pytest.mark.parametrize("method", OF_ONE_FORGER)
def test_who_may_query_a_forger_or_knows_it_meets_that_one_alone(empty_files, method):
    found = that_ship(empty_files, cells_of(EDITORS, (method,), (0.05,), (0, 1, 2)))
    assert found == [Cell(QUERIED[s], method, 0.05, s) for s in (0, 1, 2)]
    others = [name for name in EDITORS if name != QUERIED[1]]
    assert not that_ship(empty_files, cells_of(others, (method,), (0.05,), (1,)))


def test_only_pg_has_several_seeds(empty_files):
    methods = ("keyless", "tiles")
    found = that_ship(empty_files, cells_of((TUNED,), methods, (0.05,), (0, 1, 2)))
    seeds = [(cell.method, cell.seed) for cell in found]
    assert seeds == [("keyless", 0), ("keyless", 1), ("keyless", 2), ("tiles", 0)]


def test_no_cell_is_taken_for_another():
    keys = {Cell(name, "ours", 0.05).key(CONFIG) for name in EDITORS}
    assert len(keys) == len(EDITORS)
    assert Cell(TUNED, "ours", 0.05).key(CONFIG)[2:5] == ("Res6-tuned", "SD", 1)


def test_a_row_rests_on_editor_surrogate_and_pg(tmp_path):
    def stands_for(method, **changed):
        digests = {STORED[1]: "a", SURROGATE: "b", poisoner_name("ours", 1): "c"} | changed
        manifest = {name: {"sha256": digest * 64} for name, digest in digests.items()}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        config = CONFIG.changed(weights_folder=str(tmp_path))
        return cells.weights_behind(config, Cell(STORED[1], method, 0.05, 1))

    assert stands_for("ours") == "aaaaaaaa-bbbbbbbb-cccccccc"
    assert stands_for("tiles") == "aaaaaaaa-bbbbbbbb"
    assert stands_for("ours") != stands_for("ours", **{SURROGATE: "d"})


def test_a_row_says_what_it_is(shipped, tmp_path):
    status, rows = call(tmp_path)
    wanted = [Cell(name, method, 0.05) for name in STORED for method in METHODS]
    assert status == 0 and len(rows) == len(wanted)
    assert {key_of(row) for row in rows} == {cell.key(CONFIG) for cell in wanted}
    for row in rows:
        assert row["images"] == 4 and row["weights"]
        assert row["lpips"] is None or row["lpips"] >= 0
        assert row["psnr"] > 31 and 0 <= row["dsr"] <= 1
        # the bound of this forger, at this eps
        (bound,) = (
            other["l2"]
            for other in rows
            if key_of(other)[:5] == key_of(row)[:5] and other["method"] == "ruiz-white-box"
        )
        assert row["white_box_l2"] == bound


def test_a_cell_that_is_done_is_not_done_again(shipped, tmp_path, monkeypatch):
    _, first = call(tmp_path)
    done = []
    real = cells.measure

    def counted(config, cell, *rest):
        done.append(cell)
        return real(config, cell, *rest)

    monkeypatch.setattr(cells, "measure", counted)
    _, second = call(tmp_path, "--resume")
    assert done == [] and second == first

    # nor is one of fewer faces
    call(tmp_path, "--resume", "--images", "5")
    assert len(done) == len(first)
    call(tmp_path)
    done.clear()

    # rows of other weights are no longer true
    stale = [row | {"weights": "other"} if row["method"] == "tiles" else row for row in first]
    (tmp_path / "table1.json").write_text(json.dumps(stale))
    _, third = call(tmp_path, "--resume")
    assert {cell.method for cell in done} == {"tiles"} and third == first


def test_a_killed_call_loses_nothing(shipped, tmp_path, monkeypatch):
    real, done = cells.measure, []

    def killed(config, cell, *rest):
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(cell)
        return real(config, cell, *rest)

    monkeypatch.setattr(cells, "measure", killed)
    status, rows = call(tmp_path)
    assert status == 130 and len(rows) == 3

    again = []
    monkeypatch.setattr(cells, "measure", lambda *a: (again.append(a[1]), real(*a))[1])
    status, rows = call(tmp_path, "--resume")
    assert status == 0 and len(rows) == len(STORED) * len(METHODS)
    assert not set(again) & set(done)


def test_a_failing_cell_is_reported_and_the_others_go_on(shipped, tmp_path, monkeypatch, capsys):
    real = cells.measure

    def broken(config, cell, *rest):
        if cell.method == "tiles":
            raise RuntimeError("no tiles today")
        return real(config, cell, *rest)

    monkeypatch.setattr(cells, "measure", broken)
    status, rows = call(tmp_path)
    said = capsys.readouterr()
    assert status == 1 and {row["method"] for row in rows} == set(METHODS) - {"tiles"}
    assert said.err.count("no tiles today") == 4 and "4 of 24 cells failed" in said.out


def test_networks_of_ones_own_are_measured(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("idf.config.WEIGHTS", tmp_path / "none")
    assert call(tmp_path) == (0, []), "nothing ships here"
    status, rows = call(tmp_path, "--weights", str(folder))
    assert status == 0 and len(rows) == len(STORED) * len(METHODS)
    digests = {entry["sha256"][:8] for entry in read_manifest(folder).values()}
    assert all(set(row["weights"].split("-")) <= digests for row in rows)
    monkeypatch.setattr(cells, "measure", None)
    assert call(tmp_path, "--weights", str(folder), "--resume") == (0, rows)

    capsys.readouterr()
    assert main(["table1", "--preset", "smoke", "--weights", str(folder)]) == 2
    assert "name a file for the rows, --out" in capsys.readouterr().err
    assert call(tmp_path, "--weights", str(tmp_path / "none"))[0] == 2
    assert f"There is no folder {tmp_path / 'none'}" in capsys.readouterr().err


def test_several_processes_measure_the_same(shipped, tmp_path):
    _, alone = call(tmp_path)
    # what is patched here is not patched in another process
    config = CONFIG.changed(weights_folder=str(shipped))
    few = that_ship(config, cells_of(EDITORS, ("brightened",), (0.05,), (0,)))
    rows = dict(cells.measure_all(config, few, 4, 2))
    stored = {key_of(row): row for row in alone}
    for cell, row in rows.items():
        assert row["l2"] == pytest.approx(stored[cell.key(CONFIG)]["l2"], rel=1e-4)


def test_unknown_names_are_refused(capsys):
    assert main(["table1", "--methods", "magic"]) == 2
    assert "--methods magic is not known" in capsys.readouterr().err
    assert main(["table1", "--editors", "Res7"]) == 2


def test_every_method_of_the_table_is_known():
    from idf.methods import METHODS as known

    assert set(table1.METHODS_MEASURED) <= set(known)
