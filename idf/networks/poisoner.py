"""PG, the generator of the perturbation."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.config import FilmPoisonerSettings, PoisonerSettings
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


# two axes of colour, orthogonal to grey and to each other: red against green, both against blue
COLOURS = F.normalize(torch.tensor([[1.0, -1.0, 0.0], [1.0, 1.0, -2.0]]))


class TileGenerator(nn.Module):
    """PG that paints tiles of colour: each pixel of a period x period tile has outputs of its own.

    A 3x3 conv at full size finds waves of a few pixels slowly; here a wave is a constant. For each
    of `periods` a branch: pixel-unshuffle, four 3x3 convs, 1x1 conv to the two colours without
    grey, BatchNorm without affine, pixel-shuffle. Their sum in red, green and blue, tanh. As in
    PoisonGenerator with affine=False the PSNR is at least 34.4 dB at eps .05. Not in the paper.
    """

    def __init__(self, width: int = 64, periods: tuple[int, ...] = (4,)):
        super().__init__()
        self.branches = nn.ModuleList(tile_branch(period, width) for period in periods)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> delta (B, 3, S, S) in [-1, 1]; S divides by the periods."""
        strengths = sum(branch(x) for branch in self.branches) / len(self.branches) ** 0.5
        colour = torch.einsum("kc,bkhw->bchw", COLOURS.to(strengths), strengths)
        return (1.5**0.5 * colour).tanh()  # two outputs of variance 1 make three channels of 2/3


def tile_branch(period: int, width: int) -> nn.Sequential:
    """(B, 3, S, S) -> (B, 2, S, S), of mean 0 and variance 1."""
    layers: list[nn.Module] = [nn.PixelUnshuffle(period)]
    for inputs in (3 * period**2, width, width, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True)]
    outputs = 2 * period**2
    layers += [nn.Conv2d(width, outputs, 1, bias=False), nn.BatchNorm2d(outputs, affine=False)]
    return nn.Sequential(*layers, nn.PixelShuffle(period))


def make_poisoner(
    settings: PoisonerSettings | FilmPoisonerSettings,
) -> PoisonGenerator | TileGenerator:
    """PG as config.poisoner says, its initial weights from torch's generator."""
    width = settings.width
    if settings.head == "Tiles":
        return TileGenerator(width, settings.periods)
    return PoisonGenerator(width, settings.levels, settings.affine, settings.align_corners)
