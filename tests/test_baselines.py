"""One set of promises for every attack and control: the ball, the range, the same numbers from the same generator."""

import pytest
import torch
from torch.testing import assert_close

from idf import baselines
from idf.config import HAIR, load_config
from idf.losses import forge, target_labels
from idf.networks import frozen, make_generator

CONFIG = load_config("smoke")
EPS = 0.05


@pytest.fixture(scope="module")
def scene():
    """An editor, images with pixels at both ends of the range, and their targets."""
    torch.manual_seed(0)
    x = (torch.rand(2, 3, 32, 32) * 2.4 - 1.2).clamp(-1, 1)
    assert x.min() == -1 and x.max() == 1
    return (
        frozen(make_generator("Res6", CONFIG)),
        x,
        target_labels(torch.eye(5)[:2], CONFIG.domains, HAIR),
    )


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


ATTACKS = {
    "pgd": lambda editor, x, targets, eps, seed: baselines.pgd(
        editor, x, targets, eps, generator=seeded(seed)
    ),
    "i_fgsm": lambda editor, x, targets, eps, seed: baselines.i_fgsm(
        editor, x, targets, eps, generator=seeded(seed)
    ),
    "random_noise": lambda editor, x, targets, eps, seed: baselines.random_noise(
        x, eps, seeded(seed)
    ),
    "brightened": lambda editor, x, targets, eps, seed: baselines.brightened(x, eps),
}


@pytest.mark.parametrize("eps", [0.01, EPS])
@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_stays_in_the_ball_and_the_range(scene, name, eps):
    editor, x, targets = scene
    before = x.clone()
    x_infected = ATTACKS[name](editor, x, targets, eps, 3)
    assert (
        x_infected.shape == x.shape and x_infected.dtype == x.dtype and not x_infected.requires_grad
    )
    assert (x_infected - x).abs().max() <= eps + 1e-6
    assert x_infected.abs().max() <= 1
    assert (x_infected - x).abs().mean() > 0.3 * eps  # and uses a good part of the ball
    assert torch.equal(x, before)
    assert torch.equal(x_infected, ATTACKS[name](editor, x, targets, eps, 3))
    assert torch.equal(x_infected, ATTACKS[name](editor, x, targets, eps, 4)) == (
        name == "brightened"
    )


@pytest.mark.parametrize("attack", [baselines.pgd, baselines.i_fgsm])
def test_gradient_attacks_end_above_their_start(scene, attack):
    editor, x, targets = scene

    def loss(x_infected):
        return (
            (forge(editor, x_infected, targets) - forge(editor, x, targets)).square().mean().item()
        )

    start = attack(editor, x, targets, EPS, steps=0, generator=seeded())
    one, ten = (attack(editor, x, targets, EPS, steps=n, generator=seeded()) for n in (1, 10))
    assert 0 < loss(start) < loss(one) < loss(ten)
    assert loss(ten) > 2 * loss(baselines.random_noise(x, EPS, seeded()))


def test_where_the_two_attacks_start(scene):
    editor, x, targets = scene
    for attack, radius in ((baselines.pgd, EPS), (baselines.i_fgsm, 1e-3 * EPS)):
        start = attack(editor, x, targets, EPS, steps=0, generator=seeded())
        assert torch.equal(start, baselines.random_noise(x, radius, seeded()))


def test_on_an_editor_that_does_nothing_the_attack_flees_from_x():
    x, targets = torch.zeros(1, 3, 4, 4), torch.zeros(2, 1, 2)
    start = baselines.random_noise(x, EPS, seeded())
    x_infected = baselines.pgd(lambda x, c: x, x, targets, EPS, generator=seeded())
    assert_close(x_infected, EPS * start.sign())


def test_an_attack_leaves_no_gradient_in_the_editor(scene):
    _, x, targets = scene
    editor = make_generator("Res6", CONFIG)
    baselines.pgd(editor, x, targets, EPS, steps=1, generator=seeded())
    assert all(p.grad is None for p in editor.parameters())


def test_the_controls_by_hand():
    x = torch.tensor([-1.0, 0.0, 0.98]).view(1, 3, 1, 1)
    assert_close(baselines.brightened(x, 0.05).flatten(), torch.tensor([-0.95, 0.05, 1.0]))
    noise = baselines.random_noise(torch.zeros(4, 3, 64, 64), 0.05, seeded())
    assert noise.mean().abs() < 1e-3 and noise.square().mean().item() == pytest.approx(
        0.05**2 / 3, rel=0.02
    )  # uniform


def test_random_colour_uses_the_whole_ball_and_has_no_grey():
    noise = (
        baselines.random_colour(torch.zeros(2, 3, 16, 16), 0.05, torch.Generator().manual_seed(0))
        / 0.05
    )
    assert torch.equal(noise.abs(), torch.ones_like(noise))
    assert (noise.sum(1).abs() == 1).all()


@pytest.mark.parametrize(
    "low, high, kind",
    [(0.0, 0.1, "grey"), (0.1, 0.22, "colour"), (0.34, 0.5, "free"), (0.5, 0.72, "colour")],
)
def test_band_noise_keeps_to_its_band_and_kind(low, high, kind):
    noise = baselines.band_noise((4, 3, 64, 64), low, high, kind, torch.Generator().manual_seed(0))
    assert torch.equal(noise.abs(), torch.ones_like(noise))
    assert torch.equal(noise[:, :1].expand_as(noise), noise) == (kind == "grey")
    all_alike = (noise.sum(1).abs() == 3).float().mean().item()
    assert all_alike == {"grey": 1, "colour": 0}.get(kind, pytest.approx(0.25, abs=0.05))
    radius = torch.fft.fftfreq(64)[:, None].hypot(torch.fft.fftfreq(64))
    power = torch.fft.fft2(noise).abs().square().mean((0, 1))
    inside = (low <= radius) & (radius < high)
    assert power[inside].mean() > 2 * power[~inside].mean()
