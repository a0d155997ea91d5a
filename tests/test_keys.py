"""Keys: the waves, the matrix that turns them, and what stays where it was."""

import pytest
import torch
from torch.testing import assert_close

from idf import keys
from idf.losses import infect
from idf.networks import make_generator
from idf.networks.carriers import carriers, messages, same_frequency
from idf.training import randomness


@pytest.fixture
def delta():
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1


def a_key(basis, seed=0):
    return keys.random_key(basis.shape[1], torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("period, n", [(2, 6), (3, 16), (4, 30), (5, 48)])
def test_carriers_are_all_colour_waves_of_a_period(period, n):
    basis = carriers(period)
    assert basis.shape == (3 * period**2, n) and n == 2 * (period**2 - 1)
    assert_close(basis.T @ basis, torch.eye(n))
    tiles = basis.T.unflatten(1, (3, period, period))
    assert tiles.sum(1).abs().max() < 1e-5, "grey"
    assert tiles.sum((2, 3)).abs().max() < 1e-5, "a mean"


def test_carriers_are_grouped_by_frequency():
    basis, groups = carriers(4), same_frequency(4)
    assert sorted(wave for group in groups for wave in group) == list(range(30))
    power = torch.fft.fft2(basis.T.unflatten(1, (3, 4, 4))).abs().square().sum(1)
    for one in map(list, groups):
        assert len(one) in (2, 4) and (power[one[0]] - power[one]).abs().max() < 1e-4


def test_messages_change_slowly_and_are_no_constant():
    slow = messages(16, 4)
    assert slow.shape == (15, 16, 16)
    assert_close(slow.flatten(1) @ slow.flatten(1).T, torch.eye(15), atol=1e-5, rtol=0)
    assert slow.sum((1, 2)).abs().max() < 1e-4
    fastest = (slow[:, 1:] - slow[:, :-1]).abs().max()
    assert fastest < 0.6 * slow.abs().max(), "they turn round in a few tiles"


def test_a_key_is_orthogonal_and_another_in_each_step():
    drawn = [keys.random_key(30, randomness(seed=0, iteration=i, rank=0)) for i in (0, 1, 1)]
    assert_close(drawn[0][0] @ drawn[0][0].T, torch.eye(30), atol=1e-5, rtol=0)
    assert (drawn[0] - drawn[1]).abs().max() > 0.1
    assert torch.equal(drawn[1], drawn[2]), "a resumed training draws other keys"


def test_all_keys_are_equally_likely():
    drawn = keys.random_key(3, randomness(0, 0, 0), 2000)
    assert drawn.mean(0).abs().max() < 0.06  # QR alone would prefer one sign on the diagonal


def test_a_turn_keeps_grey_mean_strength_and_other_waves(delta):
    basis = carriers(4)
    turned = keys.turn(delta, basis, a_key(basis))
    assert (turned - delta).abs().mean() > 0.1
    assert_close(turned.mean(1), delta.mean(1))
    assert_close(turned.mean((2, 3)), delta.mean((2, 3)))
    assert_close(turned.square().sum(), delta.square().sum())
    assert_close(keys.turn(turned, basis, a_key(basis).mT), delta)

    # a wave of period 3 is no matter of these keys, nor is anything grey
    grey = delta.mean(1, keepdim=True).expand_as(delta)
    assert_close(keys.turn(grey, basis, a_key(basis)), grey)


def test_all_tiles_are_turned_alike(delta):
    basis = carriers(4)
    one = delta[:1, :, :4, :4].tile(1, 1, 4, 4)
    turned = keys.turn(one, basis, a_key(basis))
    assert_close(turned, turned[:, :, :4, :4].tile(1, 1, 4, 4))


def test_each_face_may_have_its_key(delta):
    basis = carriers(4)
    both = keys.random_key(30, torch.Generator().manual_seed(0), 2)
    turned = keys.turn(delta, basis, both)
    for i in range(2):
        assert_close(turned[i : i + 1], keys.turn(delta[i : i + 1], basis, both[i : i + 1]))


def test_gradients_pass_through_a_turn(delta):
    x = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    basis = carriers(4)

    def shown(d):
        return infect(x, keys.turn(d, basis, a_key(basis)), 0.05)

    delta = delta[:1, :, :4, :4].double().requires_grad_(True)
    assert torch.autograd.gradcheck(shown, delta)


@pytest.mark.parametrize("name, side", [("Res6", 4), ("Res9", 4), ("CNet", 16), ("UNet128", 2)])
def test_the_strides_say_the_period(name, side):
    assert keys.period(make_generator(name, 5, 4, 64)) == side


@pytest.mark.parametrize("name", ["Res6", "CNet"])
@torch.no_grad()
def test_an_editor_writes_tiles_of_its_period(name):
    torch.manual_seed(0)
    editor = make_generator(name, 0, 4, 128).double()
    y = editor(torch.full((1, 3, 128, 128), 0.3, dtype=torch.float64))
    middle, side = y[..., 48:80, 48:80], keys.period(editor)

    def repeats_after(shift):
        later = y[..., 48 + shift : 80 + shift, 48:80]
        return (middle - later).abs().max().item()

    assert repeats_after(side) < 0.05 * repeats_after(side // 2)
