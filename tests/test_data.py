"""Faces from CelebA (the folder IDF_CELEBA names, else a stand-in) and procedural, their cache, and bad input."""

import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from standin import CELEBA_ATTRIBUTES, write_stand_in

from idf import data, faces
from idf.config import UserError, load_config
from idf.data import Faces, open_faces, read_image, to_model, to_uint8

PARTS = ("surrogate", "target", "validation", "test")


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """The stand-in in both layouts; tests that change one copy it first."""
    root = tmp_path_factory.mktemp("standin")
    return {
        layout: write_stand_in(root / layout, layout=layout) for layout in ("official", "kaggle")
    }


@pytest.fixture
def folder(stand_ins, tmp_path):
    """A stand-in to break."""
    return shutil.copytree(stand_ins["official"], tmp_path / "celeba")


@pytest.fixture(scope="module")
def celeba(stand_ins):
    return Path(os.environ.get("IDF_CELEBA") or stand_ins["official"])


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def toy():
    """70 faces whose pixels tell their number; the second label is rare."""
    images = np.arange(70, dtype=np.uint8)[:, None, None, None] + np.zeros((1, 3, 4, 4), np.uint8)
    images[..., :2] += 100
    labels = torch.stack([torch.arange(70) % 2, torch.arange(70) % 10 == 0], 1).float()
    return Faces(images, labels, ("Male", "Bald"), [f"seed {i}" for i in range(70)])


def config_of(root="", **overrides):
    return load_config("smoke", data_root=str(root), **{"faces": 0 if root else 24, **overrides})


def numbers(x):
    """Which faces of `toy` are in the batch, flipped or not."""
    return (to_uint8(x)[:, 0, 0].amin(-1)).tolist()


def test_conversion_round_trip_is_exact():
    every = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    x = to_model(every)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert torch.equal(to_uint8(x), every)
    assert torch.equal(to_model(every.numpy()), x)
    assert to_uint8(torch.tensor([-3.0, 0.999 / 127.5, 3.0])).tolist() == [0, 128, 255]


def test_pictures_are_not_converted_twice():
    with pytest.raises(TypeError, match="uint8"):
        to_model(torch.zeros(3, 2, 2))


def test_batches_are_stateless(toy):
    expected = [toy.batch(i, 8, seed=3) for i in range(20)]
    for i in (17, 2, 17):
        x, c = toy.batch(i, 8, seed=3)
        assert torch.equal(x, expected[i][0]) and torch.equal(c, expected[i][1])
    assert not torch.equal(toy.batch(0, 8, seed=4)[0], expected[0][0])
    assert x.shape == (8, 3, 4, 4) and c.shape == (8, 2) and x.dtype == c.dtype == torch.float32


def test_an_epoch_is_a_permutation(toy):
    epochs = [
        sum((numbers(toy.batch(7 * e + i, 10, seed=0)[0]) for i in range(7)), []) for e in range(2)
    ]
    assert all(sorted(epoch) == list(range(70)) for epoch in epochs)
    assert epochs[0] != epochs[1] != list(range(70))


def test_batch_larger_than_the_data_set(toy):
    assert sorted(numbers(toy.batch(0, 140, seed=0)[0])) == sorted([*range(70)] * 2)


def test_labels_and_flips_belong_to_the_pictures(toy):
    x, c = toy.batch(5, 64, seed=0)
    assert torch.equal(c, toy.labels[numbers(x)])
    mirrored, later = (
        some[:, 0, 0, 0] < some[:, 0, 0, -1] for some in (x, toy.batch(6, 64, seed=0)[0])
    )
    assert 16 < mirrored.sum() < 48 and not torch.equal(mirrored, later)
    straight, _ = toy.batch(5, 64, seed=0, flip=False)
    assert numbers(straight) == numbers(x)
    assert torch.equal(torch.where(mirrored[:, None, None, None], x.flip(-1), x), straight)


