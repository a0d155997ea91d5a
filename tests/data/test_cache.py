"""The cache: used while nothing changed, complete or absent, and plain words when it fails."""

import os
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from idf.config import UserError, load_config
from idf.data import celeba as pictures
from idf.data import drawn
from idf.data.cache import cache_folder, digest, open_cache
from idf.data.faces import open_faces


@pytest.fixture
def config(stand_ins):
    return config_of(stand_ins["official"])


def config_of(root, **overrides):
    return load_config("smoke", data_root=str(root), faces=0, **overrides)


def caches():
    return sorted(cache_folder().iterdir())


def test_a_digest_is_equal_for_equal_values():
    assert digest((1, "a")) == digest((1, "a")) != digest((1, "b"))
    assert len(digest("")) == 16 and digest("").isalnum()


def test_pictures_notes_and_bad_ones(tmp_path):
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    known = {}

    def items():
        yield "a", image, [1]
        yield "b", None, "torn"
        known["late"] = 3
        yield "c", image + 1, [2]

    for _ in range(2):
        images, index = open_cache(tmp_path / "new", 4, items(), known, channels=1)
        assert np.array_equal(images, [image, image + 1])
        assert index == {
            "names": ["a", "c"],
            "notes": [[1], [2]],
            "bad": {"b": "torn"},
            "late": 3,
        }
    images, index = open_cache(tmp_path / "empty", 4, iter([("b", None, "torn")]))
    assert images.shape == (0, 3, 4, 4) and images.dtype == np.uint8 and not index["names"]


def test_cache_is_reused(config, monkeypatch):
    reads = []
    read = pictures.read_rgb

    def counted(path):
        reads.append(path.name)
        return read(path)

    monkeypatch.setattr(pictures, "read_rgb", counted)
    first = open_faces(config, "surrogate")
    assert len(reads) == 50  # the target's too: one cache for both
    second, target = open_faces(config, "surrogate", ("Young",)), open_faces(config, "target")
    for i in range(12):
        second.batch(i, 8, seed=0)
    assert len(reads) == 50
    assert np.array_equal(first.images, second.images)
    assert not np.array_equal(first.images, target.images)
    open_faces(config, "test")
    assert len(reads) == 55


def test_stale_caches_are_not_used(folder):
    before = np.array(open_faces(config_of(folder), "test").images)
    Image.new("RGB", (178, 218), "red").save(folder / "img_align_celeba" / "000060.jpg")
    after = open_faces(config_of(folder), "test").images
    assert np.array_equal(before[:4], after[:4]) and not np.array_equal(before[4], after[4])
    assert open_faces(config_of(folder, size=64), "test").images.shape[-1] == 64


def test_another_interpolation_is_another_cache(folder):
    sharp, soft = (
        open_faces(config_of(folder, interpolation=name), "test").images
        for name in ("bicubic", "bilinear")
    )
    assert len(caches()) == 2 and not np.array_equal(sharp, soft)


def test_another_renderer_is_another_cache(tmp_path, monkeypatch):
    open_faces(load_config("smoke", faces=24), "test")
    source = tmp_path / "paint.py"
    source.write_text("changed")
    monkeypatch.setattr(drawn, "SOURCES", [source])
    open_faces(load_config("smoke", faces=24), "test")
    assert len(caches()) == 2


def test_a_crash_leaves_no_cache(config, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(pictures, "crop", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            open_faces(config, "test")
    assert caches() == []
    (cache_folder() / "stale.tmp").mkdir()
    assert len(open_faces(config, "test")) == 5


def test_two_at_once(config):
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: open_faces(config, "train"), range(2))
    assert np.array_equal(first.images, second.images) and first.names == second.names
    assert len(caches()) == 1


def test_losing_the_race_uses_the_other_cache(config, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("IDF_CACHE", str(tmp_path / "other"))
        other = open_faces(config, "test")
    crop = pictures.crop

    def crop_late(file, **settings):
        if file.name == other.names[0]:  # meanwhile the other process gets ready
            shutil.copytree(tmp_path / "other", tmp_path / "cache", dirs_exist_ok=True)
        return crop(file, **settings)

    monkeypatch.setattr(pictures, "crop", crop_late)
    assert np.array_equal(open_faces(config, "test").images, other.images)
    assert len(caches()) == 1


def test_cache_that_cannot_be_written(config, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDF_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="IDF_CACHE"):
        open_faces(config, "test")


def test_damaged_cache(config):
    open_faces(config, "test")
    file = next(cache_folder().rglob("images.u8"))
    os.truncate(file, 1000)
    with pytest.raises(UserError, match="delete that folder"):
        open_faces(config, "test")
