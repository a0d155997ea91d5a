"""BiSeNet: shapes and names of the public checkpoint, training on exact labels, IoU, the attention mask."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from idf import parsing
from idf.config import UserError, load_video_config
from idf.faces import LABELS, render_faces
from idf.networks import BiSeNet, frozen
from idf.parsing import (
    FACE,
    MIRRORED,
    PUBLIC,
    PublicParser,
    attention_mask,
    open_parsed,
    parsing_quality,
    train_parser,
)

CONFIG = load_video_config("smoke")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "cache"))


class Oracle(nn.Module):
    """Answers with the true classes, at the size of what it is shown."""

    def __init__(self, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.classes = classes

    def heads(self, x):
        now, self.classes = self.classes[: len(x)], self.classes[len(x) :]
        logits = 20.0 * nn.functional.one_hot(now.long(), len(LABELS)).permute(0, 3, 1, 2)
        return (nn.functional.interpolate(logits, x.shape[2:], mode="nearest"),)


def test_left_and_right_change_places_in_the_mirror():
    pairs = ["right eye", "left eye", "right brow", "left brow", "right ear", "left ear"]
    assert [LABELS[k] for k in MIRRORED[4:10]] == pairs
    assert MIRRORED[:4] == [0, 1, 2, 3] and sorted(PUBLIC) == list(range(19))


def test_shapes_of_the_public_checkpoint():
    """Some of 79999_iter.pth's names and shapes, written down from the public code."""
    own = {name: tuple(value.shape) for name, value in BiSeNet(19, 64).state_dict().items()}
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
    assert not any(name.startswith("cp.resnet.fc") or name.startswith("sp.") for name in own)


