"""One set of promises for all attacks and controls: the ball, the range, the same numbers again."""

import pytest
import torch
from torch.testing import assert_close

from idf import attacks
from idf.config import HAIR, load_config
from idf.losses import forge, target_labels
from idf.networks import frozen, make_generator
from idf.networks.carriers import carriers

CONFIG = load_config("smoke")
EPS = 0.05


def fresh_editor():
    return make_generator("Res6", len(CONFIG.domains), CONFIG.editor.width, CONFIG.size)


@pytest.fixture(scope="module")
def scene():
    """An editor, images with pixels at both ends of the range, and their targets."""
    torch.manual_seed(0)
    x = (torch.rand(2, 3, 32, 32) * 2.4 - 1.2).clamp(-1, 1)
    assert x.min() == -1 and x.max() == 1
    return frozen(fresh_editor()), x, target_labels(torch.eye(5)[:2], CONFIG.domains, HAIR)


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


def by_pgd(editor, x, targets, eps, generator):
    return attacks.pgd(editor, x, targets, eps, generator=generator)


def by_i_fgsm(editor, x, targets, eps, generator):
    return attacks.i_fgsm(editor, x, targets, eps, generator=generator)


def by_noise(editor, x, targets, eps, generator):
    return attacks.random_noise(x, eps, generator)


def by_colour(editor, x, targets, eps, generator):
    return attacks.random_colour(x, eps, generator)


def by_tiles(editor, x, targets, eps, generator):
    return attacks.tiles(x, eps, generator)


def by_light(editor, x, targets, eps, generator):
    return attacks.brightened(x, eps)


@pytest.mark.parametrize("eps", [0.01, EPS])
@pytest.mark.parametrize("attack", [by_pgd, by_i_fgsm, by_noise, by_colour, by_tiles, by_light])
def test_every_attack_stays_in_the_ball_and_the_range(scene, attack, eps):
    editor, x, targets = scene
    before = x.clone()
    x_infected = attack(editor, x, targets, eps, seeded())
    assert x_infected.shape == x.shape and x_infected.dtype == x.dtype
    assert not x_infected.requires_grad
    assert (x_infected - x).abs().max() <= eps + 1e-6
    assert x_infected.abs().max() <= 1
    assert (x_infected - x).abs().mean() > 0.3 * eps  # and uses a good part of the ball
    assert torch.equal(x, before)

    # the generator decides, and nothing else
    torch.rand(7)
    assert torch.equal(x_infected, attack(editor, x, targets, eps, seeded()))
    other = attack(editor, x, targets, eps, seeded(4))
    assert torch.equal(x_infected, other) == (attack is by_light)


@pytest.mark.parametrize("attack", [attacks.pgd, attacks.i_fgsm])
def test_gradient_attacks_end_above_their_start(scene, attack):
    editor, x, targets = scene

    def loss(x_infected):
        change = forge(editor, x_infected, targets) - forge(editor, x, targets)
        return change.square().mean().item()

    def after(steps):
        return attack(editor, x, targets, EPS, steps=steps, generator=seeded())

    ten = loss(after(10))
    assert 0 < loss(after(0)) < loss(after(1)) < ten
    assert ten > 2 * loss(attacks.random_noise(x, EPS, seeded()))


@pytest.mark.parametrize("attack, radius", [(attacks.pgd, EPS), (attacks.i_fgsm, 1e-3 * EPS)])
def test_where_the_two_attacks_start(scene, attack, radius):
    editor, x, targets = scene
    start = attack(editor, x, targets, EPS, steps=0, generator=seeded())
    assert torch.equal(start.clamp(-1, 1), attacks.random_noise(x, radius, seeded()))
    # PGD's own start alone may leave the range, as in the public code
    assert (start.abs().max() > 1) == (attack is attacks.pgd)
    assert (start - x).abs().max() <= radius + 1e-6


