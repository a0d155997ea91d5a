"""Every measure against a value worked out by hand, PSNR against scikit-image's."""

import math
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torch.testing import assert_close

from idf import metrics
from idf.data.drawn.faces import render_faces
from idf.data.pictures import to_model


def flat(*values):
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 4, 4).clone()


def test_l1_l2_and_psnr_by_hand():
    a, b = flat(0.0, 0.5), flat(0.1, 0.1)
    b[0, 0] = -0.3  # one channel of three
    assert_close(metrics.l1(a, b), torch.tensor([(0.1 + 0.1 + 0.3) / 3, 0.4]))
    assert_close(metrics.l2(a, b), torch.tensor([(0.01 + 0.01 + 0.09) / 3, 0.16]))
    decibels = [10 * math.log10(4 * 3 / 0.11), 10 * math.log10(4 / 0.16)]
    assert_close(metrics.psnr(a, b), torch.tensor(decibels))


def test_leading_dimensions_are_kept():
    a, b = torch.rand(5, 2, 3, 4, 4), torch.rand(2, 3, 4, 4)
    for measure in (metrics.l1, metrics.l2, metrics.psnr):
        assert measure(a, b).shape == (5, 2)
        assert_close(measure(a, b)[3, 1], measure(a[3, 1], b[1]))


def test_psnr_is_the_usual_one_of_8_bit_pictures():
    random = np.random.default_rng(0)
    a = random.integers(0, 256, (3, 16, 16), dtype=np.uint8)
    b = (a.astype(int) + random.integers(-9, 10, a.shape)).clip(0, 255).astype(np.uint8)
    ours = metrics.psnr(to_model(a), to_model(b)).item()
    assert ours == pytest.approx(peak_signal_noise_ratio(a, b), abs=1e-4)


def test_psnr_of_equal_images_is_finite():
    decibels = metrics.psnr(flat(0.3), flat(0.3)).item()
    assert decibels == pytest.approx(10 * math.log10(4e12), rel=1e-5)


def test_half_precision_is_measured_in_fp32():
    a, b = flat(0.5).bfloat16(), flat(0.25).bfloat16()
    assert metrics.l1(a, b).dtype == metrics.l2(a, b).dtype == torch.float32
    assert metrics.l2(a, b).item() == 0.0625


def test_dsr_counts_pairs_above_the_threshold():
    just_below, just_above = math.sqrt(0.0499), math.sqrt(0.0501)
    y = torch.zeros(2, 3, 3, 4, 4)
    pairs = flat(0.0, just_below, just_above, -just_above, 1.0, -just_below)
    y_infected = pairs.view(2, 3, 3, 4, 4)
    assert metrics.dsr(y, y_infected) == pytest.approx(3 / 6)
    assert metrics.dsr(y[0], y_infected[0]) == pytest.approx(1 / 3)
    assert metrics.dsr(y, y) == 0.0