def test_a_public_checkpoint_loads_and_is_renamed(tmp_path):
    torch.manual_seed(0)
    network = frozen(BiSeNet(19, 64))
    torch.save(network.state_dict(), tmp_path / "79999_iter.pth")
    public = PublicParser(tmp_path / "79999_iter.pth")
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    mean, std = (
        torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    normal = ((x + 1) / 2 - mean) / std
    theirs, ours = network.heads(normal)[0], public.heads(x)[0]
    assert torch.allclose(ours[:, LABELS.index("nose")], theirs[:, 10]) and torch.allclose(
        ours[:, 13], theirs[:, 17]
    )


def test_a_public_checkpoint_that_is_none(tmp_path):
    (tmp_path / "other.pth").write_bytes(b"nothing")
    for path, words in (
        (tmp_path / "other.pth", "is not the public face-parsing checkpoint"),
        (tmp_path / "none.pth", "There is no checkpoint"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            PublicParser(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [64, 128])
def test_three_heads_at_the_pictures_size(size):
    network = BiSeNet(19, 4).train()
    x = torch.rand(2, 3, size, size)
    assert [tuple(y.shape) for y in network(x)] == 3 * [(2, 19, size, size)]
    assert [y.shape[-1] for y in network.heads(x)] == [size // 8, size // 8, size // 16]


def test_iou_on_exact_labels_is_one_and_falls_with_errors():
    faces = open_parsed(CONFIG, "test", limit=20)
    classes = torch.from_numpy(faces.stack[:, 3].copy())
    perfect = parsing_quality(Oracle(classes), faces, CONFIG)
    assert perfect["miou"] == 1 and perfect["face_iou"] == 1
    wrong = classes.clone()
    wrong[:, :, :16] = 0  # half of every face missed
    half = parsing_quality(Oracle(wrong), faces, CONFIG)
    a, b = (torch.isin(t, torch.tensor(FACE)) for t in (wrong, classes))
    assert (
        half["face_iou"] == pytest.approx(((a & b).sum() / (a | b).sum()).item())
        and 0.3 < half["face_iou"] < 0.7
    )
    a, b = wrong == 1, classes == 1
    assert half["skin"] == pytest.approx(((a & b).sum() / (a | b).sum()).item())
    assert half["miou"] == pytest.approx(
        np.mean([half[LABELS[k]] for k in FACE if LABELS[k] in half])
    )


def test_the_mask_is_1_on_the_face_and_01_elsewhere():
    batch = render_faces(range(3), 64)
    mask = attention_mask(Oracle(batch.labels), parsing.to_model(batch.images), CONFIG)
    assert mask.shape == (3, 1, 64, 64) and mask.unique().tolist() == pytest.approx([0.01, 1.0])
    assert torch.equal(
        mask[:, 0] == 1, torch.isin(batch.labels, torch.tensor(FACE, dtype=torch.uint8))
    )


def test_vary_moves_picture_and_classes_alike():
    """A picture that shows its own classes: wherever it is sharp, the two must still agree afterwards."""
    torch.manual_seed(3)
    classes = torch.zeros(4, 64, 64, dtype=torch.int64)
    classes[:, 16:40, 8:30] = 1
    x = (classes * 2.0 - 1)[:, None].expand(-1, 3, -1, -1).clone()
    for _ in range(6):
        y, moved = parsing.vary(x, classes)
        assert moved.dtype == torch.int64 and set(moved.unique().tolist()) == {0, 1}
        low, high = y[:, 0][moved == 0], y[:, 0][moved == 1]
        assert high.mean() - low.mean() > 0.8 and y.shape == x.shape


def test_training_learns_and_resumes(tmp_path):
    config = dataclasses.replace(CONFIG, width_parser=8, parser_iterations=90)
    faces = open_parsed(config, "train", limit=16)
    assert len(faces) == 16 and faces.stack.shape == (16, 4, 32, 32)
    whole = train_parser(config, faces, tmp_path / "whole", quiet=True)
    first, last = (whole.history[i]["parsing"] for i in (0, -1))
    assert last < 0.6 * first
    train_parser(config, faces, tmp_path / "broken", quiet=True, until=40)
    again = train_parser(config, faces, tmp_path / "broken", quiet=True)
    assert all(
        torch.equal(a, b)
        for a, b in zip(again.parser.parameters(), whole.parser.parameters(), strict=True)
    )


def test_a_folder_of_pairs(tmp_path, monkeypatch):
    batch = render_faces(range(20), 32)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    for i in range(20):
        Image.fromarray(batch.images[i].permute(1, 2, 0).numpy()).save(
            tmp_path / f"images/{i:04d}.jpg"
        )
        mask = Image.fromarray(batch.labels[i].numpy(), mode="P")
        mask.putpalette([c for k in range(19) for c in (13 * k, 255 - 13 * k, 7 * k)])
        mask.save(tmp_path / f"masks/{i:04d}.png")
    (tmp_path / "images/9999.jpg").write_bytes(b"a picture without mask")
    train, test = (open_parsed(CONFIG, part, str(tmp_path)) for part in ("train", "test"))
    assert (len(train), len(test)) == (18, 2) and np.array_equal(
        test.stack[0, 3], batch.labels[9].numpy()
    )
    mask = Image.fromarray(np.full((32, 32), 77, np.uint8))
    mask.save(tmp_path / "masks/0000.png")
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "another"))
    with pytest.raises(UserError, match="0000.png is not a palette picture of the classes 0 to 18"):
        open_parsed(CONFIG, "train", str(tmp_path))
    with pytest.raises(UserError, match="holds no pairs"):
        open_parsed(CONFIG, "train", str(tmp_path / "images"))


@pytest.mark.skipif(
    "IDF_CELEBAMASK" not in os.environ, reason="set IDF_CELEBAMASK to a CelebAMask-HQ folder"
)
def test_real_masks_have_our_classes_in_our_order():
    faces = open_parsed(CONFIG, "test", os.environ["IDF_CELEBAMASK"])
    classes = torch.from_numpy(faces.stack[:, 3].copy())
    rows = torch.arange(32.0)[:, None].expand(32, 32)
    height = lambda name: rows.expand_as(classes)[classes == LABELS.index(name)].mean()
    order = [
        height(name) for name in ("hair", "left brow", "left eye", "nose", "upper lip", "lower lip")
    ]
    assert order == sorted(order)
    columns = rows.T.expand_as(classes)
    place = lambda name: columns[classes == LABELS.index(name)].mean()
    assert place("right eye") < 16 < place("left eye"), (
        "the person's left is on the picture's right"
    )
