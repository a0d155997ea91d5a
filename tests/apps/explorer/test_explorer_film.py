"""What `render_film` shows of a test frame of scenario 2."""

import numpy as np
import pytest
import torch

from idf import metrics
from idf.apps.explorer import film
from idf.apps.explorer.film import FILM, FORGERS, render_film
from idf.config import UserError
from idf.data.film import Frames
from idf.data.pictures import to_model
from idf.networks import CNet, frozen


def test_the_film_shows_its_test_frames():
    empty = Frames(
        np.zeros((FILM.frames, 3, 1, 1), np.uint8),
        torch.zeros(FILM.frames, 68, 2),
        list(range(FILM.frames)),
        25.0,
    )
    assert list(film.test_frames()) == empty.part("test").numbers
    view = render_film(5)
    assert {"frame x", "published x′", "landmarks z"} <= set(view.pictures)
    change = view.pictures["published x′"].astype(int) - view.pictures["frame x"]
    assert 0 < np.abs(change).max() <= round(127.5 * FILM.poisoner.eps)
    assert not np.array_equal(view.pictures["frame x"], render_film(6).pictures["frame x"])
    with pytest.raises(UserError, match="There is no test frame 160"):
        render_film(160)


def test_the_forgers_of_the_film_are_shown_in_their_order():
    assert list(render_film(4).pictures)[3:6] == list(FORGERS.values())


def test_the_forgers_of_the_film_stand_beside_their_floor(monkeypatch):
    torch.manual_seed(0)
    forgers = {caption: frozen(CNet(0, 4)) for caption in FORGERS.values()}
    monkeypatch.setattr(film, "film_forgers", lambda: forgers)
    view = render_film.__wrapped__(7)  # past its memory
    images = [to_model(view.pictures[caption].transpose(2, 0, 1)) for caption in forgers]
    floor = metrics.l1(images[0], images[1]).item()
    moved = metrics.l1(images[0], images[2]).item()
    assert view.numbers["L1 to M of M2"] == pytest.approx(floor, abs=0.01)
    assert view.numbers["L1 to M of M′"] == pytest.approx(moved, abs=0.01)
    assert f"{view.numbers['L1 to M of M′']:.3f}" in view.sentences[0]
    assert "this much is chance" in view.sentences[1]


def test_without_its_forgers_the_film_says_so(monkeypatch):
    monkeypatch.setattr(film, "film_forgers", dict)
    view = render_film.__wrapped__(7)
    assert list(view.pictures)[-1] == "landmarks z" and "see notebook 07" in view.sentences[0]
