"""Random transformations that a gradient passes: what PG may be trained through. Not in the paper.

The kinds of idf.data.transforms that Kornia has, at random strengths.
"""

from functools import cache

import torch
from torch import Tensor, nn

SCALES = (0.9, 1.1)  # about the middle
SHIFT = 3 / 64  # of a side, in each direction at most
QUALITIES = (50.0, 95.0)  # of a JPEG whose colours have a quarter of the pixels, as all of Kornia's
SIGMAS = (0.3, 1.0)  # of the blur, in px
LIGHT = (0.8, 1.2)  # times


def transformed_alike(
    x: Tensor, x_infected: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """(T(x), T(x')), x and x' (B, 3, S, S) in [-1, 1]: of one kind or none, each face by chance.

    A face and its x' always go the same way. generator: of T, by default torch's own.
    """
    kind, seed = torch.randint(2**31, (2,), generator=generator).tolist()
    kinds = [None, *_kinds()]
    change = kinds[kind % len(kinds)]
    if change is None:
        return x, x_infected
    with torch.random.fork_rng(), torch.autocast(x.device.type, enabled=False):
        torch.manual_seed(seed)  # Kornia draws from torch's own generator
        moved = change((x.float() + 1) / 2)
        moved_infected = change((x_infected.float() + 1) / 2, params=change._params)
    return (2 * moved - 1).clamp(-1, 1), (2 * moved_infected - 1).clamp(-1, 1)


@cache
def _kinds() -> tuple[nn.Module, ...]:
    from kornia import augmentation as kornia  # needed in training only

    return (
        kornia.RandomAffine(
            0, (SHIFT, SHIFT), SCALES, resample="bicubic", padding_mode="border", p=1.0
        ),
        kornia.RandomJPEG(QUALITIES, p=1.0),
        kornia.RandomGaussianBlur((7, 7), SIGMAS, p=1.0),
        kornia.RandomBrightness(LIGHT, p=1.0),
    )
