"""pix2pix (Isola et al. 2017), the forger of scenario 2: its U-Net and its PatchGAN."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from idf.networks.layers import InstanceNorm


class SkipLevel(nn.Module):
    """One level of the U-Net: down, what lies below, up, concatenated with its input.

    The outermost level (image_in: its input's channels) has neither activation nor norm around it,
    and no concatenation. A norm with a shift of its own (BatchNorm) makes the bias of the conv
    before it void, and pix2pix leaves it out.
    """

    def __init__(
        self,
        outer: int,
        inner: int,
        below: nn.Module | None,
        norm: Callable[[int], nn.Module],
        image_in: int | None = None,
        dropout: bool = False,
    ):
        super().__init__()
        self.outermost = image_in is not None
        innermost = below is None
        biased = norm is InstanceNorm and (self.outermost or innermost)
        conv = nn.Conv2d(image_in or outer, inner, 4, 2, 1, bias=biased)
        inputs = inner if innermost else 2 * inner
        conv_up = nn.ConvTranspose2d(inputs, outer, 4, 2, 1, bias=self.outermost)

        if self.outermost:
            down, up = [conv], [nn.ReLU(), conv_up, nn.Tanh()]
        else:
            down, up = [nn.LeakyReLU(0.2), conv], [nn.ReLU(), conv_up, norm(outer)]
            if not innermost:
                down.append(norm(inner))
            if dropout:
                up.append(nn.Dropout(0.5))
        middle = [] if innermost else [below]
        self.model = nn.Sequential(*down, *middle, *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], dim=1)


def unet(
    inputs: int, width: int, halvings: int, norm: Callable[[int], nn.Module], dropout: bool
) -> SkipLevel:
    """The U-Net with so many halvings; dropout .5 in its inner blocks of full width."""
    widths = [width * min(2**i, 8) for i in range(halvings)]
    block = None
    for outer, inner in reversed(list(zip(widths[:-1], widths[1:], strict=True))):
        drops = dropout and outer == inner and block is not None
        block = SkipLevel(outer, inner, block, norm, dropout=drops)
    return SkipLevel(3, widths[0], block, norm, image_in=inputs)


class UNet256(nn.Module):
    """pix2pix's generator y = M(z): 8 halvings at 256 px, down to one pixel at any size.

    With BatchNorm, dropout, and N(0, .02) as initial weights. less: halvings left out; with 1 it
    is pix2pix's own UNet128, which stops at 2 px of 256 (in tables: UNet128-BN). Takes the public
    state dict (`model.model.0.weight` ...) strictly.
    """

    def __init__(self, domains: int = 0, width: int = 64, size: int = 256, less: int = 0):
        super().__init__()
        halvings = size.bit_length() - 1 - less
        self.model = unet(3 + domains, width, halvings, nn.BatchNorm2d, dropout=True)
        self.apply(normal_weights)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, 3, S, S) in [-1, 1] -> (B, 3, S, S) in [-1, 1]."""
        return self.model(z)


class PatchGAN(nn.Module):
    """pix2pix's discriminator on landmark map and image: 70 x 70 patches at layers 3."""

    def __init__(self, width: int = 64, layers: int = 3):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        parts = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for i in range(layers):
            stride = 2 if i < layers - 1 else 1
            parts += [
                nn.Conv2d(widths[i], widths[i + 1], 4, stride, 1, bias=False),
                nn.BatchNorm2d(widths[i + 1]),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.model = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(normal_weights)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """z, x (B, 3, S, S) -> logits (B, 1, s, s)."""
        return self.model(torch.cat([z, x], dim=1))


def normal_weights(module: nn.Module) -> None:
    """pix2pix's start: convs N(0, .02) with biases 0, BatchNorm scales N(1, .02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
