"""The published StarGAN's weights load strictly and give its outputs."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from idf.networks import DomainDiscriminator, Res


def published_norm(width):
    return nn.InstanceNorm2d(width, affine=True, track_running_stats=True)


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


class PublishedGenerator(nn.Module):
    """The public StarGAN's generator (Choi et al. 2018, appendix), with its state dict's names."""

    def __init__(self, width, domains, blocks):
        super().__init__()
        plan = [
            (nn.Conv2d, 3 + domains, width, 7, 1, 3),
            (nn.Conv2d, width, 2 * width, 4, 2, 1),
            (nn.Conv2d, 2 * width, 4 * width, 4, 2, 1),
            (nn.ConvTranspose2d, 4 * width, 2 * width, 4, 2, 1),
            (nn.ConvTranspose2d, 2 * width, width, 4, 2, 1),
        ]
        layers = []
        for i, (kind, *shape) in enumerate(plan):
            if i == 3:
                layers += [PublishedBlock(4 * width) for _ in range(blocks)]
            layers += [kind(*shape, bias=False), published_norm(shape[1]), nn.ReLU()]
        self.main = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, bias=False), nn.Tanh())

    def forward(self, x, c):
        planes = c.view(*c.shape, 1, 1) * torch.ones_like(x[:, :1])
        return self.main(torch.cat((x, planes), 1))


class PublishedDiscriminator(nn.Module):
    def __init__(self, width, domains):
        super().__init__()
        widths = [3] + [width * 2**i for i in range(6)]
        layers = []
        for a, b in zip(widths[:-1], widths[1:], strict=True):
            layers += [nn.Conv2d(a, b, 4, 2, 1), nn.LeakyReLU(0.01)]
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(widths[-1], 1, 3, 1, 1, bias=False)
        self.conv2 = nn.Conv2d(widths[-1], domains, 2, bias=False)  # 128 px, halved six times

    def forward(self, x):
        return self.conv1(self.main(x)), self.conv2(self.main(x))[:, :, 0, 0]


def trained(network):
    """Random values in every parameter and statistic, as after training."""
    for value in network.state_dict().values():
        if value.is_floating_point() and value.dim() == 1:
            value.copy_(torch.rand_like(value) * 0.2 + 0.5)
        elif value.is_floating_point():
            value.copy_(torch.randn_like(value) * 0.1)
    return network


def pictures(count, size):
    return torch.rand(count, 3, size, size) * 2 - 1


@pytest.mark.parametrize("blocks", [6, 9])
def test_the_published_generator_loads_strictly_and_gives_its_outputs(blocks):
    published, ours = trained(PublishedGenerator(16, 5, blocks)), Res(5, 16, blocks=blocks)
    state = published.state_dict()
    names = set(state)
    assert names >= {
        "main.0.weight",
        "main.1.running_mean",
        "main.9.main.0.weight",
        "main.9.main.4.bias",
        f"main.{9 + blocks}.weight",
        f"main.{15 + blocks}.weight",
    }
    ours.load_state_dict(state, strict=True)
    assert set(state) == names  # the caller's dictionary keeps its running statistics
    x, c = pictures(2, 128), torch.tensor([[1.0, 0, 0, 1, 1], [0, 1, 0, 0, 1]])
    with torch.no_grad():
        sampled = published.train()(x, c)  # the public code never leaves training mode
        assert_close(ours(x, c), sampled, rtol=1e-4, atol=1e-5)
        assert_close(ours.eval()(x, c), sampled, rtol=1e-4, atol=1e-5)
        assert (published.eval()(x, c) - sampled).abs().max() > 0.01


def test_the_published_discriminator_loads_strictly_and_gives_its_outputs():
    published, ours = trained(PublishedDiscriminator(8, 5)), DomainDiscriminator(128, 5, 8)
    names = {"main.0.weight", "main.10.bias", "conv1.weight", "conv2.weight"}
    assert set(published.state_dict()) >= names
    ours.load_state_dict(published.state_dict(), strict=True)
    x = pictures(2, 128)
    for a, b in zip(ours(x), published(x), strict=True):
        assert_close(a, b)


def test_a_foreign_state_dict_is_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        Res(5, 16).load_state_dict(PublishedGenerator(8, 5, 6).state_dict())