def test_balanced_draws_differ_between_iterations(toy):
    first, second = (numbers(toy.batch(i, 64, seed=0, balance=True)[0]) for i in range(2))
    assert first != second


@pytest.mark.parametrize("balance", [False, True])
def test_ranks_share_one_batch(toy, balance):
    whole, c = toy.batch(1, 12, seed=0, balance=balance)
    for rank in range(3):
        x, labels = toy.batch(1, 4, seed=0, balance=balance, rank=rank, world=3)
        assert torch.equal(x, whole[4 * rank : 4 * rank + 4]) and torch.equal(
            labels, c[4 * rank : 4 * rank + 4]
        )
    assert balance or len(set(numbers(whole))) == 12


def test_balance_shows_rare_labels_more_often(toy):
    plain, balanced = (
        toy.batch(0, 2000, seed=0, balance=balance)[1].mean(0) for balance in (False, True)
    )
    assert abs(plain[1] - 0.1) < 0.01
    # Face weights: 2 + 1/.1 for the rare tenth, 2 + 1/.9 for the others.
    assert abs(balanced[1] - 0.1 * 12 / (0.1 * 12 + 0.9 * (2 + 1 / 0.9))) < 0.04


def test_item_and_subset(toy):
    x, c = toy[11]
    assert numbers(x[None]) == [11] and torch.equal(c, toy.labels[11])
    few = toy.subset(5)
    assert len(few) == len(few.labels) == len(few.names) == 5 and few.domains == toy.domains


def test_chunks_in_order_hold_every_face_once(toy):
    starts, x, c = zip(*toy.in_order(30))
    assert (
        starts == (0, 30, 60)
        and numbers(torch.cat(x)) == list(range(70))
        and torch.equal(torch.cat(c), toy.labels)
    )


def test_celeba_faces(celeba):
    config = config_of(celeba)
    few = open_faces(config, "surrogate", limit=20)
    assert len(few) == 20 and few.images.shape == (20, 3, 32, 32) and few.images.dtype == np.uint8
    assert isinstance(few.images, np.memmap) and few.images.flags.c_contiguous
    assert few.labels.shape == (20, 5) and set(few.labels.unique().tolist()) == {0, 1}
    assert few.domains == config.domains and few.images.std() > 20
    picture = read_image(next(celeba.rglob(few.names[3])))[:, 20:198]
    small = torch.nn.functional.adaptive_avg_pool2d(picture.float(), 32)
    assert (small - torch.from_numpy(few.images[3].astype(np.float32))).abs().mean() < 4


@pytest.mark.parametrize("layout", ["official", "kaggle"])
def test_layouts_agree(stand_ins, layout):
    domains = ("Young", "Bangs", "Smiling")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = {
            part: open_faces(config_of(stand_ins[layout]), part, domains)
            for part in (*PARTS, "train")
        }
    assert [len(opened[part]) for part in PARTS] == [25, 25, 5, 5]
    assert opened["train"].names == opened["surrogate"].names + opened["target"].names
    assert opened["test"].names == [f"0000{i}.jpg" for i in range(56, 61)]
    drawn = (
        faces.render_faces(range(60))
        .attributes[:, [faces.ATTRIBUTES.index(name) for name in domains]]
        .float()
    )
    for some in opened.values():
        assert torch.equal(some.labels, drawn[[int(name[:6]) - 1 for name in some.names]])


def test_parts_and_identities_are_disjoint(celeba):
    parts = data._celeba(config_of(celeba), ("Male",))[1]
    table = celeba / "identity_CelebA.txt"
    identity = dict(line.split() for line in table.read_text().splitlines())
    people = {part: {identity[name] for name in names} for part, names in parts.items()}
    assert all(parts[part] for part in PARTS)
    assert sum(len(names) for names in parts.values()) == len(
        {name for names in parts.values() for name in names}
    )
    assert sum(len(some) for some in people.values()) == len(set.union(*people.values()))
    official = dict(
        line.split() for line in (celeba / "list_eval_partition.txt").read_text().splitlines()
    )
    assert {official[name] for name in parts["test"]} == {"2"} and {
        official[name] for name in parts["target"]
    } == {"0"}


