"""What several networks share."""

import torch
from torch import Tensor, nn


def with_label(x: Tensor, c: Tensor) -> Tensor:
    """The image and its tiled label as one stack: x (B, 3, S, S), c (B, K) -> (B, 3 + K, S, S)."""
    c = c.to(x.dtype)[:, :, None, None].expand(-1, -1, *x.shape[2:])
    return torch.cat([x, c], dim=1)


class InstanceNorm(nn.InstanceNorm2d):
    """Affine instance norm that always uses each image's own statistics.

    The public StarGAN stores running statistics and never uses them, because it samples in training
    mode; they are dropped on loading.
    """

    def __init__(self, channels: int):
        super().__init__(channels, affine=True)

    def _load_from_state_dict(self, state: dict, prefix: str, *rest) -> None:
        # a pre-hook would come too late for a state dict without version, as from safetensors
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            state.pop(prefix + name, None)
        super()._load_from_state_dict(state, prefix, *rest)


class DoubleConv(nn.Sequential):
    """Twice: 3x3 conv, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class ConvBNReLU(nn.Module):
    """A conv that keeps the size, BatchNorm, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


def frozen(network: nn.Module) -> nn.Module:
    """The network in evaluation mode, its parameters without gradient.

    Gradients still pass through it to its input.
    """
    return network.eval().requires_grad_(False)
