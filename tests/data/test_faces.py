"""Faces: stateless mini-batches, and the procedural ones by part."""

import numpy as np
import pytest
import torch

from idf.config import UserError, load_config
from idf.data import faces as data
from idf.data.drawn.faces import ATTRIBUTES, render_faces
from idf.data.faces import PARTS, Faces, open_faces
from idf.data.pictures import to_uint8


@pytest.fixture(scope="module")
def toy():
    """70 faces whose pixels tell their number."""
    images = np.arange(70, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 3, 4, 4), np.uint8)
    images[..., :2] += 100
    labels = torch.stack([torch.arange(70) % 2, torch.arange(70) % 10 == 0], 1).float()
    return Faces(images, labels, ("Male", "Bald"), [f"seed {i}" for i in range(70)])


def config_of(**overrides):
    return load_config("smoke", **{"faces": 24, **overrides})


def numbers(x):
    """Which faces of `toy` are in the batch, flipped or not."""
    return to_uint8(x)[:, 0, 0].amin(-1).tolist()


def is_mirrored(x):
    return x[:, 0, 0, 0] < x[:, 0, 0, -1]


def test_batches_are_stateless(toy):
    expected = [toy.batch(i, 8, seed=3) for i in range(20)]
    for i in (17, 2, 17):
        x, c = toy.batch(i, 8, seed=3)
        assert torch.equal(x, expected[i][0]) and torch.equal(c, expected[i][1])
    assert not torch.equal(toy.batch(0, 8, seed=4)[0], expected[0][0])
    assert x.shape == (8, 3, 4, 4) and c.shape == (8, 2) and x.dtype == c.dtype == torch.float32


def test_an_epoch_is_a_permutation(toy):
    batches = [numbers(toy.batch(i, 10, seed=0)[0]) for i in range(14)]
    first, second = sum(batches[:7], []), sum(batches[7:], [])
    assert sorted(first) == sorted(second) == list(range(70))
    assert first != second and second != list(range(70))


def test_batch_larger_than_the_data_set(toy):
    assert sorted(numbers(toy.batch(0, 140, seed=0)[0])) == sorted([*range(70)] * 2)


def test_labels_and_flips_belong_to_the_pictures(toy):
    x, c = toy.batch(5, 64, seed=0)
    assert torch.equal(c, toy.labels[numbers(x)])
    mirrored, later = is_mirrored(x), is_mirrored(toy.batch(6, 64, seed=0)[0])
    assert 16 < mirrored.sum() < 48 and not torch.equal(mirrored, later)
    straight, _ = toy.batch(5, 64, seed=0, flip=False)
    assert numbers(straight) == numbers(x)
    assert torch.equal(torch.where(mirrored[:, None, None, None], x.flip(-1), x), straight)


def test_ranks_share_one_batch(toy):
    whole, c = toy.batch(1, 12, seed=0)
    for rank in range(3):
        x, labels = toy.batch(1, 4, seed=0, rank=rank, world=3)
        mine = slice(4 * rank, 4 * rank + 4)
        assert torch.equal(x, whole[mine]) and torch.equal(labels, c[mine])
    assert len(set(numbers(whole))) == 12


def test_item_and_subset(toy):
    x, c = toy[11]
    assert numbers(x[None]) == [11] and torch.equal(c, toy.labels[11])
    few = toy.subset(5)
    assert len(few) == len(few.labels) == len(few.names) == 5 and few.domains == toy.domains


def test_chunks_in_order_hold_every_face_once(toy):
    starts, x, c = zip(*toy.in_order(30), strict=True)
    assert starts == (0, 30, 60) and numbers(torch.cat(x)) == list(range(70))
    assert torch.equal(torch.cat(c), toy.labels)


def test_procedural_faces():
    opened = {part: open_faces(config_of(), part) for part in (*PARTS, "train")}
    assert [len(faces) for faces in opened.values()] == [10, 10, 2, 2, 20]
    assert len({name for part in PARTS for name in opened[part].names}) == 24
    for faces in opened.values():
        seeds = [int(name.removeprefix("seed ")) for name in faces.names]
        batch = render_faces(seeds, size=32)
        assert np.array_equal(faces.images, batch.images.numpy())
        columns = [ATTRIBUTES.index(name) for name in faces.domains]
        assert torch.equal(faces.labels, batch.attributes[:, columns].float())


def test_procedural_limit_renders_no_more(monkeypatch):
    rendered = []

    def render(seeds, size):
        rendered.extend(seeds)
        return render_faces(seeds, size=size)

    monkeypatch.setattr(data, "render_faces", render)
    assert len(open_faces(config_of(faces=0), "train", limit=7)) == len(rendered) == 7


def test_unknown_attribute_names_close_ones():
    with pytest.raises(UserError, match="in the procedural faces: did you mean Smiling"):
        open_faces(config_of(), "test", ("Smilling",))


def test_unknown_part_and_limits():
    with pytest.raises(UserError, match="surrogate"):
        open_faces(config_of(), "training")
    with pytest.raises(UserError, match="limit=0"):
        open_faces(config_of(), "test", limit=0)
    with pytest.raises(UserError, match="faces=3"):
        open_faces(config_of(faces=3), "test")
