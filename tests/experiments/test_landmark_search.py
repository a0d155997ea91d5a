"""Landmarks found on published frames, and the search for patterns that move what is found."""

import json

import landmark_search
import numpy as np
import pytest
import torch
from landmark_search import (
    BLOCKS,
    METHODS,
    downloaded_film,
    found_again,
    main,
    move_landmarks,
    search,
)
from torch import nn

from idf.config import UserError, load_film_config
from idf.data.drawn.film import talking_face
from idf.data.film import Frames, open_film
from idf.data.landmarks import expression_error, find_on
from idf.data.pictures import to_model

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


def blind(picture):
    return []


def test_frames_without_one_face_are_left_out(frames):
    one = [POINTS * 8]
    answers = iter([one, [], one + one, one, [], one])
    again = found_again(frames, lambda picture: next(answers))
    assert again.numbers == [10, 13, 15] and again.landmarks.shape == (3, 68, 2)
    assert np.array_equal(again.images, frames.images[[0, 3, 5]])
    assert again.landmarks[0].numpy() == pytest.approx(POINTS - 0.5, abs=1e-4)


def test_a_film_without_faces_is_refused_in_a_sentence(frames):
    with pytest.raises(UserError, match="found again on 0 of 6 frames of 32 px"):
        found_again(frames, blind)


def test_a_search_moves_more_than_its_start_and_keeps_to_eps(frames):
    x = frames.x([0])[0]
    # as many lighter squares as darker ones, which lead the finder nowhere
    start = torch.ones(BLOCKS, BLOCKS)
    start[::2] = -1
    before = start.clone()

    def searched(queries):
        generator = torch.Generator().manual_seed(0)
        pattern, image = search(x, easily_led, EPS, queries, start, generator)
        assert image.dtype == torch.uint8 and pattern.abs().eq(1).all()
        assert (to_model(image) - x).abs().max() <= EPS + 1 / 255
        return image

    def moved(image):
        return expression_error(find_on(easily_led, to_model(image)), find_on(easily_led, x))

    assert moved(searched(60)) > 2 * moved(searched(0))
    assert torch.equal(start, before)
    assert torch.equal(searched(60), searched(60)), "repeats by its seed"


def test_a_frame_without_a_face_is_published_with_the_pattern_so_far(frames):
    start = torch.ones(BLOCKS, BLOCKS)
    pattern, image = search(frames.x([0])[0], blind, EPS, 5, start, torch.Generator())
    assert torch.equal(pattern, start) and not np.array_equal(image.numpy(), frames.images[0])


def test_a_searched_film_is_kept(frames, tmp_path):
    asked = []

    def find(picture):
        asked.append(picture)
        return easily_led(picture)

    first = move_landmarks(frames, find, EPS, 2, 0, tmp_path / "film")
    assert first.images.shape == frames.images.shape
    assert len(asked) == 4 * len(frames), "the clean frame, the start, two queries"
    again = move_landmarks(frames, find, EPS, 2, 0, tmp_path / "film")
    assert len(asked) == 4 * len(frames) and np.array_equal(first.images, again.images)
    assert torch.equal(again.landmarks, frames.landmarks), "only found_again changes landmarks"


def test_wrong_pairs_are_made_of_the_landmarks_that_were_found(tmp_path):
    config = load_film_config("smoke")
    film = open_film(config)
    right, wrong = (
        downloaded_film(method, config, film, easily_led, 0, tmp_path)
        for method in ("clean", "wrong-pairs")
    )
    assert not torch.equal(right.landmarks, film.part("train").landmarks)
    assert torch.equal(wrong.landmarks, right.landmarks.roll(round(film.fps / 2), 0))


def test_every_method_has_its_rows(tmp_path, monkeypatch):
    def every_third_is_lost(picture):
        looks.append(picture)
        return [] if len(looks) % 3 == 0 else easily_led(picture)

    def unchanged(method, config, film, work):
        return nn.Identity()

    looks = []
    monkeypatch.setattr(landmark_search, "face_finder", lambda: every_third_is_lost)
    monkeypatch.setattr(landmark_search, "film_protection", unchanged)
    out = tmp_path / "rows.json"
    for _ in range(2):
        main("smoke", queries=1, work=str(tmp_path / "work"), out=out)
    rows = json.loads(out.read_text())
    names = [(row["method"], row["reference"]) for row in rows]
    poisoned = [(method, reference) for method in METHODS[1:] for reference in "Mx"]
    assert names == [("clean", "x"), *poisoned], "a row of the same measurement is replaced"
    for row in rows:
        assert row["settings"] == {"find_again": True, "queries": 1} and row["l1"] > 0
        unpublished = row["method"] in ("clean", "reseed", "wrong-pairs")
        assert (row["psnr"] is None) == unpublished and 0 < row["face_found"] < 1
