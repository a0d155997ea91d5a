"""`idf protect` and `idf check`: what is written, what is left alone, what is refused, what is told."""

import json
import os
import socket
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from idf import cli, metrics, protect_results
from idf.check import EDITORS, VARIANTS, check
from idf.config import ROOT, UserError
from idf.faces import render_faces
from idf.photo import Photo, open_photo
from idf.protect import LOG, protect, rectangle


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
    assert sorted(path.name for path in Path().iterdir()) == [
        "my photo.png",
        "my photo_protected.png",
    ]


def test_protect_is_a_function_too_and_repeats_bit_for_bit(tmp_path):
    canvas(0).save("a.png")
    once, again = (
        protect("a.png"),
        protect(open_photo(Path("a.png").read_bytes()), "out.png", eps=0.03),
    )
    assert np.array_equal(once.pixels, again.pixels) and np.array_equal(
        once.pixels, pixels("out.png")
    )
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
    assert (
        run("protect", "a.jpg", "-o", "b.png")
        == run("protect", "a.jpg", "-o", "c.png", "--keep-metadata")
        == 0
    )
    assert dict(Image.open("b.png").getexif()) == {} and dict(Image.open("c.png").getexif()) == {
        0x010F: "a camera"
    }


@pytest.mark.parametrize(
    "words, said",
    [
        (["none.png"], "There is no photo none.png"),
        (["a.png", ""], "The name of a photo is empty"),
        (["a.png", "-o", "a.png"], "a.png is the photo itself, which is never overwritten"),
        (
            ["a.png", "-o", "there.png"],
            "there.png is there already: name another output with -o, or add --force.",
        ),
        (["a.png", "-o", "out.bmp"], "The output cannot end in '.bmp'"),
        (["a.png", "--eps", "0"], "eps=0.0 is outside (0, .2]"),
        (["a.png", "--eps", "1"], "eps=1.0 is outside (0, .2]"),
        (["a.png", "--eps", "nan"], "eps=nan is outside"),
        (["a.png", "--eps", "0.003"], "eps=0.003 is less than half a grey level"),
        (["a.png", "--eps", "much"], "Argument --eps: invalid float value: 'much'"),
        (["a.png", "--jobs", "0"], "--jobs 0 must be at least 1"),
        (["wall.png"], "No face was found in wall.png"),
        (["empty"], "empty holds no photo"),
        (["a.png", "wall.png", "-o", "one.png"], "-o one.png is one file, and given are"),
        (["text.jpg"], "text.jpg is not a photo"),
        (["a.png", "-o", "text.jpg/x.png"], "a.png was not protected ("),
    ],
)
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
    assert (
        "JPEG weakens the protection" in capsys.readouterr().out
        and Image.open("a_out.jpg").format == "JPEG"
    )


@pytest.fixture
def album():
    Path("album/more").mkdir(parents=True)
    canvas(0).save("album/a.jpg", quality=95)
    canvas(1).save("album/a.png")
    canvas(2).save("album/more/b.PNG", "PNG")
    Path("album/notes.heic").write_text("left alone")
    Path("album/.hidden.png").write_text("left alone")
    return Path("album")


def made(folder):
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOG
    }


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("jobs", [1, 2])
def test_protect_takes_a_folder_and_goes_on_after_a_bad_photo(album, jobs, capsys):
    Path("album/broken.jpg").write_bytes(Path("album/a.jpg").read_bytes()[:900])
    before = contents(album)
    assert run("protect", album, "-o", "out", "--jobs", jobs) == 2
    told = capsys.readouterr()
    assert (
        made(Path("out")) == {"a.jpg.png", "a.png.png", "more/b.png"} and contents(album) == before
    )
    assert "3 photos with 3 faces protected, 1 not: " in told.out
    assert "left out, as no photos that can be read: notes.heic (1)" in told.out
    assert (
        "idf: album/broken.jpg cannot be read" in told.err
        and len(told.err.strip().splitlines()) == 1
    )
    assert run("protect", album, "-o", "out", "--jobs", jobs) == 2
    assert "0 photos with 0 faces protected, 3 protected before, 1 not" in capsys.readouterr().out


