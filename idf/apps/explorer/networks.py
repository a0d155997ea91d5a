"""The shipped networks of preset demo, loaded once: of the drawn faces, or CelebA's for photos."""

from functools import cache, lru_cache

import torch
from torch import Tensor, nn

from idf.apps.explorer.state import settings
from idf.zoo.forgers import grid_editor
from idf.zoo.grid import load_grid_poisoner
from idf.zoo.load import load_judge


class RememberingPoisoner(nn.Module):
    """What a PG adds, remembered for the last faces: it does not depend on eps."""

    def __init__(self, poisoner: nn.Module):
        super().__init__()
        self.poisoner = poisoner
        # a tensor is known again by its identity, and face.face_of gives the same one each time
        self.perturbation = lru_cache(maxsize=32)(self.compute)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """delta (B, 3, S, S); where PG is random, the same for a face each time."""
        return self.perturbation(x)

    @torch.no_grad()
    def compute(self, x: Tensor) -> Tensor:
        """delta (B, 3, S, S) in [-1, 1], anew."""
        return self.poisoner(x, torch.Generator().manual_seed(0))


@cache
def editor(dataset: str, target: str) -> nn.Module:
    """The forger's M, frozen."""
    return grid_editor(target).load(settings(dataset))


@cache
def poisoner(dataset: str, method: str) -> RememberingPoisoner:
    """PG of this method."""
    return RememberingPoisoner(load_grid_poisoner(settings(dataset), method))


@cache
def judge(dataset: str) -> nn.Module:
    """Who says if an edit worked."""
    return load_judge(settings(dataset))
