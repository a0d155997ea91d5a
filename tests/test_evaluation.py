"""Rows of results: with an editor whose every pixel is known, each number is known too."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from idf import metrics
from idf.config import load_config
from idf.data.drawn.faces import render_faces
from idf.data.faces import Faces, open_faces
from idf.data.pictures import to_model
from idf.evaluation import (
    Forger,
    clean_forgeries,
    clean_quality,
    defence,
    differences,
    expression,
    untrained_poisoner,
)

DOMAINS = ("Black_Hair", "Blond_Hair", "Smiling")
LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]])


def write(x, c):
    """An editor that writes the label into the first pixels of red, .5 or -.5, and no more."""
    y = x.clone()
    y[:, 0, 0, : c.shape[1]] = c - 0.5
    return y


def read(x):
    """A judge that reads it there."""
    return x[:, 0, 0, :3]


@pytest.fixture
def faces():
    """Grey pictures that carry their label."""
    images = np.full((5, 3, 8, 8), 127, dtype=np.uint8)
    images[:, 0, 0, :3] = np.where(LABELS.numpy() > 0, 191, 64)
    return Faces(images, LABELS, DOMAINS, [f"seed {i}" for i in range(5)])


@pytest.fixture(autouse=True)
def no_backbones(monkeypatch):
    def lpips(a, b):
        raise metrics.Unavailable("LPIPS is left out.")

    monkeypatch.setattr(metrics, "lpips", lpips)
    monkeypatch.setattr(metrics, "perceptual", lambda a, b: metrics.l1(a, b) * 2)


def forger(editor=write, judge=read):
    return Forger("fake", "SD", editor, DOMAINS, judge)


def keep(x, c, number):
    return x


@pytest.mark.parametrize("batch", [2, 25])
def test_clean_quality_of_a_perfect_editor(faces, batch):
    quality = clean_quality(forger(), faces, batch)
    assert quality["edit_success"] == 1.0
    rounding = 3 * 0.005 / 192  # three pixels in 8 bits
    assert quality["reconstruction_l1"] == pytest.approx(0, abs=rounding)


@pytest.mark.parametrize("batch", [2, 25])
def test_clean_quality_of_an_editor_that_does_nothing(faces, batch):
    quality = clean_quality(forger(lambda x, c: x), faces, batch)
    assert quality == {"edit_success": 0.0, "reconstruction_l1": 0.0}


def test_clean_quality_of_an_editor_that_can_only_smile(faces):
    def smile(x, c):
        y = x.clone()
        y[:, 0, 0, 2] = c[:, 2] - 0.5
        return y

    # asked: black for the 3 that are not black, blond for the 3 that are not, and 5 flipped smiles
    assert clean_quality(forger(smile), faces)["edit_success"] == pytest.approx(5 / 11)


def test_reconstruction_is_measured_against_the_image(faces):
    quality = clean_quality(forger(lambda x, c: x + 0.1), faces)
    assert quality["reconstruction_l1"] == pytest.approx(0.2, abs=1e-5)  # there and back


@pytest.mark.parametrize("batch", [2, 25])
def test_a_protection_that_does_nothing_defends_nothing(faces, batch):
    row = defence(forger(), keep, faces, batch=batch)
    assert row["dsr"] == row["l1"] == row["l2"] == row["perceptual"] == 0
    assert row["psnr"] > 100
    assert row["infected_edit_success"] == 1.0
    assert row["lpips"] is None and row["left_out"] == {"lpips": "LPIPS is left out."}


@pytest.mark.parametrize("batch", [2, 25])
def test_defence_by_hand(faces, batch):
    step = 40 / 127.5  # so many grey levels

    def protect(x, c, number):  # shifts the images with black hair alone
        return x + step * c[:, :1, None, None]

    row = defence(forger(lambda x, c: 2 * x), protect, faces, batch=batch)
    # in 2 of 5 images every pixel of the forgery moves by two steps
    assert row["dsr"] == pytest.approx(0.4)
    assert row["l1"] == pytest.approx(0.4 * 2 * step, rel=1e-5)
    assert row["l2"] == pytest.approx(0.4 * 4 * step**2, rel=1e-5)
    assert row["perceptual"] == pytest.approx(0.4 * 4 * step, rel=1e-5)
    psnr = 10 * np.log10(4 / step**2), 10 * np.log10(4e12)
    assert row["psnr"] == pytest.approx(0.4 * psnr[0] + 0.6 * psnr[1], rel=1e-4)


def test_clean_forgeries_at_hand_are_not_forged_again(faces):
    forged = []

    def editor(x, c):
        forged.append(len(x))
        return write(x, c)

    clean = clean_forgeries(forger(editor), faces, batch=2)
    assert clean.shape == (3, 5, 3, 8, 8)
    forged.clear()
    plain = defence(forger(editor), keep, faces, batch=2)
    both = sum(forged)
    forged.clear()
    assert defence(forger(editor), keep, faces, batch=2, clean=clean) == plain
    assert 2 * sum(forged) == both


def test_a_published_picture_has_8_bits(faces):
    def too_little(x, c, number):
        return x + 0.4 / 127.5

    assert defence(forger(), too_little, faces)["l1"] == 0


def test_the_spread_of_an_editor_that_no_longer_listens(faces):
    shares = {}
    for name, strength in (("same", 1.0), ("half", 0.5), ("deaf", 0.0)):

        def editor(x, c, strength=strength):
            hears = torch.where(x.amax((1, 2, 3)) > 0.9, strength, 1.0)
            return x + hears[:, None, None, None] * c[:, :1, None, None]

        def protect(x, c, number):
            x = x.clone()
            x[:, 0, 7, 7] = 1
            return x

        shares[name] = defence(forger(editor), protect, faces)["spread"]
    assert shares == {"same": 1.0, "half": pytest.approx(0.5), "deaf": 0.0}


def test_defence_hands_over_other_labels_and_the_place_in_the_set(faces):
    own, seen = torch.arange(10.0).view(5, 2), []

    def protect(x, c, number):
        seen.append((number, c))
        return x

    defence(forger(), protect, faces, own=own, batch=2)
    assert [number for number, _ in seen] == [0, 2, 4]
    assert_close(torch.cat([c for _, c in seen]), own)


def test_targets_are_the_forgers():
    forger = Forger("Res6", "DD", write, ("Smiling", "Bangs"), read)
    assert_close(forger.targets(torch.zeros(1, 2)), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))


def test_an_untrained_poisoner_has_a_real_amplitude():
    config = load_config("smoke")
    learned = open_faces(config, "surrogate")
    poisoner = untrained_poisoner(config, learned)
    _, x, _ = next(open_faces(config, "test", limit=4).in_order(4))
    assert not poisoner.training and poisoner(x).abs().mean() > 0.3
    assert not any(p.requires_grad for p in poisoner.parameters())
    torch.rand(3)
    assert_close(poisoner(x), untrained_poisoner(config, learned)(x), rtol=0, atol=0)


# Films


def test_differences_by_hand():
    y, reference = torch.zeros(4, 3, 32, 32), torch.zeros(4, 3, 32, 32)
    y[0], y[1] = 0.06, -0.04
    row = differences(y, reference)
    assert row["l1"] == pytest.approx(0.025) and row["l2"] == pytest.approx((0.0036 + 0.0016) / 4)
    assert row["dsr"] == 0.25
    assert row["lpips"] is None, "its backbone cannot be had"


def test_lpips_of_films_where_its_backbone_is_there(monkeypatch):
    monkeypatch.setattr(metrics, "lpips", lambda a, b: 3 * metrics.l1(a, b))
    y = torch.full((4, 3, 32, 32), 0.1)
    assert differences(y, 0 * y)["lpips"] == pytest.approx(0.3)


def finder(faces):
    """One face a frame, in the order of these points, in pixels of 64 px enlarged to 256."""
    answers = iter(faces)

    def find(picture):
        return [(next(answers).numpy() + 0.5) * 4]

    return find


def test_expression_error_by_hand():
    batch = render_faces(range(2), 64)
    wanted = batch.landmarks.clone()
    wanted[:, 48:] += torch.tensor([0.0, 3.0])  # the mouth was asked for 3 pixels lower
    found = expression(finder(batch.landmarks), to_model(batch.images), wanted)
    away = torch.zeros(51, 2)
    away[31:, 1] = -3
    eyes = (wanted[:, 36] - wanted[:, 45]).norm(dim=1)
    error = ((away - away.mean(0)).norm(dim=1).mean() / eyes).mean().item()
    assert found == {"expression_error": pytest.approx(error, rel=1e-4), "face_found": 1.0}


def test_a_shift_of_the_whole_face_is_no_other_expression():
    batch = render_faces(range(2), 64)
    found = expression(finder(batch.landmarks + 2), to_model(batch.images), batch.landmarks)
    assert found["expression_error"] == pytest.approx(0, abs=1e-4)


def test_frames_without_a_face_count_against_the_share_alone():
    batch = render_faces(range(2), 64)
    y = to_model(batch.images)
    none = expression(lambda picture: [], y, batch.landmarks)
    assert none == {"expression_error": None, "face_found": 0.0}
    points = (batch.landmarks[0].numpy() + 0.5) * 4
    answers = iter([[points], []])
    half = expression(lambda picture: next(answers), y, batch.landmarks)
    assert half == {"expression_error": pytest.approx(0, abs=1e-6), "face_found": 0.5}
