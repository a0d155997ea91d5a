"""What the explorer shows: `render` turns one State of its controls into pictures, numbers and sentences. No widgets here.

It always works with the shipped networks of preset demo: those of the procedural faces, or CelebA's for one's own photo.
Whatever does not depend on the control that moved is remembered, and the modules that import slowly are left alone.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor, nn

from idf import baselines, losses, metrics
from idf.config import DOMAINS, HAIR, Config, UserError, load_config, load_video_config
from idf.data import to_model, to_picture, to_uint8
from idf.faces import ATTRIBUTES, render_faces
from idf.photo import LEAST_SIDE, aligned, find_faces, finder, open_photo, recompressed
from idf.shipped import (
    judged_domains,
    load_forger,
    load_judge,
    load_poisoner,
    load_surrogate,
    load_target,
    photo_config,
    ships,
    wild,
)

SIZE, FILM = load_config("demo").size, load_video_config("demo")
GALLERY = range(
    3_000_000, 3_000_008
)  # the first faces of the test part: no network was trained on them
MOST_EPS = 0.1
AMPLIFIED = 10
SEED = 0  # of the controls that are random

TARGETS = {
    "apart": "Res6, trained apart",
    "tuned": "Res6, tuned from the surrogate",
    "surrogate": "the surrogate itself",
    "apart-DD": "Res6, other domains (DD)",
}
POISONERS = {
    "ours": "poisoner",
    "ours-queries": "poisoner_queries",
    "ours-no-ats": "poisoner_no_ats",
}
BOTH = "ours-both"  # as idf.protect does
METHODS = {
    "ours-queries": "ours, with queries",
    "ours": "ours",
    BOTH: "ours, both (as idf protect)",
    "ours-no-ats": "ours, without alternation",
    "ruiz": "Ruiz et al., PGD on the surrogate",
    "random-noise": "control: random noise",
    "random-colour": "control: random colour noise",
    "brightened": "control: brightened",
}
# name: what it does, the strengths offered, and the words for one
TRANSFORMATIONS = {
    "none": ("none", (0,), "none"),
    "jpeg": ("JPEG", (95, 90, 75, 50, 25, 10), "quality {:g}"),
    "blur": ("blur", (0.5, 1.0, 1.5, 2.0), "{:g} px"),
    "resize": ("resize and back", (56, 48, 32, 24, 16), "{:g} px"),
}
FORGERS = {"forger": "M(z)", "forger_reseed": "M2(z)", "forger_infected": "M′(z)"}


@dataclass(frozen=True)
class State:
    """What the controls of scenario 1 say."""

    face: int = 0  # its place in GALLERY
    photo: bytes = b""  # one's own face instead, as from own_face
    domain: str = "Smiling"  # what the forger edits
    target: str = "apart"  # its editor, of TARGETS
    method: str = "ours-queries"  # how x' is made, of METHODS
    eps: float = 0.05  # 0 to MOST_EPS on [-1, 1]
    transformation: str = "none"  # what happens to the published picture before the forger gets it
    strength: float = 0


@dataclass(frozen=True, eq=False)
class View:
    """What is to be seen."""

    pictures: dict[str, np.ndarray]  # caption: uint8 (S, S, 3)
    numbers: dict[str, float]
    sentences: tuple[str, ...]


@torch.no_grad()
def render(state: State) -> View:
    """The pictures, numbers and sentences of a state. Raises UserError for one that the controls cannot reach."""
    check(state)
    x, _ = subject(state.face, state.photo)
    x_infected = published(state)
    received = transformed(x_infected, state)
    # the clean forgery depends on neither, so that it is remembered while eps moves
    y, seen = forgery(replace(state, method="ours", eps=0.0))
    y_infected, seen_infected = forge(state, received)
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
        "edited": seen,
        "edited, infected": seen_infected,
    }
    return View(
        {name: to_picture(image[0]) for name, image in pictures.items()},
        numbers,
        sentences(state, numbers),
    )


def check(state: State) -> None:
    """Raises UserError, with the remedy, for a value that no control offers."""
    known = {
        "target": targets_of(state.photo),
        "method": METHODS,
        "transformation": TRANSFORMATIONS,
    }
    for name, values in known.items():
        if getattr(state, name) not in values:
            raise UserError(
                f"Unknown {name} {getattr(state, name)!r}: use one of {', '.join(values)}."
            )
    if state.domain not in (domains := domains_of(state.photo, state.target)):
        raise UserError(
            f"This forger does not edit {state.domain!r}: it knows {', '.join(domains)}."
        )
    if not 0 <= state.eps <= MOST_EPS:
        raise UserError(f"eps={state.eps} is outside 0 to {MOST_EPS}: the paper uses .01 to .05.")
    if state.face not in range(len(GALLERY)):
        raise UserError(f"There is no face {state.face}: the gallery has 0 to {len(GALLERY) - 1}.")
    if state.strength not in (strengths := TRANSFORMATIONS[state.transformation][1]):
        raise UserError(
            f"strength={state.strength} is not offered for {state.transformation}: use one of {strengths}."
        )


def targets_of(photo: bytes) -> dict[str, str]:
    """The editors that ship for a photo, or for drawn faces: {name: words}."""
    return {name: words for name, words in TARGETS.items() if not (photo and name == "apart-DD")}


def domains_of(photo: bytes, target: str) -> tuple[str, ...]:
    """The attributes that this editor edits."""
    return DOMAINS["celeba" if photo else "procedural"]["DD" if target == "apart-DD" else "SD"]


def settings(celeba: bool) -> Config:
    return photo_config() if celeba else load_config("demo")


@cache
def editor(celeba: bool, target: str) -> nn.Module:
    """The forger's M, frozen."""
    config = settings(celeba)
    if target == "surrogate":
        return load_surrogate(config)[0]
    return load_target(wild(config) if target == "apart-DD" else config, tuned=target == "tuned")


