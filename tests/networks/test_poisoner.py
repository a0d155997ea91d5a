"""PG: its range, its widths, and the bound on its amplitude."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from idf import metrics
from idf.config import FilmPoisonerSettings, PoisonerSettings, UserError
from idf.losses import infect
from idf.networks import PoisonGenerator, WaveGenerator, make_poisoner
from idf.networks.carriers import COLOURS, carriers, strengths
from idf.networks.poisoner import AXIS


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


def waves(**settings):
    torch.manual_seed(0)
    return make_poisoner(PoisonerSettings(head="Waves", width=8, **settings)).train()


def seeded(number):
    return torch.Generator().manual_seed(number)


@pytest.mark.parametrize("periods", [(4,), (2, 4)])
def test_waves_are_within_tau_at_34_db_and_nearly_without_grey(periods):
    poisoner, x = waves(periods=periods, keys=1), pictures(4, 64)
    delta = poisoner(x)
    assert isinstance(poisoner, WaveGenerator) and delta.shape == x.shape
    assert delta.abs().max() <= 1
    psnr = 10 * torch.log10(4 / (0.05**2 * delta.square().mean((1, 2, 3))))
    assert psnr.min() > 34 and psnr.max() < 34.5
    assert delta.mean(1).abs().mean() < 0.3 * delta.abs().mean()


def test_waves_lie_in_the_lock():
    delta = waves(keys=1)(pictures(2, 64))
    inside = strengths(delta, carriers(4)).square().sum() / delta.square().sum()
    assert inside > 0.9


def test_each_picture_has_a_key_of_its_own():
    poisoner, x = waves(keys=1), pictures(1, 64).expand(2, -1, -1, -1)
    delta = poisoner(x, seeded(1))
    assert torch.equal(delta, poisoner(x, seeded(1)))
    alike = torch.cosine_similarity(delta[0].flatten(), delta[1].flatten(), dim=0)
    assert alike.abs() < 0.3


def test_waves_of_one_frequency_carry_messages_at_right_angles():
    branch = waves(keys=1).branches[0]
    keys = branch.random_keys(3, seeded(0))
    assert keys.shape == (3, 30, 8) and [len(w) for w in branch.powers].count(4) == 6
    for one in branch.powers:
        # the power of each wave is that of its colour; two phases are at right angles
        colour = keys[:, one[0::2]]
        products = colour @ colour.mT
        assert_close(products, products.diagonal(dim1=1, dim2=2).diag_embed())
    assert (keys[0] - keys[1]).abs().max() > 0.1


def test_all_frequencies_are_as_strong_but_stripes():
    branch = waves(keys=1).branches[0]
    keys = branch.random_keys(3, seeded(0))
    powers = {waves: keys[:, waves].square().sum((1, 2)) for waves in branch.powers}
    # (1/4, 1/4) and (3/4, 3/4) are phases of one frequency, each in two colours
    assert (4, 19, 14, 29) in powers and len(powers) == 9
    for waves_of_one, power in powers.items():
        a, b = divmod(waves_of_one[0] + 1, 4)
        assert_close(power, torch.full((3,), 1.0 if a and b else 0.25))


def test_focused_waves_run_along_neither_axis():
    x = pictures(2, 64)
    plain, focused = (waves(keys=1, focused=one)(x, seeded(0)) for one in (False, True))
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    # slow changes spread a wave over a few neighbours of its frequency, multiples of 16 / 64
    nearest = [(f / 16).round().long() % 4 for f in (rows, columns)]
    stripes = (nearest[0] == 0) | (nearest[1] == 0)
    chessboard = (nearest[0] == 2) & (nearest[1] == 2)
    shares = []
    for delta in (plain, focused):
        power = torch.fft.fft2(delta).abs().square().sum((0, 1))
        shares.append(power[stripes | chessboard].sum() / power.sum())
    assert shares[0] > 0.3 and shares[1] < 0.15


def test_a_lock_without_slanting_waves_is_refused():
    with pytest.raises(UserError, match="No wave of period 2 px slants"):
        waves(keys=1, focused=True, periods=(2,))


def test_three_quarters_of_the_power_lie_along_the_colour_axis():
    keys = waves(keys=1).branches[0].random_keys(200, seeded(0)).unflatten(1, (2, -1))
    axis = COLOURS @ torch.nn.functional.normalize(torch.tensor(AXIS), dim=0)
    along = torch.einsum("c,bcnm->bnm", axis, keys).square().sum() / keys.square().sum()
    assert_close(axis.norm(), torch.tensor(1.0))
    assert abs(along - 0.75) < 0.01


def test_without_keys_nothing_is_random():
    poisoner, x = waves(keys=0), pictures(2, 64)
    assert torch.equal(poisoner(x, seeded(1)), poisoner(x, seeded(2)))


def test_a_trained_wave_generator_looks_at_the_face():
    poisoner, x = waves(keys=0), pictures(2, 64)
    nn.init.normal_(poisoner.branches[0].shape.weight, std=1.0)
    delta = poisoner(x)
    assert (delta[0] - delta[1]).abs().mean() > 0.01


def test_a_flat_picture_is_no_trouble():
    poisoner = waves(keys=1)
    delta = poisoner(torch.full((1, 3, 32, 32), 0.3))
    assert torch.isfinite(delta).all()
    delta.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in poisoner.parameters())
