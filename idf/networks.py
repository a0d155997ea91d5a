"""The networks: generators Res6 Res9 CNet UNet128 UNet256, discriminators D_A, D_B and PatchGAN, the poisoner PG, the
face parser BiSeNet, the judge.

Images are (B, 3, S, S) in [-1, 1], labels (B, K) of 0/1. Res6/Res9 and D_A take the state dict of the public PyTorch
StarGAN (Choi et al. 2018) strictly, UNet256 that of pix2pix (Isola et al. 2017), BiSeNet that of the public face parser.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.config import Config, UserError


class InstanceNorm(nn.InstanceNorm2d):
    """Affine instance norm that always uses each image's own statistics.

    The public StarGAN stores running statistics and never uses them, because it samples in training mode; they are
    dropped on loading.
    """

    def __init__(self, channels: int):
        super().__init__(channels, affine=True)

    def _load_from_state_dict(self, state: dict, prefix: str, *rest) -> None:
        # a pre-hook would come too late for a state dict without version, as from safetensors: torch refuses it first
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            state.pop(prefix + name, None)
        super()._load_from_state_dict(state, prefix, *rest)


class Generator(nn.Module):
    """An attribute editor y = M(x, c), or without domains a translator y = M(z): subclasses set `main`.

    Image and tiled label enter as one stack.
    """

    main: nn.Module

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """x (B, 3, S, S) in [-1, 1], c (B, K) of 0/1 -> (B, 3, S, S) in [-1, 1]."""
        if c is None:
            return self.main(x)
        c = c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.main(torch.cat([x, c], dim=1))


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            InstanceNorm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Res(Generator):
    """StarGAN's generator: 7x7 conv, two stride-2 convs, residual blocks, two transposed convs, 7x7 conv, tanh."""

    def __init__(self, domains: int, width: int = 64, blocks: int = 6):
        super().__init__()
        layers = [
            nn.Conv2d(3 + domains, width, 7, padding=3, bias=False),
            InstanceNorm(width),
            nn.ReLU(inplace=True),
        ]
        for w in (width, 2 * width):
            layers += [
                nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False),
                InstanceNorm(2 * w),
                nn.ReLU(inplace=True),
            ]
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for w in (2 * width, width):
            layers += [
                nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False),
                InstanceNorm(w),
                nn.ReLU(inplace=True),
            ]
        layers += [nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)


class CNet(Generator):
    """A plain convolutional autoencoder: four convs down, four up, no skip and no residual block (paper, Robustness)."""

    def __init__(self, domains: int, width: int = 64):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers, previous = [], 3 + domains
        for w in widths:
            layers += [
                nn.Conv2d(previous, w, 4, 2, 1, bias=False),
                InstanceNorm(w),
                nn.LeakyReLU(0.2, inplace=True),
            ]
            previous = w
        for w in reversed([width, *widths[:-1]]):
            layers += [
                nn.ConvTranspose2d(previous, w, 4, 2, 1, bias=False),
                InstanceNorm(w),
                nn.ReLU(inplace=True),
            ]
            previous = w
        self.main = nn.Sequential(*layers, nn.Conv2d(previous, 3, 3, padding=1), nn.Tanh())


class SkipLevel(nn.Module):
    """One level of pix2pix's U-Net (Isola et al. 2017): down, what lies below, up, concatenated with its input.

    The outermost level (image_in: its input's channels) has neither activation nor norm around it, and no concatenation.
    A norm with a shift of its own (BatchNorm) makes the bias of the convs before it void, and pix2pix leaves it out.
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
        plain = norm is InstanceNorm and (self.outermost or below is None)
        down: list[nn.Module] = [nn.Conv2d(image_in or outer, inner, 4, 2, 1, bias=plain)]
        rise = nn.ConvTranspose2d(
            inner * (1 if below is None else 2), outer, 4, 2, 1, bias=self.outermost
        )
        up: list[nn.Module] = [nn.ReLU(), rise]
        if self.outermost:
            up.append(nn.Tanh())
        else:
            down.insert(0, nn.LeakyReLU(0.2))
            up.append(norm(outer))
            if below is not None:
                down.append(norm(inner))
                up += [nn.Dropout(0.5)] * dropout
        self.model = nn.Sequential(*down, *([] if below is None else [below]), *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], dim=1)


def unet(
    inputs: int, width: int, levels: int, norm: Callable[[int], nn.Module], dropout: bool
) -> SkipLevel:
    """pix2pix's U-Net with `levels` halvings; dropout in its inner blocks of full width."""
    widths = [width * min(2**i, 8) for i in range(levels)]
    block = None
    for outer, inner in reversed(list(zip(widths[:-1], widths[1:], strict=True))):
        block = SkipLevel(outer, inner, block, norm, dropout=dropout and outer == inner)
    return SkipLevel(3, widths[0], block, norm, image_in=inputs)