@cache
def poisoner(celeba: bool, name: str) -> nn.Module:
    return load_poisoner(settings(celeba), name)


@cache
def judge(celeba: bool) -> nn.Module:
    return load_judge(settings(celeba))


@lru_cache(maxsize=32)
@torch.no_grad()
def subject(face: int, photo: bytes) -> tuple[Tensor, dict[str, bool]]:
    """x (1, 3, S, S) and what it shows: exact for a drawn face, for a photo what the judge sees in it."""
    names = judged_domains(settings(bool(photo)))
    if photo:
        x = to_model(np.frombuffer(photo, np.uint8).reshape(1, 3, SIZE, SIZE).copy())
        return x, dict(zip(names, (judge(True)(x)[0] > 0).tolist(), strict=True))
    batch = render_faces([GALLERY[face]], SIZE)
    known = dict(zip(ATTRIBUTES, batch.attributes[0].tolist(), strict=True))
    return to_model(batch.images), {name: known[name] for name in names}


def labels(state: State, target: str) -> tuple[Tensor, Tensor]:
    """c (1, K) and all c_j (K, 1, K) for the domains of this editor."""
    domains, (_, has) = domains_of(state.photo, target), subject(state.face, state.photo)
    c = torch.tensor([[float(has[name]) for name in domains]])
    return c, losses.target_labels(c, domains, HAIR)


@lru_cache(maxsize=32)
@torch.no_grad()
def perturbation(face: int, photo: bytes, method: str) -> Tensor:
    """PG(x): it does not depend on eps."""
    if method == BOTH:
        return sum(perturbation(face, photo, one) for one in ("ours", "ours-queries")).clamp(-1, 1)
    return poisoner(bool(photo), POISONERS[method])(subject(face, photo)[0])


def published(state: State) -> Tensor:
    """x' in 8 bits, as a picture is published."""
    x, _ = subject(state.face, state.photo)
    noise = torch.Generator().manual_seed(SEED)
    if state.method in (*POISONERS, BOTH):
        x_infected = losses.infect(
            x, perturbation(state.face, state.photo, state.method), state.eps
        )
    elif state.method == "ruiz":
        x_infected = attack(
            replace(
                state, target="surrogate", domain=attacked(state), transformation="none", strength=0
            )
        )
    elif state.method == "brightened":
        x_infected = baselines.brightened(x, state.eps)
    else:
        control = {
            "random-noise": baselines.random_noise,
            "random-colour": baselines.random_colour,
        }[state.method]
        x_infected = control(x, state.eps, noise)
    return to_model(to_uint8(x_infected))