def test_protect_of_the_folder_where_one_stands(album, monkeypatch, capsys):
    monkeypatch.chdir(album)
    assert (
        run("protect", ".")
        == run("protect", ".", "-o", "inside")
        == run("protect", ".", "-o", "inside")
        == 0
    )
    assert (
        made(Path("../album_protected"))
        == made(Path("inside"))
        == {"a.jpg.png", "a.png.png", "more/b.png"}
    )
    assert "3 protected before" in capsys.readouterr().out


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["album", "-o", "album"],
            "The copy of album/a.jpg would replace the photo album/a.jpg.png",
        ),
        (["one/x.png", "two/x.png", "-o", "o"], "one/x.png and two/x.png would both become"),
    ],
)
def test_protect_never_replaces_a_photo_that_was_given(album, words, said, capsys):
    for name in ("one/x.png", "two/x.png", "album/a.jpg.png"):
        Path(name).parent.mkdir(exist_ok=True)
        canvas(0).save(name)
    before = contents(Path())
    assert run("protect", *words, "--force") == 2 and contents(Path()) == before
    assert said in capsys.readouterr().err


KILLED = """
import os, sys
from pathlib import Path
from idf import cli, protect
write = protect.write_atomically
def killed(path, content):
    if path.name == "b.png" or "{when}" == "after" and path.name == "a.png.png":
        write(path, content) if "{when}" == "after" else None
        os._exit(9)
    write(path, content)
protect.write_atomically = killed
cli.main(["protect", "album", "-o", "out"])
"""


@pytest.mark.parametrize(
    "when, left", [("before", {"a.jpg.png", "a.png.png"}), ("after", {"a.jpg.png", "a.png.png"})]
)
def test_protect_continues_a_killed_batch(album, when, left, capsys):
    """Killed between the line in the log and the copy, and right after the copy."""
    subprocess.run(
        [sys.executable, "-c", KILLED.replace("{when}", when)],
        check=False,
        capture_output=True,
        env=os.environ,
    )
    assert made(Path("out")) == left
    first = {name: Path("out", name).stat().st_mtime_ns for name in left}
    assert run("protect", album, "-o", "out") == 0
    assert "1 photo with 1 face protected, 2 protected before" in capsys.readouterr().out
    assert made(Path("out")) == {"a.jpg.png", "a.png.png", "more/b.png"}
    assert {name: Path("out", name).stat().st_mtime_ns for name in left} == first


