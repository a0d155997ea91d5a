"""`idf protect-results`: the protection in numbers, and README's table of them."""

import json
import os
from pathlib import Path

import pytest
from drawn_photos import canvas, run
from PIL import Image

from idf.apps.photo import words
from idf.apps.photo.measure import measure
from idf.apps.photo.survival import EDITORS, SIDES, WAYS
from idf.commands.protect_results import (
    EPS,
    FILE,
    MARKS,
    SURVIVAL_EPS,
    readme_tables,
    table_of_survival,
)
from idf.config import ROOT


@pytest.mark.skipif(
    "IDF_PORTRAITS" not in os.environ, reason="IDF_PORTRAITS names no folder of portraits"
)
def test_portraits_are_moved_where_colour_noise_moves_none():
    """A part of what `idf protect-results` measures on all of them."""
    photos = sorted(Path(os.environ["IDF_PORTRAITS"]).glob("*.jpg"))[::8]
    row = measure([(photo, Path(f"{photo.stem}.png")) for photo in photos], 0.05)
    assert row["faces_found"] == row["photos"]
    assert row["dsr"] >= 0.4 and row["psnr"] >= 34 and row["dsr_noise"] < 0.1


@pytest.mark.parametrize(
    "photos, faces", [([canvas(0)], 1), ([Image.new("RGB", (300, 300))] * 2, 0)]
)
def test_results_need_two_faces(capsys, photos, faces):
    Path("photos").mkdir()
    for i, photo in enumerate(photos):
        photo.save(f"photos/{i}.png")
    assert run("protect-results", "photos", "--out", "out.json") == 2
    said = capsys.readouterr().err
    assert said.startswith(f"idf: A face was found in {faces} of {len(photos)} photo")
    assert said.count("\n") == 1
    assert not Path("out.json").exists()


def test_the_readme_tables_of_photos_are_generated_from_the_results():
    results = json.loads(FILE.read_text())
    before, after = MARKS
    written = (ROOT / "README.md").read_text().split(before)[1].split(after)[0]
    assert written.strip() == readme_tables(results)
    assert {"seconds_per_photo", "start_seconds", "psnr", "explorer_ms"} <= results.keys()
    assert "/" not in results["command"]
    assert [row["eps"] for row in results["rows"]] == list(EPS)
    measured = {(row["eps"], row["side"], row["variant"]) for row in results["survival"]}
    assert measured == {(eps, side, way) for eps in SURVIVAL_EPS for side in SIDES for way in WAYS}


def row_of(eps):
    """As `measure` gives it: the editors' DSRs are .5, .6 and .7."""
    shares = dict(zip(EDITORS, (0.5, 0.6, 0.7), strict=True))
    return {
        "eps": eps,
        "psnr": 36.04,
        "dsr_by_editor": {"protected": shares},
        "edits_seen": {"clean": shares, "protected": dict.fromkeys(EDITORS, 0.25)},
        "dsr_noise": 0.01,
        "dsr_jpeg_95": 0.4,
        "dsr_jpeg_75": 0.2,
    }


def survived(eps, side, variant, lpips=0.1234):
    """As `survival` gives it: the least editor's DSR is a tenth of the side's hundredth."""
    shares = dict(zip(EDITORS, (0.9, side / 1000, 0.8), strict=True))
    left = {"photos": 30, "left_out": 10}
    found = {"dsr": side / 600, "psnr": 34.44, "lpips": lpips}
    return {"eps": eps, "side": side, "variant": variant, **left, **found, **shares}


def test_what_the_tables_say():
    rows = [
        survived(eps, side, way)
        for eps, sides in ((0.03, (64, 512)), (0.05, (128, 256)))
        for side in sides
        for way in WAYS
    ]
    results = {
        "faces_found": 39,
        "photos": 40,
        "seconds_per_photo": 0.21,
        "hardware": "a computer",
        "start_seconds": 2,
        "rows": [row_of(0.03)],
        "survival": rows,
    }
    text = readme_tables(results)
    assert "| DSR of three editors that PG never met (seeds 1, 2, 3) |" in text
    assert "| 0.03 (3.8/255) | 36.0 dB | 50%, 60%, 70% | 60%, 25% | 1% | 40% | 20% |" in text
    assert "39 of 40 faces found; 0.2 s a photo on a computer, 2.0 s to start." in text
    second = text.split("**Where it survives, at eps 0.05**")[1]
    assert (
        "| what the editor gets | 128 px (30 of 40 photos) | 256 px (30 of 40 photos) |" in second
    )
    assert all(f"| {words} | 21% (13%) | 43% (26%) |" in second for words in WAYS.values())
    assert "| 34.4 dB, 0.123 | 34.4 dB, 0.123 |" in second
    assert "editor_" not in text


def test_a_table_without_lpips():
    results = [survived(0.05, 64, way, lpips=None) for way in WAYS]
    assert "| 34.4 dB, – |" in table_of_survival(results)


def test_the_warning_of_jpeg_tells_the_nearest_eps_and_every_size(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "RESULTS", tmp_path)
    assert words.warning_of_jpeg(0.05) == (
        "JPEG weakens the protection: publish a PNG where you can."
    )
    rows = [row_of(eps) | {"dsr": 0.6 + eps, "photos": 40} for eps in EPS]
    ways = [survived(eps, side, way) for eps in (0.03, 0.05) for side in (60, 120) for way in WAYS]
    ways = [row | {"dsr": row["dsr"] + row["eps"]} for row in ways if row["variant"] != "png"]
    (tmp_path / "protect.json").write_text(json.dumps({"rows": rows, "survival": ways}))
    assert "at eps 0.02 it moved 62% of the forgeries of 40 portraits as PNG, 40% as the JPEG" in (
        words.warning_of_jpeg(0.01)
    )
    assert "13% at 60 px, 23% at 120 px (eps 0.03, " in words.warning_of_jpeg(0.01)
    assert "15% at 60 px, 25% at 120 px (eps 0.05, " in words.warning_of_jpeg(0.06)
