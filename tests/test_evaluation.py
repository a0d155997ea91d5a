"""Rows of results: with an editor whose every pixel is known, each number is known too."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from idf import evaluation, losses, metrics
from idf.baselines import brightened, pgd, random_colour, random_noise
from idf.config import HAIR, load_config
from idf.data import Faces, open_faces
from idf.evaluation import Forger, clean_quality, defence, make_methods, untrained_poisoner
from idf.networks import PoisonGenerator, frozen, make_generator

DOMAINS = ("Black_Hair", "Blond_Hair", "Smiling")
LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0]])


def write(x, c):
    """An editor that writes the label into the first pixels of the red channel, .5 or -.5, and keeps the rest."""
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
    assert quality["reconstruction_l1"] == pytest.approx(
        0, abs=3 * 0.005 / 192
    )  # 8-bit rounding of three pixels


@pytest.mark.parametrize("batch", [2, 25])
def test_clean_quality_of_an_editor_that_does_nothing(faces, batch):
    assert clean_quality(forger(lambda x, c: x), faces, batch) == {
        "edit_success": 0.0,
        "reconstruction_l1": 0.0,
    }


def test_clean_quality_of_an_editor_that_can_only_smile(faces):
    def smile(x, c):
        y = x.clone()
        y[:, 0, 0, 2] = c[:, 2] - 0.5
        return y

    # asked: black for the 3 that are not black, blond for the 3 that are not blond, and 5 flipped smiles
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
    def protect(x, c, number):  # shifts the images with black hair alone
        return x + 0.3 * c[:, :1, None, None]

    row = defence(forger(lambda x, c: 2 * x), protect, faces, batch=batch)
    # in 2 of 5 images every pixel of the forgery moves by .6
    assert row["dsr"] == pytest.approx(0.4)
    assert row["l1"] == pytest.approx(0.4 * 0.6, rel=1e-5) and row["l2"] == pytest.approx(
        0.4 * 0.36, rel=1e-5
    )
    assert row["perceptual"] == pytest.approx(0.4 * 1.2, rel=1e-5)
    psnr = 10 * np.log10(4 / 0.09), 10 * np.log10(4e12)
    assert row["psnr"] == pytest.approx(0.4 * psnr[0] + 0.6 * psnr[1], rel=1e-4)


def test_defence_hands_over_other_labels_and_the_place_in_the_set(faces):
    own, seen = torch.arange(10.0).view(5, 2), []

    def protect(x, c, number):
        seen.append((number, c))
        return x

    defence(forger(), protect, faces, own=own, batch=2)
    assert [number for number, _ in seen] == [0, 2, 4]
    assert_close(torch.cat([c for _, c in seen]), own)


@pytest.fixture(scope="module")
def real():
    config = load_config("smoke")
    torch.manual_seed(0)
    surrogate, target = (frozen(make_generator("Res6", config)) for _ in range(2))
    poisoners = {
        name: frozen(PoisonGenerator(4, 3))
        for name in ("untrained-pg", "ours-no-ats", "ours-queries", "ours")
    }
    forger = Forger("Res6", "SD", target, config.domains, read)
    return config, surrogate, poisoners, forger, open_faces(config, "test", limit=4)


def test_every_method_by_its_name(real):
    config, surrogate, poisoners, forger, faces = real
    methods = make_methods(config, surrogate, poisoners, forger, 0.03)
    assert tuple(methods) == evaluation.METHODS
    _, x, c = next(faces.in_order(4))
    for name, protect in methods.items():
        x_infected = protect(x, c, 0)
        assert 0 < (x_infected - x).abs().max() <= 0.03 + 1e-6 and x_infected.abs().max() <= 1, name
        assert torch.equal(x_infected, protect(x, c, 0)), name
    targets, generator = (
        losses.target_labels(c, config.domains, HAIR),
        lambda: torch.Generator().manual_seed(0),
    )
    assert_close(methods["ours"](x, c, 0), losses.infect(x, poisoners["ours"](x), 0.03))
    assert_close(
        methods["ours-no-ats"](x, c, 0), losses.infect(x, poisoners["ours-no-ats"](x), 0.03)
    )
    assert_close(methods["ruiz"](x, c, 0), pgd(surrogate, x, targets, 0.03, generator=generator()))
    assert_close(
        methods["ruiz-white-box"](x, c, 0),
        pgd(forger.editor, x, targets, 0.03, generator=generator()),
    )
    assert_close(methods["random-noise"](x, c, 0), random_noise(x, 0.03, generator()))
    assert_close(methods["random-colour"](x, c, 0), random_colour(x, 0.03, generator()))
    assert_close(
        methods["ours-queries"](x, c, 0), losses.infect(x, poisoners["ours-queries"](x), 0.03)
    )
    assert_close(methods["brightened"](x, c, 0), brightened(x, 0.03))
    assert not torch.equal(methods["random-noise"](x, c, 1), methods["random-noise"](x, c, 0))


def test_methods_without_their_poisoner_are_left_out(real):
    config, surrogate, _, forger, _ = real
    methods = make_methods(config, surrogate, {}, forger, 0.05)
    assert tuple(methods) == (
        "ruiz",
        "ruiz-white-box",
        "random-noise",
        "random-colour",
        "brightened",
    )


def test_targets_are_the_forgers(real):
    forger = Forger("Res6", "DD", write, ("Smiling", "Bangs"), read)
    assert_close(forger.targets(torch.zeros(1, 2)), torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]]))


def test_an_untrained_poisoner_has_a_real_amplitude(real):
    config, *_, faces = real
    poisoner = untrained_poisoner(config, open_faces(config, "surrogate"))
    _, x, _ = next(faces.in_order(4))
    assert not poisoner.training and poisoner(x).abs().mean() > 0.3
    assert_close(poisoner(x), untrained_poisoner(config, open_faces(config, "surrogate"))(x))
