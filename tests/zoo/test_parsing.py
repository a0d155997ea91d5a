"""BiSeNet: training on exact labels, IoU, the attention mask, the public checkpoint."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from idf.config import RESULTS, UserError, load_film_config
from idf.data.drawn.faces import LABELS, render_faces
from idf.data.parsed import FACE, open_parsed
from idf.data.pictures import to_model
from idf.networks import BiSeNet, frozen
from idf.zoo.parsing import (
    PublicParser,
    attention_mask,
    class_probabilities,
    parsing_loss,
    parsing_quality,
    train_parser,
    vary,
)

CONFIG = load_film_config("smoke")


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


# What it sees


def is_face(classes):
    return torch.isin(classes, torch.tensor(FACE, dtype=classes.dtype))


def iou(a, b):
    return ((a & b).sum() / (a | b).sum()).item()


def test_iou_on_exact_labels_is_one_and_falls_with_errors():
    faces = open_parsed(CONFIG, "test", limit=20)
    classes = torch.from_numpy(faces.stack[:, 3].copy())
    perfect = parsing_quality(Oracle(classes), faces, CONFIG)
    assert perfect["miou"] == 1 and perfect["face_iou"] == 1
    wrong = classes.clone()
    wrong[:, :, :16] = 0  # half of every face missed
    half = parsing_quality(Oracle(wrong), faces, CONFIG)
    assert half["face_iou"] == pytest.approx(iou(is_face(wrong), is_face(classes)))
    assert 0.3 < half["face_iou"] < 0.7
    assert half["skin"] == pytest.approx(iou(wrong == 1, classes == 1))
    shown = [half[LABELS[k]] for k in FACE if LABELS[k] in half]
    assert half["miou"] == pytest.approx(np.mean(shown))


def test_probabilities_are_of_every_class_at_the_pictures_size():
    parser, x = frozen(BiSeNet(19, 4)), torch.rand(17, 3, 32, 32) * 2 - 1
    probabilities = class_probabilities(parser, x, 64)
    assert probabilities.shape == (17, 19, 32, 32)
    assert torch.allclose(probabilities.sum(1), torch.ones(17, 32, 32), atol=1e-4)


def test_the_mask_is_1_on_the_face_and_01_elsewhere():
    batch = render_faces(range(3), 64)
    x = to_model(batch.images)
    mask = attention_mask(Oracle(batch.labels), x, CONFIG)
    assert mask.shape == (3, 1, 64, 64) and mask.unique().tolist() == pytest.approx([0.01, 1.0])
    assert torch.equal(mask[:, 0] == 1, is_face(batch.labels))
    dark = attention_mask(Oracle(batch.labels), x, CONFIG.changed(background=0.0))
    assert dark.unique().tolist() == [0, 1]


# How it learns


def test_vary_moves_picture_and_classes_alike():
    """A picture that shows its own classes: where it is sharp, both must still agree afterwards."""
    torch.manual_seed(3)
    classes = torch.zeros(4, 64, 64, dtype=torch.int64)
    classes[:, 16:40, 8:30] = 1
    x = (classes * 2.0 - 1)[:, None].expand(-1, 3, -1, -1).clone()
    for _ in range(6):
        y, moved = vary(x, classes)
        assert moved.dtype == torch.int64 and set(moved.unique().tolist()) == {0, 1}
        low, high = y[:, 0][moved == 0], y[:, 0][moved == 1]
        assert high.mean() - low.mean() > 0.8 and y.shape == x.shape


def test_a_mirrored_left_eye_is_a_right_one(monkeypatch):
    left, right = LABELS.index("left eye"), LABELS.index("right eye")
    classes = torch.full((1, 64, 64), left)
    seen = set()
    for seed in range(12):
        torch.manual_seed(seed)
        seen |= set(vary(torch.zeros(1, 3, 64, 64), classes)[1].unique().tolist())
    assert seen == {0, left, right}, "0: what came in from outside the picture"


def test_only_hard_pixels_count_in_the_loss():
    classes = torch.zeros(1, 16, 16, dtype=torch.int64)
    logits = torch.zeros(1, 2, 16, 16)
    logits[:, 0] = 9.0  # sure and right ...
    logits[:, :, :4] = 0.0  # ... but for a quarter, which is undecided
    small = torch.zeros(1, 2, 2, 2)
    main, helping = parsing_loss((logits, small), classes)
    assert main.item() == pytest.approx(np.log(2)) and helping.item() == pytest.approx(np.log(2))
    logits[:, 0, :4] = 9.0  # now none is hard: a sixteenth counts, the hardest
    logits[:, 0, 0, :16] = 2.0
    expected = np.log(1 + np.exp(-2))
    assert parsing_loss((logits, small), classes)[0].item() == pytest.approx(expected, rel=1e-3)


def test_training_learns_and_resumes(tmp_path):
    config = CONFIG.changed(checkpoint_every=30, parser={"width": 8, "iterations": 60})
    faces = open_parsed(config, "train", limit=16)
    assert len(faces) == 16 and faces.stack.shape == (16, 4, 32, 32)
    whole = train_parser(config, faces, folder=tmp_path / "whole", quiet=True)
    first, last = (whole.history[i]["parsing"] for i in (0, -1))
    assert last < 0.6 * first
    train_parser(config, faces, folder=tmp_path / "broken", quiet=True, until=20)
    again = train_parser(config, faces, folder=tmp_path / "broken", quiet=True)
    pairs = zip(again.parser.parameters(), whole.parser.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_it_learns_on_from_a_given_start():
    torch.manual_seed(0)
    start = BiSeNet(19, 4)
    before = start.conv_out.conv_out.weight.clone()
    faces = open_parsed(CONFIG, "train", limit=16)
    run = train_parser(CONFIG, faces, start, quiet=True, until=1)
    assert run.parser is start
    assert 0 < (start.conv_out.conv_out.weight - before).abs().max() < 0.01


# The public checkpoint


def test_a_public_checkpoint_loads_and_is_renamed(tmp_path):
    torch.manual_seed(0)
    network = frozen(BiSeNet(19, 64))
    torch.save(network.state_dict(), tmp_path / "79999_iter.pth")
    public = PublicParser(tmp_path / "79999_iter.pth")
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    theirs, ours = network.heads(((x + 1) / 2 - mean) / std)[0], public.heads(x)[0]
    assert torch.allclose(ours[:, LABELS.index("nose")], theirs[:, 10])
    assert torch.allclose(ours[:, 13], theirs[:, 17])


def test_a_public_checkpoint_that_is_none(tmp_path):
    (tmp_path / "other.pth").write_bytes(b"nothing")
    for path, words in (
        (tmp_path / "other.pth", "is not the public face-parsing checkpoint"),
        (tmp_path / "none.pth", "There is no checkpoint"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            PublicParser(path)
        assert "\n" not in str(caught.value)


def test_the_shipped_parsers_meet_their_goals():
    goals = {"procedural": (0.85, 0.97), "celebamask": (0.60, 0.93)}
    rows = {row["dataset"]: row for row in json.loads((RESULTS / "face_parsing.json").read_text())}
    for name, (miou, face) in goals.items():
        assert rows[name]["miou"] >= miou and rows[name]["face_iou"] >= face
