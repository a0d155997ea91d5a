"""Faces are found, and aligned as CelebA's are."""

import numpy as np
import pytest
from drawn_photos import drawn, similarity, smooth
from PIL import Image

from idf.apps.photo.align import TEMPLATE, Alignment, aligned, alignment_of, find_faces, turned_back
from idf.apps.photo.files import Photo
from idf.config import UserError
from idf.data.celeba import CROP

SQUARE = np.array([[0, 0], [CROP, 0], [CROP, CROP], [0, CROP]])


@pytest.mark.parametrize(
    "scale, degrees, shift", [(1, 0, (0, 0)), (0.4, 30, (50, 20)), (6, -170, (900, 700))]
)
def test_alignment_is_the_similarity_that_moved_the_template(scale, degrees, shift):
    matrix = similarity(scale, degrees, shift)
    points = TEMPLATE @ matrix[:, :2].T + matrix[:, 2]
    landmarks = np.zeros((68, 2))
    landmarks[36:42] = points[0]
    landmarks[42:48] = points[1]
    landmarks[[30, 48, 54]] = points[2:]
    alignment = alignment_of(landmarks)
    assert np.allclose(alignment.matrix, matrix)
    assert np.isclose(alignment.side, scale * CROP)


def test_alignment_is_the_least_squares_solution():
    """As complex numbers a similarity is one factor: normal equations by hand."""
    landmarks = np.random.default_rng(0).uniform(0, 500, (68, 2))
    points = np.stack(
        [landmarks[36:42].mean(0), landmarks[42:48].mean(0), *landmarks[[30, 48, 54]]]
    )
    a = TEMPLATE[:, 0] + 1j * TEMPLATE[:, 1]
    b = points[:, 0] + 1j * points[:, 1]
    factor = (a - a.mean()).conj() @ (b - b.mean()) / np.square(np.abs(a - a.mean())).sum()
    shift = b.mean() - factor * a.mean()
    expected = [[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]]
    assert np.allclose(alignment_of(landmarks).matrix, expected, atol=1e-9)


def test_a_crop_is_scaled_about_its_centre_and_moved_by_shares_of_its_side():
    face = Alignment(similarity(2, 0, (10, 20)))  # from (10, 20), 2 * CROP wide
    corners = face.moved(0.5, (0.25, -0.125)).corners()
    assert np.allclose(corners[0], [10 + CROP, 20 + CROP / 4])
    assert np.allclose(corners[2], [10 + 2 * CROP, 20 + CROP * 5 / 4])
    turned = Alignment(similarity(2, 90, (400, 0)))
    assert np.allclose(turned.moved(shift=(0.5, 0)).corners() - turned.corners(), [0, CROP])


def test_a_face_keeps_its_corners_when_the_photo_is_cut():
    alignment = Alignment(similarity(0.5, 20, (80, 40)))
    rectangle = alignment.rectangle((300, 300, 3))
    corner = [rectangle[1].start, rectangle[0].start]
    assert np.allclose(alignment.cut_to(rectangle).corners() + corner, alignment.corners())


def test_aligned_is_the_crop_that_the_training_faces_had():
    picture = np.ascontiguousarray(drawn(0, 218)[:, 20:198])
    box = (0, 20, CROP, 20 + CROP)
    resized = Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC, box=box)
    ours = aligned(picture, Alignment(similarity(shift=(0, 20))), 64).permute(1, 2, 0).numpy()
    difference = np.abs(np.asarray(resized).astype(int) - ours)
    assert difference.mean() < 0.2 and difference.max() <= 4, "Pillow rounds between its two passes"


def test_the_template_is_where_drawn_landmarks_are_found():
    """dlib's points on a face, aligned, lie on the template within a few pixels of 178."""
    photo = Photo("face", drawn(3))
    face = aligned(photo.pixels, find_faces(photo)[0], CROP).permute(1, 2, 0).contiguous()
    again = find_faces(Photo("aligned", face.numpy()))[0]
    assert np.abs(again.corners() - SQUARE).max() < 8


def test_find_faces_sorts_them_and_names_a_photo_without():
    wide = np.full((300, 520, 3), 200, np.uint8)
    wide[50:250, 20:220] = drawn(0)
    wide[20:276, 250:506] = drawn(1, 256)
    first, second = find_faces(Photo("two", wide))
    assert first.side > second.side
    with pytest.raises(UserError, match="No face was found in wall.jpg"):
        find_faces(Photo("wall.jpg", smooth()))


@pytest.mark.parametrize("turns", range(4))
def test_points_of_a_turned_picture_come_back(turns):
    picture = np.zeros((5, 7))
    picture[1, 4] = 1
    y, x = np.argwhere(np.rot90(picture, turns))[0]
    assert np.array_equal(turned_back(np.array([[x, y]]), turns, (7, 5)), [[4, 1]])


def test_a_photo_on_its_side_has_its_face_where_it_is():
    upright = drawn(0)
    face = find_faces(Photo("upright", upright))[0]
    turned = np.ascontiguousarray(np.rot90(upright))
    sideways = find_faces(Photo("turned", turned))[0]
    height, width = upright.shape[:2]
    there = [[y, width - 1 - x] for x, y in face.corners()]
    assert np.abs(sideways.corners() - there).max() < 0.05 * face.side


def test_small_faces_beside_a_large_one_are_found_too():
    """In a photo that is scaled down for the detector, so that alignments are scaled back."""
    group = np.full((1500, 2400, 3), 200, np.uint8)
    group[100:1300, 100:1300] = np.asarray(Image.fromarray(drawn(0)).resize((1200, 1200)))
    for i, seed in enumerate((1, 2, 4)):
        group[200 + 400 * i : 400 + 400 * i, 1700:1900] = drawn(seed)
    faces = find_faces(Photo("group", group))
    assert len(faces) == 4 and faces[0].side > 3 * faces[1].side
    middles = np.array([face.corners().mean(0) for face in faces])
    assert np.abs(middles[0] - [700, 750]).max() < 200
    assert np.abs(middles[1:, 0] - 1800).max() < 40


def test_a_face_of_15_pixels_is_not_found_silently():
    small = np.full((300, 300, 3), 128, np.uint8)
    small[100:115, 100:115] = np.asarray(Image.fromarray(drawn()).resize((15, 15)))
    with pytest.raises(UserError, match="at least 40 pixels"):
        find_faces(Photo("small.jpg", small))


def test_a_face_at_the_border_is_aligned_with_the_border_repeated():
    cut = np.ascontiguousarray(drawn(0, 256)[:, 60:])
    face = find_faces(Photo("cut", cut))[0]
    assert aligned(cut, face, 64).shape == (3, 64, 64)
