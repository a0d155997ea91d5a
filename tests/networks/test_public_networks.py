"""With a public checkpoint's names, our networks compute what theirs do.

Against forward passes written from the papers and public descriptions alone, layer by layer on the
state dict, without a class of ours; and against names and shapes written down from public code.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.testing import assert_close

from idf.networks import BiSeNet, PatchGAN, UNet256


def shuffled(network: nn.Module) -> nn.Module:
    """The network with weights and statistics of its own in every layer, in eval mode."""
    generator = torch.Generator().manual_seed(0)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        if name.endswith("running_var") or (name.endswith("weight") and value.dim() == 1):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        else:
            spread = (2 / value[0].numel()) ** 0.5 if value.dim() > 1 else 0.1
            value.copy_(torch.randn(value.shape, generator=generator) * spread)
    return network.eval()


class Layers:
    """Convolutions and norms by their names in a state dict."""

    def __init__(self, state: dict[str, Tensor], used: set[str] | None = None):
        self.state, self.used = state, set() if used is None else used

    def get(self, name: str) -> Tensor | None:
        self.used.add(name)
        return self.state.get(name)

    def conv(self, name: str, x: Tensor, **how) -> Tensor:
        return F.conv2d(x, self.get(f"{name}.weight"), self.get(f"{name}.bias"), **how)

    def up(self, name: str, x: Tensor) -> Tensor:
        weight, bias = self.get(f"{name}.weight"), self.get(f"{name}.bias")
        return F.conv_transpose2d(x, weight, bias, stride=2, padding=1)

    def norm(self, name: str, x: Tensor) -> Tensor:
        parts = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(self.get(f"{name}.{part}") for part in parts))

    def unused(self) -> list[str]:
        left = set(self.state) - self.used
        return [name for name in left if not name.endswith("num_batches_tracked")]


def face_parsing(net: Layers, x: Tensor) -> list[Tensor]:
    """BiSeNet (Yu et al. 2018) with ResNet-18, as the public face parser has it.

    Its three heads, at x's size.
    """

    def cbr(name, x, **how):
        return F.relu(net.norm(f"{name}.bn", net.conv(f"{name}.conv", x, **how)))

    def block(name, x, stride):
        y = F.relu(net.norm(f"{name}.bn1", net.conv(f"{name}.conv1", x, stride=stride, padding=1)))
        y = net.norm(f"{name}.bn2", net.conv(f"{name}.conv2", y, padding=1))
        if stride == 2:
            x = net.norm(f"{name}.downsample.1", net.conv(f"{name}.downsample.0", x, stride=2))
        return F.relu(x + y)

    def refined(name, x):
        x = cbr(f"{name}.conv", x, padding=1)
        weight = net.conv(f"{name}.conv_atten", x.mean((2, 3), keepdim=True))
        return x * torch.sigmoid(net.norm(f"{name}.bn_atten", weight))

    def head(name, x, size):
        y = net.conv(f"{name}.conv_out", cbr(f"{name}.conv", x, padding=1))
        return F.interpolate(y, size, mode="bilinear", align_corners=True)

    f = F.relu(net.norm("cp.resnet.bn1", net.conv("cp.resnet.conv1", x, stride=2, padding=3)))
    f, features = F.max_pool2d(f, 3, 2, 1), []
    for layer, stride in ((1, 1), (2, 2), (3, 2), (4, 2)):
        f = block(f"cp.resnet.layer{layer}.1", block(f"cp.resnet.layer{layer}.0", f, stride), 1)
        features.append(f)
    _, f8, f16, f32 = features
    c32 = refined("cp.arm32", f32) + cbr("cp.conv_avg", f32.mean((2, 3), keepdim=True))
    c16 = cbr("cp.conv_head32", F.interpolate(c32, f16.shape[2:]), padding=1)
    up = F.interpolate(refined("cp.arm16", f16) + c16, f8.shape[2:])
    c8 = cbr("cp.conv_head16", up, padding=1)
    fused = cbr("ffm.convblk", torch.cat([f8, c8], 1))
    weight = net.conv("ffm.conv2", F.relu(net.conv("ffm.conv1", fused.mean((2, 3), keepdim=True))))
    fused = fused + fused * torch.sigmoid(weight)
    heads = {"conv_out": fused, "conv_out16": c8, "conv_out32": c16}
    return [head(name, features, x.shape[2:]) for name, features in heads.items()]


def pix2pix_unet(net: Layers, x: Tensor, halvings: int) -> Tensor:
    """The U-Net of Isola et al. 2017, each level a module inside the one above."""

    def level(name, x, deep):
        x = net.conv(f"{name}.model.1", F.leaky_relu(x, 0.2), stride=2, padding=1)
        if deep == halvings:
            return net.norm(f"{name}.model.4", net.up(f"{name}.model.3", F.relu(x)))
        x = net.norm(f"{name}.model.2", x)
        x = torch.cat([x, level(f"{name}.model.3", x, deep + 1)], 1)
        return net.norm(f"{name}.model.6", net.up(f"{name}.model.5", F.relu(x)))

    x = net.conv("model.model.0", x, stride=2, padding=1)
    x = torch.cat([x, level("model.model.1", x, 2)], 1)
    return torch.tanh(net.up("model.model.3", F.relu(x)))


def patch_gan(net: Layers, x: Tensor) -> Tensor:
    """70 x 70 patches: convolutions 0, 2, 5, 8, 11 of a sequence, of stride 2 but the last two."""
    x = F.leaky_relu(net.conv("model.0", x, stride=2, padding=1), 0.2)
    for i, stride in ((2, 2), (5, 2), (8, 1)):
        x = net.conv(f"model.{i}", x, stride=stride, padding=1)
        x = F.leaky_relu(net.norm(f"model.{i + 1}", x), 0.2)
    return net.conv("model.11", x, padding=1)


@torch.no_grad()
def test_bisenet_computes_what_the_public_one_does():
    ours, x = shuffled(BiSeNet(19, 64)), torch.randn(1, 3, 96, 128)
    net = Layers(ours.state_dict())
    for own, theirs in zip(ours(x), face_parsing(net, x), strict=True):
        assert_close(own, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
        assert theirs.std() > 0.01
    assert net.unused() == []


@pytest.mark.parametrize("less", [0, 1])
@torch.no_grad()
def test_unet_computes_what_pix2pix_does(less):
    ours, z = shuffled(UNet256(0, 8, 256, less)), torch.randn(1, 3, 256, 256)
    net = Layers(ours.state_dict())
    theirs = pix2pix_unet(net, z, 8 - less)
    assert_close(ours(z), theirs, rtol=1e-4, atol=1e-5)
    assert theirs.std() > 0.01 and net.unused() == []


@torch.no_grad()
def test_patch_gan_computes_what_pix2pix_does():
    ours, z, x = shuffled(PatchGAN(8, 3)), torch.randn(1, 3, 64, 64), torch.randn(1, 3, 64, 64)
    net = Layers(ours.state_dict())
    theirs = patch_gan(net, torch.cat([z, x], 1))
    assert_close(ours(z, x), theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    assert theirs.std() > 0.01 and net.unused() == []


def shapes_of(network: nn.Module) -> dict[str, tuple]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def test_names_and_shapes_of_the_public_unet():
    """The public UnetGenerator with 8 halvings."""
    widths = [64, 128, 256, 512, 512, 512, 512, 512]
    expected: dict[str, tuple] = {
        "model.model.0.weight": (64, 3, 4, 4),
        "model.model.3.weight": (128, 3, 4, 4),
        "model.model.3.bias": (3,),
    }
    prefix = "model.model"
    for i in range(1, 8):
        prefix += ".1.model" if i == 1 else ".3.model"
        outer, inner = widths[i - 1], widths[i]
        norms = {2: inner, 6: outer}
        up, inputs = 5, 2 * inner
        if i == 7:  # innermost: no norm on the way down, nothing concatenated
            norms, up, inputs = {4: outer}, 3, inner
        expected[f"{prefix}.1.weight"] = (inner, outer, 4, 4)
        expected[f"{prefix}.{up}.weight"] = (inputs, outer, 4, 4)
        for number, width in norms.items():
            for key in ("weight", "bias", "running_mean", "running_var"):
                expected[f"{prefix}.{number}.{key}"] = (width,)
            expected[f"{prefix}.{number}.num_batches_tracked"] = ()
    assert shapes_of(UNet256(0, 64, 256)) == expected


def test_names_and_shapes_of_the_public_patch_gan():
    """The public NLayerDiscriminator."""
    own = {name: shape for name, shape in shapes_of(PatchGAN(64, 3)).items() if "weight" in name}
    assert own == {
        "model.0.weight": (64, 6, 4, 4),
        "model.2.weight": (128, 64, 4, 4),
        "model.3.weight": (128,),
        "model.5.weight": (256, 128, 4, 4),
        "model.6.weight": (256,),
        "model.8.weight": (512, 256, 4, 4),
        "model.9.weight": (512,),
        "model.11.weight": (1, 512, 4, 4),
    }


def test_names_and_shapes_of_the_public_face_parser():
    """Some of 79999_iter.pth's."""
    own = shapes_of(BiSeNet(19, 64))
    for name, shape in {
        "cp.resnet.conv1.weight": (64, 3, 7, 7),
        "cp.resnet.layer1.0.conv1.weight": (64, 64, 3, 3),
        "cp.resnet.layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "cp.resnet.layer2.0.downsample.1.weight": (128,),
        "cp.resnet.layer4.1.bn2.running_var": (512,),
        "cp.arm16.conv.conv.weight": (128, 256, 3, 3),
        "cp.arm32.conv_atten.weight": (128, 128, 1, 1),
        "cp.arm32.bn_atten.weight": (128,),
        "cp.conv_head32.conv.weight": (128, 128, 3, 3),
        "cp.conv_avg.conv.weight": (128, 512, 1, 1),
        "ffm.convblk.conv.weight": (256, 256, 1, 1),
        "ffm.conv1.weight": (64, 256, 1, 1),
        "ffm.conv2.weight": (256, 64, 1, 1),
        "conv_out.conv.conv.weight": (256, 256, 3, 3),
        "conv_out.conv_out.weight": (19, 256, 1, 1),
        "conv_out16.conv_out.weight": (19, 64, 1, 1),
        "conv_out32.conv.bn.num_batches_tracked": (),
    }.items():
        assert own[name] == shape, name
    assert not any(name.startswith(("cp.resnet.fc", "sp.")) for name in own)


@pytest.mark.parametrize("size", [64, 128])
def test_the_face_parsers_three_heads_are_at_the_pictures_size(size):
    network, x = BiSeNet(19, 4).train(), torch.rand(2, 3, size, size)
    assert [tuple(y.shape) for y in network(x)] == 3 * [(2, 19, size, size)]
    assert [y.shape[-1] for y in network.heads(x)] == [size // 8, size // 8, size // 16]