def attacked(state: State) -> str:
    """The domain that Ruiz et al.'s attack aims at: the edited one, or the surrogate's first where it lacks that."""
    known = domains_of(state.photo, "surrogate")
    return state.domain if state.domain in known else known[0]


@lru_cache(maxsize=64)
def attack(state: State) -> Tensor:
    """Ten steps of PGD on the surrogate. At one domain alone: at all of them, as in the tables, a move would take longer."""
    x, _ = subject(state.face, state.photo)
    j = domains_of(state.photo, "surrogate").index(state.domain)
    targets = labels(state, "surrogate")[1][j : j + 1]
    with torch.enable_grad():
        x_infected = baselines.pgd(
            editor(bool(state.photo), "surrogate"),
            x,
            targets,
            state.eps,
            generator=torch.Generator().manual_seed(SEED),
        )
    return x_infected.detach()


def transformed(x: Tensor, state: State) -> Tensor:
    """What is left of a published picture (1, 3, S, S) when it reaches the forger."""
    change: Callable[[Image.Image], Image.Image] = {
        "none": lambda image: image,
        "jpeg": lambda image: Image.fromarray(recompressed(np.asarray(image), int(state.strength))),
        "blur": lambda image: image.filter(ImageFilter.GaussianBlur(state.strength)),
        "resize": lambda image: image.resize(
            (int(state.strength),) * 2, Image.Resampling.BICUBIC
        ).resize((SIZE, SIZE)),
    }[state.transformation]
    return to_model(np.array(change(Image.fromarray(to_picture(x[0])))).transpose(2, 0, 1))[None]


@lru_cache(maxsize=64)
@torch.no_grad()
def forgery(state: State) -> tuple[Tensor, bool]:
    """The clean forgery y (1, 3, S, S), of the picture that went the same way, and whether the judge sees the edit."""
    return forge(state, transformed(subject(state.face, state.photo)[0], state))


def forge(state: State, received: Tensor) -> tuple[Tensor, bool]:
    """y = M(x, c_trg), and whether the judge sees in it what was asked for."""
    j = domains_of(state.photo, state.target).index(state.domain)
    c_trg = labels(state, state.target)[1][j]
    y = editor(bool(state.photo), state.target)(received, c_trg)
    judged = judged_domains(settings(bool(state.photo))).index(state.domain)
    return y, bool(judge(bool(state.photo))(y)[0, judged] > 0) == wanted(state)


def wanted(state: State) -> bool:
    """Should the face show the domain after the edit? A hair colour always; anything else is turned round."""
    return state.domain in HAIR or not subject(state.face, state.photo)[1][state.domain]


def texture(x: Tensor) -> Tensor:
    """idf.metrics.lbp of (1, 3, S, S), as grey levels in [-1, 1]."""
    return to_model(metrics.lbp(x[0])).expand(1, 3, -1, -1)


def words(domain: str) -> str:
    return domain.replace("_", " ").lower()


def shows(state: State) -> str:
    """What the face shows, in words."""
    held = [words(name) for name, value in subject(state.face, state.photo)[1].items() if value]
    return ", ".join(held) or "none of the attributes"


def sentences(state: State, numbers: dict[str, float]) -> tuple[str, ...]:
    """The verdict first, then what the judge sees, then what was asked for."""
    broken = numbers["L2 of y′"] > metrics.DSR_THRESHOLD
    line = (
        f"L2 of y′ is {numbers['L2 of y′']:.3f}, {'above' if broken else 'not above'} the line of "
        f"{metrics.DSR_THRESHOLD:g}: by the DSR the forgery {'is broken' if broken else 'stands'}."
    )
    same = ", as it is already" * (
        wanted(state) == subject(state.face, state.photo)[1][state.domain]
    )
    saw = {True: "sees that", False: "does not see that"}
    seen = (
        f"The edit turns {words(state.domain)} {'on' if wanted(state) else 'off'}{same}: in y the judge "
        f"{saw[numbers['edited']]}, in y′ it {saw[numbers['edited, infected']]}."
    )
    doubt = ["The clean forgery misses its wish already, so a broken y′ says little."] * (
        not numbers["edited"]
    )
    aim = [f"The attack aims at {words(attacked(state))} on the surrogate."] * (
        state.method == "ruiz"
    )
    source = (
        "It has no labels; the judge sees"
        if state.photo
        else "It is drawn, so its labels are exact:"
    )
    return line, seen, *doubt, *aim, f"{source} {shows(state)}."


