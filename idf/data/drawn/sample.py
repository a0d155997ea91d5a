"""The numbers of a face from its seed: attributes, identity, expression and pose."""

import torch
from torch import Tensor

from idf.config import HAIR
from idf.data.drawn.attributes import (
    ATTRIBUTES,
    EXPRESSION,
    HAIR_COLOURS,
    IDENTITY,
    IRIS,
    PALE,
    SHARES,
    SKIN,
    UNIT,
)
from idf.data.drawn.shapes import mix, muted, ramp, rgb


def sample(seeds: list[int], **forced: bool) -> tuple[Tensor, dict[str, Tensor]]:
    """Attributes bool (N, len(ATTRIBUTES)), and all that is drawn by name.

    Numbers are (N, 1, 1), colours (N, 3, 1, 1) in [0, 1]. The forced attributes hold, or do not,
    for all N.
    """
    # one row of uniform numbers for each seed, stretched to their ranges
    ranges = dict.fromkeys(ATTRIBUTES, UNIT) | IDENTITY | EXPRESSION
    rows = [_uniform(seed, len(ranges)) for seed in seeds]
    u = {}
    for (name, (low, high)), value in zip(ranges.items(), torch.stack(rows, 1), strict=True):
        u[name] = low + value[:, None, None] * (high - low)

    # attributes (N, 1, 1)
    holds = {name: u[name] < share for name, share in SHARES.items()}
    holds |= {name: torch.full_like(holds[name], value) for name, value in forced.items()}
    colour = _hair_colour(u["colour"], u["spare"], forced)
    holds |= {name: colour == i for i, name in enumerate(HAIR)}
    attributes = torch.stack([holds[name].flatten() for name in ATTRIBUTES], 1)

    # what follows from both
    numbers = {name: u[name] for name in IDENTITY | EXPRESSION}
    numbers |= _identity(u, {name: value.float() for name, value in holds.items()})
    numbers |= _expression(u, holds["Smiling"])
    return attributes, numbers


def _uniform(seed: int, count: int) -> Tensor:
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))


def _hair_colour(u: Tensor, spare: Tensor, forced: dict[str, bool]) -> Tensor:
    """Which of HAIR. One that is ruled out is replaced by one of the others, drawn by `spare`."""
    allowed = [name for name in HAIR if forced.get(name)]
    if not allowed:
        allowed = [name for name in HAIR if forced.get(name) is not False]
    colour = (u * len(HAIR)).long()
    others = torch.tensor([HAIR.index(name) for name in allowed])
    other = others[(spare * len(allowed)).long()]
    is_allowed = torch.tensor([name in allowed for name in HAIR])
    return torch.where(is_allowed[colour], colour, other)


def _identity(u: dict[str, Tensor], holds: dict[str, Tensor]) -> dict[str, Tensor]:
    """Colours, and what depends on an attribute; holds: 0.0 or 1.0 (N, 1, 1)."""
    old = 1 - holds["Young"]
    long = (u["length"] > 0.5).float()

    hair = 0
    for name, colours in HAIR_COLOURS.items():
        hair = hair + holds[name][:, None] * ramp(colours, u["shade"])

    pale = holds["Pale_Skin"][:, None]
    tone = mix(ramp(SKIN, u["tone"]), ramp(PALE, u["tone"]), pale)
    tone = tone * (1 + u["warmth"][:, None] * rgb(0.04, 0, -0.06))
    grey_tone = tone.mean(1, keepdim=True) * 0.97
    lip_red = (u["lip_red"] * (1 - 0.4 * old))[:, None]

    return {
        "old": old,
        "bangs": holds["Bangs"],
        "glasses": holds["Eyeglasses"],
        "beard": 1 - holds["No_Beard"],
        "hat": holds["Wearing_Hat"],
        "hair": hair,
        "skin": mix(tone, grey_tone, 0.32 * old[:, None]),
        "brow": mix(hair * 0.62, tone * 0.35, 0.35),
        "iris": ramp(IRIS, u["iris"]),
        "frame": muted(u["frame"], 0.1, 0.03),
        "lip": mix(tone * 0.86, rgb(0.74, 0.3, 0.32), lip_red),
        "lip_h": u["lip_h"] - 0.008 * old,
        "eye_up": u["eye_up"] - 0.008 * old,
        "eye_low": 0.57 * u["eye_up"],
        "hairline": u["hairline"] - 0.08 * old,
        "volume": u["volume"] + 0.03 * long,
        "long": long,
        "length": long * (0.3 + 0.95 * u["length"]),
        "curl": (u["curl"] - 0.55).clamp(0) / 15,
        "reach": torch.where(u["beard_kind"] > 0.3, 1.0, 0.265),
        "brim": (u["hat_kind"] > 0.5).float(),
        "hat_colour": muted(u["hat_hue"], u["hat_shade"], 0.11),
        "cloth": muted(u["cloth_hue"], u["cloth_shade"], 0.08),
        "wall": muted(u["wall_hue"], u["wall_shade"], 0.045),
        "wall_low": muted(u["wall_hue"] + 0.25, 0.8 * u["wall_shade"] - 0.02, 0.045),
    }


def _expression(u: dict[str, Tensor], smiling: Tensor) -> dict[str, Tensor]:
    smile = u["smile"] * smiling
    return {
        "smile": smile,
        "bend": (1 - smile) * u["bend"] + smile * 0.085,
        "gap": torch.where(smile > 0, 0.085 + 0.03 * u["gap"], (u["gap"] - 0.6).clamp(0) * 0.06),
        # only the film moves these
        "blink": 0 * smile,
        "brow_raise": 0 * smile,
        "spread": 0 * smile,
    }