def test_protect_leaves_no_process_behind_when_it_is_killed(album):
    process = subprocess.Popen(
        [sys.executable, "-m", "idf", "protect", "album", "-o", "out", "--jobs", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while (
        len(workers := psutil.Process(process.pid).children(recursive=True)) < 3
        and process.poll() is None
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=60)[1], (
        "workers and the tracker of their resources end by themselves"
    )


def test_protect_does_not_take_another_eps_or_a_changed_photo_for_done(album, capsys):
    assert run("protect", album) == 0
    canvas(3).save("album/more/b.PNG", "PNG")
    assert run("protect", album) == 2
    assert "b.png is there already" in capsys.readouterr().err
    assert run("protect", album, "--eps", "0.05", "--force") == 0
    assert run("protect", album, "--eps", "0.05") == 0
    assert "3 protected before" in capsys.readouterr().out


def test_protect_survives_a_damaged_log(album, capsys):
    Path("album_protected").mkdir()
    Path("album_protected", LOG).write_text('[]\n{"copy": "a.p\n\x00')
    assert run("protect", album) == 0


def test_faces_whose_crops_overlap_stay_within_eps():
    wall = np.full((300, 500, 3), 180, np.uint8)
    wall[60:260, 40:240], wall[60:260, 200:400] = drawn(0), drawn(1)
    done = protect(Photo("pair", wall), eps=0.03)
    first, second = (rectangle(place, wall.shape)[1] for place in done.places)
    assert (
        len(done.places) == 2 and min(first.stop, second.stop) > max(first.start, second.start) + 20
    )
    assert done.largest == 4


# ------------------------------------------------------------------------------------------------- check


def test_check_shows_numbers_a_picture_and_what_they_do_not_prove(capsys):
    canvas(0).save("a.png")
    protect("a.png", "b.png", eps=0.05)
    assert run("check", "a.png", "b.png") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "b.png against a.png: 1 face in the photo, 1 found in the copy; changed by at most 6 of 255"
        in said
    )
    assert all(label in said for label in (*EDITORS.values(), *VARIANTS.values()))
    assert "does not prove that any other editor fails" in said and "JPEG of quality 75" in said
    assert Image.open("b_check.png").size > (600, 400)


def test_check_measures_the_forgeries_of_every_editor():
    seen = []
    for i in range(3):
        canvas(i).save("a.png")
        protect("a.png", "b.png", eps=0.05)
        seen += check("a.png", "b.png")
        Path("b.png").unlink()
    assert len(seen) == 3 and all(
        set(face.y) == set(EDITORS) and set(face.x) == {"clean", *VARIANTS} for face in seen
    )
    for editor in EDITORS:
        y = [face.y[editor] for face in seen]
        assert y[0]["clean"].shape == (5, 3, 64, 64) and 0 <= seen[0].success[editor]["clean"] <= 1
        moved, control = (
            sum(metrics.l2(forged[variant], forged["clean"]).mean() for forged in y)
            for variant in ("protected", "noise")
        )
        assert moved > 3 * control, "noise of the same eps must not do as well"


@pytest.mark.parametrize(
    "other, said",
    [
        ("a.png", "a.png and a.png show the same"),
        ("small.png", "a.png has 300 x 300 pixels, small.png 60 x 60"),
        ("far.png", "The faces in a.png and far.png are not the same"),
        ("none.png", "There is no photo none.png"),
    ],
)
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
    assert (
        "b.png is one of the photos" in capsys.readouterr().err
        and Path("b.png").read_bytes() == before
    )
    Path("other.png").write_text("mine")
    assert (
        run("check", "a.png", "b.png", "-o", "other.png") == 2
        and Path("other.png").read_text() == "mine"
    )
    assert run("check", "a.png", "b.png", "-o", "folder") == 2


def test_check_takes_what_a_site_made_of_the_copy(capsys):
    canvas(0).save("a.png")
    protect("a.png", "b.png", eps=0.05)
    Image.open("b.png").save("site.jpg", quality=40)
    assert run("check", "a.png", "site.jpg") == 0 and "colour noise" in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------- real photos


@pytest.mark.skipif(
    "IDF_PORTRAITS" not in os.environ, reason="IDF_PORTRAITS names no folder of portraits"
)
def test_portraits_meet_their_goals(tmp_path):
    """A part of what `idf protect-results` measures on all of them."""
    folder = Path("portraits")
    folder.mkdir()
    for photo in sorted(Path(os.environ["IDF_PORTRAITS"]).glob("*.jpg"))[::8]:
        (folder / photo.name).write_bytes(photo.read_bytes())
    row = protect_results.measure(
        [(photo, tmp_path / f"{photo.stem}.png") for photo in folder.iterdir()], 0.05
    )
    assert (
        row["faces_found"] == row["photos"]
        and row["dsr"] >= 0.9
        and row["psnr"] >= 34
        and row["dsr_noise"] < 0.1
    )


def test_importing_protect_stays_light():
    code = "import sys, idf.protect; print([m for m in ('matplotlib', 'accelerate', 'torchvision') if m in sys.modules])"
    assert os.popen(f'"{sys.executable}" -c "{code}"').read().strip() == "[]"


@pytest.mark.parametrize(
    "photos, faces", [([canvas(0)], 1), ([Image.new("RGB", (300, 300))] * 2, 0)]
)
def test_results_need_two_faces(capsys, photos, faces):
    Path("photos").mkdir()
    for i, photo in enumerate(photos):
        photo.save(f"photos/{i}.png")
    assert run("protect-results", "photos", "--out", "out.json") == 2
    said = capsys.readouterr().err
    assert (
        said.startswith(f"idf: A face was found in {faces} of {len(photos)} photo")
        and said.count("\n") == 1
    )
    assert not Path("out.json").exists()


def test_an_unknown_place_is_named(capsys):
    with pytest.raises(UserError, match="There is no photo"):
        check("none.png", "none.png")


def test_the_readme_table_of_photos_is_generated_from_the_results():
    found = json.loads(protect_results.FILE.read_text())
    before, after = protect_results.MARKS
    assert (ROOT / "README.md").read_text().split(before)[1].split(after)[
        0
    ].strip() == protect_results.table(found)
    assert {
        "photos",
        "faces_found",
        "seconds_per_photo",
        "start_seconds",
        "dsr",
        "psnr",
        "explorer_ms",
    } <= found.keys()
    assert "/" not in found["command"] and [row["eps"] for row in found["rows"]] == list(
        protect_results.EPS
    )
