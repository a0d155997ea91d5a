"""The paper's baseline, gradient attacks of Ruiz et al. 2020 on one editor, and controls: norm L-infinity on [-1, 1]."""

import torch
from torch import Tensor

from idf.losses import Editor, forge


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


def pgd(
    editor: Editor,
    x: Tensor,
    targets: Tensor,
    eps: float = 0.05,
    steps: int = 10,
    step_size: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """PGD: sign steps up MSE(M(x, c_j), M(x', c_j)) over all targets, from a uniform random start in the ball.

    x (B, 3, S, S) in [-1, 1], targets (J, B, K); returns x' in [-1, 1] with |x' - x| <= eps. The editor's parameters
    should not require gradients, or they are computed in vain.
    """
    return _ascend(editor, x, targets, random_noise(x, eps, generator), eps, steps, step_size)


def i_fgsm(
    editor: Editor,
    x: Tensor,
    targets: Tensor,
    eps: float = 0.05,
    steps: int = 10,
    step_size: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """I-FGSM: as PGD, but from x itself plus a random start of 1e-3 * eps, because the gradient at x is zero."""
    return _ascend(
        editor, x, targets, random_noise(x, 1e-3 * eps, generator), eps, steps, step_size
    )


def random_noise(x: Tensor, eps: float = 0.05, generator: torch.Generator | None = None) -> Tensor:
    """Control: x plus noise, uniform in [-eps, eps] for every pixel and channel."""
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype).to(x.device) * 2 - 1
    return (x + eps * noise).clamp(-1, 1)


def random_colour(x: Tensor, eps: float = 0.05, generator: torch.Generator | None = None) -> Tensor:
    """Control: +-eps in every pixel and channel, signs random but never the same in all three channels.

    The hardest control: faces hold next to no fine colour contrast, so that nothing in training taught the editor to
    ignore it, as it ignores grey noise.
    """
    batch, _, *size = x.shape
    odd = torch.randint(
        0, 3, (batch, 1, *size), generator=generator
    )  # the channel that goes the other way
    sign = torch.randint(0, 2, (batch, 1, *size), generator=generator) * 2 - 1
    noise = torch.where(torch.arange(3)[:, None, None] == odd, -sign, sign).to(x)
    return (x + eps * noise).clamp(-1, 1)


def band_noise(
    shape: tuple[int, ...],
    low: float,
    high: float,
    kind: str,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Signs (+-1) of Gaussian noise with low <= frequency < high, in cycles per pixel (0 to .71); shape (B, 3, S, S).

    kind: "grey" (the channels alike), "colour" (no grey part: they sum to 0 before the sign is taken), or "free".
    """
    noise = torch.randn(shape, generator=generator)
    if kind != "free":
        noise = (
            noise - noise.mean(1, keepdim=True) if kind == "colour" else noise[:, :1].expand(shape)
        )
    radius = torch.fft.fftfreq(shape[-2])[:, None].hypot(torch.fft.fftfreq(shape[-1]))
    return torch.fft.ifft2(torch.fft.fft2(noise) * ((low <= radius) & (radius < high))).real.sign()


def brightened(x: Tensor, eps: float = 0.05) -> Tensor:
    """Control: every pixel lighter by eps."""
    return (x + eps).clamp(-1, 1)
