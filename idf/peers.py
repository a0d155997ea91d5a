"""Other ways to poison a face, from the literature, on this project's networks and at its eps.

Both are found by gradients through the surrogate alone: what they do to a forger is gray-box. The
third, a generator trained against the forger's own editor, is the PG `one-pass` of idf.zoo.grid.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idf.config import HAIR, Config
from idf.data.faces import Faces
from idf.losses import Editor, forge, infect, target_labels
from idf.networks import frozen


class UniversalPoison(nn.Module):
    """In place of PG: the same delta (3, S, S) in [-1, 1] for every face."""

    def __init__(self, delta: Tensor):
        super().__init__()
        self.delta = nn.Parameter(delta)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, 3, S, S) -> (B, 3, S, S)."""
        return self.delta.expand_as(x)


def find_universal(
    surrogates: Sequence[nn.Module], faces: Faces, config: Config, step: float = 0.1
) -> UniversalPoison:
    """One perturbation for all faces, by sign steps over batches of them; frozen.

    After CMUA-Watermark (Huang et al., AAAI 2022, arXiv 2105.10872): up MSE(SM(x, c_j),
    SM(x + eps delta, c_j)). Theirs averages over faces and over four editors of known weights, with
    a step size for each that a search finds. Here the sign is that of a batch's slope, and the
    surrogates, which all edit config.domains, take turns. As PG it sees config.poisoner.iterations
    batches and is found at config.poisoner.eps, to be used at any. step: in parts of eps.
    """
    pg = config.poisoner
    generator = torch.Generator().manual_seed(config.seed)
    # not from 0, where the slope is 0
    delta = 2 * torch.rand(3, config.size, config.size, generator=generator) - 1
    for iteration in range(pg.iterations):
        x, c = faces.batch(iteration, pg.batch, config.seed)
        targets = target_labels(c, config.domains, HAIR)
        surrogate = surrogates[iteration % len(surrogates)]
        delta.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16, enabled=config.bf16):
            with torch.no_grad():
                y = forge(surrogate, x, targets)
            moved = _moved(surrogate, infect(x, delta, pg.eps), targets, y)
        (slope,) = torch.autograd.grad(moved, delta)
        delta = (delta.detach() + step * slope.sign()).clamp(-1, 1)
    return frozen(UniversalPoison(delta))


def lab(
    editor: Editor,
    x: Tensor,
    targets: Tensor,
    eps: float = 0.05,
    steps: int = 20,
    rate: float = 20.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """x' whose colours alone are moved, a and b of CIE Lab, face by face, by Adam.

    After Anti-Forgery (Wang et al., IJCAI 2022, arXiv 2206.00477): up MSE(M(x, c_j), M(x', c_j)).
    x (B, 3, S, S) in [-1, 1], targets (J, B, K), all at once; theirs come in turn, for 100 steps.
    rate: of Adam, in units of a and b for each unit of eps.

    Theirs has no bound in RGB: its code allows a and b 5.5 units. So that all methods here have
    the same bound, |x' - x| <= eps, the change of a pixel that would pass it is scaled down as a
    whole. Cutting each channel would turn its hue, and make the pixel lighter or darker.
    """
    from kornia.color import rgb_to_lab

    with torch.no_grad():
        y = forge(editor, x, targets)
        colours = rgb_to_lab((x + 1) / 2)
    # not from 0, where the slope is 0
    noise = torch.rand(x[:, 1:].shape, generator=generator, dtype=x.dtype).to(x.device) * 2 - 1
    shift = (rate * eps * noise).requires_grad_(True)
    adam = torch.optim.Adam([shift], lr=rate * eps)
    for _ in range(steps):
        moved = _moved(editor, _recoloured(x, colours, shift, eps), targets, y)
        (shift.grad,) = torch.autograd.grad(-moved, shift)
        adam.step()
    return _recoloured(x, colours, shift.detach(), eps)


def _recoloured(x: Tensor, colours: Tensor, shift: Tensor, eps: float) -> Tensor:
    """x of these colours (B, 3, S, S) in Lab, with a and b moved by shift (B, 2, S, S)."""
    from kornia.color import lab_to_rgb

    lightness, a_and_b = colours.split([1, 2], dim=1)
    change = 2 * lab_to_rgb(torch.cat([lightness, a_and_b + shift], dim=1)) - 1 - x
    largest = change.abs().amax(dim=1, keepdim=True)
    return (x + change * (eps / largest.clamp(min=eps))).clamp(-1, 1)


def _moved(editor: Editor, x_infected: Tensor, targets: Tensor, y: Tensor) -> Tensor:
    """MSE(M(x, c_j), M(x', c_j)), with y = M(x, c_j)."""
    return (forge(editor, x_infected, targets) - y).float().square().mean()
