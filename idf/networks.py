"""Networks of scenario 1: generators Res6 Res9 CNet UNet128, discriminators D_A and D_B, the poisoner PG, the judge.

Images are (B, 3, S, S) in [-1, 1], labels (B, K) of 0/1. Res6/Res9 and D_A take the state dict of the public PyTorch
StarGAN (Choi et al. 2018) strictly.
"""

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
    """An attribute editor y = M(x, c): subclasses set `main`, which sees image and tiled label as one stack."""

    main: nn.Module

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1], c (B, K) of 0/1 -> (B, 3, S, S) in [-1, 1]."""
        c = c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
        return self.main(torch.cat([x, c], dim=1))


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), InstanceNorm(width), nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1, bias=False), InstanceNorm(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.main(x)


class Res(Generator):
    """StarGAN's generator: 7x7 conv, two stride-2 convs, residual blocks, two transposed convs, 7x7 conv, tanh."""

    def __init__(self, domains: int, width: int = 64, blocks: int = 6):
        super().__init__()
        layers = [nn.Conv2d(3 + domains, width, 7, padding=3, bias=False), InstanceNorm(width), nn.ReLU(inplace=True)]
        for w in (width, 2 * width):
            layers += [nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), InstanceNorm(2 * w), nn.ReLU(inplace=True)]
        layers += [ResidualBlock(4 * width) for _ in range(blocks)]
        for w in (2 * width, width):
            layers += [nn.ConvTranspose2d(2 * w, w, 4, 2, 1, bias=False), InstanceNorm(w), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(width, 3, 7, padding=3, bias=False), nn.Tanh()]
        self.main = nn.Sequential(*layers)


class CNet(Generator):
    """A plain convolutional autoencoder: four convs down, four up, no skip and no residual block (paper, Robustness)."""

    def __init__(self, domains: int, width: int = 64):
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        layers, previous = [], 3 + domains
        for w in widths:
            layers += [nn.Conv2d(previous, w, 4, 2, 1, bias=False), InstanceNorm(w), nn.LeakyReLU(0.2, inplace=True)]
            previous = w
        for w in reversed([width, *widths[:-1]]):
            layers += [nn.ConvTranspose2d(previous, w, 4, 2, 1, bias=False), InstanceNorm(w), nn.ReLU(inplace=True)]
            previous = w
        self.main = nn.Sequential(*layers, nn.Conv2d(previous, 3, 3, padding=1), nn.Tanh())


class SkipLevel(nn.Module):
    """One level of pix2pix's U-Net (Isola et al. 2017): down, what lies below, up, concatenated with its input."""

    def __init__(self, outer: int, inner: int, below: nn.Module | None, image_in: int | None = None):
        super().__init__()
        self.outermost = image_in is not None
        down = [nn.Conv2d(image_in or outer, inner, 4, 2, 1, bias=self.outermost or below is None)]
        up = [nn.ReLU(), nn.ConvTranspose2d(inner * (1 if below is None else 2), outer, 4, 2, 1, bias=self.outermost)]
        if not self.outermost:
            down.insert(0, nn.LeakyReLU(0.2))
            up.append(InstanceNorm(outer))
        if not self.outermost and below is not None:
            down.append(InstanceNorm(inner))
        self.model = nn.Sequential(*down, *([] if below is None else [below]), *up)

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], dim=1)


class UNet128(Generator):
    """pix2pix's U-Net with the tiled label: 7 halvings at 128 px, as many as the size allows below."""

    def __init__(self, domains: int, width: int = 64, size: int = 128):
        super().__init__()
        levels = min(7, size.bit_length() - 1)
        widths = [width * min(2**i, 8) for i in range(levels)]
        block = None
        for outer, inner in reversed(list(zip(widths[:-1], widths[1:], strict=True))):
            block = SkipLevel(outer, inner, block)
        self.main = nn.Sequential(SkipLevel(3, widths[0], block, image_in=3 + domains), nn.Tanh())


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
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True),
    )


class PoisonGenerator(nn.Module):
    """PG: a U-Net of double 3x3 convs, average pooling and bilinear upsampling; widths 64..1024 at full size.

    Ends in BatchNorm and tanh, so that |PG(x)| <= tau = 1 (Eq. 2). The last BatchNorm keeps the amplitude from
    collapsing; without a scale of its own it also bounds it: of all inputs to tanh with variance 1, the constant +-1
    has the largest output, so the mean square of PG(x) stays under tanh(1)^2 and eps .05 costs at most 34.4 dB.
    """

    def __init__(self, width: int = 64, levels: int = 5):
        super().__init__()
        widths = [width * 2**i for i in range(levels)]
        self.down = nn.ModuleList(double_conv(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(double_conv(a + b, a) for a, b in zip(widths, widths[1:], strict=False))
        self.last = nn.Sequential(nn.Conv2d(width, 3, 1, bias=False), nn.BatchNorm2d(3, affine=False), nn.Tanh())

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
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.3), nn.Linear(4 * previous, domains))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.main(x))


def frozen(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its parameters without gradient (gradients still pass through to its input)."""
    return network.eval().requires_grad_(False)
