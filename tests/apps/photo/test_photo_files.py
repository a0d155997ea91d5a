"""Photos as people have them: read, and written again."""

import io
import struct
import zlib

import numpy as np
import pytest
from drawn_photos import drawn, file_of
from PIL import Image, ImageCms, features

from idf.apps.photo import files
from idf.apps.photo.files import Photo, encoded, open_photo, readable_formats
from idf.config import UserError

CAMERA = 0x010F  # the EXIF tag
ORIENTATION = 0x0112


def png(width, height, bits=8, rows=b"\0"):
    """A PNG in RGB by hand: without its rows, a few bytes that claim to be of any size."""

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


# reading


def test_open_takes_files_and_bytes(tmp_path):
    path = tmp_path / 'a "b" ..c.png'
    path.write_bytes(file_of(drawn()))
    for source in (file_of(drawn()), path, str(path)):
        photo = open_photo(source)
        assert np.array_equal(photo.pixels, drawn())
        assert photo.alpha is None and not photo.notes


@pytest.mark.parametrize(
    "mode, kind, note",
    [
        ("L", "PNG", "grey"),
        ("1", "PNG", "grey"),
        ("P", "PNG", ""),
        ("CMYK", "JPEG", "sRGB"),
        ("RGB", "WEBP", ""),
        ("RGB", "AVIF", ""),
        ("RGB", "JPEG2000", ""),
        ("RGB", "TIFF", ""),
        ("RGB", "BMP", ""),
    ],
)
def test_open_makes_rgb_of_every_mode(mode, kind, note):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    photo = open_photo(file_of(Image.fromarray(drawn()).convert(mode), kind))
    assert photo.pixels.dtype == np.uint8 and photo.pixels.shape == drawn().shape
    assert note in " ".join(photo.notes) and bool(note) == bool(photo.notes)


def test_open_takes_what_phones_write():
    pytest.importorskip("pillow_heif")
    readable_formats()  # registers it
    exif = Image.Exif()
    exif[CAMERA] = "a camera"
    photo = open_photo(file_of(drawn(), "HEIF", quality=95, exif=exif))
    assert np.abs(photo.pixels.astype(int) - drawn()).mean() < 2 and not photo.notes
    assert b"a camera" in photo.exif


@pytest.mark.parametrize(
    "format, start, said",
    [
        ("HEIF", b"ftypheic", "x is a HEIC picture, which cannot be read here: run `pip install"),
        ("AVIF", b"ftypavif", "x is an AVIF picture, which cannot be read here: run `pip install"),
        ("JPEG2000", b"jP  \r\n\x87\n", "x is a JPEG 2000 picture, which cannot be read here"),
    ],
)
def test_open_names_what_is_missing_for_a_format(format, start, said, monkeypatch, tmp_path):
    others = tuple(name for name in readable_formats() if name != format)
    monkeypatch.setattr(files, "readable_formats", lambda: others)
    content = b"\0\0\0\x0c" + start + bytes(100)
    (tmp_path / "x").write_bytes(content)
    for source in (content, tmp_path / "x"):
        with pytest.raises(UserError, match=said) as caught:
            open_photo(source, "x")
        assert "save it as a JPEG or PNG first" in str(caught.value)


def test_open_keeps_what_lies_under_transparency():
    alpha = np.arange(200, dtype=np.uint8)[:, None].repeat(200, 1)
    photo = open_photo(file_of(np.dstack([drawn(), alpha])))
    assert np.array_equal(photo.pixels, drawn()) and np.array_equal(photo.alpha, alpha)


def test_open_scales_16_bits_and_says_so():
    ramp = np.array([[0, 257, 32896, 65535]], np.uint16)
    photo = open_photo(file_of(Image.fromarray(ramp)))
    assert photo.pixels[0, :, 0].tolist() == [0, 1, 128, 255]
    assert "16 bits" in photo.notes[0]


def test_open_says_so_of_16_bits_in_colour():
    row = b"\0" + struct.pack(">6H", 65535, 32896, 0, 257, 514, 65535)
    photo = open_photo(png(2, 1, 16, row))
    assert photo.pixels[0, 0].tolist() == [255, 128, 0] and "16 bits" in photo.notes[0]


def test_open_takes_the_first_frame_of_an_animation():
    first, second = (Image.fromarray(np.full((9, 9), v, np.uint8)) for v in (10, 200))
    photo = open_photo(file_of(first, "GIF", save_all=True, append_images=[second]))
    assert photo.pixels[0, 0, 0] == 10 and "first frame" in photo.notes[0]


def test_open_turns_upright_and_forgets_the_orientation():
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    exif[CAMERA] = "a camera"
    photo = open_photo(file_of(drawn(), exif=exif))
    assert np.array_equal(photo.pixels, np.rot90(drawn(), -1))
    kept = Image.Exif()
    kept.load(photo.exif)
    assert dict(kept) == {CAMERA: "a camera"}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is not a photo"),
        (b"no photo", "is not a photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (file_of(np.zeros((40, 40, 3), np.uint8), "JPEG")[:200], "cannot be read"),
        (png(10_000, 10_000), "100 megapixels"),
        (png(60_000, 60_000), "scale it down"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a photo"),
    ],
)
def test_open_refuses_in_one_sentence(content, words):
    with pytest.raises(UserError, match=words) as caught:
        open_photo(content, "x.png")
    assert str(caught.value).startswith("x.png") and "\n" not in str(caught.value)


def test_open_names_what_is_missing_or_a_folder(tmp_path):
    for path, words in ((tmp_path / "none.png", "There is no photo"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=words):
            open_photo(path)


# writing


@pytest.mark.parametrize("keep", [False, True])
def test_transparency_and_profile_are_written_and_the_rest_if_asked_for(keep):
    exif = Image.Exif()
    exif[CAMERA] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    layers = np.dstack([drawn(), np.full((200, 200), 130, np.uint8)])
    photo = open_photo(file_of(layers, icc_profile=profile, exif=exif))
    metadata = {CAMERA: "a camera"} if keep else {}
    with Image.open(io.BytesIO(encoded(photo, photo.pixels, ".PNG", keep))) as image:
        assert np.array_equal(np.asarray(image), layers)
        assert image.info["icc_profile"] == profile and dict(image.getexif()) == metadata
    with Image.open(io.BytesIO(encoded(photo, photo.pixels, ".jpg", keep))) as image:
        assert image.mode == "RGB"
        assert image.info["icc_profile"] == profile and dict(image.getexif()) == metadata


def test_a_profile_that_is_not_of_rgb_is_dropped():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    grey = Image.fromarray(drawn()).convert("L")
    assert open_photo(file_of(grey, icc_profile=profile)).icc is None


def test_a_suffix_that_is_not_known_is_refused():
    with pytest.raises(UserError, match="cannot end in '.heic': let it end in .png"):
        encoded(Photo("x", drawn()), drawn(), ".heic")