def test_edit_success_by_a_hand_made_table():
    # two domains that are flipped, three images
    c = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    to_first = torch.tensor([[1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])
    to_second = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    targets = torch.stack([to_first, to_second])
    seen = torch.tensor(
        [
            [[1, 0], [1, 1], [1, 1]],  # attribute 0 asked 1 0 1: seen 1 1 1, two of three
            [[0, 1], [0, 1], [1, 1]],
        ]
    ).bool()  # attribute 1 asked 0 0 1: seen 1 1 1, one of three
    assert metrics.edit_success(seen, targets, c) == (3, 6)


def test_edit_success_counts_only_requested_changes():
    # hair colours: image 0 is black already, so only "blond" is a change; in image 1 "black"
    c = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    targets = torch.tensor([[[1.0, 0.0]] * 2, [[0.0, 1.0]] * 2])
    perfect = targets.bool()
    assert metrics.edit_success(perfect, targets, c) == (2, 2)
    assert metrics.edit_success(~perfect, targets, c) == (0, 2)
    unchanged = c.bool().expand(2, 2, 2)
    assert metrics.edit_success(unchanged, targets, c) == (0, 2)


def test_lbp_of_one_neighbourhood_by_hand():
    # black below, white above, grey in the middle
    grey = torch.tensor([[255, 255, 255], [0, 128, 0], [0, 0, 0]], dtype=torch.uint8)
    codes = metrics.lbp(to_model(grey.expand(3, 3, 3)))
    assert codes.shape == (3, 3) and codes.dtype == np.uint8
    # from the right against the clock: up right, up and up left are not darker
    assert codes[1, 1] == 0b00001110
    flat_codes = metrics.lbp(to_model(torch.full((3, 5, 5), 77, dtype=torch.uint8)))
    assert (flat_codes[1:-1, 1:-1] == 255).all()  # no neighbour is darker


def test_lbp_of_a_drawn_face_agrees_with_its_definition():
    grey = render_faces([3_000_000], 32).images[0, 1]
    codes = metrics.lbp(to_model(grey.expand(3, -1, -1)))
    outside = np.pad(grey.numpy().astype(int), 1)
    middle = outside[1:-1, 1:-1]
    # the four neighbours that need no interpolation: right, up, left, down are bits 0, 2, 4, 6
    neighbours = {
        0: outside[1:-1, 2:],
        2: outside[:-2, 1:-1],
        4: outside[1:-1, :-2],
        6: outside[2:, 1:-1],
    }
    for bit, neighbour in neighbours.items():
        np.testing.assert_array_equal(codes >> bit & 1, neighbour >= middle)


def test_lbp_does_not_see_a_plain_brightening_but_sees_noise():
    x = torch.from_numpy(np.random.default_rng(0).uniform(-0.8, 0.8, (3, 24, 24))).float()
    lighter = metrics.lbp(x + 20 / 127.5)
    assert (lighter == metrics.lbp(x)).mean() > 0.97
    assert (metrics.lbp(x.flip(2)) == metrics.lbp(x)).mean() < 0.2


@pytest.fixture(autouse=True)
def no_backbone_yet(monkeypatch):
    monkeypatch.setattr(metrics, "_backbones", {})


@pytest.fixture
def no_network(monkeypatch):
    def refuse():
        raise OSError("no route to host")

    def refuse_too():
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(metrics, "_lpips_network", refuse)
    monkeypatch.setattr(metrics, "_vgg16_relu2_2", refuse_too)


def test_without_a_backbone_one_sentence_says_so(no_network, capfd):
    x = torch.zeros(1, 3, 64, 64)
    sentence = "is left out: its pretrained backbone cannot be downloaded"
    for _ in range(2):
        with pytest.raises(metrics.Unavailable) as error:
            metrics.lpips(x, x)
        assert str(error.value) == f"LPIPS {sentence} (OSError)."
    with pytest.raises(metrics.Unavailable) as error:
        metrics.perceptual(x, x)
    assert str(error.value) == f"The perceptual loss {sentence} (RuntimeError)."
    assert capfd.readouterr() == ("", "")


def test_a_failed_download_is_tried_once(monkeypatch):
    tries = []

    def refuse():
        tries.append(1)
        raise OSError

    monkeypatch.setattr(metrics, "_lpips_network", refuse)
    for _ in range(3):
        with pytest.raises(metrics.Unavailable):
            metrics.lpips(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))
    assert len(tries) == 1


def test_lpips_is_constructed_silently(monkeypatch, capsys):
    class Noisy(torch.nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert net == "alex"
            self.scale = torch.nn.Parameter(torch.tensor(2.0))
            print("Setting up [LPIPS]")
            print("Downloading", file=sys.stderr)
            warnings.warn("The parameter 'pretrained' is deprecated", stacklevel=2)

        def forward(self, a, b):
            return self.scale * (a - b).abs().mean((1, 2, 3), keepdim=True)

    monkeypatch.setitem(sys.modules, "lpips", types.SimpleNamespace(LPIPS=Noisy))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = metrics._lpips_network()
    assert capsys.readouterr() == ("", "")
    assert not network.training and not network.scale.requires_grad
    monkeypatch.setattr(metrics, "_lpips_network", lambda: network)
    assert_close(metrics.lpips(flat(0.0, 0.5), flat(0.1, 0.1)), torch.tensor([0.2, 0.8]))


def test_perceptual_loss_normalises_as_vgg_wants_it(monkeypatch):
    monkeypatch.setattr(metrics, "_vgg16_relu2_2", lambda: torch.nn.Identity())
    # on [0, 1] the images differ by .1; divided by the channels' deviations and squared
    expected = sum((0.1 / std) ** 2 for std in (0.229, 0.224, 0.225)) / 3
    assert_close(metrics.perceptual(flat(0.0, 0.3), flat(0.2, 0.3)), torch.tensor([expected, 0.0]))


def test_black_is_what_vgg_takes_for_black():
    black = metrics._as_vgg_was_trained(flat(-1.0))[0, :, 0, 0]
    assert_close(black, torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225]))


def test_vgg_is_cut_after_relu2_2(monkeypatch):
    import torchvision

    build = torchvision.models.vgg16

    def untrained(weights):
        return build(weights=None, init_weights=False)

    monkeypatch.setattr(torchvision.models, "vgg16", untrained)
    layers = list(metrics._vgg16_relu2_2())
    convs = [layer.out_channels for layer in layers if isinstance(layer, torch.nn.Conv2d)]
    assert convs == [64, 64, 128, 128] and isinstance(layers[-1], torch.nn.ReLU)


def test_upright_tells_a_negative_from_an_edit():
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert metrics.upright(x, (0.5 * x - 0.3)[None]) == pytest.approx(1, abs=1e-4)
    assert metrics.upright(x, -x[None]) == pytest.approx(-1, abs=1e-4)
    both = torch.stack([x, -x])
    assert metrics.upright(x, both) == pytest.approx(0, abs=1e-4)
