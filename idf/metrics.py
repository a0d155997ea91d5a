"""What the paper measures: L1, L2, PSNR, DSR, LPIPS, perceptual loss, LBP; and what makes them mean something.

Images in [-1, 1]; leading dimensions are kept: (..., 3, S, S) -> (...).
"""

import contextlib
import functools
import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from idf.losses import widen

# above this a forgery counts as broken (paper, metrics): mean squared difference in scenario 1, absolute in scenario 2
DSR_THRESHOLD = 0.05


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each image."""
    return widen(a - b).abs().mean(dim=(-3, -2, -1))


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each image, without root."""
    return widen(a - b).square().mean(dim=(-3, -2, -1))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """10 log10(2^2 / MSE) in dB of each image: the data range of [-1, 1] is 2."""
    return 10 * torch.log10(4 / l2(a, b).clamp(min=1e-12))


def dsr(y: Tensor, y_infected: Tensor) -> float:
    """Defence success rate: share of (image, domain) pairs with L2(y, y') > .05; y is (J, B, 3, S, S) or (B, ...)."""
    return (l2(y, y_infected) > DSR_THRESHOLD).float().mean().item()


def dsr_frames(y: Tensor, y_infected: Tensor) -> float:
    """DSR of scenario 2: share of frames (B, 3, S, S) with L1 > .05."""
    return (l1(y, y_infected) > DSR_THRESHOLD).float().mean().item()


def edit_success(seen: Tensor, targets: Tensor, c: Tensor) -> tuple[int, int]:
    """How many of the asked-for changes the judge sees, and how many were asked for.

    seen: the judge's verdict on the forgeries, bool (J, B, J); targets (J, B, J); c (B, J). Pair (j, i) counts where
    c_j changes attribute j of image i, and succeeds where the judge sees attribute j as c_j has it.
    """
    j = torch.arange(len(targets), device=targets.device)
    asked = targets[j, :, j].bool()
    changed = asked != c.T.bool()
    return int((changed & (seen[j, :, j] == asked)).sum()), int(changed.sum())


def lbp(x: Tensor) -> np.ndarray:
    """Local binary patterns of one image (3, S, S), as an (S, S) array of 0..255 (Guo, Zhang and Zhang 2010).

    Bit i says whether the i-th of eight points at distance 1, bilinear, is as light as the pixel, from the right against
    the clock; what lies outside the image is black.
    """
    weights = torch.tensor([0.2989, 0.587, 0.114], device=x.device)[
        :, None, None
    ]  # of ITU-R BT.601
    grey = (weights * (x.float() + 1) / 2).sum(0).mul(255).round().double().cpu().numpy()
    image, n, patterns = (
        np.pad(grey, 1),
        np.arange(len(grey), dtype=float),
        np.zeros(grey.shape, np.uint8),
    )
    pixels = lambda rows, columns: image[np.ix_(rows.astype(int) + 1, columns.astype(int) + 1)]
    for i in range(8):
        turn = np.pi * i / 4
        row, column = n + np.round(-np.sin(turn), 5), n + np.round(np.cos(turn), 5)
        top, left = np.floor(row), np.floor(column)
        down, right = (row - top)[:, None], column - left
        above, below = (
            (1 - right) * pixels(at, left) + right * pixels(at, np.ceil(column))
            for at in (top, np.ceil(row))
        )
        patterns |= ((1 - down) * above + down * below >= grey).astype(np.uint8) << i
    return patterns


class Unavailable(Exception):
    """A pretrained backbone cannot be had; str() is the sentence that says so."""


def _lpips_network() -> torch.nn.Module:
    import lpips  # imports slowly, and is wanted by the result tables only

    # prints to stdout and warns on construction
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        return lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)


def _vgg16_relu2_2() -> torch.nn.Module:
    from torchvision.models import VGG16_Weights, vgg16

    # the download reports itself, with a path of this machine
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return vgg16(weights=VGG16_Weights.IMAGENET1K_V1).features[:9].eval().requires_grad_(False)


@functools.cache
def _try(make: Callable, name: str) -> tuple[torch.nn.Module | None, str]:
    """The network, or why it cannot be had; asked for once only."""
    try:
        return make(), ""
    except Exception as error:  # no network, a proxy's page instead of the file, a full cache disk: all mean "no column"
        return (
            None,
            f"{name} is left out: its pretrained backbone cannot be downloaded ({type(error).__name__}).",
        )


def _backbone(make: Callable, name: str) -> torch.nn.Module:
    network, why_not = _try(make, name)
    if network is None:
        raise Unavailable(why_not)
    return network


@torch.no_grad()
def lpips(a: Tensor, b: Tensor) -> Tensor:
    """LPIPS, net alex (Zhang et al. 2018), of (N, 3, S, S) pairs: (N,). Raises Unavailable without its backbone."""
    network = _backbone(_lpips_network, "LPIPS").to(a.device)
    return network(a.float(), b.float()).flatten()


@torch.no_grad()
def perceptual(a: Tensor, b: Tensor) -> Tensor:
    """MSE of VGG16's relu2_2 features (Johnson et al. 2016) of (N, 3, S, S) pairs: (N,). May raise Unavailable."""
    network = _backbone(_vgg16_relu2_2, "The perceptual loss").to(a.device)
    mean = torch.tensor([0.485, 0.456, 0.406], device=a.device)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], device=a.device)[:, None, None]
    features = [network(((x.float() + 1) / 2 - mean) / std) for x in (a, b)]
    return (features[0] - features[1]).square().mean(dim=(1, 2, 3))
