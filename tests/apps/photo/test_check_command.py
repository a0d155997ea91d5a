"""`idf check`: what the editors make of a photo and of its copy, in numbers and in a picture."""

from pathlib import Path

import pytest
from drawn_photos import canvas, drawn, run
from PIL import Image

from idf import metrics
from idf.apps.photo import protect
from idf.apps.photo.check import EDITORS, VARIANTS, check
from idf.config import UserError


def test_numbers_a_picture_and_what_they_do_not_prove(capsys):
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


def test_the_forgeries_of_every_editor_are_measured():
    """Of drawn faces that are found in the copy where they were in the photo; not all are."""
    faces = []
    for seed in (2, 3, 5):
        canvas(seed).save("a.png")
        protect("a.png", "b.png", eps=0.05)
        faces += check("a.png", "b.png")
    assert len(faces) == 3
    for face in faces:
        assert set(face.y) == set(EDITORS) and set(face.x) == {"clean", *VARIANTS}
    for editor in EDITORS:
        forgeries = [face.y[editor] for face in faces]
        assert forgeries[0]["clean"].shape == (5, 3, 64, 64)
        assert 0 <= faces[0].success[editor]["clean"] <= 1
        moved = sum(metrics.l2(y["protected"], y["clean"]).mean() for y in forgeries)
        control = sum(metrics.l2(y["noise"], y["clean"]).mean() for y in forgeries)
        assert moved > 2 * control, "noise as strong must not do as well"


@pytest.mark.parametrize(
    "other, said",
    [
        ("a.png", "a.png and a.png show the same"),
        ("wall.png", "No face was found in wall.png"),
        ("far.png", "far.png does not show what a.png shows: "),
        ("mirrored.png", "mirrored.png shows a.png mirrored, turned or slanted"),
        ("turned.png", "turned.png shows a.png mirrored, turned or slanted: turn it back"),
        ("none.png", "There is no photo none.png"),
    ],
)
def test_what_does_not_belong_together_is_refused(other, said, capsys):
    canvas(0).save("a.png")
    Image.new("RGB", (300, 200), "grey").save("wall.png")
    canvas(1).save("far.png")
    canvas(0).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save("mirrored.png")
    canvas(0).rotate(15, Image.Resampling.BICUBIC, fillcolor=(180, 180, 180)).save("turned.png")
    assert run("check", "a.png", other) == 2
    assert capsys.readouterr().err.startswith(f"idf: {said}")


def test_check_never_overwrites_a_photo(capsys):
    canvas(0).save("a.png")
    protect("a.png", "b.png")
    before = Path("b.png").read_bytes()
    assert run("check", "a.png", "b.png", "-o", "b.png") == 2
    assert "b.png is one of the photos" in capsys.readouterr().err
    assert Path("b.png").read_bytes() == before
    Path("other.png").write_text("mine")
    assert run("check", "a.png", "b.png", "-o", "other.png") == 2
    assert Path("other.png").read_text() == "mine"
    assert run("check", "a.png", "b.png", "-o", "folder") == 2


def test_check_takes_what_a_site_made_of_the_copy(capsys):
    canvas(0).save("a.png")
    protect("a.png", "b.png", eps=0.05)
    Image.open("b.png").save("site.jpg", quality=40)
    assert run("check", "a.png", "site.jpg") == 0
    assert "colour noise" in capsys.readouterr().out


def screenshot(photo):
    """The photo on a page with another face on it."""
    page = Image.new("RGB", (900, 500), "white")
    page.paste(photo.resize((360, 360), Image.Resampling.BICUBIC), (37, 61))
    page.paste(Image.fromarray(drawn(1)), (600, 100))
    return page


SITES = {
    "of another size": lambda photo: photo.resize((250, 250), Image.Resampling.LANCZOS),
    "cut": lambda photo: photo.crop((23, 11, 290, 280)),
    "on a screen": screenshot,
}


@pytest.mark.parametrize("site", SITES)
def test_a_copy_that_was_changed_is_laid_over_the_photo(site, capsys):
    """What moves the forgeries is the poison: an unprotected copy, changed alike, moves none."""
    canvas(0).save("a.png")
    protect("a.png", "b.png", eps=0.05)
    SITES[site](Image.open("b.png")).save("site.png")
    assert run("check", "a.png", "site.png") == 0
    said = capsys.readouterr().out
    assert "site.png was scaled or cut: a.png was laid over it." in said
    assert "1 face in the photo, 1 found in the copy" in said
    SITES[site](Image.open("a.png")).save("clean.png")
    ((poisoned,), (clean,)) = check("a.png", "site.png"), check("a.png", "clean.png")
    for editor in EDITORS:
        assert clean.dsr(editor, "protected") == 0
        moved = [
            metrics.l2(seen.y[editor]["protected"], seen.y[editor]["clean"]).mean()
            for seen in (poisoned, clean)
        ]
        assert moved[0] > 2 * moved[1]


def test_a_missing_photo_is_named():
    with pytest.raises(UserError, match="There is no photo"):
        check("none.png", "none.png")
