"""Faces are found, at any size from 40 pixels on."""

import sys

import numpy as np
import pytest
from drawn_photos import drawn, run, smooth
from PIL import Image

from idf.apps.photo.files import Photo
from idf.apps.photo.search import find_faces, finder, turned_back
from idf.config import UserError


def test_find_faces_sorts_them_and_names_a_photo_without():
    wide = np.full((300, 520, 3), 200, np.uint8)
    wide[50:250, 20:220] = drawn(0)
    wide[20:276, 250:506] = drawn(1, 256)
    first, second = find_faces(Photo("two", wide))
    assert first.side > second.side
    with pytest.raises(UserError, match="No face was found in wall.jpg"):
        find_faces(Photo("wall.jpg", smooth()))


@pytest.mark.parametrize("turns", range(4))
def test_points_of_a_turned_picture_come_back(turns):
    picture = np.zeros((5, 7))
    picture[1, 4] = 1
    y, x = np.argwhere(np.rot90(picture, turns))[0]
    assert np.array_equal(turned_back(np.array([[x, y]]), turns, (7, 5)), [[4, 1]])


def test_a_photo_on_its_side_has_its_face_where_it_is():
    upright = drawn(0)
    face = find_faces(Photo("upright", upright))[0]
    turned = np.ascontiguousarray(np.rot90(upright))
    sideways = find_faces(Photo("turned", turned))[0]
    height, width = upright.shape[:2]
    there = [[y, width - 1 - x] for x, y in face.corners()]
    assert np.abs(sideways.corners() - there).max() < 0.05 * face.side


def test_small_faces_beside_a_large_one_are_found_too():
    """In a photo that is scaled down for the detector, so that alignments are scaled back."""
    group = np.full((1500, 2400, 3), 200, np.uint8)
    group[100:1300, 100:1300] = np.asarray(Image.fromarray(drawn(0)).resize((1200, 1200)))
    for i, seed in enumerate((1, 2, 4)):
        group[200 + 400 * i : 400 + 400 * i, 1700:1900] = drawn(seed)
    faces = find_faces(Photo("group", group))
    assert len(faces) == 4 and faces[0].side > 3 * faces[1].side
    middles = np.array([face.corners().mean(0) for face in faces])
    assert np.abs(middles[0] - [700, 750]).max() < 200
    assert np.abs(middles[1:, 0] - 1800).max() < 40


def test_a_face_of_15_pixels_is_not_found_silently():
    small = np.full((300, 300, 3), 128, np.uint8)
    small[100:115, 100:115] = np.asarray(Image.fromarray(drawn()).resize((15, 15)))
    with pytest.raises(UserError, match="at least 40 pixels"):
        find_faces(Photo("small.jpg", small))


@pytest.mark.parametrize("turns", [0, 1])
def test_faces_of_40_pixels_are_found_in_a_large_photo_each_once(turns):
    """A row of them, so that some lie where two tiles meet; beside a large one."""
    places = [(x, 900) for x in range(60, 2900, 130)]
    wall = np.full((1300, 3000, 3), 180, np.uint8)
    wall[100:500, 100:500] = np.asarray(Image.fromarray(drawn(0)).resize((400, 400)))
    for x, y in places:
        wall[y : y + 100, x : x + 100] = drawn(3, 100)
    faces = find_faces(Photo("crowd", np.ascontiguousarray(np.rot90(wall, turns))))
    assert len(faces) == 1 + len(places)
    assert faces[0].side > 200 and max(face.side for face in faces[1:]) < 150
    if not turns:
        found = sorted(face.centre[0] for face in faces[1:])
        assert np.abs(np.array(found) - [x + 50 for x, _ in places]).max() < 20


@pytest.mark.parametrize("words", [["protect", "a.jpg", "b.jpg"], ["check", "a.jpg", "b.jpg"]])
def test_without_dlib_one_sentence_speaks_of_the_photo(words, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "dlib", None)
    finder.cache_clear()
    for seed, name in enumerate(("a.jpg", "b.jpg")):
        Image.fromarray(drawn(seed)).save(name)
    assert run(*words) == 2
    err = capsys.readouterr().err
    assert err.startswith("idf: Finding the faces of a photo needs dlib") and err.count("\n") == 1
    assert 'run `pip install -e ".[photos]"`' in err
    assert "video" not in err and "landmark" not in err
