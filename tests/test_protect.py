"""`idf protect` and `idf check`: what is written, what is left alone, what is refused, what is told."""

import json
import os
import socket
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idf import cli, protect_results
from idf.check import EDITORS, VARIANTS, check
from idf.config import ROOT, UserError
from idf.faces import render_faces
from idf.photo import open_photo
from idf.protect import LOG, protect


@cache
def drawn(seed=0):
    return render_faces([seed], size=200).images[0].permute(1, 2, 0).contiguous().numpy()


def canvas(*seeds):
    """Drawn faces beside each other on a plain wall, larger than their crops."""
    wall = np.full((300, 300 * len(seeds), 3), 180, np.uint8)
    for i, seed in enumerate(seeds):
        wall[60:260, 300 * i + 50 : 300 * i + 250] = drawn(seed)
    return Image.fromarray(wall)


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, and no way out of the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IDF_DEBUG", raising=False)

    def refuse(*_):
        raise AssertionError("a photo must not leave the machine")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def run(*words):
    return cli.main(list(map(str, words)))


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_protect_writes_a_copy_beside_the_photo(capsys):
    canvas(0).save("my photo.png")
    before = Path("my photo.png").read_bytes()
    assert run("protect", "my photo.png") == 0
    said = capsys.readouterr().out
    assert "my photo_protected.png: 1 face, changed by at most 4 of 255 grey levels, PSNR " in said
    change = np.abs(pixels("my photo.png") - pixels("my photo_protected.png"))
    assert Path("my photo.png").read_bytes() == before and 1 <= change.max() <= 4
    assert change[60:260, 80:220].any() and not change[:, :5].any(), "the face and not the wall"
    assert sorted(path.name for path in Path().iterdir()) == ["my photo.png", "my photo_protected.png"]


def test_protect_is_a_function_too_and_repeats_bit_for_bit(tmp_path):
    canvas(0).save("a.png")
    once, again = protect("a.png"), protect(open_photo(Path("a.png").read_bytes()), "out.png", eps=0.03)
    assert np.array_equal(once.pixels, again.pixels) and np.array_equal(once.pixels, pixels("out.png"))
    assert once.psnr > 38 and once.largest <= 4 and len(once.places) == 1


@pytest.mark.parametrize("eps, levels", [(0.01, 1), (0.05, 6)])
def test_protect_keeps_within_eps(eps, levels):
    canvas(0, 1).save("two.png")
    done = protect("two.png", eps=eps)
    assert len(done.places) == 2 and done.largest == levels


def test_protect_drops_the_metadata_unless_told():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    canvas(0).save("a.jpg", quality=95, exif=exif)
    assert run("protect", "a.jpg", "-o", "b.png") == run("protect", "a.jpg", "-o", "c.png", "--keep-metadata") == 0
    assert dict(Image.open("b.png").getexif()) == {} and dict(Image.open("c.png").getexif()) == {0x010F: "a camera"}


@pytest.mark.parametrize("words, said", [
    (["none.png"], "There is no photo none.png"),
    (["a.png", "-o", "a.png"], "a.png is the photo itself, which is never overwritten"),
    (["a.png", "-o", "there.png"], "there.png is there already: name another output with -o, or add --force."),
    (["a.png", "-o", "out.bmp"], "out.bmp is no name for the output"),
    (["a.png", "--eps", "0"], "eps=0.0 is outside (0, .2]"), (["a.png", "--eps", "1"], "eps=1.0 is outside (0, .2]"),
    (["a.png", "--eps", "much"], "Argument --eps: invalid float value: 'much'"),
    (["a.png", "--jobs", "0"], "--jobs 0 must be at least 1"), (["wall.png"], "No face was found in wall.png"),
    (["empty"], "empty holds no photo"), (["a.png", "wall.png", "-o", "one.png"], "-o one.png is one file, and these are 2"),
    (["text.jpg"], "text.jpg is not a photo")])
def test_protect_refuses_in_one_sentence(words, said, capsys):
    for name in ("a.png", "there.png"):
        canvas(0).save(name)
    Image.new("RGB", (300, 300), "grey").save("wall.png")
    Path("text.jpg").write_text("no photo")
    Path("empty").mkdir()
    there = {path: path.read_bytes() for path in Path().glob("*.*")}
    assert run("protect", *words) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and told[0].startswith(f"idf: {said}")
    assert {path: path.read_bytes() for path in Path().glob("*.*")} == there


def test_protect_as_jpeg_warns(capsys):
    canvas(0).save("a.png")
    assert run("protect", "a.png", "-o", "a_out.jpg") == 0
    assert "JPEG weakens the protection" in capsys.readouterr().out and Image.open("a_out.jpg").format == "JPEG"


@pytest.fixture
def album():
    Path("album/more").mkdir(parents=True)
    canvas(0).save("album/a.jpg", quality=95)
    canvas(1).save("album/a.png")
    canvas(2).save("album/more/b.png")
    Path("album/notes.txt").write_text("left alone")
    Path("album/.hidden.png").write_text("left alone")
    return Path("album")


