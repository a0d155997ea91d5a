"""BiSeNet, the face parser behind the mask m(x) (Yu et al. 2018)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.networks.layers import ConvBNReLU


def residual_stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Two of ResNet's basic blocks; with stride 2 the first halves the size."""
    from torchvision.models.resnet import BasicBlock  # slow to import, needed only here

    shortcut = None
    if stride > 1:
        conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
        shortcut = nn.Sequential(conv, nn.BatchNorm2d(outputs))
    return nn.Sequential(
        BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
    )


class ResNet18(nn.Module):
    """The backbone's features at 1/8, 1/16 and 1/32 of the size (He et al. 2016)."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = residual_stage(width, width, 1)
        self.layer2 = residual_stage(width, 2 * width, 2)
        self.layer3 = residual_stage(2 * width, 4 * width, 2)
        self.layer4 = residual_stage(4 * width, 8 * width, 2)

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
    """ResNet-18 features at 1/16 and 1/32, refined and brought up to 1/8 and 1/16."""

    def __init__(self, width: int):
        super().__init__()
        self.resnet = ResNet18(width)
        self.arm16 = AttentionRefinement(4 * width, 2 * width)
        self.arm32 = AttentionRefinement(8 * width, 2 * width)
        self.conv_head32 = ConvBNReLU(2 * width, 2 * width)
        self.conv_head16 = ConvBNReLU(2 * width, 2 * width)
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
    """The public face-parsing network, whose state dict it takes strictly at width 64.

    As there, ResNet's feature at 1/8 stands for the spatial path. Of its three heads the last two
    only help in training.
    """

    def __init__(self, classes: int = 19, width: int = 64):
        super().__init__()
        self.cp = ContextPath(width)
        self.ffm = FeatureFusion(4 * width)
        self.conv_out = ParsingHead(4 * width, 4 * width, classes)
        self.conv_out16 = ParsingHead(2 * width, width, classes)
        self.conv_out32 = ParsingHead(2 * width, width, classes)

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
