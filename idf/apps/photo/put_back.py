"""A change of the aligned face, put back into the photo."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idf.apps.photo.align import Alignment, sampler, window_of
from idf.data.celeba import CROP

FEATHER = 0.06  # share of the crop's side over which the change fades out at the border
STEPS = 12  # of the conjugate gradients
DAMPING = 1e-2


def put_back(pixels: np.ndarray, alignment: Alignment, delta: Tensor, eps: float) -> np.ndarray:
    """The photo (H, W, 3) with delta (3, S, S), a change of the aligned face, added; uint8.

    delta and eps count on [-1, 1]. No pixel moves by more than eps, rounded to whole grey levels.

    `aligned` shrinks, so many changes of the photo look like delta after it; this is the least of
    them. It fades out towards the border of the crop; beyond it the photo stays, bit for bit.
    """
    window, corner = window_of(pixels, alignment)
    height, width = window.shape[:2]

    # a large face is solved for on a photo `by` times smaller: the change is smooth there, and
    # enlarging it loses nothing
    by = max(1, round(alignment.side / (2 * CROP)))
    shape = -(-height // by), -(-width // by)
    size = delta.shape[-1]
    shrink = sampler(Alignment(alignment.matrix / by), corner / by, shape, size)
    fade = _fade(size)
    change = least_change(shrink, delta.float() * fade * fade[:, None], (3, *shape))
    if by > 1:
        change = F.interpolate(change[None], scale_factor=by, mode="bicubic")[0]
        change = change[:, :height, :width]

    # within eps, in grey levels, rounded
    new = torch.from_numpy(window.copy()) + 127.5 * change.clamp(-eps, eps).permute(1, 2, 0)
    out = pixels.copy()
    left, top = corner
    out[top : top + height, left : left + width] = new.round().clamp(0, 255).to(torch.uint8).numpy()
    return out


def _fade(size: int) -> Tensor:
    """(size,): 1 inside, down to 0 at both ends along a cosine."""
    edge = torch.linspace(0, 1, size)
    ramp = (torch.minimum(edge, 1 - edge) / FEATHER).clamp(0, 1)
    return 0.5 - 0.5 * torch.cos(torch.pi * ramp)


def least_change(
    shrink: Callable[[Tensor], Tensor], delta: Tensor, shape: tuple[int, ...]
) -> Tensor:
    """The p of least norm with shrink(p) = delta, for a linear map A: p = A^T q, A A^T q = delta.

    By conjugate gradients, damped, since a small photo cannot hold all of delta.
    """
    with torch.enable_grad():
        p = torch.zeros(shape, requires_grad=True)
        image = shrink(p)

    def transposed(q: Tensor) -> Tensor:
        return torch.autograd.grad(image, p, q, retain_graph=True)[0]

    with torch.no_grad():
        damping = DAMPING * shrink(transposed(delta)).norm() / delta.norm().clamp(min=1e-20)

    q = torch.zeros_like(delta)
    rest = delta
    direction = rest
    size = rest.square().sum()
    for _ in range(STEPS):
        with torch.no_grad():
            along = shrink(transposed(direction)) + damping * direction
        step = size / (direction * along).sum().clamp(min=1e-20)
        q = q + step * direction
        rest = rest - step * along
        previous = size
        size = rest.square().sum()
        direction = rest + size / previous.clamp(min=1e-20) * direction
    return transposed(q)
