"""What the paper measures: L1, L2, PSNR, DSR, LPIPS, perceptual loss, LBP; and edit success.

Images in [-1, 1]; leading dimensions are kept: (..., 3, S, S) -> (...).
"""

import contextlib
import io
import warnings
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from idf.losses import at_least_fp32

# Above this a forgery counts as broken (paper, metrics): the mean squared difference in scenario 1,
# the mean absolute one in scenario 2.
DSR_THRESHOLD = 0.05


def l1(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of each image."""
    return at_least_fp32(a - b).abs().mean(dim=(-3, -2, -1))


def l2(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared difference of each image, without root."""
    return at_least_fp32(a - b).square().mean(dim=(-3, -2, -1))


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """10 log10(2^2 / MSE) in dB of each image: the data range of [-1, 1] is 2."""
    return 10 * torch.log10(4 / l2(a, b).clamp(min=1e-12))


def dsr(y: Tensor, y_infected: Tensor) -> float:
    """Defence success rate of scenario 1: share of pairs (image, domain) with L2(y, y') > .05.

    y and y_infected are (J, B, 3, S, S) or (B, 3, S, S).
    """
    return (l2(y, y_infected) > DSR_THRESHOLD).float().mean().item()


def dsr_frames(y: Tensor, y_infected: Tensor) -> float:
    """DSR of scenario 2: share of frames (B, 3, S, S) with L1 > .05."""
    return (l1(y, y_infected) > DSR_THRESHOLD).float().mean().item()


def spread(y: Tensor) -> Tensor:
    """How far the forgeries of one image for several domains lie apart: (J, B, 3, S, S) -> (B,).

    The deviation over the domains, averaged over the pixels: 0 where the editor no longer listens
    to its label.
    """
    return at_least_fp32(y).std(dim=0).mean(dim=(-3, -2, -1))


def upright(x: Tensor, y: Tensor) -> float:
    """Correlation of light and dark between x (B, 3, S, S) and its forgeries (J, B, 3, S, S).

    Over fields of an eighth of S, mean over all pairs. Below 0 the forgery is in negative: dark
    where x is bright. Two such edits lead back to x, so that L_rec does not mind.
    """

    def light(image: Tensor) -> Tensor:
        fields = F.adaptive_avg_pool2d(image.mean(-3), 8).flatten(-2)
        return F.normalize(fields - fields.mean(-1, keepdim=True), dim=-1)

    return (light(x) * light(y)).sum(-1).mean().item()


def edit_success(seen: Tensor, targets: Tensor, c: Tensor) -> tuple[int, int]:
    """How many of the requested changes the judge sees, and how many were requested.

    seen: the judge's verdict on the forgeries, bool (J, B, J); targets (J, B, J); c (B, J).
    Pair (j, i) counts where c_j changes attribute j of image i, and succeeds where the judge sees
    attribute j as c_j has it.
    """
    j = torch.arange(len(targets), device=targets.device)
    requested = targets[j, :, j].bool()
    changed = requested != c.T.bool()
    succeeded = changed & (seen[j, :, j] == requested)
    return int(succeeded.sum()), int(changed.sum())


def lbp(x: Tensor) -> np.ndarray:
    """Local binary patterns of one image (3, S, S): uint8 (S, S) (Guo, Zhang and Zhang 2010).

    Bit i says whether the i-th of eight points at distance 1, bilinear, is as light as the pixel,
    from the right against the clock; what lies outside the image is black.
    """
    from skimage.feature import local_binary_pattern  # imports slowly, and few callers need it

    bt601 = torch.tensor([0.2989, 0.587, 0.114], device=x.device)[:, None, None]
    grey = (bt601 * (x.float() + 1) / 2).sum(0).mul(255).round()
    pixels = grey.to(torch.int16).cpu().numpy()
    return local_binary_pattern(pixels, P=8, R=1, method="default").astype(np.uint8)


class Unavailable(Exception):
    """A pretrained backbone cannot be had; str() is the sentence that says so."""


# Networks by name, made on first use; where that failed the sentence why, so that it is tried once
_backbones: dict[str, torch.nn.Module | str] = {}


@torch.no_grad()
def lpips(a: Tensor, b: Tensor) -> Tensor:
    """LPIPS, net alex (Zhang et al. 2018), of (N, 3, S, S) pairs: (N,).

    Raises Unavailable where its backbone cannot be had.
    """
    network = _backbone("LPIPS", _lpips_network).to(a.device)
    return network(a.float(), b.float()).flatten()


@torch.no_grad()
def perceptual(a: Tensor, b: Tensor) -> Tensor:
    """perceptual_loss as a measure."""
    return perceptual_loss(a, b)


def perceptual_loss(a: Tensor, b: Tensor) -> Tensor:
    """MSE of VGG16's relu2_2 features (Johnson et al. 2016) of (N, 3, S, S) pairs: (N,).

    Raises Unavailable where its backbone cannot be had.
    """
    network = _backbone("The perceptual loss", _vgg16_relu2_2).to(a.device)
    features_a = at_least_fp32(network(_as_vgg_was_trained(a)))
    features_b = at_least_fp32(network(_as_vgg_was_trained(b)))
    return (features_a - features_b).square().mean(dim=(1, 2, 3))


def _as_vgg_was_trained(x: Tensor) -> Tensor:
    """From [-1, 1] to ImageNet's mean 0 and deviation 1 in each channel."""
    mean = torch.tensor([0.485, 0.456, 0.406], device=x.device)[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225], device=x.device)[:, None, None]
    return ((x.float() + 1) / 2 - mean) / std


def _backbone(name: str, make: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    if name not in _backbones:
        try:
            _backbones[name] = make()
        # no network, a proxy's page instead of the file, a full disk: all mean "no column"
        except Exception as error:
            _backbones[name] = (
                f"{name} is left out: its pretrained backbone cannot be downloaded "
                f"({type(error).__name__})."
            )
    network = _backbones[name]
    if isinstance(network, str):
        raise Unavailable(network)
    return network


def _lpips_network() -> torch.nn.Module:
    import lpips  # imports slowly, and is wanted by the result tables only

    with _silence():
        return lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False)


def _vgg16_relu2_2() -> torch.nn.Module:
    from torchvision.models import VGG16_Weights, vgg16

    with _silence():
        network = vgg16(weights=VGG16_Weights.IMAGENET1K_V1)
    return network.features[:9].eval().requires_grad_(False)


@contextlib.contextmanager
def _silence():
    """Without the prints, warnings and download reports, with paths of this machine, of others."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
