"""The face of a State: its pixels, what it shows, and what an edit asks of it."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from idf import losses
from idf.apps.explorer.networks import judge
from idf.apps.explorer.state import GALLERY, State, domains_of, settings
from idf.config import HAIR, load_config
from idf.data.drawn.faces import ATTRIBUTES, render_faces
from idf.data.pictures import to_model
from idf.zoo.load import judged_domains

SIZE = load_config("demo").size


@dataclass(frozen=True, eq=False)
class Face:
    """A face that is published."""

    x: Tensor  # (1, 3, S, S) in [-1, 1]
    shows: dict[str, bool]  # of all attributes that the judge knows


def face_of(state: State) -> Face:
    """The photo, or the face of the gallery. The same object each time, while it is remembered."""
    return photographed_face(state.photo) if state.photo else drawn_face(state.face)


@lru_cache(maxsize=32)
def drawn_face(index: int) -> Face:
    """A face of GALLERY; its attributes are exact."""
    batch = render_faces([GALLERY[index]], SIZE)
    values = batch.attributes[0].tolist()
    known = dict(zip(ATTRIBUTES, values, strict=True))
    names = judged_domains(settings("procedural"))
    return Face(to_model(batch.images), {name: known[name] for name in names})


@lru_cache(maxsize=32)
@torch.no_grad()
def photographed_face(photo: bytes) -> Face:
    """A face from upload.own_face. It has no labels: it shows what the judge sees in it."""
    pixels = np.frombuffer(photo, np.uint8).reshape(1, 3, SIZE, SIZE)
    x = to_model(pixels.copy())
    seen = judge("celeba")(x)[0] > 0
    names = judged_domains(settings("celeba"))
    return Face(x, dict(zip(names, seen.tolist(), strict=True)))


def edit_labels(state: State, target: str) -> Tensor:
    """c_trg for every edit that this editor knows, (K, 1, K): the j-th changes attribute j."""
    domains = domains_of(state.dataset, target)
    shows = face_of(state).shows
    c = torch.tensor([[float(shows[name]) for name in domains]])
    return losses.target_labels(c, domains, HAIR)


def wanted(state: State) -> bool:
    """Should the face show the domain after the edit?

    A hair colour always; anything else is turned round.
    """
    return state.domain in HAIR or not face_of(state).shows[state.domain]