def test_on_an_editor_that_does_nothing_the_attack_flees_from_x():
    x, targets = torch.zeros(1, 3, 4, 4), torch.zeros(2, 1, 2)
    start = attacks.random_noise(x, EPS, seeded())
    x_infected = attacks.pgd(lambda x, c: x, x, targets, EPS, generator=seeded())
    assert_close(x_infected, EPS * start.sign())


def test_an_attack_leaves_no_gradient_in_the_editor(scene):
    _, x, targets = scene
    editor = fresh_editor()
    attacks.pgd(editor, x, targets, EPS, steps=1, generator=seeded())
    assert all(p.grad is None for p in editor.parameters())


def test_the_controls_by_hand():
    x = torch.tensor([-1.0, 0.0, 0.98]).view(1, 3, 1, 1)
    assert_close(attacks.brightened(x, 0.05).flatten(), torch.tensor([-0.95, 0.05, 1.0]))
    noise = attacks.random_noise(torch.zeros(4, 3, 64, 64), 0.05, seeded())
    assert noise.mean().abs() < 1e-3
    assert noise.square().mean().item() == pytest.approx(0.05**2 / 3, rel=0.02)  # uniform


def test_random_colour_uses_the_whole_ball_and_has_no_grey():
    noise = attacks.random_colour(torch.zeros(2, 3, 16, 16), 0.05, seeded()) / 0.05
    assert torch.equal(noise.abs(), torch.ones_like(noise))
    assert (noise.sum(1).abs() == 1).all()


@pytest.mark.parametrize(
    "low, high, kind",
    [(0.0, 0.1, "grey"), (0.1, 0.22, "colour"), (0.34, 0.5, "free"), (0.5, 0.72, "colour")],
)
def test_band_noise_keeps_to_its_band_and_kind(low, high, kind):
    noise = attacks.band_noise((4, 3, 64, 64), low, high, kind, seeded(0))
    assert torch.equal(noise.abs(), torch.ones_like(noise))
    assert torch.equal(noise[:, :1].expand_as(noise), noise) == (kind == "grey")
    all_alike = (noise.sum(1).abs() == 3).float().mean().item()
    assert all_alike == {"grey": 1, "colour": 0}.get(kind, pytest.approx(0.25, abs=0.05))

    radius = torch.fft.fftfreq(64)[:, None].hypot(torch.fft.fftfreq(64))
    power = torch.fft.fft2(noise).abs().square().mean((0, 1))
    inside = (low <= radius) & (radius < high)
    assert power[inside].mean() > 2 * power[~inside].mean()


@pytest.mark.parametrize("period, region", [(4, 16), (3, 16), (2, 8), (5, 32)])
def test_a_region_repeats_its_tile(period, region):
    x = torch.zeros(2, 3, 32, 32)
    x_infected = attacks.tiles(x, EPS, seeded(), carriers(period), region)
    for corner in range(0, 32 - 2 * period + 1, period):
        tile = x_infected[..., :period, corner : corner + period]
        beside = x_infected[..., :period, corner + period : corner + 2 * period]
        # a tile that begins in a region belongs to it
        same_region = corner // region == (corner + period) // region
        assert torch.equal(tile, beside) == same_region
    assert not torch.equal(x_infected[0], x_infected[1])
    colour = (x_infected - x).sum(1)
    assert colour.abs().max() < 3 * EPS - 1e-3, "a sign that all three channels share is grey"


def test_an_x_for_each_class_is_stronger_for_it(scene):
    editor, x, targets = scene
    one = attacks.pgd(editor, x, targets, EPS, generator=seeded())
    own = attacks.pgd_per_class(editor, x, targets, EPS, generator=seeded())
    assert own.shape == (len(targets), *x.shape)
    assert (own - x).abs().max() <= EPS + 1e-6 and (own[0] - own[1]).abs().max() > 0
    with torch.no_grad():
        y = forge(editor, x, targets)
        moved = [(forge(editor, image, targets) - y).square().mean() for image in (one, own)]
    assert moved[1] > moved[0]
