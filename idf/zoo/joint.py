"""The joint defence (Figure 8 of the paper): a film that is poisoned against both scenarios.

Scenario 1's PG poisons every frame, and scenario 2's the result; a forger may then train on the
film, or take single frames of it to an attribute editor. Beside it stand each PG alone, the two in
the other order, and noise.
"""

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from idf import metrics
from idf.config import Config, FilmConfig, UserError
from idf.data.cache import digest
from idf.data.drawn.faces import ATTRIBUTES
from idf.data.drawn.film import talking_face
from idf.data.faces import Faces
from idf.data.film import Frames
from idf.forger import publish
from idf.judge import verdict
from idf.methods import Context, protection
from idf.networks import frozen
from idf.zoo import film_recipes
from idf.zoo.forgers import judge_for
from idf.zoo.grid import load_grid_poisoner

EDITING, FILM, NOISE = "editing", "film", "noise"  # what a stage adds to the frames
POISONS = ("ours", "keyless-no-ats")  # scenario 1's PGs, of Table 1
SEED = 0  # of all PGs


@dataclass(frozen=True)
class Case:
    """What is done to a film before it is published, stage by stage."""

    name: str
    label: str  # in README's table
    legend: str  # in the figure
    stages: tuple[str, ...]

    @property
    def needs_poison(self) -> bool:
        """Is it another film with another PG of scenario 1? The noise is as strong as that one."""
        return EDITING in self.stages or NOISE in self.stages


_TABLE = (
    Case("clean", "nothing", "clean", ()),
    Case("reseed", "nothing, another seed of the forger", "clean,\nanother seed", ()),
    Case("scenario-2", "scenario 2's PG", "scenario 2", (FILM,)),
    Case("scenario-1", "scenario 1's PG", "scenario 1", (EDITING,)),
    Case("both", "scenario 1's PG, then scenario 2's", "1, then 2", (EDITING, FILM)),
    Case("exchanged", "scenario 2's PG, then scenario 1's", "2, then 1", (FILM, EDITING)),
    Case("random-noise", "control: random noise as strong as both", "noise", (NOISE,)),
)
CASES: dict[str, Case] = {one.name: one for one in _TABLE}
CONTROLS = ("clean", "reseed", "random-noise")


@dataclass(frozen=True)
class Publication:
    """A case, and scenario 1's PG of POISONS, empty where the case has no part in it."""

    case: str
    poison: str = ""

    @property
    def stages(self) -> tuple[str, ...]:
        return CASES[self.case].stages


def publications(poisons: Iterable[str] = POISONS) -> list[Publication]:
    """Every case once; one that needs a PG of scenario 1 with each of these."""
    plain = [Publication(name) for name, case in CASES.items() if not case.needs_poison]
    with_poison = [name for name, case in CASES.items() if case.needs_poison]
    return plain + [Publication(name, poison) for poison in poisons for name in with_poison]


@dataclass(frozen=True, eq=False)
class Joint:
    """A film with the settings and the trained PGs of both scenarios.

    The frames are as large as scenario 1's faces; poisoners: FILM's and those of POISONS.
    """

    config: Config
    film_config: FilmConfig
    film: Frames
    poisoners: dict[str, nn.Module]


def open_joint(
    config: Config, film_config: FilmConfig, film: Frames, poisons: list[str], work: Path
) -> Joint:
    """Loads the PGs. Raises UserError where those of scenario 1 are missing.

    Scenario 2's, too, is one of one's own where scenario 1's are: trained in `work`.
    """
    poisoners = {name: load_grid_poisoner(config, name, SEED) for name in poisons}
    poisoners[FILM] = film_poisoner(film_config, film, work, shipped=not config.weights_folder)
    return Joint(config, film_config, film, poisoners)


def film_poisoner(config: FilmConfig, film: Frames, work: Path, shipped: bool) -> nn.Module:
    """Scenario 2's PG: the shipped one, where asked for and made for this film; else trained."""
    own = config.changed(seed=SEED)
    if shipped:
        with suppress(UserError):
            return film_recipes.load(own, "poisoner")
    parser = film_recipes.fitting_parser(own, work) if own.poisoner.masked else None
    return frozen(film_recipes.poisoner_for("ours", own, film, work, parser).best)


# The published film


