"""Scenario 2: frames of the procedural film's test part, as published and as forged."""

from functools import cache, lru_cache

import torch
from torch import Tensor, nn

from idf import losses, metrics
from idf.apps.explorer.publish import in_8_bits
from idf.apps.explorer.view import AMPLIFIED, View, as_pictures
from idf.apps.explorer.words import film_sentences
from idf.config import UserError, load_film_config
from idf.data.drawn.film import talking_face
from idf.data.landmarks import draw_landmarks
from idf.data.pictures import to_model
from idf.zoo.load import load_film_forger, load_poisoner, ships

FILM = load_film_config("demo")
FORGERS = {"forger": "M(z)", "forger_reseed": "M2(z)", "forger_infected": "M′(z)"}


@cache
def test_frames() -> range:
    """The numbers of the procedural film's test frames: no forger was trained on them."""
    from idf.data.film import PARTS, SHARES  # imports PyAV, which the photos do not need

    before = sum(SHARES[part] for part in PARTS[:-1])
    return range(round(before * FILM.frames), FILM.frames)


@cache
def film_poisoner() -> nn.Module:
    """PG of the film."""
    return load_poisoner(FILM)


@cache
def film_forgers() -> dict[str, nn.Module]:
    """The forgers of the film that ship, by their captions; none where they do not."""
    if not ships(FILM.weights, *FORGERS):
        return {}
    return {caption: load_film_forger(FILM, name) for name, caption in FORGERS.items()}


@lru_cache(maxsize=256)
@torch.no_grad()
def render_film(frame: int) -> View:
    """A test frame, as published, and forged from its landmarks. Raises UserError for no frame."""
    numbers_of_frames = test_frames()
    if frame not in range(len(numbers_of_frames)):
        raise UserError(
            f"There is no test frame {frame}: the film has 0 to {len(numbers_of_frames) - 1}."
        )

    # the publisher
    eps = FILM.poisoner.eps
    drawn = talking_face(FILM.person, [numbers_of_frames[frame]], FILM.size)
    x = to_model(drawn.images)
    x_infected = in_8_bits(losses.infect(x, film_poisoner()(x), eps))

    # the forgers, who get the landmarks alone
    z = draw_landmarks(drawn.landmarks, FILM.size)
    forged = forge_from(z)

    pictures = {
        "frame x": x,
        "published x′": x_infected,
        f"x′ − x, ×{AMPLIFIED}": AMPLIFIED * (x_infected - x),
        **forged,
        "landmarks z": z,
    }
    numbers = {
        "PSNR of x′": metrics.psnr(x, x_infected).item(),
        "eps": eps,
        "levels": 127.5 * eps,
    }
    if forged:
        clean, again, infected = forged.values()
        pictures["M2(z) − M(z)"] = again - clean
        pictures["M′(z) − M(z)"] = infected - clean
        numbers["L1 to M of M2"] = losses.masked_l1(clean, again).item()
        numbers["L1 to M of M′"] = losses.masked_l1(clean, infected).item()
    return View(as_pictures(pictures), numbers, film_sentences(numbers))


def forge_from(z: Tensor) -> dict[str, Tensor]:
    """What each forger of the film makes of landmark maps z, by its caption."""
    from idf.forger import forge_frames  # with the training, which imports slowly

    return {caption: forge_frames(forger, z, FILM) for caption, forger in film_forgers().items()}
