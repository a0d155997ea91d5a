"""Where the protection survives: sizes, ways of publishing, and what the rows say. No weights."""

import numpy as np
import pytest
import torch.nn.functional as F
from drawn_photos import canvas, similarity, smooth

from idf.apps.photo import check, protection, survival
from idf.apps.photo.align import Alignment, aligned
from idf.apps.photo.files import Photo
from idf.apps.photo.survival import EDITORS, WAYS, brought_to, measure_face, ways
from idf.config import UserError
from idf.data.celeba import CROP
from idf.networks.poisoner import WaveGenerator

FACE = Alignment(similarity(100 / CROP, 5, (100, 100)))  # within that of canvas()


@pytest.fixture
def stand_ins(monkeypatch):
    """An untrained PG, a judge, two editors that make fine colour stronger, and one that does not.

    What they make of PG's waves and of noise counts as moved, of colours a quarter as large not.
    """

    def editor(strength):
        def forge(x, c):
            colour = x - x.mean(1, keepdim=True)
            return x + strength * (colour - F.avg_pool2d(colour, 5, 1, 2, True, False))

        return forge

    editors = dict(zip(EDITORS, map(editor, (10, 10, 0)), strict=True))
    networks = {"judge": lambda x: x.mean((2, 3)).repeat(1, 4)[:, :10], **editors}
    monkeypatch.setattr(check, "load_networks", lambda: networks)
    monkeypatch.setattr(protection, "_load_poisoner", lambda: WaveGenerator(8))
    monkeypatch.setattr(survival, "lpips_of_face", lambda *_: None)


def not_found(_):
    raise UserError("no face")


def test_a_face_is_measured_in_every_way(stand_ins, monkeypatch):
    monkeypatch.setattr(survival, "find_faces", not_found)
    rows = measure_face(np.asarray(canvas(0)), FACE, 0.05, 0)
    assert list(rows) == list(WAYS)
    first, second, third = EDITORS
    for row in rows.values():
        assert row["dsr"] == pytest.approx((row[first] + row[second] + row[third]) / 3)
        assert row[first] == row[second] and row[third] == 0
        assert 34 < row["psnr"] < 37 and row["lpips"] is None
    assert rows["png"][first] == rows["noise"][first] == 1 and rows["jpeg_75"][first] == 0


def test_noise_is_another_picture(stand_ins, monkeypatch):
    """The control replaces the protected face, and nothing else does."""
    monkeypatch.setattr(survival, "find_faces", not_found)
    monkeypatch.setattr(survival, "colour_noise", lambda clean, protected, face: clean)
    rows = measure_face(np.asarray(canvas(0)), FACE, 0.05, 0)
    assert [way for way, row in rows.items() if row["dsr"] == 0][-1] == "noise"
    assert rows["png"]["dsr"] == rows["shifted"]["dsr"] == pytest.approx(2 / 3)


def test_the_crop_is_found_in_the_copy_once(stand_ins, monkeypatch):
    photos, crops = [], []

    def find(photo):
        photos.append(photo)
        return [FACE.moved(0.9)]

    def see(pictures, crop):
        crops.append(crop)
        return check.see(pictures, crop)

    monkeypatch.setattr(survival, "find_faces", find)
    monkeypatch.setattr(survival, "see", see)
    clean = np.asarray(canvas(0))
    measure_face(clean, FACE, 0.05, 0)
    assert len(photos) == 1 and (photos[0].pixels != clean).any()
    assert np.isclose(crops[0].side, 0.9 * FACE.side)


@pytest.mark.parametrize("side", [64, 200, 256])
def test_a_photo_is_brought_to_a_size(side):
    photo = Photo("photo", smooth(420, 500))
    face = Alignment(similarity(1, 20, (170, 100)))
    pixels, moved = brought_to(photo, face, side)
    assert moved.side == pytest.approx(side, rel=0.02)
    assert max(pixels.shape) < 2.5 * side, "only the face and a margin are worked on"
    before, after = (aligned(p, f, 64).int() for p, f in ((photo.pixels, face), (pixels, moved)))
    assert (before - after).abs().float().mean() < 1.5


def test_the_crop_is_off_in_every_direction():
    clean = np.asarray(canvas(0))
    centres = []
    for number in range(8):
        own = ways(FACE, number)
        for name, off in (("scaled_5", 1.05), ("scaled_10", 1.1)):
            ratio = own[name][1].side / FACE.side
            assert max(ratio, 1 / ratio) == pytest.approx(off)
        corners = own["shifted"][1].corners()
        assert own["shifted"][1].side == pytest.approx(FACE.side)
        centres.append((corners - FACE.corners()).mean(0))
        assert np.hypot(*centres[-1]) == pytest.approx(3 / 64 * FACE.side)
    assert np.allclose(np.sum(centres, 0), 0, atol=1e-9), "they go round"
    for name, (change, _) in ways(FACE, 0).items():
        same = np.array_equal(change(clean), clean)
        assert same == (name in ("png", "shifted", "scaled_5", "scaled_10", "noise"))


def test_rows_are_means_over_the_photos_that_reach_a_size(monkeypatch):
    measured = []

    def measure(clean, face, eps, number):
        measured.append((number, eps))
        lpips = None if number == 3 else 0.5
        return {way: {"psnr": 30.0 + number, "lpips": lpips} for way in ("png", "webp_80")}

    monkeypatch.setattr(survival, "measure_face", measure)
    photos = [
        (Photo("photo", smooth()), Alignment(similarity(side / CROP, 0, (30, 30))))
        for side in (200, 63, 128)
    ]
    first, second = survival.survival(photos, 128, 0.03)
    assert measured == [(0, 0.03), (2, 0.03)], "63 px are too few for 128"
    same = {"eps": 0.03, "side": 128, "photos": 2, "left_out": 1, "psnr": 31.0, "lpips": 0.5}
    assert first == {"variant": "png", **same} and second == {"variant": "webp_80", **same}
    assert survival.survival(photos, 512, 0.03) == []
    fourth = survival.survival([*photos, photos[0]], 128, 0.03)[0]
    assert fourth["lpips"] is None, "no mean where one is missing"


def test_lpips_is_left_out_where_it_cannot_be_had(monkeypatch):
    clean = np.asarray(canvas(0))

    def unavailable(*_):
        raise survival.metrics.Unavailable("none")

    monkeypatch.setattr(survival.metrics, "lpips", unavailable)
    assert survival.lpips_of_face(clean, clean, FACE) is None
    monkeypatch.setattr(
        survival.metrics, "lpips", lambda a, b: (a - b).abs().mean((1, 2, 3)) + a.shape[-1]
    )
    width = FACE.rectangle(clean.shape)[1]
    assert survival.lpips_of_face(clean, clean, FACE) == width.stop - width.start


def test_a_photo_without_a_face_is_passed_over(monkeypatch):
    canvas(0).save("a.png")
    canvas(1).save("b.png")
    found = {"a.png": [FACE, FACE.moved(0.5)]}

    def find(photo):
        return found.get(photo.name) or not_found(photo)

    monkeypatch.setattr(survival, "find_faces", find)
    ((photo, face),) = survival.largest_faces(["a.png", "b.png"])
    assert photo.name == "a.png" and face is FACE
