"""Pictures as people have them: grey, transparent, rotated, cut off, none at all; JPEG; ranges."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from idf.config import UserError
from idf.data.pictures import as_jpeg, read_image, recompressed, to_model, to_picture, to_uint8


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def pixels(image, **options):
    """What read_image makes of a PIL image saved with these options, and its top left pixel."""
    file = Path(f"picture.{options.pop('suffix', 'png')}")
    image.save(file, **options)
    x = read_image(file)
    assert x.dtype == torch.uint8 and x.shape[0] == 3
    return x, x[:, 0, 0].tolist()


def test_conversion_round_trip_is_exact():
    every = torch.arange(256, dtype=torch.uint8).expand(3, 1, 256)
    x = to_model(every)
    assert x.dtype == torch.float32 and x.min() == -1 and x.max() == 1
    assert torch.equal(to_uint8(x), every)
    assert torch.equal(to_model(every.numpy()), x)
    assert to_uint8(torch.tensor([-3.0, 0.999 / 127.5, 3.0])).tolist() == [0, 128, 255]
    assert np.array_equal(to_picture(x), every.permute(1, 2, 0))


def test_pictures_are_not_converted_twice():
    with pytest.raises(TypeError, match="uint8"):
        to_model(torch.zeros(3, 2, 2))


def test_jpeg_keeps_all_colours_where_asked():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = (255, 0, 0)
    stripes[:, 1::2] = (0, 0, 255)
    full, quarter = (recompressed(stripes, 95, full_colour=full) for full in (True, False))
    error = {
        name: np.abs(x - stripes.astype(int)).mean() for name, x in (("4", full), ("2", quarter))
    }
    assert full.shape == stripes.shape and full.dtype == np.uint8
    assert error["4"] < 8 and error["2"] > 40
    assert len(as_jpeg(stripes, 95)) < len(as_jpeg(stripes, 95, full_colour=True))
    exif = Image.Exif()
    exif[0x010F] = "camera"
    written = Image.open(io.BytesIO(as_jpeg(stripes, 75, exif=exif.tobytes())))
    assert written.getexif()[0x010F] == "camera"


def test_read_colour_and_size():
    x, first = pixels(Image.new("RGB", (5, 7), (10, 20, 30)))
    assert x.shape == (3, 7, 5) and first == [10, 20, 30]


@pytest.mark.parametrize(
    "mode, colour, expected",
    [
        ("L", 77, [77] * 3),
        ("1", 1, [255] * 3),
        ("LA", (100, 0), [255] * 3),
        ("RGBA", (10, 20, 30, 255), [10, 20, 30]),
        ("RGBA", (10, 20, 30, 0), [255] * 3),
        ("RGBA", (0, 0, 255, 51), [204, 204, 255]),
    ],
)
def test_read_grey_and_transparent(mode, colour, expected):
    assert pixels(Image.new(mode, (4, 4), colour))[1] == expected


def test_read_palette():
    image = Image.new("RGB", (4, 4), (200, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert pixels(image)[1] == [200, 20, 30]
    assert pixels(image, transparency=image.getpixel((0, 0)))[1] == [255] * 3
    assert pixels(image, suffix="gif")[1] == [200, 20, 30]


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_read_16_bits_is_scaled(suffix):
    ramp = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert pixels(Image.fromarray(ramp), suffix=suffix)[0][0].tolist() == [[0, 1, 128, 255]]


def test_read_16_bits_in_colour(tmp_path):
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    row = b"\0" + struct.pack(">6H", 65535, 32896, 0, 257, 514, 65535)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    (tmp_path / "deep.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(row))
        + chunk(b"IEND", b"")
    )
    assert read_image(tmp_path / "deep.png")[:, 0].T.tolist() == [[255, 128, 0], [1, 2, 255]]


@pytest.mark.parametrize(
    "orientation, turned",
    [
        (1, lambda x: x),
        (2, lambda x: x.flip(-1)),
        (3, lambda x: x.flip(-1, -2)),
        (6, lambda x: x.rot90(-1, (1, 2))),
        (8, lambda x: x.rot90(1, (1, 2))),
    ],
)
def test_read_honours_exif_rotation(orientation, turned):
    image = Image.fromarray(np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7)
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(pixels(image, exif=exif)[0], turned(pixels(image)[0]))


def test_read_floats_cmyk():
    assert pixels(Image.new("CMYK", (8, 8), (0, 0, 0, 0)), suffix="jpg")[1] == [255] * 3
    with pytest.raises(UserError, match="floating-point"):
        pixels(Image.new("F", (8, 8), 0.5), suffix="tiff")


def test_read_what_is_no_picture(tmp_path):
    (tmp_path / "text.jpg").write_text("no picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    for name in ("text.jpg", "empty.jpg", "folder.jpg", "missing.jpg"):
        with pytest.raises(UserError, match=name) as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_read_refuses_a_decompression_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("RGB", (30, 30)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="bomb.png.*decompression bomb"):
        read_image(tmp_path / "bomb.png")


def encoded(suffix):
    buffer = io.BytesIO()
    image = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(image).save(buffer, suffix)
    return buffer.getvalue()


BROKEN = {suffix: encoded(suffix) for suffix in ("jpeg", "png", "tiff", "webp", "gif", "bmp")}


def loads_or_user_error(content):
    file = Path("broken.jpg")
    file.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            x = read_image(file)
        except UserError as error:
            assert str(file) in str(error)
            return False
    assert x.dtype == torch.uint8 and x.ndim == 3 and x.shape[0] == 3
    return True


hypothesis_settings = settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@hypothesis_settings
@given(st.sampled_from(sorted(BROKEN)), st.floats(0, 1))
def test_truncated_pictures(suffix, share):
    content = BROKEN[suffix]
    assert loads_or_user_error(content)
    loads_or_user_error(content[: int(len(content) * share)])
    assert not loads_or_user_error(content[: len(content) // 3])


@hypothesis_settings
@given(
    st.sampled_from(sorted(BROKEN)),
    st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8))),
)
def test_pictures_with_random_bytes(suffix, changes):
    content = bytearray(BROKEN[suffix])
    for share, new in changes:
        start = int(share * len(content))
        content[start : start + len(new)] = new
    loads_or_user_error(bytes(content))


@hypothesis_settings
@given(st.binary(max_size=200))
def test_random_bytes_are_no_picture(content):
    loads_or_user_error(content)
