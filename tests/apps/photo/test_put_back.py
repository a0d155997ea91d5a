"""A change of the aligned face is put back into the photo."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_photos import similarity, smooth

from idf.apps.photo.align import Alignment, aligned
from idf.apps.photo.put_back import GAIN, put_back
from idf.data.celeba import CROP
from idf.data.pictures import to_model


def signs(size):
    """+-1 at random, (1, 3, size, size)."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 2, (1, 3, size, size), generator=generator) * 2.0 - 1


def change_of_face(photo, new, face):
    return to_model(aligned(new, face, 64)) - to_model(aligned(photo, face, 64))


def inner(image):
    """Where nothing fades out."""
    return image[:, 8:-8, 8:-8]


@pytest.mark.parametrize("scale, degrees", [(0.6, 0), (1, 20), (1.7, -8), (3.2, 45)])
def test_the_aligned_face_gets_its_delta(scale, degrees):
    size = int(420 * max(1, scale))
    photo = smooth(size, size)
    matrix = similarity(scale, degrees)
    matrix[:, 2] = size / 2 - matrix[:, :2] @ [CROP / 2, CROP / 2]
    face = Alignment(matrix)

    # no finer than a small photo can hold
    delta = F.interpolate(signs(32), size=64)[0] * 0.06
    new = put_back(photo, face, delta, 0.06)

    got, expected = inner(change_of_face(photo, new, face)), inner(delta)
    assert torch.corrcoef(torch.stack([got.flatten(), expected.flatten()]))[0, 1] > 0.9
    assert 0.75 < (got * expected).sum() / expected.square().sum() < 1.1
    change = np.abs(new.astype(int) - photo)
    assert 0 < change.max() <= round(0.06 * 127.5)


def test_the_change_weakens_with_delta_and_is_nothing_without():
    photo = smooth()
    face = Alignment(similarity(1, 10, (60, 90)))
    strong, weak = (put_back(photo, face, k * signs(64)[0], 0.05) for k in (0.05, 0.005))
    assert np.abs(strong.astype(int) - photo).mean() > 2 * np.abs(weak.astype(int) - photo).mean()
    assert np.array_equal(put_back(photo, face, torch.zeros(3, 64, 64), 0.05), photo)


def test_what_shrinking_takes_from_fine_waves_is_made_up_for():
    """Stripes of 1 px arrive as strong as those of 4 px, by GAIN stronger than asked for."""
    photo = smooth(400, 400)
    face = Alignment(similarity(256 / CROP, 0, (60, 60)))
    columns = torch.arange(64)
    fine, coarse = (1 - 2.0 * (columns // width % 2).expand(3, 64, 64) for width in (1, 4))
    got = change_of_face(photo, put_back(photo, face, 0.01 * (fine + coarse), 0.2), face)
    of_fine, of_coarse = ((inner(got) * inner(stripes)).mean() for stripes in (fine, coarse))
    assert 0.9 < of_fine / of_coarse < 1.1
    assert 0.9 < of_coarse / (0.01 * GAIN) < 1.1


def along_the_middle(change, face):
    """The change (H, W) on the middle line of the crop, from its left edge to its right one."""
    line = np.stack([np.linspace(1, CROP - 1, 60), np.full(60, CROP / 2)], -1)
    points = (line @ face.matrix[:, :2].T + face.matrix[:, 2]).astype(int)
    height, width = change.shape
    return change[points[:, 1].clip(0, height - 1), points[:, 0].clip(0, width - 1)]


def test_the_rest_stays_bit_identical():
    photo = smooth()
    face = Alignment(similarity(0.8, 15, (90, 110)))
    new = put_back(photo, face, torch.ones(3, 64, 64), 0.05)

    # where each pixel lies in the crop
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]] + 0.5
    back = np.linalg.inv(face.matrix[:, :2]).T
    in_crop = (np.stack([x, y], -1) - face.matrix[:, 2]) @ back
    outside = ((in_crop < -2) | (in_crop > CROP + 2)).any(-1)

    assert np.array_equal(new[outside], photo[outside])
    assert np.mean(new[~outside] > photo[~outside]) > 0.8
    line = along_the_middle((new.astype(float) - photo).mean(-1), face)
    assert line[0] < 1 < 5 < line[len(line) // 2], "it fades out towards the border"


def test_no_input_is_changed_and_a_crop_may_reach_beyond_the_photo():
    photo = smooth(200, 150)
    before = photo.copy()
    face = Alignment(similarity(2, 0, (-90, -120)))
    new = put_back(photo, face, torch.full((3, 64, 64), 0.05), 0.05)
    assert np.array_equal(photo, before)
    assert new.shape == photo.shape and (new != photo).any()
