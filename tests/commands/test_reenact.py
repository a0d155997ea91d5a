"""`idf reenact` and `idf film-weights` at smoke, and what is stored of the real runs."""

import json
import shutil

import pytest

from idf.commands import main, reenact
from idf.commands.reenact import FILE, MARKS, METHODS, key, readme_table
from idf.config import ROOT, load_film_config
from idf.methods import of_scenario
from idf.zoo import film_recipes
from idf.zoo.films import is_published_clean
from idf.zoo.manifest import check_manifest

KEYS = {
    "dataset",
    "size",
    "method",
    "reference",
    "target",
    "eps",
    "dsr",
    "l1",
    "l2",
    "psnr",
    "lpips",
    "expression_error",
    "face_found",
    "seed",
    "settings",
    "hardware",
    "command",
}
CONFIG = load_film_config("smoke")


@pytest.fixture(scope="module")
def parser(tmp_path_factory):
    """A folder with a face parser for the smoke preset."""
    folder = tmp_path_factory.mktemp("weights")
    film_recipes.RECIPES["parser"](CONFIG, folder / "work", folder)
    return folder


@pytest.fixture
def shipped(parser, monkeypatch, tmp_path):
    """data/weights with a copy of this parser alone."""
    monkeypatch.setattr("idf.config.WEIGHTS", tmp_path / "weights")
    shutil.copytree(parser, CONFIG.weights, ignore=shutil.ignore_patterns("work"))
    return CONFIG.weights


def test_a_preset_of_another_size_has_its_own_parser(tmp_path, capsys):
    """The shipped one is demo's; it is trained before M, and once."""
    words = ["reenact", "--preset", "smoke", "--seeds", "0", "--methods", "ours"]
    words += ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "rows.json")]
    assert main(words) == 0
    first = capsys.readouterr().out
    assert first.index("face parser fits") < first.index("seed 0, clean")
    assert main(words) == 0
    assert "face parser fits" not in capsys.readouterr().out
    assert (tmp_path / "work" / "weights" / "parser.safetensors").exists()


def test_every_method_has_its_rows(shipped, tmp_path, capsys):
    out = tmp_path / "rows.json"
    words = ["reenact", "--preset", "smoke", "--seeds", "0", "--work", str(tmp_path / "work")]
    words += ["--out", str(out)]
    assert main([*words, "--methods", "reseed", "ours"]) == 0
    first = json.loads(out.read_text())
    assert main(words) == 0
    rows = json.loads(out.read_text())
    assert {r["method"] for r in rows if r["reference"] == "x"} == set(METHODS)
    assert {r["method"] for r in rows if r["reference"] == "M"} == set(METHODS) - {"clean"}
    once = "measured again, a row replaces the old one"
    assert len(rows) == len({key(row) for row in rows}), once
    for row in rows:
        assert row.keys() == KEYS and row["dataset"] == "procedural-video" and row["size"] == 32
        assert 0 <= row["dsr"] <= 1 and row["l1"] > 0
        assert row["face_found"] is None or 0 <= row["face_found"] <= 1
        assert (row["psnr"] is None) == is_published_clean(row["method"])
    again = {key(row): row["l1"] for row in rows}
    resumed = "finished trainings are read, not repeated"
    assert all(again[key(row)] == row["l1"] for row in first), resumed
    assert "clean" in capsys.readouterr().out


def test_rows_hold_the_settings_that_were_changed(shipped, tmp_path, monkeypatch):
    """eps has a column of its own."""
    given = []
    monkeypatch.setattr(reenact, "experiment", lambda *values: given.append(values) or [{"l1": 1}])
    monkeypatch.setattr(reenact, "store", lambda rows, file: given.append((rows, file)))
    words = ["reenact", "--preset", "smoke", "--seeds", "3", "4", "--targets", "CNet", "Res9"]
    words += ["--set", "poisoner.eps=.03", "--set", "inner_steps=2", "--methods", "ours"]
    assert main([*words, "--work", str(tmp_path)]) == 0
    runs, stored = given[::2], given[1::2]
    assert [(run[0].seed, run[2], run[3]) for run in runs] == [
        (3, "CNet", ["ours"]),
        (3, "Res9", ["ours"]),
        (4, "CNet", ["ours"]),
        (4, "Res9", ["ours"]),
    ]
    assert all(run[0].poisoner.eps == 0.03 and run[0].poisoner.inner_steps == 2 for run in runs)
    assert all(rows[0]["settings"] == {"poisoner.inner_steps": 2} for rows, _ in stored)
    assert {file for _, file in stored} == {FILE}


