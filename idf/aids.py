"""What stage A may have beyond StarGAN: an aid for short trainings on few faces, a setting."""

import torch
from torch import Tensor, nn

from idf import losses
from idf.training import weights_fixed


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
    place = generator.device if generator else x.device
    share = torch.rand(len(x), 1, 1, 1, generator=generator, device=place).to(x.device)
    return (x + reach * share * slope.sign()).detach()
