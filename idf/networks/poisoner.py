"""PG, the generator of the perturbation."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.config import FilmPoisonerSettings, PoisonerSettings
from idf.networks.carriers import carriers, painted
from idf.networks.layers import DoubleConv


class PoisonGenerator(nn.Module):
    """PG: a U-Net of double 3x3 convs, average pooling, bilinear upsampling; widths 64..1024.

    Ends in BatchNorm and tanh, so that |PG(x)| <= tau = 1 (Eq. 2). The last BatchNorm keeps the
    amplitude from collapsing. With affine=True (the authors' code) it has a scale and a shift of
    its own. Without, it also bounds the amplitude: of all inputs to tanh with variance 1, the
    constant +-1 has the largest output, so the mean square of PG(x) stays under tanh(1)^2 and
    eps .05 leaves a PSNR of at least 34.4 dB. align_corners: of the upsampling; the authors'
    code has True.
    """

    def __init__(
        self, width: int = 64, levels: int = 5, affine: bool = True, align_corners: bool = True
    ):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        inputs = [3, *widths[:-1]]
        self.down = nn.ModuleList(DoubleConv(a, b) for a, b in zip(inputs, widths, strict=True))
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.up = nn.ModuleList(DoubleConv(a + b, a) for a, b in pairs)
        self.last = nn.Sequential(
            nn.Conv2d(width, 3, 1, bias=False), nn.BatchNorm2d(3, affine=affine), nn.Tanh()
        )
        self.align_corners = align_corners

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> delta (B, 3, S, S) in [-1, 1]; S divides by 2^(levels-1)."""
        skips = [self.down[0](x)]
        for block in self.down[1:]:
            skips.append(block(F.avg_pool2d(skips[-1], 2)))
        h = skips.pop()
        for block in reversed(self.up):
            h = F.interpolate(h, scale_factor=2, mode="bilinear", align_corners=self.align_corners)
            h = block(torch.cat([skips.pop(), h], dim=1))
        return self.last(h)


MOST_POWER = math.tanh(1) ** 2  # of delta, as BatchNorm without affine and tanh bound it


class TileGenerator(nn.Module):
    """PG that paints waves of colour, all of them equally strong in every picture.

    A 3x3 conv at full size finds waves of a few pixels slowly, so each branch (pixel-unshuffle,
    four 3x3 convs, 1x1 conv) says how strong each wave of its period is in each tile. These
    strengths are whitened in each picture by itself: every wave has the same power, and no two go
    together, lest PG choose some, which an editor may not read; then all tiles get one strength.
    Their sum as an image, tanh. As in PoisonGenerator with affine=False the mean square is at most
    tanh(1)^2, so that the PSNR is at least 34.4 dB at eps .05. Not in the paper.
    """

    def __init__(self, width: int = 64, periods: tuple[int, ...] = (4,)):
        super().__init__()
        self.periods = periods
        self.branches = nn.ModuleList(tile_branch(period, width) for period in periods)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> delta (B, 3, S, S) in [-1, 1]; S divides by the periods."""
        delta = torch.zeros_like(x, dtype=torch.float32)
        for period, branch in zip(self.periods, self.branches, strict=True):
            basis = carriers(period)
            # every tile at the same strength: power 1 a value
            strength = F.normalize(whitened(branch(x)), dim=1) * len(basis) ** 0.5
            delta = delta + painted(strength, basis.to(x.device)) / len(self.periods) ** 0.5
        delta = (2 * delta).tanh()
        power = delta.square().mean(dim=(1, 2, 3), keepdim=True)
        return delta * (MOST_POWER / power.clamp(min=MOST_POWER)).sqrt()


def tile_branch(period: int, width: int) -> nn.Sequential:
    """(B, 3, S, S) -> (B, n, S / p, S / p), a strength for each of the n waves."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(period)]
    for inputs in (3 * period**2, width, width, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Conv2d(width, carriers(period).shape[1], 1))


def whitened(h: Tensor) -> Tensor:
    """Each picture's channels with mean 0, variance 1 and no correlation, (B, n, s, s) in fp32.

    By the Cholesky factor of their covariance over the picture.
    """
    with torch.autocast(h.device.type, enabled=False):
        values = h.float().flatten(2)
        values = values - values.mean(dim=2, keepdim=True)
        covariance = values @ values.mT / values.shape[2]
        power = covariance.diagonal(dim1=1, dim2=2).mean(dim=1)[:, None, None]
        ridge = (1e-5 * power + 1e-10) * torch.eye(h.shape[1], device=h.device)
        factor = torch.linalg.cholesky(covariance + ridge)
        return torch.linalg.solve_triangular(factor, values, upper=False).view_as(h)


def make_poisoner(
    settings: PoisonerSettings | FilmPoisonerSettings,
) -> PoisonGenerator | TileGenerator:
    """PG as config.poisoner says, its initial weights from torch's generator."""
    width = settings.width
    if settings.head == "Tiles":
        return TileGenerator(width, settings.periods)
    return PoisonGenerator(width, settings.levels, settings.affine, settings.align_corners)
