"""Networks compared: their weights before and after."""

import copy

import torch
from torch import Tensor, nn


def weights(network: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def copied(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and statistics as they are now."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def same(network: nn.Module, before: dict[str, Tensor]) -> bool:
    """Are parameters and statistics those, bit for bit?"""
    return all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@torch.no_grad()
def shaken(network: nn.Module, seed: int = 0, by: float = 0.1) -> nn.Module:
    """A copy with other weights, as if from another iteration."""
    generator = torch.Generator().manual_seed(seed)
    network = copy.deepcopy(network).requires_grad_(False)
    for p in network.parameters():
        p.add_(by * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return network
