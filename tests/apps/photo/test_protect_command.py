"""`idf protect` of single photos: what is written, what is left alone, what is refused."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from drawn_photos import canvas, drawn, pixels, run
from PIL import Image

from idf.apps.photo import Photo, open_photo, protect
from idf.apps.photo.protection import EPS
from idf.commands.protect import main
from idf.config import ROOT

CAMERA = 0x010F  # the EXIF tag


def test_a_copy_is_written_beside_the_photo(capsys):
    canvas(0).save("my photo.png")
    before = Path("my photo.png").read_bytes()
    assert run("protect", "my photo.png") == 0
    said = capsys.readouterr().out
    assert "my photo_protected.png: 1 face, changed by at most 4 of 255 grey levels, PSNR " in said
    change = np.abs(pixels("my photo.png") - pixels("my photo_protected.png"))
    assert Path("my photo.png").read_bytes() == before and 1 <= change.max() <= 4
    assert change[60:260, 80:220].any() and not change[:, :5].any(), "the face and not the wall"
    names = sorted(path.name for path in Path().iterdir())
    assert names == ["my photo.png", "my photo_protected.png"]


def test_protect_is_a_function_too_and_repeats_bit_for_bit():
    canvas(0).save("a.png")
    once = protect("a.png")
    again = protect(open_photo(Path("a.png").read_bytes()), "out.png", eps=0.03)
    assert np.array_equal(once.pixels, again.pixels)
    assert np.array_equal(once.pixels, pixels("out.png"))
    assert once.psnr > 37 and once.largest <= 4 and len(once.faces) == 1


@pytest.mark.parametrize("eps, levels", [(0.01, 1), (0.05, 6)])
def test_protect_keeps_within_eps(eps, levels):
    canvas(0, 1).save("two.png")
    done = protect("two.png", eps=eps)
    assert len(done.faces) == 2 and done.largest == levels


def test_faces_whose_crops_overlap_stay_within_eps():
    wall = np.full((300, 500, 3), 180, np.uint8)
    wall[60:260, 40:240] = drawn(0)
    wall[60:260, 200:400] = drawn(1)
    done = protect(Photo("pair", wall), eps=0.03)
    first, second = (face.rectangle(wall.shape)[1] for face in done.faces)
    assert min(first.stop, second.stop) > max(first.start, second.start) + 20
    assert done.largest == 4


def test_the_command_has_the_default_of_the_function():
    """A literal there, so that help does not wait for torch."""
    assert inspect.signature(main).parameters["eps"].default == EPS


def test_the_metadata_is_dropped_unless_asked_for():
    exif = Image.Exif()
    exif[CAMERA] = "a camera"
    canvas(0).save("a.jpg", quality=95, exif=exif)
    assert run("protect", "a.jpg", "-o", "b.png") == 0
    assert run("protect", "a.jpg", "-o", "c.png", "--keep-metadata") == 0
    assert dict(Image.open("b.png").getexif()) == {}
    assert dict(Image.open("c.png").getexif()) == {CAMERA: "a camera"}


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
        (["a.png", "--eps", "much"], "--eps much: "),
        (["a.png", "--jobs", "0"], "--jobs 0 must be at least 1"),
        (["wall.png"], "No face was found in wall.png"),
        (["empty"], "empty holds no photo"),
        (["a.png", "wall.png", "-o", "one.png"], "-o one.png is one file, and given are"),
        (["text.jpg"], "text.jpg is not a photo"),
        (["a.png", "-o", "text.jpg/x.png"], "Nothing can be written to the folder text.jpg ("),
    ],
)
def test_protect_refuses_in_one_sentence(words, said, capsys):
    for name in ("a.png", "there.png"):
        canvas(0).save(name)
    Image.new("RGB", (300, 300), "grey").save("wall.png")
    Path("text.jpg").write_text("no photo")
    Path("empty").mkdir()
    before = {path: path.read_bytes() for path in Path().glob("*.*")}
    assert run("protect", *words) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"idf: {said}")
    assert {path: path.read_bytes() for path in Path().glob("*.*")} == before


def test_protect_as_jpeg_warns(capsys):
    canvas(0).save("a.png")
    assert run("protect", "a.png", "-o", "a_out.jpg") == 0
    assert "JPEG weakens the protection: " in capsys.readouterr().out
    assert Image.open("a_out.jpg").format == "JPEG"


@pytest.mark.parametrize(
    "module, heavy",
    [
        ("idf.commands.protect", ["torch", "numpy"]),
        ("idf.commands.check", ["torch", "numpy"]),
        ("idf.commands.protect_results", ["torch", "numpy"]),
        ("idf.apps.photo", ["matplotlib", "accelerate", "torchvision", "skimage", "pandas"]),
    ],
)
def test_importing_stays_light(module, heavy):
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