class UNet128(Generator):
    """pix2pix's U-Net with the tiled label: 7 halvings at 128 px, as many as the size allows below."""

    def __init__(self, domains: int, width: int = 64, size: int = 128):
        super().__init__()
        self.main = unet(
            3 + domains, width, min(7, size.bit_length() - 1), InstanceNorm, dropout=False
        )


class UNet256(nn.Module):
    """pix2pix's generator y = M(z) with BatchNorm and dropout: 8 halvings at 256 px, down to one pixel at any size.

    Dropout .5 stands in the inner blocks, initial weights are N(0, .02). less: halvings left out; 1 makes it pix2pix's
    UNet128, which stops at 2 px of 256. Takes the public state dict (`model.model.0.weight` ...) strictly.
    """

    def __init__(self, width: int = 64, size: int = 256, less: int = 0):
        super().__init__()
        self.model = unet(3, width, size.bit_length() - 1 - less, nn.BatchNorm2d, dropout=True)
        self.apply(normal_weights)

    def forward(self, z: Tensor) -> Tensor:
        """z (B, 3, S, S) in [-1, 1] -> (B, 3, S, S) in [-1, 1]."""
        return self.model(z)


def normal_weights(module: nn.Module) -> None:
    """pix2pix's start: convs N(0, .02), BatchNorm scales N(1, .02)."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


class PatchGAN(nn.Module):
    """pix2pix's discriminator on landmarks and image: 70 x 70 patches at layers 3. Returns logits (B, 1, s, s)."""

    def __init__(self, width: int = 64, layers: int = 3):
        super().__init__()
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        parts: list[nn.Module] = [nn.Conv2d(6, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for i, (a, b) in enumerate(zip(widths, widths[1:], strict=False)):
            parts += [
                nn.Conv2d(a, b, 4, 2 if i < layers - 1 else 1, 1, bias=False),
                nn.BatchNorm2d(b),
                nn.LeakyReLU(0.2, inplace=True),
            ]
        self.model = nn.Sequential(*parts, nn.Conv2d(widths[-1], 1, 4, 1, 1))
        self.apply(normal_weights)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return self.model(torch.cat([z, x], dim=1))


GENERATORS = {
    "Res6": lambda config, k: Res(k, config.width, 6),
    "Res9": lambda config, k: Res(k, config.width, 9),
    "CNet": lambda config, k: CNet(k, config.width),
    "UNet128": lambda config, k: UNet128(k, config.width, config.size),
}


def make_generator(name: str, config: Config) -> Generator:
    """The editor called Res6, Res9, CNet or UNet128, with the width, size and domains of config."""
    if name not in GENERATORS:
        raise UserError(f"Unknown target network {name!r}: use one of {', '.join(GENERATORS)}.")
    return GENERATORS[name](config, len(config.domains))


class PatchDiscriminator(nn.Module):
    """D_B: stride-2 convs with LeakyReLU .01 and a patch head, no norm, for WGAN-GP. Returns (B, 1, s, s) scores."""

    def __init__(self, size: int, width: int = 64):
        super().__init__()
        # StarGAN halves six times at 128 px: down to 2 px
        depth = size.bit_length() - 2
        layers, previous = [], 3
        for i in range(depth):
            layers += [nn.Conv2d(previous, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.01)]
            previous = width * 2**i
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(previous, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1(self.main(x))


class DomainDiscriminator(PatchDiscriminator):
    """D_A, StarGAN's discriminator: a patch head and a class head. Returns scores (B, 1, s, s) and logits (B, K)."""

    def __init__(self, size: int, domains: int, width: int = 64):
        super().__init__(size, width)
        channels = self.conv1.in_channels
        self.conv2 = nn.Conv2d(channels, domains, size // 2 ** (size.bit_length() - 2), bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.main(x)
        return self.conv1(h), self.conv2(h).flatten(1)


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class PoisonGenerator(nn.Module):
    """PG: a U-Net of double 3x3 convs, average pooling and bilinear upsampling; widths 64..1024 at full size.

    Ends in BatchNorm and tanh, so that |PG(x)| <= tau = 1 (Eq. 2). The last BatchNorm keeps the amplitude from
    collapsing; without a scale of its own it also bounds it: of all inputs to tanh with variance 1, the constant +-1
    has the largest output, so the mean square of PG(x) stays under tanh(1)^2 and eps .05 costs at most 34.4 dB.
    affine: the last BatchNorm has a scale and a shift after all, and this bound is gone.
    """

    def __init__(self, width: int = 64, levels: int = 5, affine: bool = False):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(
            double_conv(a, b) for a, b in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            double_conv(a + b, a) for a, b in zip(widths, widths[1:], strict=False)
        )
        self.last = nn.Sequential(
            nn.Conv2d(width, 3, 1, bias=False), nn.BatchNorm2d(3, affine=affine), nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> delta (B, 3, S, S) in [-1, 1]; S a multiple of 2**(levels - 1)."""
        skips = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else F.avg_pool2d(x, 2))
            skips.append(x)
        x = skips.pop()
        for block in reversed(self.up):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = block(torch.cat([skips.pop(), x], dim=1))
        return self.last(x)


class ConvBNReLU(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class ResNet18(nn.Module):
    """The backbone's features at 1/8, 1/16 and 1/32 of the size (He et al. 2016)."""

    def __init__(self, width: int):
        from torchvision.models.resnet import (
            BasicBlock,
        )  # here, not above: it takes as long to import as torch

        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, width, 7, 2, 3, bias=False), nn.BatchNorm2d(width)
        for i, (a, b) in enumerate(zip((1, 1, 2, 4), (1, 2, 4, 8), strict=True)):
            a, b, stride = a * width, b * width, 1 if i == 0 else 2
            short = (
                None
                if i == 0
                else nn.Sequential(nn.Conv2d(a, b, 1, 2, bias=False), nn.BatchNorm2d(b))
            )
            setattr(
                self,
                f"layer{i + 1}",
                nn.Sequential(BasicBlock(a, b, stride, short), BasicBlock(b, b)),
            )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = self.layer1(F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    """Features weighted by channel, the weight drawn from their mean over the picture."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = ConvBNReLU(inputs, outputs)
        self.conv_atten = nn.Conv2d(outputs, outputs, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))).sigmoid()


class ContextPath(nn.Module):
    """What is where in the large: ResNet-18 features at 1/16 and 1/32, refined and brought up to 1/8 and 1/16."""

    def __init__(self, width: int):
        super().__init__()
        self.resnet = ResNet18(width)
        self.arm16, self.arm32 = (
            AttentionRefinement(4 * width, 2 * width),
            AttentionRefinement(8 * width, 2 * width),
        )
        self.conv_head32, self.conv_head16 = (
            ConvBNReLU(2 * width, 2 * width),
            ConvBNReLU(2 * width, 2 * width),
        )
        self.conv_avg = ConvBNReLU(8 * width, 2 * width, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        eighth, sixteenth, last = self.resnet(x)
        last = self.arm32(last) + self.conv_avg(last.mean((2, 3), keepdim=True))
        last = self.conv_head32(F.interpolate(last, sixteenth.shape[2:]))
        middle = self.conv_head16(F.interpolate(self.arm16(sixteenth) + last, eighth.shape[2:]))
        return eighth, middle, last


class FeatureFusion(nn.Module):
    """Spatial and context features as one stack, with channel attention added."""

    def __init__(self, channels: int):
        super().__init__()
        self.convblk = ConvBNReLU(channels, channels, 1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, spatial: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([spatial, context], dim=1))
        return x + x * self.conv2(F.relu(self.conv1(x.mean((2, 3), keepdim=True)))).sigmoid()


class ParsingHead(nn.Module):
    def __init__(self, inputs: int, middle: int, classes: int):
        super().__init__()
        self.conv = ConvBNReLU(inputs, middle)
        self.conv_out = nn.Conv2d(middle, classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Face parsing (Yu et al. 2018) as in the public face-parsing code, whose state dict it takes strictly at width 64.

    As there, ResNet's feature at 1/8 stands for the spatial path. Three heads: the last two only help in training.
    """

    def __init__(self, classes: int = 19, width: int = 64):
        super().__init__()
        self.cp = ContextPath(width)
        self.ffm = FeatureFusion(4 * width)
        self.conv_out = ParsingHead(4 * width, 4 * width, classes)
        self.conv_out16, self.conv_out32 = (
            ParsingHead(2 * width, width, classes),
            ParsingHead(2 * width, width, classes),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, 3, H, W), multiples of 32 -> three times logits (B, classes, H, W)."""
        return tuple(
            F.interpolate(y, x.shape[2:], mode="bilinear", align_corners=True)
            for y in self.heads(x)
        )

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The logits before they are scaled up, at 1/8, 1/8 and 1/16 of the size."""
        spatial, context, last = self.cp(x)
        return (
            self.conv_out(self.ffm(spatial, context)),
            self.conv_out16(context),
            self.conv_out32(last),
        )


class Judge(nn.Module):
    """The independent judge: which of the K attributes does a face show? Returns logits (B, K)."""

    def __init__(self, domains: int, width: int = 32):
        super().__init__()
        layers, previous = [], 3
        for w in (width, 2 * width, 4 * width, 8 * width):
            layers += [double_conv(previous, w), nn.MaxPool2d(2)]
            previous = w
        self.main = nn.Sequential(*layers)
        # 2 x 2 cells keep where a thing is: hair above, mouth below
        self.head = nn.Sequential(
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * previous, domains)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.main(x))


def frozen(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its parameters without gradient (gradients still pass through to its input)."""
    return network.eval().requires_grad_(False)
