"""What of a photo was protected, and how well: in notes, in a list, in a picture."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from drawn_photos import canvas, drawn, pixels, run
from PIL import Image

from idf.apps.photo import Photo, find_faces, protect
from idf.apps.photo.overview import COLOURS, overview, place_of
from idf.apps.photo.plan import LOG


def cut_close(seed=3, share=0.15):
    """A drawn face of which this share of its crop is missing on each side."""
    photo = np.asarray(canvas(seed).resize((600, 600), Image.Resampling.BICUBIC))
    face = find_faces(Photo("whole", photo))[0]
    corners, margin = face.corners(), share * face.side
    left, top = np.round(corners.min(0) + margin).astype(int).clip(0)
    right, bottom = np.round(corners.max(0) - margin).astype(int)
    return np.ascontiguousarray(photo[top:bottom, left:right])


def test_a_face_cut_close_is_protected_and_the_note_says_what_holds(capsys):
    Image.fromarray(cut_close()).save("close.png")
    assert run("protect", "close.png") == 0
    said = capsys.readouterr().out
    assert "1 of 1 face cut so close that the poison will not hold: " in said
    assert "of the forgeries of three editors are moved there" in said
    assert "more room around the face" in said and "cut too close to hold" in said
    change = np.abs(pixels("close.png") - pixels("close_protected.png"))
    assert change.max() == 4 and (change.max(-1) > 0).mean() > 0.8, "up to the photo's edge"


def test_a_face_with_room_around_it_has_no_note():
    assert protect(Photo("roomy", np.asarray(canvas(3)))).notes == ()
    assert protect(Photo("near the edge", cut_close(share=0.02))).notes == ()


def test_each_face_is_listed_with_its_place_and_size(capsys):
    wall = np.asarray(canvas(0, 1)).copy()
    small = np.asarray(Image.fromarray(drawn(2)).resize((80, 80), Image.Resampling.BICUBIC))
    wall[:80, 260:340] = small
    Image.fromarray(wall).save("three.png")
    assert run("protect", "three.png") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  face ")]
    assert len(lines) == 3 and "  face 3: its crop is " in lines[2]
    assert "too small to hold" in lines[2] and "hold" not in lines[0] + lines[1]
    x, y = map(int, re.findall(r"\((\d+), (\d+)\)", lines[2])[0])
    assert abs(x - 300) < 15 and abs(y - 40) < 15


def test_the_overview_frames_each_face_and_says_what_the_colours_mean(capsys):
    canvas(0, 1).save("two.png")
    assert run("protect", "two.png", "--overview") == 0
    assert "two_protected_overview.jpg: the faces in frames." in capsys.readouterr().out
    picture = pixels("two_protected_overview.jpg")
    assert picture.shape[0] > 700 / 2 and picture.shape[1] == 700
    green = np.abs(picture - [0, 200, 83]).max(-1) < 60
    assert green[:350, :350].sum() > 300 and green[:350, 350:].sum() > 300
    assert green[350:, :40].sum() > 50, "and the legend below"


def test_what_may_be_a_face_and_is_not_protected_is_red():
    photo = Photo("one", np.asarray(canvas(0)))
    face = find_faces(photo)[0]
    pictures = []
    for weak, (colour, _) in COLOURS.items():
        place = place_of(face, photo.pixels.shape, weak)
        assert place["weak"] == weak
        picture = overview(photo.pixels, [place]).astype(int)
        frame = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
        assert (picture == frame).all(-1).sum() > 500
        pictures.append(picture)
    assert len({picture.tobytes() for picture in pictures}) == len(COLOURS), "words differ"


def test_a_batch_has_an_overview_beside_each_copy_and_never_protects_it(capsys):
    Path("album").mkdir()
    for seed in (0, 1):
        canvas(seed).save(f"album/{seed}.png")
    assert run("protect", "album", "-o", "out") == 0
    assert run("protect", "album", "-o", "out", "--overview") == 0, "of copies made before, too"
    assert "2 protected before" in capsys.readouterr().out
    overviews = {"0_overview.jpg", "1_overview.jpg"}
    assert {path.name for path in Path("out").iterdir()} == {"0.png", "1.png", LOG} | overviews
    line = json.loads((Path("out") / LOG).read_text().splitlines()[0])
    assert line["places"][0]["side"] > 100
    # neither the pictures nor the copies are photos of one's own
    assert run("protect", "album/0.png", "--overview") == 0
    assert run("check", "album/0.png", "album/0_protected.png") == 0
    capsys.readouterr()
    assert run("protect", "album", "-o", "again") == 0
    assert "2 photos with 2 faces protected" in capsys.readouterr().out
    assert run("protect", "out/0_overview.jpg") == 2


@pytest.mark.parametrize(
    "words, said",
    [
        (["a.png", "-o", "b.png"], "b_overview.jpg is there already"),
        (["x/b.png", "b_overview.jpg", "-o", ".", "--force"], "would replace the photo b_overview"),
    ],
)
def test_the_overview_replaces_no_photo(words, said, capsys):
    Path("x").mkdir()
    for name in ("a.png", "x/b.png", "b_overview.jpg"):
        canvas(0).save(name)
    before = Path("b_overview.jpg").read_bytes()
    assert run("protect", *words, "--overview") == 2
    assert said in capsys.readouterr().err
    assert Path("b_overview.jpg").read_bytes() == before


@pytest.mark.skipif(
    "IDF_PORTRAITS" not in os.environ, reason="IDF_PORTRAITS names no folder of portraits"
)
def test_forty_portraits_in_one_large_photo_are_all_protected():
    paths = sorted(Path(os.environ["IDF_PORTRAITS"]).glob("*.jpg"))[:40]
    wall = np.full((4000, 6000, 3), 128, np.uint8)
    for i, path in enumerate(paths):
        portrait = Image.open(path).convert("RGB").resize((260, 320))
        wall[100 + 900 * (i // 10) :, 100 + 580 * (i % 10) :][:320, :260] = np.asarray(portrait)
    assert len(find_faces(Photo("group", wall))) >= 0.95 * len(paths)