def own_face(content: bytes, name: str) -> tuple[bytes, tuple[str, ...]]:
    """The largest face of a photo as a State's photo, and what should be said of it. Raises UserError."""
    photo = open_photo(content, name)
    try:
        places = find_faces(photo)
    finally:
        forget_finder()
    if places[0].side < LEAST_SIDE:
        raise UserError(
            f"The face in {name} is only {places[0].side:.0f} pixels wide with its hair: use a photo in which "
            f"it has at least {LEAST_SIDE}."
        )
    several = [f"It shows {len(places)} faces: the largest is used."] * (len(places) > 1)
    return aligned(photo.pixels, places[0], SIZE).numpy().tobytes(), (*photo.notes, *several)


def forget_finder() -> None:
    """Gives dlib's model back, 100 MB in each session; the next photo loads it again, in a second."""
    finder.cache_clear()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # the GNU library keeps what is freed, unless it is told
        libc.malloc_trim(0)


@cache
def test_frames() -> range:
    """The numbers of the procedural film's test frames: no forger was trained on them."""
    from idf.video import PARTS, SHARES

    return range(round(sum(SHARES[part] for part in PARTS[:-1]) * FILM.frames), FILM.frames)


@cache
def film_poisoner() -> nn.Module:
    return load_poisoner(FILM)


@cache
def film_forgers() -> dict[str, nn.Module]:
    """The forgers of the film that ship, by their captions; none where they do not."""
    if not ships(FILM.weights, *FORGERS):
        return {}
    return {caption: load_forger(FILM, name) for name, caption in FORGERS.items()}


@lru_cache(maxsize=256)
@torch.no_grad()
def render_film(frame: int) -> View:
    """Scenario 2: a frame of the procedural film's test part, as published, and forged from its landmarks."""
    from idf.reenactment import draw_landmarks, forge_frames
    from idf.talking import talking_face

    numbers_of = test_frames()
    if frame not in range(len(numbers_of)):
        raise UserError(f"There is no test frame {frame}: the film has 0 to {len(numbers_of) - 1}.")
    drawn = talking_face(FILM.person, [numbers_of[frame]], FILM.size)
    x, z = to_model(drawn.images), draw_landmarks(drawn.landmarks, FILM.size)
    x_infected = to_model(to_uint8(losses.infect(x, film_poisoner()(x), FILM.eps)))
    forged = {
        caption: forge_frames(network, z, FILM) for caption, network in film_forgers().items()
    }
    pictures = {
        "frame x": x,
        "published x′": x_infected,
        f"x′ − x, ×{AMPLIFIED}": AMPLIFIED * (x_infected - x),
        **forged,
        "landmarks z": z,
    }
    numbers = {
        "PSNR of x′": metrics.psnr(x, x_infected).item(),
        "eps": FILM.eps,
        "levels": 127.5 * FILM.eps,
    }
    if forged:
        clean, again, infected = forged.values()
        pictures |= {"M2(z) − M(z)": again - clean, "M′(z) − M(z)": infected - clean}
        numbers |= {
            "L1 to M of M2": losses.masked_l1(clean, again).item(),
            "L1 to M of M′": losses.masked_l1(clean, infected).item(),
        }
    return View(
        {name: to_picture(image[0]) for name, image in pictures.items()},
        numbers,
        film_sentences(numbers),
    )


def film_sentences(numbers: dict[str, float]) -> tuple[str, ...]:
    if "L1 to M of M′" not in numbers:
        return ("The forgers of this film do not ship with these weights: see notebook 07.",)
    floor, moved = numbers["L1 to M of M2"], numbers["L1 to M of M′"]
    verdict = "above" if moved > metrics.DSR_THRESHOLD else "not above"
    return (
        f"M′, trained on the published film, differs from M by L1 {moved:.3f}: {verdict} the line of "
        f"{metrics.DSR_THRESHOLD:g}.",
        f"M2, trained on the clean film from another seed, differs from M by {floor:.3f}: this much is chance, and M′ "
        f"has {moved / max(floor, 1e-9):.2f} times as much.",
    )
