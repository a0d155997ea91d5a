"""The publisher's part: x', in whole grey levels."""

from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from idf import attacks
from idf.apps.explorer.face import edit_labels, face_of
from idf.apps.explorer.networks import editor, poisoner
from idf.apps.explorer.state import State, domains_of
from idf.data.pictures import in_8_bits
from idf.methods import Context, protection
from idf.zoo.grid import POISONERS
from idf.zoo.load import SURROGATE

SEED = 0  # of what is random


def published(state: State) -> Tensor:
    """x' (1, 3, S, S) in 8 bits, as a picture is published."""
    if state.method == "ruiz":
        # what does not change the attack is left out, so that it is remembered while that moves
        same_attack = replace(
            state, target=SURROGATE, domain=attacked(state), transformation="none", strength=0
        )
        return in_8_bits(attack(same_attack))
    context = Context(seed=SEED)
    if state.method in POISONERS:
        context.poisoners[state.method] = poisoner(state.dataset, state.method)
    protect = protection(state.method, context, state.eps)
    return in_8_bits(protect(face_of(state).x))


def attacked(state: State) -> str:
    """The domain that Ruiz et al.'s attack aims at.

    The edited one, or the surrogate's first where it lacks that.
    """
    known = domains_of(state.dataset, SURROGATE)
    return state.domain if state.domain in known else known[0]


@lru_cache(maxsize=64)
def attack(state: State) -> Tensor:
    """Ten steps of PGD on the surrogate, x' (1, 3, S, S).

    At one domain alone: at all of them, as in the tables, a move would take longer.
    """
    j = domains_of(state.dataset, SURROGATE).index(state.domain)
    c_trg = edit_labels(state, SURROGATE)[j : j + 1]
    generator = torch.Generator().manual_seed(SEED)
    surrogate = editor(state.dataset, SURROGATE)
    with torch.enable_grad():
        x_infected = attacks.pgd(surrogate, face_of(state).x, c_trg, state.eps, generator=generator)
    return x_infected.detach()
