"""CelebA (the folder IDF_CELEBA names, else a stand-in): layouts, parts, labels, and bad input."""

import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from standin import CELEBA_ATTRIBUTES

from idf.config import UserError, load_config
from idf.data import celeba as module
from idf.data.celeba import CROP, CelebA, square_of
from idf.data.drawn.faces import ATTRIBUTES, render_faces
from idf.data.faces import PARTS, open_faces
from idf.data.lists import read_labels
from idf.data.pictures import read_image


def config_of(root, **overrides):
    return load_config("smoke", data_root=str(root), **{"faces": 0, **overrides})


def parts_of(root):
    return CelebA(config_of(root), ("Male",), PARTS).parts


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


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_pictures_are_resized_as_the_settings_say(celeba, interpolation):
    faces = open_faces(config_of(celeba, interpolation=interpolation), "test", limit=3)
    for name, image in zip(faces.names, faces.images, strict=True):
        with Image.open(next(celeba.rglob(name))) as picture:
            square = (0, 20, CROP, 20 + CROP)
            resampling = Image.Resampling[interpolation.upper()]
            if interpolation == "bilinear":  # as StarGAN's loader: crop, then resize
                expected = np.asarray(picture.crop(square).resize((32, 32), resampling))
            else:
                expected = np.asarray(picture.resize((32, 32), resampling, box=square))
        assert np.array_equal(image, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("layout", ["official", "kaggle"])
def test_layouts_agree(stand_ins, layout):
    domains = ("Young", "Bangs", "Smiling")
    config = config_of(stand_ins[layout])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = {part: open_faces(config, part, domains) for part in (*PARTS, "train")}
    assert [len(opened[part]) for part in PARTS] == [25, 25, 5, 5]
    assert opened["train"].names == opened["surrogate"].names + opened["target"].names
    assert opened["test"].names == [f"0000{i}.jpg" for i in range(56, 61)]
    columns = [ATTRIBUTES.index(name) for name in domains]
    drawn = render_faces(range(60)).attributes[:, columns].float()
    for faces in opened.values():
        rows = [int(name.removesuffix(".jpg")) - 1 for name in faces.names]
        assert torch.equal(faces.labels, drawn[rows])


def lines_of(table):
    return dict(line.split() for line in table.read_text().splitlines())


def test_parts_and_identities_are_disjoint(celeba):
    parts = parts_of(celeba)
    identity = lines_of(celeba / "identity_CelebA.txt")
    people = {part: {identity[name] for name in names} for part, names in parts.items()}
    assert all(parts[part] for part in PARTS)
    assert sum(map(len, parts.values())) == len({*sum(parts.values(), [])})
    assert sum(map(len, people.values())) == len(set.union(*people.values()))
    official = lines_of(celeba / "list_eval_partition.txt")
    assert {official[name] for name in parts["test"]} == {"2"}
    assert {official[name] for name in parts["target"]} == {"0"}


def test_split_without_partition_or_identities(folder):
    (folder / "list_eval_partition.txt").unlink()
    parts = parts_of(folder)
    people = [{(int(name[:6]) - 1) // 5 for name in parts[part]} for part in PARTS]
    assert [len(part) for part in people] == [5, 5, 1, 1] and len(set.union(*people)) == 12
    (folder / "identity_CelebA.txt").unlink()
    with pytest.warns(UserWarning, match="identity_CelebA"):
        parts = parts_of(folder)
    assert [len(parts[part]) for part in PARTS] == [25, 25, 5, 5]


def test_an_identity_in_two_official_parts_stays_whole(folder):
    table = folder / "list_eval_partition.txt"
    table.write_text(table.read_text().replace("000001.jpg 0", "000001.jpg 2"))
    names = open_faces(config_of(folder), "test").names
    assert set(names) >= {f"00000{i}.jpg" for i in range(1, 6)}


def test_faces_bounds_all_parts_together(stand_ins):
    config = config_of(stand_ins["official"], faces=24)
    assert [len(open_faces(config, part)) for part in PARTS] == [10, 10, 2, 2]


def test_png_and_labels_for_more_pictures(folder):
    pictures = folder / "img_align_celeba"
    for file in sorted(pictures.iterdir())[::2]:
        Image.open(file).save(file.with_suffix(".png"))
        file.unlink()
    for file in sorted(pictures.glob("*.jpg"))[:10]:
        file.unlink()
    config = config_of(folder)
    assert sum(len(open_faces(config, part)) for part in ("train", "validation", "test")) == 50


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
    parts, printed = {}, {}
    for part in ("surrogate", "target", "train"):
        parts[part] = open_faces(config_of(folder, skip_bad=True), part)
        printed[part] = capsys.readouterr().out
    where = folder / "img_align_celeba"
    assert printed["train"] == f"2 of 50 pictures in {where} are left out: they cannot be used.\n"
    left_out = {part: int(text.split()[0]) if text else 0 for part, text in printed.items()}
    assert left_out["surrogate"] + left_out["target"] == len(whole) - len(parts["train"]) == 2
    for faces in parts.values():
        rows = [whole.names.index(name) for name in faces.names]
        assert np.array_equal(faces.images, whole.images[rows])
        assert torch.equal(faces.labels, whole.labels[rows])
    with pytest.raises(UserError, match="2 of 50"):
        open_faces(config_of(folder), "train")


def test_pictures_of_another_size_are_scaled_and_said(folder, capsys):
    """A re-pack, whole or already cropped square, has the pixels of the original."""
    before = open_faces(config_of(folder), "test").images[:3].astype(float)
    assert "178x218" not in capsys.readouterr().out
    for number in (56, 57, 58):
        file = folder / "img_align_celeba" / f"0000{number}.jpg"
        with Image.open(file) as image:
            new = image.resize((356, 436)) if number == 56 else image.crop((0, 20, 178, 198))
        if number == 58:
            new = new.resize((1024, 1024))
        new.save(file, quality=95)
    after = open_faces(config_of(folder), "test").images[:3].astype(float)
    assert np.abs(before - after).mean() < 4
    said = capsys.readouterr().out
    assert "3 of 5 pictures" in said and "1024x1024, 178x178, 356x436" in said


@pytest.mark.parametrize(
    "size, why", [((300, 200), "300x200, neither square"), ((20, 20), "20x20, smaller than the 32")]
)
def test_pictures_of_another_shape_are_refused_but_for_the_asking(folder, size, why):
    Image.new("RGB", size).save(folder / "img_align_celeba" / "000060.jpg")
    with pytest.raises(UserError, match=why):
        open_faces(config_of(folder), "test")
    if min(size) > 32:
        assert len(open_faces(config_of(folder, crop="centre"), "test")) == 5


@pytest.mark.parametrize(
    "width, height, centre, square",
    [
        (178, 218, False, (0, 20, 178, 198)),
        (1024, 1024, False, (0, 0, 1024, 1024)),
        (89, 109, False, (0, 10, 89, 99)),
        (300, 200, False, None),
        (300, 200, True, (50, 0, 250, 200)),
    ],
)
def test_square_of(width, height, centre, square):
    assert square_of(width, height, centre) == square


LISTS = {
    "official": "2\nMale Smiling\n1.jpg -1  1\n2.jpg  1 -1\n",
    "one attribute": "2\nSmiling\n1.jpg  1\n2.jpg -1\n",
    "csv": "image_id,Male,Smiling\n1.jpg,-1,1\n2.jpg,1,-1\n",
    "quoted": '"image_id","Male","Smiling"\n"1.jpg","-1","1"\n"2.jpg","1","-1"\n',
    "semicolons": "image_id;Male;Smiling\n1.jpg;-1;1\n2.jpg;1;-1\n",
    "tabs": "file\tMale\tSmiling\r\n1.jpg\t0\t1\r\n2.jpg\t1\t0\r\n",
    "a numbered index": ",image_id,Male,Smiling\n0,1.jpg,-1,1\n1,2.jpg,1,-1\n",
    "names as the index": ",Male,Smiling\n1.jpg,False,True\n2.jpg,True,False\n",
    "floats": "name,Male,Smiling\n1.jpg,-1.0,1.0\n2.jpg,1.0,-1.0\n\n",
    "with a mark": "\ufeffimage_id,Male,Smiling\n1.jpg,-1,1\n2.jpg,1,-1\n",
}


@pytest.mark.parametrize("text", LISTS.values(), ids=LISTS)
def test_lists_as_spreadsheets_and_pandas_write_them(tmp_path, text):
    table = tmp_path / "list_attr_celeba.csv"
    table.write_text(text, encoding="utf-8", newline="")
    assert read_labels(table, ("Smiling",)) == {"1": [1], "2": [0]}


@pytest.mark.parametrize("kept", ["0", "2"])
def test_a_partition_that_names_one_part_is_dealt_anew(folder, kept):
    """The first 12,000 pictures of CelebA are all of its training part."""
    table = folder / "list_eval_partition.txt"
    names = [line.split()[0] for line in table.read_text().splitlines()]
    table.write_text("".join(f"{name} {kept}\n" for name in names))
    with pytest.warns(UserWarning, match="dealt anew, by identity"):
        parts = parts_of(folder)
    people = [{(int(name[:6]) - 1) // 5 for name in parts[part]} for part in PARTS]
    assert [len(part) for part in people] == [5, 5, 1, 1] and len(set.union(*people)) == 12


def test_stargans_layout(folder):
    (folder / "img_align_celeba").rename(folder / "images")
    assert len(open_faces(config_of(folder), "test")) == 5


@pytest.mark.parametrize("layout", ["official", "kaggle"])
def test_unknown_attribute_names_close_ones(stand_ins, layout):
    config = config_of(stand_ins[layout])
    with pytest.raises(UserError, match="did you mean Smiling"):
        open_faces(config, "test", ("Smilling",))
    with pytest.raises(UserError, match="use some of .*Arched_Eyebrows"):
        open_faces(config, "test", ("qqq",))


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
def test_random_label_files(tmp_path, text):
    table = tmp_path / "list_attr_celeba.txt"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(UserError):
        module._check_listed(["000001.jpg"], read_labels(table, ("Smiling",)), table)


def test_stand_in_looks_like_celeba(stand_ins):
    header = (stand_ins["official"] / "list_attr_celeba.txt").read_text().splitlines()[:2]
    assert header == ["60", " ".join(CELEBA_ATTRIBUTES)] and len(CELEBA_ATTRIBUTES) == 40
    first = Path("img_align_celeba/img_align_celeba/000001.jpg")
    with Image.open(stand_ins["kaggle"] / first) as image:
        assert image.size == (178, 218)
