"""Shapes, ranges, and the published StarGAN's weights."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from idf import metrics
from idf.config import UserError, load_config
from idf.losses import infect
from idf.networks import (
    GENERATORS,
    CNet,
    DomainDiscriminator,
    Judge,
    PatchDiscriminator,
    PoisonGenerator,
    Res,
    UNet128,
    frozen,
    make_generator,
)

SIZES = (32, 64, 128)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def pictures(count, size):
    return torch.rand(count, 3, size, size) * 2 - 1


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", GENERATORS)
def test_generators(name, size):
    config = load_config("smoke", size=size)
    editor, x, c = make_generator(name, config), pictures(2, size), torch.eye(5)[:2]
    y = editor(x, c)
    assert y.shape == x.shape and y.abs().max() <= 1
    assert (editor(x, 1 - c) - y).abs().max() > 1e-4  # the label is heard
    assert_close(editor.eval()(x, c), y)  # instance norm has no other mode
    assert_close(
        editor(x[1:], c[1:]), y[1:], rtol=1e-3, atol=1e-4
    )  # nor does an image depend on its batch
    y.mean().backward()
    assert all(p.grad is not None for p in editor.parameters())


def test_unknown_generator():
    with pytest.raises(UserError, match="'Res7'.*Res6, Res9, CNet, UNet128"):
        make_generator("Res7", load_config("smoke"))


def test_the_generators_differ_as_the_paper_says():
    blocks = lambda network: sum(type(m).__name__ == "ResidualBlock" for m in network.modules())
    assert [blocks(net) for net in (Res(5, 4, 6), Res(5, 4, 9), CNet(5, 4), UNet128(5, 4))] == [
        6,
        9,
        0,
        0,
    ]
    down = lambda network: sum(
        isinstance(m, nn.Conv2d) and m.stride == (2, 2) for m in network.modules()
    )
    assert [down(CNet(5, 4)), down(UNet128(5, 4, 128)), down(UNet128(5, 4, 32))] == [4, 7, 5]


@pytest.mark.parametrize("size", SIZES)
def test_discriminators_and_judge(size):
    x = pictures(3, size)
    scores, logits = DomainDiscriminator(size, 5, 4)(x)
    assert scores.shape == (3, 1, 2, 2) and logits.shape == (3, 5)
    assert PatchDiscriminator(size, 4)(x).shape == (3, 1, 2, 2)
    assert Judge(7, 4).eval()(x).shape == (3, 7)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("training", [True, False])
def test_poisoner(size, training):
    poisoner, x = PoisonGenerator(8, 5).train(training), pictures(2, size)
    delta = poisoner(x)
    assert delta.shape == x.shape and delta.abs().max() <= 1 and delta.std() > 0
    x_infected = infect(x, delta, 0.05)
    assert x_infected.abs().max() <= 1 and (x_infected - x).abs().max() <= 0.05 + 1e-6


def test_poisoners_widths_are_the_papers():
    poisoner = PoisonGenerator()
    assert [block[0].out_channels for block in poisoner.down] == [64, 128, 256, 512, 1024]
    assert [m for m in poisoner.modules() if isinstance(m, nn.Conv2d)][-1].kernel_size == (1, 1)
    assert isinstance(poisoner.last[-2], nn.BatchNorm2d) and isinstance(poisoner.last[-1], nn.Tanh)


def test_poisoners_amplitude_is_bounded():
    bound = torch.tanh(torch.tensor(1.0)).square()  # .58: 34.4 dB at eps .05
    for seed in range(5):
        torch.manual_seed(seed)
        poisoner, x = PoisonGenerator(4, 3).train(), pictures(4, 32) * 0.9
        delta = poisoner(x)
        assert 0.2 < delta.square().mean() <= bound + 1e-4
        mse = metrics.l2(x, infect(x, delta, 0.05)).mean()
        assert 10 * torch.log10(4 / mse) >= 34.4


def test_the_amplitude_bound_is_reached_by_two_values_alone():
    head = PoisonGenerator(1, 1).last.train()
    h = torch.ones(2, 1, 8, 8)
    h[:, :, ::2] = -1
    nn.init.constant_(head[0].weight, 30.0)  # however large the weights
    assert_close(head(h).square().mean(), torch.tanh(torch.tensor(1.0)).square(), rtol=1e-4, atol=0)


def test_an_affine_poisoner_may_become_a_brightness_slider():
    poisoner = PoisonGenerator(4, 3, affine=True).train()
    nn.init.constant_(poisoner.last[1].bias, 9.0)
    assert poisoner(pictures(2, 32)).min() > 0.9
    assert not [
        name
        for name in PoisonGenerator(4, 3).state_dict()
        if name.startswith(("last.1.weight", "last.1.bias"))
    ]


def test_frozen_passes_gradients_through_to_the_input():
    network, x = frozen(Judge(2, 4)), pictures(1, 32).requires_grad_()
    network(x).sum().backward()
    assert not network.training and x.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())


class PublishedBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            published_norm(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False),
            published_norm(width),
        )

    def forward(self, h):
        return self.main(h) + h


def published_norm(width):
    return nn.InstanceNorm2d(width, affine=True, track_running_stats=True)


class PublishedGenerator(nn.Module):
    """The public StarGAN's generator (Choi et al. 2018, appendix), with the layer names of its state dict."""

    def __init__(self, width, domains, blocks):
        super().__init__()
        plan = [
            (nn.Conv2d, 3 + domains, width, 7, 1, 3),
            (nn.Conv2d, width, 2 * width, 4, 2, 1),
            (nn.Conv2d, 2 * width, 4 * width, 4, 2, 1),
            (nn.ConvTranspose2d, 4 * width, 2 * width, 4, 2, 1),
            (nn.ConvTranspose2d, 2 * width, width, 4, 2, 1),
        ]
        stages = [
            [kind(*shape, bias=False), published_norm(shape[1]), nn.ReLU()] for kind, *shape in plan
        ]
        middle = [PublishedBlock(4 * width) for _ in range(blocks)]
        end = [nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*sum(stages[:3], []), *middle, *sum(stages[3:], []), *end)

    def forward(self, x, c):
        planes = c.view(*c.shape, 1, 1) * torch.ones_like(x[:, :1])
        return self.main(torch.cat((x, planes), 1))


