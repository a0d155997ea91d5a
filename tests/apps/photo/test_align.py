"""Faces are aligned as CelebA's are."""

import numpy as np
import pytest
from drawn_photos import drawn, similarity
from PIL import Image

from idf.apps.photo.align import TEMPLATE, Alignment, aligned, alignment_of
from idf.apps.photo.files import Photo
from idf.apps.photo.search import find_faces
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


def test_a_face_at_the_border_is_aligned_with_the_border_repeated():
    cut = np.ascontiguousarray(drawn(0, 256)[:, 60:])
    face = find_faces(Photo("cut", cut))[0]
    assert aligned(cut, face, 64).shape == (3, 64, 64)


@pytest.mark.parametrize(
    "shift, inside",
    [((0, 0), 1), ((-CROP / 4, 0), 0.75), ((-CROP / 2, CROP), 0.5), ((0, 2 * CROP), 0)],
)
def test_how_much_of_a_crop_lies_in_the_photo(shift, inside):
    share = Alignment(similarity(shift=shift)).share_inside((2 * CROP, 3 * CROP, 3))
    assert share == pytest.approx(inside, abs=0.02)
