"""PG: its range, its widths, and the bound on its amplitude."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from idf import metrics
from idf.config import FilmPoisonerSettings, PoisonerSettings
from idf.losses import infect
from idf.networks import PoisonGenerator, TileGenerator, make_poisoner
from idf.networks.poisoner import whitened


def pictures(count, size):
    return torch.rand(count, 3, size, size) * 2 - 1


@pytest.mark.parametrize("size", (32, 64, 128))
@pytest.mark.parametrize("training", [True, False])
def test_delta_is_within_tau(size, training):
    poisoner, x = PoisonGenerator(8, 5).train(training), pictures(2, size)
    delta = poisoner(x)
    assert delta.shape == x.shape and delta.abs().max() <= 1 and delta.std() > 0
    x_infected = infect(x, delta, 0.05)
    assert x_infected.abs().max() <= 1 and (x_infected - x).abs().max() <= 0.05 + 1e-6


@pytest.mark.parametrize("settings", [PoisonerSettings(), FilmPoisonerSettings()])
def test_the_defaults_are_the_authors_code(settings):
    for poisoner in (PoisonGenerator(), make_poisoner(settings)):
        assert [block[0].out_channels for block in poisoner.down] == [64, 128, 256, 512, 1024]
        conv, norm, squash = poisoner.last
        assert conv.kernel_size == (1, 1) and isinstance(squash, nn.Tanh)
        assert isinstance(norm, nn.BatchNorm2d) and norm.affine and poisoner.align_corners


@pytest.mark.parametrize("settings", [PoisonerSettings(), FilmPoisonerSettings()])
def test_poisoners_settings_are_heard(settings):
    small = settings.changed(width=4, levels=3, affine=False, align_corners=False)
    poisoner = make_poisoner(small)
    assert [block[0].out_channels for block in poisoner.down] == [4, 8, 16]
    assert not poisoner.last[1].affine and not poisoner.align_corners


def test_the_corners_of_its_upsampling_are_a_setting():
    aligned, other = PoisonGenerator(4, 3), PoisonGenerator(4, 3, align_corners=False)
    other.load_state_dict(aligned.state_dict())
    x = pictures(2, 32)
    assert not torch.allclose(aligned(x), other(x))


def test_the_amplitude_is_bounded():
    bound = torch.tanh(torch.tensor(1.0)).square()  # .58: 34.4 dB at eps .05
    for seed in range(5):
        torch.manual_seed(seed)
        poisoner, x = PoisonGenerator(4, 3, affine=False).train(), pictures(4, 32) * 0.9
        delta = poisoner(x)
        assert 0.2 < delta.square().mean() <= bound + 1e-4
        mse = metrics.l2(x, infect(x, delta, 0.05)).mean()
        assert 10 * torch.log10(4 / mse) >= 34.4


def test_the_bound_is_reached_by_two_values_alone():
    head = PoisonGenerator(1, 1, affine=False).last.train()
    h = torch.ones(2, 1, 8, 8)
    h[:, :, ::2] = -1
    nn.init.constant_(head[0].weight, 30.0)  # however large the weights
    assert_close(head(h).square().mean(), torch.tanh(torch.tensor(1.0)).square(), rtol=1e-4, atol=0)


def test_an_affine_poisoner_may_become_a_brightness_slider():
    poisoner = PoisonGenerator(4, 3, affine=True).train()
    nn.init.constant_(poisoner.last[1].bias, 9.0)
    assert poisoner(pictures(2, 32)).min() > 0.9
    bounded = PoisonGenerator(4, 3, affine=False).state_dict()
    assert not [name for name in bounded if name in ("last.1.weight", "last.1.bias")]


@pytest.mark.parametrize("periods", [(4,), (2, 4)])
def test_tiles_are_within_tau_bounded_and_nearly_without_grey(periods):
    torch.manual_seed(0)
    settings = PoisonerSettings(head="Tiles", width=8, periods=periods)
    poisoner, x = make_poisoner(settings).train(), pictures(4, 32)
    delta = poisoner(x)
    assert isinstance(poisoner, TileGenerator) and delta.shape == x.shape
    assert delta.abs().max() <= 1
    assert 0.05 < delta.square().mean() <= torch.tanh(torch.tensor(1.0)).square() + 1e-4
    assert delta.mean(1).abs().mean() < 0.3 * delta.abs().mean()


def test_whitening_leaves_no_wave_weak_and_no_two_together():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.eye(30) + 0.05 * torch.randn(3, 30, 30, generator=generator)
    mixed = mixing @ torch.randn(3, 30, 256, generator=generator)
    h = whitened((5 + mixed).view(3, 30, 16, 16)).flatten(2)
    covariance = h @ h.mT / h.shape[2]
    assert_close(covariance, torch.eye(30).expand(3, -1, -1), atol=0.01, rtol=0)
    assert h.mean(2).abs().max() < 1e-4


def test_a_flat_picture_is_no_trouble():
    poisoner = make_poisoner(PoisonerSettings(head="Tiles", width=8, periods=(4,)))
    delta = poisoner(torch.full((1, 3, 32, 32), 0.3))
    assert torch.isfinite(delta).all()
    delta.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in poisoner.parameters())