def test_film_weights_ship_with_their_manifest(tmp_path, capsys, monkeypatch):
    out = tmp_path / "out"
    words = ["film-weights", "--preset", "smoke", "--out", str(out)]
    words += ["--work", str(tmp_path / "work")]
    monkeypatch.setattr("sys.argv", ["idf", *words])
    assert main(words) == 0
    assert "parser_photos: left out" in capsys.readouterr().out
    check_manifest(out)
    manifest = json.loads((out / "manifest.json").read_text())
    forgers = film_recipes.FORGERS
    assert set(manifest) == {"parser", "poisoner", *forgers}
    assert manifest["parser"]["terms"] == "MIT" and "domains" not in manifest["poisoner"]
    assert [manifest[name]["film"] for name in forgers] == list(forgers.values())
    assert manifest["poisoner"]["command"] == "idf film-weights --preset smoke"
    assert {"miou", "face_iou"} <= manifest["parser"]["quality"].keys()
    [row] = json.loads((out / "face_parsing.json").read_text())
    assert row["dataset"] == "procedural" and row["images"]
    assert row["miou"] == manifest["parser"]["quality"]["miou"]
    for name in manifest:
        assert not film_recipes.load(CONFIG, name, out).training


def row(method, reference, seed, l1):
    return {
        "dataset": "procedural-video",
        "size": 64,
        "target": "Res6",
        "eps": 0.02,
        "settings": {},
        "dsr": 0.25,
        "lpips": None,
        "expression_error": None,
        "psnr": None,
        "method": method,
        "reference": reference,
        "seed": seed,
        "l1": l1,
    }


ROWS = [
    row("clean", "x", 0, 0.05),
    row("clean", "x", 1, 0.07),
    row("reseed", "M", 0, 0.02),
    row("reseed", "M", 1, 0.04),
    row("reseed", "x", 0, 0.05),
    row("ours", "M", 0, 0.03),
    row("ours", "M", 1, 0.08),
    row("ours", "x", 0, 0.06),
]


def test_rows_of_another_eps_or_of_other_settings_are_left_out_of_the_table():
    others = [ROWS[-1] | {"eps": 0.05}, ROWS[-1] | {"settings": {"follow": 0}}]
    text = readme_table(ROWS + others)
    assert text == readme_table(ROWS) and text.startswith(
        "**The drawn film, 64 px, Res6, 2 seeds**"
    )
    ours = "| PG (ours) | 0.055 (0.030 to 0.080) | 1.75 (1.50 to 2.00) | 25% | – | 0.060 | – | – |"
    assert ours in text


def test_films_stand_in_order_and_other_networks_below_the_first():
    films = readme_table([r | {"dataset": "real-video"} for r in ROWS] + ROWS)
    assert 0 < films.index("**A filmed person") and films.startswith("**The drawn film")
    text = readme_table(ROWS + [r | {"target": "UNet256"} for r in ROWS if r["seed"] == 0])
    assert "**The drawn film, 64 px, UNet256, 1 seed**" in text
    assert "**The drawn film, 64 px, other forgers**" in text
    assert text.splitlines()[-1] == (
        "| Res6 | 2 | 0.0600 (0.0500 to 0.0700) | 0.0300 (0.0200 to 0.0400) | – | – | "
        "1.75 (1.50 to 2.00) | – | 25%, 25% | –, –, – |"
    )


def test_stored_rows_have_their_keys():
    rows = json.loads(FILE.read_text())
    assert rows
    for row in rows:
        assert row.keys() >= KEYS
        assert row["command"].startswith("idf reenact") and "/" not in row["command"]
        assert row["dataset"] in reenact.FILMS and row["method"] in of_scenario(2)
        assert row["psnr"] is None or row["psnr"] >= 38 or row["eps"] > 0.02


def test_the_readme_table_of_films_is_generated_from_the_rows():
    text = (ROOT / "README.md").read_text()
    table = text.split(MARKS[0])[1].split(MARKS[1])[0].strip()
    assert table == readme_table(json.loads(FILE.read_text()))
