"""Landmarks found on published frames, wrong pairs, and the search for patterns that move what is found."""

import numpy as np
import pytest
import torch

from idf import pairing
from idf.config import UserError
from idf.pairing import expression_error, found_again, look, move_landmarks, search, wrong_pairs
from idf.talking import talking_face
from idf.video import Frames

EPS = 0.02
BATCH = talking_face(12, range(6), 32)
POINTS = BATCH.landmarks[0].numpy()


@pytest.fixture
def frames():
    return Frames(BATCH.images.numpy(), BATCH.landmarks.clone(), list(range(10, 16)), fps=4.0)


def easily_led(picture):
    """A finder whose lips follow the brightness of the picture's right half."""
    points = (POINTS + 0.5) * 8
    points[48:, 1] += picture[:, 128:].mean() - 100
    return [points.astype(np.float32)]


def test_points_are_told_in_the_pixels_of_the_small_picture():
    x = torch.zeros(3, 32, 32)
    assert look(lambda picture: [(POINTS + 0.5) * 8], x) == pytest.approx(POINTS, abs=1e-4)
    assert look(lambda picture: [], x) is None and look(lambda picture: [POINTS, POINTS], x) is None
    shapes = []
    look(lambda picture: shapes.append(picture.shape) or [], x)
    assert shapes == [(256, 256, 3)]


def test_frames_without_one_face_are_left_out(frames):
    answers = iter([[POINTS * 8], [], [POINTS * 8, POINTS * 8], [POINTS * 8], [], [POINTS * 8]])
    again = found_again(frames, lambda picture: next(answers))
    assert again.numbers == [10, 13, 15] and again.landmarks.shape == (3, 68, 2)
    assert np.array_equal(again.images, frames.images[[0, 3, 5]])
    assert again.landmarks[0].numpy() == pytest.approx(POINTS - 0.5, abs=1e-4)


def test_a_film_without_faces_is_refused_in_a_sentence(frames):
    with pytest.raises(UserError, match="found again on 0 of 6 frames of 32 px"):
        found_again(frames, lambda picture: [])


def test_wrong_pairs_are_half_a_second_late(frames):
    wrong = wrong_pairs(frames)
    assert torch.equal(wrong.landmarks[2:], frames.landmarks[:-2]) and wrong.images is frames.images


def test_a_search_finds_more_than_its_start_and_keeps_to_eps(frames):
    x, start = frames.x([0])[0], torch.ones(pairing.BLOCKS, pairing.BLOCKS)
    start[::2] = -1  # as many lighter squares as darker ones, which lead the finder nowhere
    before, moved = start.clone(), []
    for queries in (0, 60):
        pattern, image = search(
            x, easily_led, EPS, queries, start, torch.Generator().manual_seed(0)
        )
        published = image.float() / 127.5 - 1
        assert image.dtype == torch.uint8 and (published - x).abs().max() <= EPS + 1 / 255
        moved.append(expression_error(look(easily_led, published), look(easily_led, x)))
        assert pattern.abs().eq(1).all()
    assert moved[1] > 2 * moved[0] and torch.equal(start, before)
    assert search(x, easily_led, EPS, 60, start, torch.Generator().manual_seed(0))[1].equal(
        image
    ), "repeats by its seed"


def test_a_frame_without_a_face_is_published_with_the_pattern_so_far(frames):
    start = torch.ones(pairing.BLOCKS, pairing.BLOCKS)
    pattern, image = search(frames.x([0])[0], lambda picture: [], EPS, 5, start, torch.Generator())
    assert torch.equal(pattern, start) and not np.array_equal(image.numpy(), frames.images[0])


def test_a_searched_film_is_kept(frames, tmp_path):
    asked = []
    find = lambda picture: asked.append(1) or easily_led(picture)
    first = move_landmarks(frames, find, EPS, 2, 0, tmp_path / "film")
    assert len(asked) == 4 * len(frames) and first.images.shape == frames.images.shape
    again = move_landmarks(frames, find, EPS, 2, 0, tmp_path / "film")
    assert len(asked) == 4 * len(frames) and np.array_equal(first.images, again.images)
    assert torch.equal(again.landmarks, frames.landmarks), (
        "the search changes frames; what a forger sees is found_again's"
    )
