"""What the controls of scenario 1 say: a State, and what they offer."""

from dataclasses import dataclass
from functools import cache

from idf.config import DOMAINS, Config, UserError, load_config
from idf.data.transforms import KINDS
from idf.methods import METHODS
from idf.zoo.forgers import editors_that_ship
from idf.zoo.grid import EDITORS, GRAY_BOX, POISONERS, poisoner_name
from idf.zoo.load import photo_config, ships

# seeds of drawn faces: the first of the test part, on which no network was trained
GALLERY = range(3_000_000, 3_000_008)
MOST_EPS = 0.1

# of idf.methods, those that the page offers
OFFERED_METHODS = (
    "keyless-no-ats",
    "keyless",
    "keyless-through",
    "ours",
    "ours-no-ats",
    "ours-through",
    "ours-queries",
    "one-pass",
    "ruiz",
    "tiles",
    "tiles-wrong-period",
    "random-noise",
    "random-colour",
    "brightened",
)
# of idf.data.transforms; x' is always published in 8 bits here
OFFERED_TRANSFORMATIONS = {name: kind for name, kind in KINDS.items() if kind.rounded}


@dataclass(frozen=True)
class State:
    """What the controls of scenario 1 say."""

    face: int = 0  # its index in GALLERY
    photo: bytes = b""  # one's own face instead, as from upload.own_face
    domain: str = "Blond_Hair"  # what the forger edits
    target: str = GRAY_BOX[0]  # its editor, of idf.zoo.grid.EDITORS
    method: str = "keyless-no-ats"  # how x' is made, of OFFERED_METHODS
    eps: float = 0.05  # 0 to MOST_EPS on [-1, 1]
    transformation: str = "none"  # what happens to the published picture before the forger gets it
    strength: float = 0

    @property
    def dataset(self) -> str:
        """Whose networks serve: those of the drawn faces, or CelebA's for a photo."""
        return "celeba" if self.photo else "procedural"


@cache
def settings(dataset: str) -> Config:
    """Of the networks for "procedural" or "celeba"."""
    return photo_config() if dataset == "celeba" else load_config("demo")


@cache
def targets_of(dataset: str) -> dict[str, str]:
    """The editors that ship for a data set, the surrogate last: {name: words}."""
    names = editors_that_ship(settings(dataset))
    names.sort(key=lambda name: EDITORS[name].is_surrogate)
    return {name: EDITORS[name].label for name in names}


@cache
def methods_of(dataset: str) -> dict[str, str]:
    """The ways to make x' whose PG, if any, ships for a data set: {name: words}."""
    folder = settings(dataset).weights
    missing = {name for name in POISONERS if not ships(folder, poisoner_name(name, 0))}
    return {name: METHODS[name].legend for name in OFFERED_METHODS if name not in missing}


def domains_of(dataset: str, target: str) -> tuple[str, ...]:
    """The attributes that this editor edits."""
    return DOMAINS[dataset][EDITORS[target].setting]


def check(state: State) -> None:
    """Raises UserError, with the remedy, for a value that no control offers."""
    _check_name("target", state.target, targets_of(state.dataset))
    _check_name("method", state.method, methods_of(state.dataset))
    _check_name("transformation", state.transformation, OFFERED_TRANSFORMATIONS)
    domains = domains_of(state.dataset, state.target)
    if state.domain not in domains:
        raise UserError(
            f"This forger does not edit {state.domain!r}: it knows {', '.join(domains)}."
        )
    if not 0 <= state.eps <= MOST_EPS:
        raise UserError(f"eps={state.eps} is outside 0 to {MOST_EPS}: the paper uses .01 to .05.")
    if state.face not in range(len(GALLERY)):
        raise UserError(f"There is no face {state.face}: the gallery has 0 to {len(GALLERY) - 1}.")
    strengths = OFFERED_TRANSFORMATIONS[state.transformation].strengths
    if state.strength not in strengths:
        raise UserError(
            f"strength={state.strength} is not offered for {state.transformation}: use one of "
            f"{strengths}."
        )


def _check_name(control: str, name: str, offered: dict) -> None:
    if name not in offered:
        raise UserError(f"Unknown {control} {name!r}: use one of {', '.join(offered)}.")