def test_split_without_partition_or_identities(folder):
    (folder / "list_eval_partition.txt").unlink()
    parts = data._celeba(config_of(folder), ("Male",))[1]
    people = [{(int(name[:6]) - 1) // 5 for name in parts[part]} for part in PARTS]
    assert [len(some) for some in people] == [5, 5, 1, 1] and len(set.union(*people)) == 12
    (folder / "identity_CelebA.txt").unlink()
    with pytest.warns(UserWarning, match="identity_CelebA"):
        parts = data._celeba(config_of(folder), ("Male",))[1]
    assert [len(parts[part]) for part in PARTS] == [25, 25, 5, 5]


def test_an_identity_in_two_official_parts_stays_whole(folder):
    table = folder / "list_eval_partition.txt"
    table.write_text(table.read_text().replace("000001.jpg 0", "000001.jpg 2"))
    assert set(open_faces(config_of(folder), "test").names) >= {
        f"00000{i}.jpg" for i in range(1, 6)
    }


def test_faces_bounds_all_parts_together(stand_ins):
    assert [
        len(open_faces(config_of(stand_ins["official"], faces=24), part)) for part in PARTS
    ] == [10, 10, 2, 2]


def test_png_and_labels_for_more_pictures(folder):
    pictures = folder / "img_align_celeba"
    for file in sorted(pictures.iterdir())[::2]:
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    for file in sorted(pictures.glob("*.jpg"))[:10]:
        file.unlink()
    assert (
        sum(len(open_faces(config_of(folder), part)) for part in ("train", "validation", "test"))
        == 50
    )


def test_procedural_faces():
    opened = {part: open_faces(config_of(), part) for part in (*PARTS, "train")}
    assert [len(opened[part]) for part in PARTS] == [10, 10, 2, 2] and len(opened["train"]) == 20
    assert len({name for part in PARTS for name in opened[part].names}) == 24
    for some in opened.values():
        seeds = [int(name.removeprefix("seed ")) for name in some.names]
        batch = faces.render_faces(seeds, size=32)
        assert np.array_equal(some.images, batch.images.numpy())
        columns = [faces.ATTRIBUTES.index(name) for name in some.domains]
        assert torch.equal(some.labels, batch.attributes[:, columns].float())


def test_procedural_limit_renders_no_more(monkeypatch):
    rendered = []
    render = faces.render_faces
    monkeypatch.setattr(
        faces,
        "render_faces",
        lambda seeds, size: rendered.extend(seeds) or render(seeds, size=size),
    )
    assert len(open_faces(config_of(faces=0), "train", limit=7)) == len(rendered) == 7


def test_cache_is_reused(stand_ins, monkeypatch):
    reads = []
    read = data._read
    monkeypatch.setattr(data, "_read", lambda path: reads.append(path.name) or read(path))
    config = config_of(stand_ins["official"])
    first = open_faces(config, "surrogate")
    assert len(reads) == 50  # the target's too: one cache for both
    second, target = open_faces(config, "surrogate", ("Young",)), open_faces(config, "target")
    for i in range(12):
        second.batch(i, 8, seed=0)
    assert len(reads) == 50
    assert np.array_equal(first.images, second.images) and not np.array_equal(
        first.images, target.images
    )
    open_faces(config, "test")
    assert len(reads) == 55


def test_stale_caches_are_not_used(folder, monkeypatch):
    config = config_of(folder)
    before = np.array(open_faces(config, "test").images)
    Image.new("RGB", (178, 218), "red").save(folder / "img_align_celeba" / "000060.jpg")
    after = open_faces(config, "test").images
    assert np.array_equal(before[:4], after[:4]) and not np.array_equal(before[4], after[4])
    assert open_faces(config_of(folder, size=64), "test").images.shape[-1] == 64
    source = folder / "faces.py"
    source.write_text("changed")
    open_faces(config_of(), "test")
    count = len(list(Path(os.environ["IDF_CACHE"]).iterdir()))
    monkeypatch.setattr(faces, "__file__", str(source))
    open_faces(config_of(), "test")
    assert len(list(Path(os.environ["IDF_CACHE"]).iterdir())) == count + 1


def test_a_crash_leaves_no_cache(stand_ins, monkeypatch):
    config = config_of(stand_ins["official"])
    with monkeypatch.context() as patch:
        patch.setattr(data, "_crop", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_faces(config, "test")
    cache = Path(os.environ["IDF_CACHE"])
    assert list(cache.iterdir()) == []
    (cache / "stale.tmp").mkdir()
    assert len(open_faces(config, "test")) == 5


def test_two_at_once(stand_ins):
    config = config_of(stand_ins["official"])
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: open_faces(config, "train"), range(2))
    assert np.array_equal(first.images, second.images) and first.names == second.names
    assert len(list(Path(os.environ["IDF_CACHE"]).iterdir())) == 1


def test_losing_the_race_uses_the_other_cache(stand_ins, tmp_path, monkeypatch):
    config = config_of(stand_ins["official"])
    with monkeypatch.context() as patch:
        patch.setenv("IDF_CACHE", str(tmp_path / "other"))
        other = open_faces(config, "test")
    crop = data._crop

    def crop_late(file, size):
        if file.name == other.names[0]:  # meanwhile the other process gets ready
            shutil.copytree(tmp_path / "other", tmp_path / "cache", dirs_exist_ok=True)
        return crop(file, size)

    monkeypatch.setattr(data, "_crop", crop_late)
    assert np.array_equal(open_faces(config, "test").images, other.images)
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_cache_that_cannot_be_written(stand_ins, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="IDF_CACHE"):
        open_faces(config_of(stand_ins["official"]), "test")


def test_damaged_cache(stand_ins, tmp_path):
    open_faces(config_of(stand_ins["official"]), "test")
    file = next((tmp_path / "cache").rglob("images.u8"))
    os.truncate(file, 1000)
    with pytest.raises(UserError, match="delete that folder"):
        open_faces(config_of(stand_ins["official"]), "test")


def break_pictures(folder, names):
    for name in names:
        file = folder / "img_align_celeba" / name
        file.write_bytes(file.read_bytes()[:3000])


def test_all_bad_files_are_listed_at_once(folder):
    names = [f"{i:06d}.jpg" for i in range(1, 15)]
    break_pictures(folder, names[:13])
    Image.new("RGB", (100, 120)).save(folder / "img_align_celeba" / names[13])
    with pytest.raises(UserError, match="--skip-bad") as caught:
        open_faces(config_of(folder), "train")
    assert "14 of 50" in str(caught.value) and all(name in str(caught.value) for name in names[:10])
    assert names[10] not in str(caught.value) and "\n" not in str(caught.value)


def test_skip_bad_counts(folder, capsys):
    whole = open_faces(config_of(folder), "train")
    break_pictures(folder, ["000002.jpg", "000033.jpg"])
    assert capsys.readouterr().out == ""
    parts, said = {}, {}
    for part in ("surrogate", "target", "train"):
        parts[part] = open_faces(config_of(folder), part, skip_bad=True)
        said[part] = capsys.readouterr().out
    assert (
        said["train"]
        == f"2 of 50 pictures in {folder / 'img_align_celeba'} are left out: they cannot be used.\n"
    )
    left_out = {part: int(text.split()[0]) if text else 0 for part, text in said.items()}
    assert left_out["surrogate"] + left_out["target"] == len(whole) - len(parts["train"]) == 2
    for some in parts.values():
        rows = [whole.names.index(name) for name in some.names]
        assert np.array_equal(some.images, whole.images[rows]) and torch.equal(
            some.labels, whole.labels[rows]
        )
    with pytest.raises(UserError, match="2 of 50"):
        open_faces(config_of(folder), "train")


def test_smaller_than_the_crop(folder):
    Image.new("RGB", (178, 170)).save(folder / "img_align_celeba" / "000060.jpg")
    with pytest.raises(
        UserError, match=r"000060.jpg \(178x170, smaller than the crop of 178x178\)"
    ):
        open_faces(config_of(folder), "test")


def test_unknown_attribute_names_close_ones(stand_ins):
    for root in (stand_ins["official"], stand_ins["kaggle"], ""):
        with pytest.raises(UserError, match="Smiling"):
            open_faces(config_of(root), "test", ("Smilling",))
    with pytest.raises(UserError, match="Arched_Eyebrows"):
        open_faces(config_of(stand_ins["official"]), "test", ("qqq",))


def test_unknown_part_and_limits():
    with pytest.raises(UserError, match="surrogate"):
        open_faces(config_of(), "training")
    with pytest.raises(UserError, match="limit=0"):
        open_faces(config_of(), "test", limit=0)
    with pytest.raises(UserError, match="faces=3"):
        open_faces(config_of(faces=3), "test")


def remove_labels(folder):
    (folder / "list_attr_celeba.txt").unlink()


def remove_pictures(folder):
    shutil.rmtree(folder / "img_align_celeba")
    (folder / "img_align_celeba").mkdir()


def remove_all(folder):
    shutil.rmtree(folder)


def empty(folder):
    remove_labels(folder)
    remove_pictures(folder)


def cut_labels(folder):
    table = folder / "list_attr_celeba.txt"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:40]))