def made(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*.png")}


@pytest.mark.parametrize("jobs", [1, 2])
def test_protect_takes_a_folder_and_goes_on_after_a_bad_photo(album, jobs, capsys):
    Path("album/broken.jpg").write_bytes(Path("album/a.jpg").read_bytes()[:900])
    assert run("protect", album, "-o", "out", "--jobs", jobs) == 2
    told = capsys.readouterr()
    assert made(Path("out")) == {"a.png", "a.png.png", "more/b.png"}
    assert "3 photos with 3 faces protected" in told.out and ", 1 not: " in told.out
    assert "idf: broken.jpg cannot be read" in told.err and len(told.err.strip().splitlines()) == 1
    assert json.loads(Path("out", LOG).read_text())["a.png"]["faces"] == 1


def test_protect_continues_a_killed_batch(album, capsys, monkeypatch):
    from idf import protect as module

    done = module._protect_file

    def killed(job, **options):
        if job[0].name == "b.png":
            raise KeyboardInterrupt
        return done(job, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, "_protect_file", killed)
        assert run("protect", album) == 130
    assert made(Path("album_protected")) == {"a.png", "a.png.png"}
    first = Path("album_protected/a.png").stat().st_mtime_ns
    assert run("protect", album) == 0
    assert "2 photos were protected before" in capsys.readouterr().out
    assert made(Path("album_protected")) == {"a.png", "a.png.png", "more/b.png"}
    assert Path("album_protected/a.png").stat().st_mtime_ns == first


def test_protect_does_not_take_another_eps_or_a_changed_photo_for_done(album, capsys):
    assert run("protect", album) == 0
    canvas(3).save("album/more/b.png")
    assert run("protect", album) == 2
    assert "b.png is there already" in capsys.readouterr().err
    assert run("protect", album, "--eps", "0.05", "--force") == 0
    assert json.loads(Path("album_protected", LOG).read_text())["a.png"]["eps"] == 0.05


# ------------------------------------------------------------------------------------------------- check

def test_check_shows_numbers_a_picture_and_what_they_do_not_prove(capsys):
    canvas(0).save("a.png")
    protect("a.png", "b.png", eps=0.05)
    assert run("check", "a.png", "b.png") == 0
    said = capsys.readouterr().out
    assert "b.png against a.png: 1 face, changed by at most 6 of 255" in said
    assert all(label in said for label in (*EDITORS.values(), *VARIANTS.values()))
    assert "does not prove that any other editor fails" in said and "JPEG of quality 75" in said
    assert Image.open("b_check.png").size > (600, 400)


def test_check_measures_the_forgeries_of_every_editor():
    canvas(0).save("a.png")
    protect("a.png", "b.png", eps=0.05)
    face, = check("a.png", "b.png")
    assert set(face.y) == set(EDITORS) and set(face.x) == {"clean", *VARIANTS}
    for editor in EDITORS:
        assert face.y[editor]["clean"].shape == (5, 3, 64, 64) and 0 <= face.success[editor]["clean"] <= 1
        moved, control = (face.l2(editor, variant).mean() for variant in ("protected", "noise"))
        assert moved > 3 * control, "noise of the same eps must not do as well"


@pytest.mark.parametrize("other, said", [
    ("a.png", "a.png and a.png show the same"), ("small.png", "a.png has 300 x 300 pixels, small.png 60 x 60"),
    ("far.png", "a.png and far.png differ by up to"), ("none.png", "There is no photo none.png")])
def test_check_refuses_what_does_not_belong_together(other, said, capsys):
    canvas(0).save("a.png")
    canvas(0).resize((60, 60)).save("small.png")
    canvas(1).save("far.png")
    assert run("check", "a.png", other) == 2
    assert capsys.readouterr().err.startswith(f"idf: {said}")


def test_check_never_overwrites_a_photo(capsys):
    canvas(0).save("a.png")
    protect("a.png", "b.png")
    before = Path("b.png").read_bytes()
    assert run("check", "a.png", "b.png", "-o", "b.png") == 2
    assert "b.png is one of the photos" in capsys.readouterr().err and Path("b.png").read_bytes() == before


# ------------------------------------------------------------------------------------------------- real photos

@pytest.mark.skipif("IDF_PORTRAITS" not in os.environ, reason="IDF_PORTRAITS names no folder of portraits")
def test_portraits_meet_their_goals(tmp_path):
    """A part of what `idf protect-results` measures on all of them."""
    folder = Path("portraits")
    folder.mkdir()
    for photo in sorted(Path(os.environ["IDF_PORTRAITS"]).glob("*.jpg"))[::8]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    row = protect_results.measure([(photo, tmp_path / f"{photo.stem}.png") for photo in folder.iterdir()], 0.05)
    assert row["faces_found"] == row["photos"] and row["dsr"] >= 0.9 and row["psnr"] >= 34 and row["dsr_noise"] < 0.1


def test_importing_protect_stays_light():
    code = "import sys, idf.protect; print([m for m in ('matplotlib', 'accelerate', 'torchvision') if m in sys.modules])"
    assert os.popen(f'"{sys.executable}" -c "{code}"').read().strip() == "[]"


def test_an_unknown_place_is_named(capsys):
    with pytest.raises(UserError, match="There is no photo"):
        check("none.png", "none.png")


def test_the_readme_table_of_photos_is_generated_from_the_results():
    found = json.loads(protect_results.FILE.read_text())
    before, after = protect_results.MARKS
    assert (ROOT / "README.md").read_text().split(before)[1].split(after)[0].strip() == protect_results.table(found)
    assert {"photos", "faces_found", "seconds_per_photo", "start_seconds", "dsr", "psnr", "explorer_ms"} <= found.keys()
    assert "/" not in found["command"] and [row["eps"] for row in found["rows"]] == list(protect_results.EPS)
