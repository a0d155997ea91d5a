"""Photos as people have them: read, aligned as CelebA's faces are, changed within eps, written."""

import io
import struct
import zlib
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from idf.config import UserError
from idf.data import CROP, to_model
from idf.faces import render_faces
from idf.photo import (
    TEMPLATE,
    Photo,
    Place,
    aligned,
    encoded,
    find_faces,
    open_photo,
    place_of,
    put_back,
)


@cache
def drawn(seed=0, size=200):
    """A drawn face, uint8 (size, size, 3)."""
    return render_faces([seed], size=size).images[0].permute(1, 2, 0).contiguous().numpy()


def saved(image, kind="PNG", **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def smooth(height=400, width=300):
    """A picture without fine detail, so that resampling twice is no loss."""
    coarse = np.random.default_rng(0).integers(60, 196, (8, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def png(width, height, bits=8, content=b"\0"):
    """A PNG in RGB by hand; with content left out it is a few bytes that claim to be a picture of any size."""

    def chunk(kind, content):
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(content))
        + chunk(b"IEND", b"")
    )


def similarity(scale=1.0, degrees=0.0, shift=(0.0, 0.0)):
    turn = scale * np.array(
        [
            [np.cos(np.radians(degrees)), -np.sin(np.radians(degrees))],
            [np.sin(np.radians(degrees)), np.cos(np.radians(degrees))],
        ]
    )
    return np.concatenate([turn, np.array(shift)[:, None]], 1)


# ------------------------------------------------------------------------------------------------- reading


def test_open_takes_files_and_bytes(tmp_path):
    (tmp_path / 'a "b" ..c.png').write_bytes(saved(drawn()))
    for source in (saved(drawn()), tmp_path / 'a "b" ..c.png', str(tmp_path / 'a "b" ..c.png')):
        photo = open_photo(source)
        assert np.array_equal(photo.pixels, drawn()) and photo.alpha is None and not photo.notes


@pytest.mark.parametrize(
    "mode, kind, note",
    [
        ("L", "PNG", "grey"),
        ("1", "PNG", "grey"),
        ("P", "PNG", ""),
        ("CMYK", "JPEG", "sRGB"),
        ("RGB", "WEBP", ""),
        ("RGB", "TIFF", ""),
        ("RGB", "BMP", ""),
    ],
)
def test_open_makes_rgb_of_every_mode(mode, kind, note):
    photo = open_photo(saved(Image.fromarray(drawn()).convert(mode), kind))
    assert photo.pixels.dtype == np.uint8 and photo.pixels.shape == drawn().shape
    assert note in " ".join(photo.notes) and bool(note) == bool(photo.notes)


def test_open_keeps_what_lies_under_transparency():
    alpha = np.arange(200, dtype=np.uint8)[:, None].repeat(200, 1)
    photo = open_photo(saved(np.dstack([drawn(), alpha])))
    assert np.array_equal(photo.pixels, drawn()) and np.array_equal(photo.alpha, alpha)


def test_open_scales_16_bits_and_says_so():
    ramp = np.array([[0, 257, 32896, 65535]], np.uint16)
    photo = open_photo(saved(Image.fromarray(ramp)))
    assert photo.pixels[0, :, 0].tolist() == [0, 1, 128, 255] and "16 bits" in photo.notes[0]


def test_open_says_so_of_16_bits_in_colour():
    row = b"\0" + struct.pack(">6H", 65535, 32896, 0, 257, 514, 65535)
    photo = open_photo(png(2, 1, 16, row))
    assert photo.pixels[0, 0].tolist() == [255, 128, 0] and "16 bits" in photo.notes[0]


def test_open_takes_the_first_frame_of_an_animation():
    frames = [Image.fromarray(np.full((9, 9), v, np.uint8)) for v in (10, 200)]
    photo = open_photo(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert photo.pixels[0, 0, 0] == 10 and "first frame" in photo.notes[0]


def test_open_turns_upright_and_forgets_the_orientation():
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    photo = open_photo(saved(drawn(), "PNG", exif=exif))
    assert np.array_equal(photo.pixels, np.rot90(drawn(), -1))
    kept = Image.Exif()
    kept.load(photo.exif)
    assert dict(kept) == {0x010F: "a camera"}


@pytest.mark.parametrize(
    "content, words",
    [
        (b"", "is not a photo"),
        (b"no photo", "is not a photo"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (saved(np.zeros((40, 40, 3), np.uint8), "JPEG")[:200], "cannot be read"),
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


# ------------------------------------------------------------------------------------------------- alignment


@pytest.mark.parametrize(
    "scale, degrees, shift", [(1, 0, (0, 0)), (0.4, 30, (50, 20)), (6, -170, (900, 700))]
)
def test_place_is_the_similarity_that_moved_the_template(scale, degrees, shift):
    matrix = similarity(scale, degrees, shift)
    points = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    landmarks = np.zeros((68, 2))
    landmarks[36:42], landmarks[42:48], landmarks[[30, 48, 54]] = points[0], points[1], points[2:]
    place = place_of(landmarks)
    assert np.allclose(place.matrix, matrix) and np.isclose(place.side, scale * CROP)


def test_aligned_is_the_crop_that_the_training_faces_had():
    picture = np.ascontiguousarray(drawn(0, 218)[:, 20:198])
    box = (0, 20, CROP, 20 + CROP)
    trained = np.asarray(
        Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC, box=box)
    )
    mine = aligned(picture, Place(similarity(shift=(0, 20))), 64).permute(1, 2, 0).numpy()
    difference = np.abs(trained.astype(int) - mine)
    assert difference.mean() < 0.2 and difference.max() <= 4, "Pillow rounds between its two passes"


def test_the_template_is_where_drawn_landmarks_are_found():
    """dlib's points on a face, aligned, lie on the template within a few pixels of 178."""
    photo = Photo("face", drawn(3))
    again = Photo(
        "aligned",
        aligned(photo.pixels, find_faces(photo)[0], CROP).permute(1, 2, 0).contiguous().numpy(),
    )
    assert (
        np.abs(find_faces(again)[0].corners() - [[0, 0], [CROP, 0], [CROP, CROP], [0, CROP]]).max()
        < 8
    )


def test_find_faces_sorts_them_and_names_a_photo_without():
    wide = np.full((300, 520, 3), 200, np.uint8)
    wide[50:250, 20:220], wide[20:276, 250:506] = drawn(0), drawn(1, 256)
    places = find_faces(Photo("two", wide))
    assert len(places) == 2 and places[0].side > places[1].side
    with pytest.raises(UserError, match="No face was found in wall.jpg"):
        find_faces(Photo("wall.jpg", smooth()))


def test_small_faces_beside_a_large_one_are_found_too():
    """In a photo that is scaled down for the detector, so that places are scaled back."""
    group = np.full((1500, 2400, 3), 200, np.uint8)
    group[100:1300, 100:1300] = np.asarray(Image.fromarray(drawn(0)).resize((1200, 1200)))
    for i, seed in enumerate((1, 2, 4)):
        group[200 + 400 * i : 400 + 400 * i, 1700:1900] = drawn(seed)
    places = find_faces(Photo("group", group))
    assert len(places) == 4 and places[0].side > 3 * places[1].side
    middles = np.array([place.corners().mean(0) for place in places])
    assert np.abs(middles[0] - [700, 750]).max() < 200 and np.abs(middles[1:, 0] - 1800).max() < 40


def test_a_face_of_15_pixels_is_not_found_silently():
    small = np.full((300, 300, 3), 128, np.uint8)
    small[100:115, 100:115] = np.asarray(Image.fromarray(drawn()).resize((15, 15)))
    with pytest.raises(UserError, match="at least 40 pixels"):
        find_faces(Photo("small.jpg", small))


def test_a_face_at_the_border_is_aligned_with_the_border_repeated():
    cut = drawn(0, 256)[:, 60:]
    assert aligned(cut, find_faces(Photo("cut", np.ascontiguousarray(cut)))[0], 64).shape == (
        3,
        64,
        64,
    )


# ------------------------------------------------------------------------------------------------- putting back


@pytest.mark.parametrize("scale, degrees", [(0.6, 0), (1, 20), (1.7, -8), (3.2, 45)])
def test_put_back_gives_the_aligned_face_its_delta(scale, degrees):
    size = int(420 * max(1, scale))
    photo = smooth(size, size)
    middle = similarity(scale, degrees)
    middle[:, 2] = size / 2 - middle[:, :2] @ [CROP / 2, CROP / 2]
    place = Place(middle)
    delta = 0.04 * (
        torch.randint(0, 2, (3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    )
    delta = torch.nn.functional.interpolate(delta[None], size=64)[
        0
    ]  # no finer than a small photo can hold
    new = put_back(photo, place, delta, 0.06)
    got = (to_model(aligned(new, place, 64)) - to_model(aligned(photo, place, 64)))[:, 8:-8, 8:-8]
    wanted = delta[:, 8:-8, 8:-8]
    assert torch.corrcoef(torch.stack([got.flatten(), wanted.flatten()]))[0, 1] > 0.9
    assert 0.75 < (got * wanted).sum() / wanted.square().sum() < 1.1
    change = np.abs(new.astype(int) - photo)
    assert 0 < change.max() <= round(0.06 * 127.5)


def inner_rows(place, shape):
    """Pixels along the middle of the crop, from its left edge to its right one."""
    points = (
        np.stack([np.linspace(1, CROP - 1, 60), np.full(60, CROP / 2)], -1) @ place.matrix[:, :2].T
        + place.matrix[:, 2]
    )
    return points[:, 1].astype(int).clip(0, shape[0] - 1), points[:, 0].astype(int).clip(
        0, shape[1] - 1
    )


def test_put_back_leaves_the_rest_bit_identical():
    photo, place = smooth(), Place(similarity(0.8, 15, (90, 110)))
    new = put_back(photo, place, torch.ones(3, 64, 64), 0.05)
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] + 0.5
    inner = (np.stack([x, y], -1) - place.matrix[:, 2]) @ np.linalg.inv(place.matrix[:, :2]).T
    outside = ((inner < -2) | (inner > CROP + 2)).any(-1)
    assert np.array_equal(new[outside], photo[outside]) and not np.array_equal(
        new[~outside], photo[~outside]
    )
    assert np.mean(new[~outside] > photo[~outside]) > 0.8
    along = (new.astype(float) - photo).mean(-1)[inner_rows(place, photo.shape)]
    assert along[0] < 1 < 5 < along[len(along) // 2], "it fades out towards the border"


def test_put_back_changes_no_input_and_takes_a_crop_beyond_the_photo():
    photo = smooth(200, 150)
    before = photo.copy()
    new = put_back(photo, Place(similarity(2, 0, (-90, -120))), torch.full((3, 64, 64), 0.05), 0.05)
    assert np.array_equal(photo, before) and new.shape == photo.shape and (new != photo).any()


# ------------------------------------------------------------------------------------------------- writing


def test_written_are_transparency_and_profile_but_not_the_rest():
    exif = Image.Exif()
    exif[0x010F] = "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    alpha = np.full((200, 200), 130, np.uint8)
    photo = open_photo(saved(np.dstack([drawn(), alpha]), icc_profile=profile, exif=exif))
    for keep in (False, True):
        with Image.open(io.BytesIO(encoded(photo, photo.pixels, ".PNG", keep))) as image:
            assert image.info["icc_profile"] == profile and np.array_equal(
                np.asarray(image), np.dstack([drawn(), alpha])
            )
            assert dict(image.getexif()) == ({0x010F: "a camera"} if keep else {})
        with Image.open(io.BytesIO(encoded(photo, photo.pixels, ".jpg", keep))) as image:
            assert image.info["icc_profile"] == profile and image.mode == "RGB"
            assert dict(image.getexif()) == ({0x010F: "a camera"} if keep else {})


def test_a_profile_that_is_not_of_rgb_is_dropped():
    grey = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert open_photo(saved(Image.fromarray(drawn()).convert("L"), icc_profile=grey)).icc is None


def test_a_suffix_that_is_not_known_is_refused():
    with pytest.raises(UserError, match="cannot end in '.heic': let it end in .png"):
        encoded(Photo("x", drawn()), drawn(), ".heic")
