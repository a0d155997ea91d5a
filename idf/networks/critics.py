"""StarGAN's discriminator D_A, and D_B, the same without class head; no norm, for WGAN-GP."""

from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """D_B: stride-2 convs with LeakyReLU .01, and a patch head."""

    def __init__(self, size: int, width: int = 64):
        super().__init__()
        halvings = size.bit_length() - 2  # StarGAN halves six times at 128 px: down to 2 px
        layers, previous = [], 3
        for i in range(halvings):
            layers += [nn.Conv2d(previous, width * 2**i, 4, 2, 1), nn.LeakyReLU(0.01)]
            previous = width * 2**i
        self.main = nn.Sequential(*layers)
        self.conv1 = nn.Conv2d(previous, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 3, S, S) in [-1, 1] -> scores (B, 1, s, s)."""
        return self.conv1(self.main(x))


class DomainDiscriminator(PatchDiscriminator):
    """D_A: a patch head and a class head. Takes the public StarGAN's state dict strictly."""

    def __init__(self, size: int, domains: int, width: int = 64):
        super().__init__(size, width)
        patch = size // 2 ** (size.bit_length() - 2)
        self.conv2 = nn.Conv2d(self.conv1.in_channels, domains, patch, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, 3, S, S) in [-1, 1] -> scores (B, 1, s, s) and logits (B, K)."""
        h = self.main(x)
        return self.conv1(h), self.conv2(h).flatten(1)
