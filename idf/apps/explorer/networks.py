"""The shipped networks of preset demo, loaded once: of the drawn faces, or CelebA's for photos."""

from functools import cache, lru_cache

import torch
from torch import Tensor, nn

from idf.apps.explorer.state import BOTH
from idf.apps.photo.protection import POISONERS
from idf.config import Config, load_config
from idf.zoo.forgers import load_attacker
from idf.zoo.load import load_judge, load_poisoner, photo_config

# the weights behind each method that goes by PG
POISONER_FILES = {
    "ours": ("poisoner",),
    "ours-queries": ("poisoner_queries",),
    "ours-no-ats": ("poisoner_no_ats",),
    BOTH: POISONERS,
}


class RememberingPoisoner(nn.Module):
    """The sum of what PGs add, remembered for the last faces: it does not depend on eps."""

    def __init__(self, poisoners: list[nn.Module]):
        super().__init__()
        self.poisoners = nn.ModuleList(poisoners)
        # a tensor is known again by its identity, and face.face_of gives the same one each time
        self.perturbation = lru_cache(maxsize=32)(self.compute)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """delta (B, 3, S, S); these PGs are not random."""
        return self.perturbation(x)

    @torch.no_grad()
    def compute(self, x: Tensor) -> Tensor:
        """delta (B, 3, S, S) in [-1, 1], anew."""
        return sum(poisoner(x) for poisoner in self.poisoners).clamp(-1, 1)


@cache
def settings(dataset: str) -> Config:
    """Of the networks for "procedural" or "celeba"."""
    return photo_config() if dataset == "celeba" else load_config("demo")


@cache
def editor(dataset: str, target: str) -> nn.Module:
    """The forger's M, frozen."""
    return load_attacker(settings(dataset), target)


@cache
def poisoner(dataset: str, method: str) -> RememberingPoisoner:
    """PG, or both of them, by the method's name."""
    files = POISONER_FILES[method]
    return RememberingPoisoner([load_poisoner(settings(dataset), name) for name in files])


@cache
def judge(dataset: str) -> nn.Module:
    """Who says if an edit worked."""
    return load_judge(settings(dataset))
