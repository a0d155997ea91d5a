"""Parsed faces: classes in the mirror, drawn ones, and a CelebAMask-HQ folder."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from idf.config import UserError, load_film_config
from idf.data.drawn.faces import LABELS, render_faces
from idf.data.parsed import FACE, MIRRORED, PUBLIC, open_parsed

CONFIG = load_film_config("smoke")


def test_left_and_right_change_sides_in_the_mirror():
    pairs = ["right eye", "left eye", "right brow", "left brow", "right ear", "left ear"]
    assert [LABELS[k] for k in MIRRORED[4:10]] == pairs
    assert MIRRORED[:4] == [0, 1, 2, 3] and MIRRORED[10:] == list(range(10, 19))
    assert sorted(PUBLIC) == list(range(19)) and PUBLIC[10] == LABELS.index("nose")
    assert {"skin", "nose", "mouth"} < {LABELS[k] for k in FACE} and LABELS.index(
        "hair"
    ) not in FACE


def test_drawn_faces_have_the_renderers_classes():
    train, test = (open_parsed(CONFIG, part, limit=16) for part in ("train", "test"))
    assert len(train) == 16 and train.stack.shape == (16, 4, 32, 32)
    batch = render_faces(range(16), 32)
    assert np.array_equal(train.stack[:, :3], batch.images)
    assert not np.array_equal(train.stack, test.stack)
    x, classes = train.batch(slice(2, 5))
    assert x.shape == (3, 3, 32, 32) and x.dtype == torch.float32 and -1 <= x.min() <= x.max() <= 1
    assert classes.dtype == torch.int64 and torch.equal(classes, batch.labels[2:5].long())
    assert len(open_parsed(CONFIG, "train")) == CONFIG.frames == 120, "preset smoke has few"


def write_pairs(folder, batch):
    (folder / "images").mkdir()
    (folder / "masks").mkdir()
    for i, (image, labels) in enumerate(zip(batch.images, batch.labels, strict=True)):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture.save(folder / f"images/{i:04d}.jpg")
        mask = Image.frombytes("P", labels.shape[::-1], labels.numpy().tobytes())
        colours = [(13 * k, 255 - 13 * k, 7 * k) for k in range(19)]
        mask.putpalette([level for colour in colours for level in colour])
        mask.save(folder / f"masks/{i:04d}.png")


def test_a_folder_of_pairs(tmp_path):
    batch = render_faces(range(20), 32)
    write_pairs(tmp_path, batch)
    (tmp_path / "images/9999.jpg").write_bytes(b"a picture without mask")
    train, test = (open_parsed(CONFIG, part, str(tmp_path)) for part in ("train", "test"))
    assert (len(train), len(test)) == (18, 2)
    assert np.array_equal(test.stack[0, 3], batch.labels[9].numpy())
    assert np.array_equal(train.stack[9, 3], batch.labels[10].numpy())


def test_a_folder_of_other_masks_or_none(tmp_path):
    write_pairs(tmp_path, render_faces(range(9), 32))
    with pytest.raises(UserError, match="The part 'test' .* at least ten pairs"):
        open_parsed(CONFIG, "test", str(tmp_path))
    with pytest.raises(UserError, match="holds no pairs"):
        open_parsed(CONFIG, "train", str(tmp_path / "images"))
    Image.fromarray(np.full((32, 32), 77, np.uint8)).save(tmp_path / "masks/0000.png")
    with pytest.raises(UserError, match="0000.png is not a palette picture of the classes 0 to 18"):
        open_parsed(CONFIG, "train", str(tmp_path))
    (tmp_path / "masks/0000.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="0000.png cannot be read as a picture"):
        open_parsed(CONFIG, "train", str(tmp_path))


@pytest.mark.skipif(
    "IDF_CELEBAMASK" not in os.environ, reason="set IDF_CELEBAMASK to a CelebAMask-HQ folder"
)
def test_real_masks_have_our_classes_in_our_order():
    faces = open_parsed(CONFIG, "test", os.environ["IDF_CELEBAMASK"])
    classes = torch.from_numpy(faces.stack[:, 3].copy())
    rows = torch.arange(32.0)[:, None].expand(classes.shape)
    columns = torch.arange(32.0).expand(classes.shape)
    order = ("hair", "left brow", "left eye", "nose", "upper lip", "lower lip")
    heights = [rows[classes == LABELS.index(name)].mean() for name in order]
    assert heights == sorted(heights)
    right, left = (columns[classes == LABELS.index(f"{side} eye")] for side in ("right", "left"))
    assert right.mean() < 16 < left.mean(), "the person's left is on the picture's right"
