"""What stage A may have beyond StarGAN: aids for short trainings on few faces, each a setting."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf import losses
from idf.training import weights_fixed


def augment(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Shifts by up to an eighth, contrast and brightness by up to .2, for what D_A sees.

    Differentiable (Zhao et al. 2020), for real and forged faces alike. D_A soon knows a few
    thousand faces by heart, and its class head then rewards patterns instead of edits. images
    (B, 3, S, S) in [-1, 1].
    """
    size, reach = images.shape[-1], images.shape[-1] // 8
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    corners = torch.randint(0, 2 * reach + 1, (len(images), 2), generator=generator).tolist()
    shifted = torch.stack(
        [
            image[:, top : top + size, left : left + size]
            for image, (top, left) in zip(padded, corners, strict=True)
        ]
    )
    light = torch.rand(2, len(images), 1, 1, 1, generator=generator)
    contrast, brightness = light.to(images.device, images.dtype)
    return shifted * (0.8 + 0.4 * contrast) + 0.4 * (brightness - 0.5)


def adversarial_faces(
    d_a: nn.Module,
    x: Tensor,
    c: Tensor,
    reach: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """x moved by a random share of `reach`, pixel by pixel where D_A's class head takes it worst.

    Learning to class such faces, too (adversarial training, Goodfellow et al. 2015) makes the head
    look at what a person sees. Without it the editor reaches its labels by fine patterns that
    please the head alone.
    """
    x = x.detach().requires_grad_(True)
    with weights_fixed(d_a):
        (slope,) = torch.autograd.grad(losses.classification(d_a(x)[1], c), x)
    share = torch.rand(len(x), 1, 1, 1, generator=generator).to(x.device)
    return (x + reach * share * slope.sign()).detach()
