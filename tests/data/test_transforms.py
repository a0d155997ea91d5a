"""What may happen to a picture: each transformation by hand, and what all have in common."""

import numpy as np
import pytest
import torch

from idf.data.drawn.faces import render_faces
from idf.data.pictures import in_8_bits, to_model
from idf.data.transforms import (
    KINDS,
    TRANSFORMS,
    blurred,
    brighter,
    by_pixels,
    cropped,
    fewer_bits,
    jpeg,
    median,
    name_of,
    noisy,
    resized,
    scaled,
    screenshot,
    shifted,
    webp,
)

S = 32
NEUTRAL = {  # kinds by strengths that change nothing
    "none": 0,
    "unrounded": 0,
    "bits": 8,
    "resize": 1,
    "shift": 0,
    "crop": 0,
    "enlarge": 1,
    "reduce": 1,
    "median": 1,
    "noise": 0,
    "brighten": 1,
    "darken": 1,
}


@pytest.fixture(scope="module")
def x():
    return to_model(render_faces([0, 1], S).images)


def edge():
    """Numbered columns, as pixels: a step in each."""
    return np.repeat(np.arange(4, dtype=np.uint8)[None, :, None] * 10, 4, 0).repeat(3, 2)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_keeps_shape_and_range_and_answers_in_8_bits(name, x):
    before = x.clone()
    result = TRANSFORMS[name](x)
    assert torch.equal(x, before), "what it is given stays as it is"
    assert result.shape == x.shape and result.dtype == x.dtype
    assert result.abs().max() <= 1
    assert torch.equal(result, in_8_bits(result))
    assert torch.equal(result, TRANSFORMS[name](x)), "T(x) and T(x') are the same T"
    assert torch.equal(result, x) == (name in ("none", "unrounded")), "x is in 8 bits already"


@pytest.mark.parametrize("name", KINDS)
def test_one_picture_goes_the_way_of_many(name, x):
    """An x' for each class, (J, B, 3, S, S), too; noise depends on the place in the batch."""
    strength = KINDS[name].strengths[-1]
    many = KINDS[name](x, strength)
    assert torch.allclose(KINDS[name](x[:1], strength), many[:1], atol=1 / 127.5 + 1e-6)
    classes = torch.stack([x, x])
    assert torch.equal(KINDS[name](classes, strength), torch.stack([many, many]))


@pytest.mark.parametrize("name, strength", NEUTRAL.items())
def test_without_strength_nothing_happens(name, strength, x):
    assert torch.allclose(KINDS[name](x, strength), x, atol=1e-6)


@pytest.mark.parametrize("name", [name for name in KINDS if len(KINDS[name].strengths) > 1])
def test_stronger_changes_more(name, x):
    kind = KINDS[name]
    moved = [(kind(x, strength) - x).square().mean().item() for strength in kind.strengths]
    assert moved == sorted(moved) and moved[0] > 0


def test_names_are_the_tables():
    assert TRANSFORMS["jpeg-444-95"].label == "JPEG, full colours, quality 95"
    assert TRANSFORMS["none"].label == "none" and name_of("blur", 0.5) == "blur-0.5"
    assert KINDS["shift"].in_words(1, 2) == "1, 2 px"
    assert all(
        TRANSFORMS[name_of(name, strength)].strength == strength
        for name, kind in KINDS.items()
        for strength in kind.strengths
    )


def test_a_picture_that_is_not_saved_keeps_its_fractions(x):
    fine = (x + 0.001).clamp(-1, 1)
    assert torch.equal(TRANSFORMS["unrounded"](fine), fine)
    assert torch.equal(TRANSFORMS["none"](fine), in_8_bits(fine)) and not torch.equal(fine, x)


def test_jpeg_and_webp_keep_fine_colour_only_where_all_colours_are_stored(x):
    """A checkerboard of green and red, one pixel a field, as light everywhere."""
    rows, columns = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="ij")
    sign = (2 * ((rows + columns) % 2) - 1).float()
    weave = 0.2 * torch.stack([sign * 0.587 / 0.299, -sign, torch.zeros(S, S)])[None]
    left = {
        name: (TRANSFORMS[name](weave) - TRANSFORMS[name](0 * weave)).std() / weave.std()
        for name in ("jpeg-444-95", "jpeg-95", "webp-95")
    }
    assert left["jpeg-444-95"] > 0.9 and left["jpeg-95"] < 0.2 and left["webp-95"] < 0.2
    pixels = np.full((8, 8, 3), 100, np.uint8)
    assert np.array_equal(jpeg(pixels, 95), pixels) and np.array_equal(webp(pixels, 80), pixels)


