"""The paper's baseline, gradient attacks on one editor (Ruiz et al. 2020), and the controls.

All keep |x' - x| <= eps on [-1, 1], and x' in [-1, 1] (PGD after its first step).
"""

import math

import torch
from torch import Tensor

from idf.losses import Editor, forge, infect
from idf.networks.carriers import carriers, painted


def pgd(
    editor: Editor,
    x: Tensor,
    targets: Tensor,
    eps: float = 0.05,
    steps: int = 10,
    step_size: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """PGD: sign steps up MSE(M(x, c_j), M(x', c_j)), from a uniform random start in the ball.

    x (B, 3, S, S) in [-1, 1], targets (J, B, K), all attacked at once. The editor's parameters
    should not require gradients, or they are computed in vain.
    """
    # as in the public code, the start itself may leave [-1, 1]: only what a step made is clamped
    start = x + eps * _uniform(x, generator)
    return _ascend(editor, x, targets, start, eps, steps, step_size)


def pgd_per_class(
    editor: Editor, x: Tensor, targets: Tensor, eps: float = 0.05, **options
) -> Tensor:
    """PGD against one target class at a time, as Ruiz et al. report it: x' (J, B, 3, S, S).

    options: as of pgd.

    Who publishes a photo cannot choose x' for the class that a forger will ask for: it bounds what
    one x' for all of them reaches.
    """
    every = x.expand(len(targets), *x.shape).flatten(0, 1)
    own = targets.flatten(0, 1)[None]
    x_infected = pgd(editor, every, own, eps, **options)
    return x_infected.unflatten(0, targets.shape[:2])


def i_fgsm(
    editor: Editor,
    x: Tensor,
    targets: Tensor,
    eps: float = 0.05,
    steps: int = 10,
    step_size: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """I-FGSM: as PGD from x itself, moved by 1e-3 * eps, because the gradient at x is zero."""
    start = random_noise(x, 1e-3 * eps, generator)
    return _ascend(editor, x, targets, start, eps, steps, step_size)


def _ascend(
    editor: Editor,
    x: Tensor,
    targets: Tensor,
    start: Tensor,
    eps: float,
    steps: int,
    step_size: float,
) -> Tensor:
    with torch.no_grad():
        y = forge(editor, x, targets)
    x_infected = start
    for _ in range(steps):
        x_infected = x_infected.detach().requires_grad_(True)
        loss = (forge(editor, x_infected, targets) - y).float().square().mean()
        (slope,) = torch.autograd.grad(loss, x_infected)
        x_infected = x_infected.detach() + step_size * slope.sign()
        x_infected = (x + (x_infected - x).clamp(-eps, eps)).clamp(-1, 1)
    return x_infected


def random_noise(x: Tensor, eps: float = 0.05, generator: torch.Generator | None = None) -> Tensor:
    """Control: x plus noise, uniform in [-eps, eps] for every pixel and channel."""
    return (x + eps * _uniform(x, generator)).clamp(-1, 1)


def _uniform(x: Tensor, generator: torch.Generator | None) -> Tensor:
    return torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device) * 2 - 1


def random_colour(x: Tensor, eps: float = 0.05, generator: torch.Generator | None = None) -> Tensor:
    """Control: +-eps in every pixel and channel, never the same sign in all three channels.

    The hardest control: faces hold next to no fine colour contrast, so that nothing in training
    taught the editor to ignore it, as it ignores grey noise.
    """
    batch, _, *size = x.shape
    odd_channel = torch.randint(0, 3, (batch, 1, *size), generator=generator)
    sign = torch.randint(0, 2, (batch, 1, *size), generator=generator) * 2 - 1
    channels = torch.arange(3)[:, None, None]
    noise = torch.where(channels == odd_channel, -sign, sign).to(x)
    return (x + eps * noise).clamp(-1, 1)


def tiles(
    x: Tensor,
    eps: float = 0.05,
    generator: torch.Generator | None = None,
    basis: Tensor | None = None,
    region: int = 16,
) -> Tensor:
    """x plus +-eps in tiles of colour, without any network: a poison made by hand.

    Each region of region x region px has a tile of its own, random in the space of `basis` (of
    idf.networks.carriers, by default of period 4), of which the sign is taken, and repeats it. One
    tile all over the image would be subtracted by InstanceNorm; what changes from place to place
    is read.
    """
    basis = carriers(4) if basis is None else basis
    period, size = math.isqrt(len(basis) // 3), x.shape[-1]
    regions = -(-size // region)
    strength = torch.randn(len(x), basis.shape[1], regions, regions, generator=generator)

    # every tile of the image is that of its region
    at = torch.arange(-(-size // period)) * period // region
    pattern = painted(strength[:, :, at][:, :, :, at], basis)[..., :size, :size]
    return infect(x, pattern.sign().to(x.device), eps)


def band_noise(
    shape: tuple[int, ...],
    low: float,
    high: float,
    kind: str,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Signs (+-1) of Gaussian noise with low <= frequency < high, in cycles per pixel (0 to .71).

    shape (B, 3, S, S). kind: "grey" (the channels alike), "colour" (no grey part: they sum to 0
    before the sign is taken), or "free".
    """
    noise = torch.randn(shape, generator=generator)
    if kind == "colour":
        noise = noise - noise.mean(1, keepdim=True)
    elif kind == "grey":
        noise = noise[:, :1].expand(shape)
    rows, columns = torch.fft.fftfreq(shape[-2])[:, None], torch.fft.fftfreq(shape[-1])
    radius = rows.hypot(columns)
    band = (low <= radius) & (radius < high)
    return torch.fft.ifft2(torch.fft.fft2(noise) * band).real.sign()


def brightened(x: Tensor, eps: float = 0.05) -> Tensor:
    """Control: every pixel lighter by eps."""
    return (x + eps).clamp(-1, 1)