# a film is measured in several ways, and the noise asks for another one's strength
@lru_cache(maxsize=4)
def published(joint: Joint, publication: Publication) -> list[Frames]:
    """The whole film after each stage, in 8 bits; the film itself where there is none."""
    films = [joint.film]
    for stage in publication.stages:
        films.append(publish(films[-1], _protection(joint, publication, stage)))
    return films[1:] or films


def _protection(joint: Joint, publication: Publication, stage: str) -> Callable[[Tensor], Tensor]:
    """x -> x' of one stage; what is random draws on from frame to frame."""
    names = {EDITING: publication.poison, FILM: "ours", NOISE: "random-noise"}
    name, generator = names[stage], torch.Generator().manual_seed(SEED)
    network = joint.poisoners[FILM if stage == FILM else publication.poison]
    context = Context(SEED, {name: network}, generator=generator)
    return protection(name, context, strength(joint, publication, stage))


def strength(joint: Joint, publication: Publication, stage: str) -> float:
    """eps of a stage; the noise's is such that it moves the frames as far as both PGs do (L2)."""
    if stage != NOISE:
        config = joint.film_config if stage == FILM else joint.config
        return config.poisoner.eps
    both = published(joint, Publication("both", publication.poison))[-1]
    square = metrics.l2(sample(joint.film), sample(both)).mean().item()
    return (3 * square) ** 0.5  # of uniform numbers within +-eps the mean square is eps^2 / 3


def sample(film: Frames) -> Tensor:
    """Every 8th frame (n, 3, S, S): enough to say how far a film was moved."""
    return film.x(slice(None, None, 8))


def facts_of(joint: Joint, publication: Publication, films: list[Frames]) -> dict:
    """What a row says of the published film itself: its strengths, and PSNR after each stage."""
    psnr = [metrics.psnr(sample(joint.film), sample(film)).mean().item() for film in films]
    stages = publication.stages
    noise = strength(joint, publication, NOISE) if NOISE in stages else None
    return {
        "dataset": joint.film_config.dataset,
        "size": joint.film.size,
        "method": publication.case,
        "poison": publication.poison,
        "control": publication.case in CONTROLS,
        "eps": joint.config.poisoner.eps if EDITING in stages else noise,
        "film_eps": joint.film_config.poisoner.eps if FILM in stages else None,
        "psnr": psnr[-1] if stages else None,
        "psnr_first": psnr[0] if len(stages) > 1 else None,
    }


def made_of(joint: Joint, publication: Publication) -> str:
    """A digest of all that makes this film another one: its stages, their strengths and PGs."""
    if not publication.stages:
        return "clean"
    behind = CASES["both"].stages if NOISE in publication.stages else publication.stages
    names = [FILM if stage == FILM else publication.poison for stage in behind]
    weights = [digest_of_network(joint.poisoners[name]) for name in names]
    eps = [strength(joint, publication, stage) for stage in behind]
    return digest((publication.stages, eps, weights))


def digest_of_network(network: nn.Module) -> str:
    """16 letters that stand for its parameters."""
    content = hashlib.sha256()
    for tensor in network.state_dict().values():
        content.update(tensor.cpu().numpy().tobytes())
    return content.hexdigest()[:16]


# Its frames as faces for an editor


def frames_as_faces(film: Frames, domains: tuple[str, ...], limit: int, labels: Tensor) -> Faces:
    """At most `limit` frames of the test part, evenly over its time; labels (K,) of the person."""
    test = film.part("test")
    count = min(limit, len(test))
    rows = np.linspace(0, len(test) - 1, count).round().astype(int)
    names = [f"frame {test.numbers[row]}" for row in rows]
    return Faces(test.images[rows], labels.expand(count, -1), domains, names)


def labels_of_person(joint: Joint, domains: tuple[str, ...]) -> Tensor:
    """The attributes c (K,) of the filmed person, 0 or 1.

    A drawn one's are known; of another the judge says what it sees in most of the test frames.
    """
    if not joint.film_config.video:
        known = talking_face(joint.film_config.person, [0], joint.film.size).attributes[0]
        return known[[ATTRIBUTES.index(name) for name in domains]].float()
    seen = verdict(judge_for(joint.config, domains), joint.film.part("test").x())
    return (seen.float().mean(0) > 0.5).float()
