"""A change of the aligned face is put back into the photo."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from drawn_photos import similarity, smooth

from idf.apps.photo.align import Alignment, aligned
from idf.apps.photo.put_back import put_back
from idf.data.celeba import CROP
from idf.data.pictures import to_model


@pytest.mark.parametrize("scale, degrees", [(0.6, 0), (1, 20), (1.7, -8), (3.2, 45)])
def test_the_aligned_face_gets_its_delta(scale, degrees):
    size = int(420 * max(1, scale))
    photo = smooth(size, size)
    matrix = similarity(scale, degrees)
    matrix[:, 2] = size / 2 - matrix[:, :2] @ [CROP / 2, CROP / 2]
    face = Alignment(matrix)

    # no finer than a small photo can hold
    signs = torch.randint(0, 2, (1, 3, 32, 32), generator=torch.Generator().manual_seed(0)) * 2 - 1
    delta = F.interpolate(0.04 * signs, size=64)[0]
    new = put_back(photo, face, delta, 0.06)

    inner = (slice(None), slice(8, -8), slice(8, -8))
    got = (to_model(aligned(new, face, 64)) - to_model(aligned(photo, face, 64)))[inner]
    expected = delta[inner]
    assert torch.corrcoef(torch.stack([got.flatten(), expected.flatten()]))[0, 1] > 0.9
    assert 0.75 < (got * expected).sum() / expected.square().sum() < 1.1
    change = np.abs(new.astype(int) - photo)
    assert 0 < change.max() <= round(0.06 * 127.5)


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