def test_shift_crop_and_scale_by_hand():
    pixels = edge()
    assert shifted(pixels, 1)[..., 0].tolist() == [[0, 0, 10, 20]] * 4
    assert shifted(pixels.transpose(1, 0, 2), 2)[:, 0, 0].tolist() == [0, 0, 0, 10]

    inner = cropped(np.pad(pixels, ((2, 2), (2, 2), (0, 0))), 2)
    assert inner.shape == (8, 8, 3) and inner.min() == 0 and inner.max() >= 30

    # the middle stays; a ramp becomes as steep as the factor says
    ramp = np.repeat((4 * np.arange(64, dtype=np.uint8))[None, :, None], 64, 0).repeat(3, 2)
    for factor in (2, 1.1, 0.9, 0.5):
        line = scaled(ramp, factor)[32, :, 0].astype(int)
        assert abs(line[31] + line[32] - 252) <= 2
        assert line[40] - line[24] == pytest.approx(64 / factor, abs=2)
    assert scaled(ramp, 0.5)[0, 0, 0] == 0 and scaled(ramp, 0.5)[0, -1, 0] == 252


def test_resizing_and_a_screenshot_take_the_finest(x):
    rows, columns = np.indices((S, S))
    checks = ((rows + columns) % 2 * 40 + 100).astype(np.uint8)[..., None].repeat(3, 2)
    assert resized(checks, 0.5)[4:-4, 4:-4].std() < 1
    assert screenshot(checks, 0.5)[4:-4, 4:-4].std() < 1
    assert screenshot(checks, 2)[4:-4, 4:-4].std() > 3, "more pixels on the screen keep more"
    wide = np.zeros((20, 31, 3), np.uint8)
    assert resized(wide, 0.9).shape == screenshot(wide, 0.9).shape == wide.shape


def test_bits_by_hand():
    x = torch.tensor([-1, -0.4, 0.4, 1.0]).expand(1, 3, 2, 4)
    assert fewer_bits(x, 1)[0, 0, 0].tolist() == [-1, -1, 1, 1]
    assert torch.allclose(fewer_bits(x, 2)[0, 0, 0], torch.tensor([-1, -1 / 3, 1 / 3, 1]))


def test_a_blur_damps_a_wave_as_theory_has_it():
    """By exp(-2 (pi sigma f)^2), away from the border."""
    wave = torch.cos(2 * torch.pi * torch.arange(64) / 8).expand(1, 3, 64, 64)
    for sigma in (0.8, 1.5):
        left = blurred(wave, sigma)[..., 16:48].std() / wave[..., 16:48].std()
        assert left.item() == pytest.approx(np.exp(-2 * (np.pi * sigma / 8) ** 2), abs=0.02)


def test_median_by_hand():
    x = torch.zeros(1, 3, 5, 5)
    x[0, 0, 2, 2] = 1  # alone
    x[0, 1, :, 2:] = 1  # an edge
    cleaned = median(x, 3)
    assert cleaned[0, 0].abs().max() == 0 and torch.equal(cleaned[0, 1], x[0, 1])


def test_noise_and_light_by_hand(x):
    grey = torch.zeros(2, 3, 64, 64)
    noise = noisy(grey, 0.1)
    assert noise.std().item() == pytest.approx(0.1, rel=0.03) and abs(noise.mean()) < 0.003
    assert not torch.equal(noise[0], noise[1])
    assert torch.allclose(noisy(grey + 0.02, 0.1) - noise, torch.tensor(0.02), atol=1e-6)

    values = torch.tensor([-1, 0, 0.9]).expand(1, 3, 1, 3)
    assert torch.allclose(brighter(values, 1.2)[0, 0, 0], torch.tensor([-1, 0.2, 1]))
    assert torch.allclose(brighter(values, 0.5)[0, 0, 0], torch.tensor([-1, -0.5, -0.05]))


def test_a_function_of_pixels_sees_each_picture_and_its_strength(x):
    seen = []

    def note(pixels, strength, more):
        seen.append((pixels.shape, pixels.dtype, strength, more))
        return pixels

    assert torch.equal(by_pixels(note, more=5)(x, 3), x)
    assert seen == [((S, S, 3), np.uint8, 3, 5)] * len(x)