class PublishedDiscriminator(nn.Module):
    def __init__(self, width, domains):
        super().__init__()
        widths = [3] + [width * 2**i for i in range(6)]
        stages = [
            [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.01)] for a, b in zip(widths, widths[1:])
        ]
        self.main = nn.Sequential(*sum(stages, []))
        self.conv1 = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(widths[-1], domains, 2, bias=False)  # 128 px, halved six times

    def forward(self, x):
        return self.conv1(self.main(x)), self.conv2(self.main(x))[:, :, 0, 0]


def shaken(network):
    """Random values in every parameter and statistic, as after training."""
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.copy_(
                torch.rand_like(value) * 0.2 + 0.5
                if value.dim() == 1
                else torch.randn_like(value) * 0.1
            )
    return network


@pytest.mark.parametrize("blocks", [6, 9])
def test_the_published_generator_loads_strictly_and_gives_its_outputs(blocks):
    published, ours = shaken(PublishedGenerator(16, 5, blocks)), Res(5, 16, blocks)
    state = published.state_dict()
    assert {
        "main.0.weight",
        "main.1.running_mean",
        "main.9.main.0.weight",
        "main.9.main.4.bias",
        f"main.{9 + blocks}.weight",
        f"main.{15 + blocks}.weight",
    } <= set(state)
    names = set(state)
    ours.load_state_dict(state, strict=True)
    assert set(state) == names  # the caller's dictionary keeps its running statistics
    x, c = pictures(2, 128), torch.tensor([[1.0, 0, 0, 1, 1], [0, 1, 0, 0, 1]])
    with torch.no_grad():
        sampled = published.train()(x, c)  # the public code never leaves training mode
        assert_close(ours(x, c), sampled, rtol=1e-4, atol=1e-5)
        assert_close(ours.eval()(x, c), sampled, rtol=1e-4, atol=1e-5)
        assert (published.eval()(x, c) - sampled).abs().max() > 0.01


def test_the_published_discriminator_loads_strictly_and_gives_its_outputs():
    published, ours = shaken(PublishedDiscriminator(8, 5)), DomainDiscriminator(128, 5, 8)
    assert set(published.state_dict()) >= {
        "main.0.weight",
        "main.10.bias",
        "conv1.weight",
        "conv2.weight",
    }
    ours.load_state_dict(published.state_dict(), strict=True)
    x = pictures(2, 128)
    for a, b in zip(ours(x), published(x), strict=True):
        assert_close(a, b)


def test_a_foreign_state_dict_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        Res(5, 16).load_state_dict(PublishedGenerator(8, 5, 6).state_dict())
