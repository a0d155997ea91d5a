"""`idf protect-results`: the protection in numbers, and README's table of them."""

import json
import os
from pathlib import Path

import pytest
from drawn_photos import canvas, run
from PIL import Image

from idf.apps.photo.measure import measure
from idf.commands.protect_results import EPS, FILE, MARKS, readme_table
from idf.config import ROOT


@pytest.mark.skipif(
    "IDF_PORTRAITS" not in os.environ, reason="IDF_PORTRAITS names no folder of portraits"
)
def test_portraits_meet_their_goals():
    """A part of what `idf protect-results` measures on all of them."""
    photos = sorted(Path(os.environ["IDF_PORTRAITS"]).glob("*.jpg"))[::8]
    row = measure([(photo, Path(f"{photo.stem}.png")) for photo in photos], 0.05)
    assert row["faces_found"] == row["photos"]
    assert row["dsr"] >= 0.9 and row["psnr"] >= 34 and row["dsr_noise"] < 0.1


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


def test_the_readme_table_of_photos_is_generated_from_the_results():
    results = json.loads(FILE.read_text())
    before, after = MARKS
    written = (ROOT / "README.md").read_text().split(before)[1].split(after)[0]
    assert written.strip() == readme_table(results)
    assert {"seconds_per_photo", "start_seconds", "psnr", "explorer_ms"} <= results.keys()
    assert "/" not in results["command"]
    assert [row["eps"] for row in results["rows"]] == list(EPS)
