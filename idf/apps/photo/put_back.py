"""A change of the aligned face, put back into the photo."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idf.apps.photo.align import Alignment, sampler, window_of
from idf.data.celeba import CROP

FEATHER = 0.06  # share of the crop's side over which the change fades out at the border
# How often that is asked for again which shrinking takes, and how much stronger all of it is made
# before eps bounds it: by trial, the largest DSR at the PSNR that x' has at the networks' size.
ROUNDS = 4
GAIN = 2


def put_back(pixels: np.ndarray, alignment: Alignment, delta: Tensor, eps: float) -> np.ndarray:
    """The photo (H, W, 3) with delta (3, S, S), a change of the aligned face, added; uint8.

    delta and eps count on [-1, 1]. No pixel moves by more than eps, rounded to whole grey levels.

    `aligned` shrinks, and takes more from fine waves than from coarse ones. Made up for in full,
    the finest would take all that eps allows; so it is made up for in part. The change fades out
    towards the border of the crop; beyond it the photo stays, bit for bit.
    """
    window, corner = window_of(pixels, alignment)
    height, width = window.shape[:2]

    # a large face is worked on in a photo `by` times smaller: the change is smooth there, and
    # enlarging it loses nothing
    by = max(1, round(alignment.side / (2 * CROP)))
    shape = 3, -(-height // by), -(-width // by)
    size = delta.shape[-1]
    shrink = sampler(Alignment(alignment.matrix / by), corner / by, shape[1:], size)
    enlarge = enlarger(shrink, shape, size)

    # what shrinking takes is asked for again
    delta = delta.float()
    asked = delta
    for _ in range(ROUNDS):
        asked = asked + delta - shrink(enlarge(asked))

    # within eps, and nothing at the border
    fade = _fade(size)
    change = enlarge(GAIN * asked).clamp(-eps, eps)
    change = change * enlarge((fade * fade[:, None]).expand(3, -1, -1)).clamp(0, 1)
    if by > 1:
        change = F.interpolate(change[None], scale_factor=by, mode="bicubic")[0]
        change = change[:, :height, :width]

    # in grey levels, rounded
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


def enlarger(
    shrink: Callable[[Tensor], Tensor], shape: tuple[int, int, int], size: int
) -> Callable[[Tensor], Tensor]:
    """The map y -> A^T y / A^T 1 of aligned faces (3, size, size), for a linear A = `shrink`.

    A takes pictures of this shape. An even face stays as it is; 0 where A does not look.
    """
    with torch.enable_grad():
        p = torch.zeros(shape, requires_grad=True)
        shrunk = shrink(p)

    def transposed(y: Tensor) -> Tensor:
        return torch.autograd.grad(shrunk, p, y, retain_graph=True)[0]

    weight = transposed(torch.ones(3, size, size))

    def enlarge(y: Tensor) -> Tensor:
        return torch.where(weight > 1e-6, transposed(y) / weight.clamp(min=1e-6), 0)

    return enlarge