def cut_partition(folder):
    table = folder / "list_eval_partition.txt"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:40]))


def tear_labels(folder):
    table = folder / "list_attr_celeba.txt"
    table.write_text(table.read_text()[:-30])


def blank_labels(folder):
    (folder / "list_attr_celeba.txt").write_text("")


def binary_labels(folder):
    (folder / "list_attr_celeba.txt").write_bytes(bytes(range(256)))


@pytest.mark.parametrize(
    "damage, words",
    [
        (remove_labels, "lacks list_attr_celeba"),
        (remove_pictures, "lacks img_align_celeba"),
        (remove_all, "no data folder"),
        (empty, "img_align_celeba.* and list_attr"),
        (cut_labels, "22 of 60 pictures are not listed in .*list_attr"),
        (cut_partition, "20 of 60 .*list_eval_partition"),
        (tear_labels, "damaged at 000060.jpg"),
        (blank_labels, "is empty"),
        (binary_labels, "cannot be read as text"),
    ],
)
def test_incomplete_folder(folder, damage, words):
    damage(folder)
    with pytest.raises(UserError, match=words) as caught:
        open_faces(config_of(folder), "test")
    assert "\n" not in str(caught.value) and ":" in str(caught.value)


def test_data_root_is_a_file(folder):
    with pytest.raises(UserError, match="no data folder"):
        open_faces(config_of(folder / "identity_CelebA.txt"), "test")


@settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.text(st.characters(codec="utf-8"), max_size=200))
def test_random_label_files(stand_ins, text):
    table = Path(os.environ["IDF_CACHE"]).parent / "list_attr_celeba.txt"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        data._require(["000001.jpg"], data._read_labels(table, ("Smiling",)), table)


def test_stand_in_looks_like_celeba(stand_ins):
    header = (stand_ins["official"] / "list_attr_celeba.txt").read_text().splitlines()[:2]
    assert header == ["60", " ".join(CELEBA_ATTRIBUTES)] and len(CELEBA_ATTRIBUTES) == 40
    with Image.open(stand_ins["kaggle"] / "img_align_celeba/img_align_celeba/000001.jpg") as image:
        assert image.size == (178, 218)
