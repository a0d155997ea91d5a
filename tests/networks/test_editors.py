"""Editors y = M(x, c), translators y = M(z), critics and judge: shapes, ranges, what they see."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from idf.config import EditorSettings, ForgerSettings, UserError
from idf.networks import (
    GENERATORS,
    CNet,
    DomainDiscriminator,
    Judge,
    PatchDiscriminator,
    PatchGAN,
    Res,
    UNet128,
    UNet256,
    frozen,
    make_generator,
)
from idf.zoo.grid import NETWORKS

SIZES = (32, 64, 128)
TRANSLATORS = ForgerSettings.model_fields["network"].annotation.__args__


def pictures(count, size):
    return torch.rand(count, 3, size, size) * 2 - 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", NETWORKS)
def test_editors(name, size):
    editor, x, c = make_generator(name, 5, 4, size), pictures(2, size), torch.eye(5)[:2]
    y = editor(x, c)
    assert y.shape == x.shape and y.abs().max() <= 1
    assert (editor(x, 1 - c) - y).abs().max() > 1e-4  # the label is heard
    assert_close(editor.eval()(x, c), y)  # instance norm has no other mode
    # nor does an image depend on its batch
    assert_close(editor(x[1:], c[1:]), y[1:], rtol=1e-3, atol=1e-4)
    y.mean().backward()
    assert all(p.grad is not None for p in editor.parameters())


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("name", TRANSLATORS)
def test_translators(name, size):
    network, z = make_generator(name, 0, 4, size), pictures(2, size)
    y = network(z)
    assert y.shape == z.shape and y.abs().max() <= 1
    y.mean().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_one_table_serves_both_scenarios():
    assert {*NETWORKS, *TRANSLATORS} == set(GENERATORS)


@pytest.mark.parametrize("name", ["Res7", "UNet", ""])
def test_an_unknown_network_is_named_beside_the_known_ones(name):
    words = f"^Unknown network '{name}': use one of Res6, Res9, CNet, UNet128, UNet256, UNet128-BN"
    with pytest.raises(UserError, match=words):
        make_generator(name, 5, EditorSettings().width, 128)


def test_the_generators_differ_as_the_paper_says():
    def blocks(network):
        return sum(type(m).__name__ == "ResidualBlock" for m in network.modules())

    def halvings(network):
        convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        return sum(conv.stride == (2, 2) for conv in convs)

    networks = [Res(5, 4, blocks=6), Res(5, 4, blocks=9), CNet(5, 4), UNet128(5, 4)]
    assert [blocks(network) for network in networks] == [6, 9, 0, 0]
    networks = [CNet(5, 4), UNet128(5, 4, 128), UNet128(5, 4, 32)]
    assert [halvings(network) for network in networks] == [4, 7, 5]


@pytest.mark.parametrize("size, halvings", [(256, 8), (128, 7), (32, 5)])
def test_pix2pix_halves_down_to_one_pixel(size, halvings):
    for less in (0, 1):
        network = UNet256(0, 2, size, less)
        convs = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
        assert len(convs) == halvings - less


def test_dropout_stands_in_the_inner_blocks_only():
    for less, blocks in ((0, 3), (1, 2)):
        network = UNet256(0, 4, 256, less)
        assert sum(isinstance(m, nn.Dropout) for m in network.modules()) == blocks
    assert not any(isinstance(m, nn.Dropout) for m in UNet128(5, 4).modules())


def test_pix2pix_starts_with_small_weights():
    for network in (UNet256(0, 16, 64), PatchGAN(16)):
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                assert abs(module.weight.mean() - 1) < 0.05 and module.weight.std() < 0.05
            elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.2)
                assert module.bias is None or not module.bias.any()


@pytest.mark.parametrize("size", SIZES)
def test_discriminators_and_judge(size):
    x = pictures(3, size)
    scores, logits = DomainDiscriminator(size, 5, 4)(x)
    assert scores.shape == (3, 1, 2, 2) and logits.shape == (3, 5)
    assert PatchDiscriminator(size, 4)(x).shape == (3, 1, 2, 2)
    assert Judge(7, 4).eval()(x).shape == (3, 7)


def test_a_critic_has_no_norm():
    """With one, WGAN-GP's penalty would not be each image's own."""
    critic, x = DomainDiscriminator(32, 5, 4), pictures(3, 32)
    assert_close(critic(x)[0][1:], critic(x[1:])[0])
    assert_close(critic(x)[1][1:], critic(x[1:])[1])


def test_frozen_passes_gradients_through_to_the_input():
    network, x = frozen(Judge(2, 4)), pictures(1, 32).requires_grad_()
    network(x).sum().backward()
    assert not network.training and x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
