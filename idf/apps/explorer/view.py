"""What is to be seen of a State: pictures, numbers and sentences. No widgets here.

Whatever does not depend on the control that moved is remembered, and what imports slowly is left
alone until it is needed.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from idf import losses, metrics
from idf.apps.explorer import words
from idf.apps.explorer.face import edit_labels, face_of, wanted
from idf.apps.explorer.networks import editor, judge
from idf.apps.explorer.publish import published
from idf.apps.explorer.state import State, check, domains_of, settings
from idf.data.pictures import to_model, to_picture
from idf.data.transforms import KINDS
from idf.zoo.load import judged_domains

AMPLIFIED = 10


@dataclass(frozen=True, eq=False)
class View:
    """What is to be seen."""

    pictures: dict[str, np.ndarray]  # caption: uint8 (S, S, 3)
    numbers: dict[str, float]
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Forgery:
    """What a forger makes of a picture."""

    y: Tensor  # (1, 3, S, S)
    is_edited: bool  # does the judge see in it what was asked for?


@torch.no_grad()
def render(state: State) -> View:
    """The view of a state. Raises UserError for one that the controls cannot reach."""
    check(state)

    # the publisher, the way to the forger, the forger
    x = face_of(state).x
    x_infected = published(state)
    received = on_its_way(state, x_infected)
    infected = forge(state, received)
    # the clean forgery does not depend on these two, so that it is remembered while they move
    clean = clean_forgery(replace(state, method="ours", eps=0.0))
    y, y_infected = clean.y, infected.y

    pictures = {
        "clean x": x,
        "infected x′": x_infected,
        f"x′ − x, ×{AMPLIFIED}": AMPLIFIED * (x_infected - x),
        "forged from x: y": y,
        "forged from x′: y′": y_infected,
        "y′ − y": y_infected - y,
        "texture of y (LBP)": texture(y),
        "texture of y′ (LBP)": texture(y_infected),
        "what the forger got": received,
    }
    numbers = {
        "PSNR of x′": metrics.psnr(x, x_infected).item(),
        "L1 of y′": losses.masked_l1(y, y_infected).item(),
        "L2 of y′": metrics.l2(y, y_infected).item(),
        "eps": state.eps,
        "levels": 127.5 * state.eps,
        "edited": clean.is_edited,
        "edited, infected": infected.is_edited,
    }
    return View(as_pictures(pictures), numbers, words.sentences(state, numbers))


def as_pictures(images: dict[str, Tensor]) -> dict[str, np.ndarray]:
    """(1, 3, S, S) in [-1, 1] by captions -> uint8 (S, S, 3) by captions."""
    return {caption: to_picture(image[0]) for caption, image in images.items()}


def on_its_way(state: State, x: Tensor) -> Tensor:
    """What is left of a published picture (1, 3, S, S) when it reaches the forger."""
    return KINDS[state.transformation](x, state.strength)


@lru_cache(maxsize=64)
@torch.no_grad()
def clean_forgery(state: State) -> Forgery:
    """What the forger makes of the clean picture, after the same way to him."""
    return forge(state, on_its_way(state, face_of(state).x))


def forge(state: State, received: Tensor) -> Forgery:
    """y = M(x, c_trg), and what the judge says of it."""
    j = domains_of(state.dataset, state.target).index(state.domain)
    c_trg = edit_labels(state, state.target)[j]
    y = editor(state.dataset, state.target)(received, c_trg)
    column = judged_domains(settings(state.dataset)).index(state.domain)
    seen = judge(state.dataset)(y)[0, column] > 0
    return Forgery(y, bool(seen) == wanted(state))


def texture(x: Tensor) -> Tensor:
    """idf.metrics.lbp of (1, 3, S, S), as grey levels in [-1, 1]."""
    return to_model(metrics.lbp(x[0])).expand(1, 3, -1, -1)
