"""The ways to make x', and the controls: one table for tables, figures, explorer and notebooks."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from idf import attacks, keys, losses, peers
from idf.colours import BLUE, GREEN, GREY, ORANGE, PINK, RED, SKY
from idf.config import HAIR, UserError
from idf.networks.carriers import carriers


@dataclass(frozen=True)
class Context:
    """What the methods draw on: networks, and the seed of those that are random."""

    seed: int = 0
    poisoners: dict[str, nn.Module] = field(default_factory=dict)  # by the method's name
    surrogate: nn.Module | None = None
    surrogate_domains: tuple[str, ...] = ()
    target: nn.Module | None = None
    target_domains: tuple[str, ...] = ()
    # of a film, whose batches draw on from one generator; else each batch has its own
    generator: torch.Generator | None = None

    def noise(self, number: int) -> torch.Generator:
        """Where the randomness of the batch that begins at image `number` comes from."""
        return self.generator or torch.Generator().manual_seed(self.seed * 1_000_003 + number)


# context, x (B, 3, S, S) in [-1, 1], labels c (B, K) or None, eps, number of the first -> x'
Make = Callable[[Context, Tensor, Tensor | None, float, int], Tensor]


def unchanged(context: Context, x: Tensor, c: Tensor | None, eps: float, number: int) -> Tensor:
    return x


def by_poisoner(
    name: str, context: Context, x: Tensor, c: Tensor | None, eps: float, number: int
) -> Tensor:
    """x' = clamp(x + eps PG(x), -1, 1), on PG's device and back."""
    poisoner = context.poisoners[name]
    device = next(poisoner.parameters()).device
    with torch.no_grad():
        delta = poisoner(x.to(device), context.noise(number)).to(x.device)
    return losses.infect(x, delta, eps)


def by_conditional_poisoner(
    name: str, context: Context, x: Tensor, c: Tensor | None, eps: float, number: int
) -> Tensor:
    """An x' for each class, of PG(x, c_j): (J, B, 3, S, S). c are labels of its domains."""
    poisoner = context.poisoners[name]
    device = next(poisoner.parameters()).device
    targets = losses.target_labels(c, context.surrogate_domains, HAIR)
    with torch.no_grad():
        delta = losses.forge(poisoner, x.to(device), targets.to(device)).to(x.device)
    return losses.infect(x, delta, eps)


def transferred(
    attack: Callable, context: Context, x: Tensor, c: Tensor | None, eps: float, number: int
) -> Tensor:
    """A gradient attack on the surrogate; c are labels of its domains."""
    targets = losses.target_labels(c, context.surrogate_domains, HAIR)
    return attack(context.surrogate, x, targets, eps, generator=context.noise(number))


def white_box(context: Context, x: Tensor, c: Tensor | None, eps: float, number: int) -> Tensor:
    """PGD on the forger's own editor."""
    targets = losses.target_labels(c, context.target_domains, HAIR)
    return attacks.pgd(context.target, x, targets, eps, generator=context.noise(number))


def noisy(
    control: Callable, context: Context, x: Tensor, c: Tensor | None, eps: float, number: int
) -> Tensor:
    return control(x, eps, context.noise(number))


def tiled(
    basis: Tensor | None,
    region: int,
    context: Context,
    x: Tensor,
    c: Tensor | None,
    eps: float,
    number: int,
) -> Tensor:
    """Tiles of this basis; None: of the lock of the forger's kind of editor, else of period 4."""
    if basis is None and context.target is not None:
        basis = keys.lock(context.target)
    return attacks.tiles(x, eps, context.noise(number), basis, region or x.shape[-1])


def one_pattern(
    band: tuple[float, float],
    context: Context,
    x: Tensor,
    c: Tensor | None,
    eps: float,
    number: int,
) -> Tensor:
    """The same +-eps in every frame, of frequencies within the band (cycles per pixel)."""
    shape = (1, *x.shape[1:])
    generator = torch.Generator().manual_seed(context.seed)
    return losses.infect(x, attacks.band_noise(shape, *band, "free", generator).to(x), eps)


def lighter(context: Context, x: Tensor, c: Tensor | None, eps: float, number: int) -> Tensor:
    return attacks.brightened(x, eps)


@dataclass(frozen=True)
class Method:
    """A way to make x', or a control: its name in rows, its words and its look in figures."""

    name: str
    label: str  # in README tables
    legend: str  # short, in figures and the explorer
    colour: str
    marker: str
    line: str
    scenarios: tuple[int, ...]  # 1: attribute editing, 2: films
    make: Make | None  # None: in stored rows only
    film_legend: str = ""  # only where films need other words than `legend`

    def legend_of(self, scenario: int) -> str:
        """The short words, as a scenario's tables and figures have them."""
        if scenario == 2 and self.film_legend:
            return self.film_legend
        return self.legend


# fmt: off
_TABLE = (
    Method("ours", "PG, alternating (the paper)", "PG, as in the paper",
           BLUE, "o", "-", (1, 2), partial(by_poisoner, "ours"), film_legend="PG (ours)"),
    Method("ours-no-ats", "PG, without alternation (†)", "PG, no alternation",
           SKY, "D", "-", (1, 2), partial(by_poisoner, "ours-no-ats")),
    Method("ours-queries", "PG, alternating with queries to the forger", "PG, with queries",
           BLUE, "*", "--", (1,), partial(by_poisoner, "ours-queries")),
    Method("keyless", "PG for every key, alternating", "keyless PG, alternating",
           GREEN, "o", "-", (1,), partial(by_poisoner, "keyless")),
    Method("keyless-no-ats", "PG for every key, without alternation", "keyless PG",
           GREEN, "D", "--", (1,), partial(by_poisoner, "keyless-no-ats")),
    Method("keyless-untrained", "control: the same PG, untrained", "keyless PG, untrained",
           GREEN, "x", ":", (1,), partial(by_poisoner, "keyless-untrained")),
    Method("ours-through", "PG, alternating, trained through transformations",
           "PG, through T", BLUE, "s", "-.", (1,), partial(by_poisoner, "ours-through")),
    Method("keyless-through", "PG for every key, focused, trained through transformations",
           "keyless PG, through T", GREEN, "*", "-", (1,),
           partial(by_poisoner, "keyless-through")),
    Method("summary", "PG(x, c) of the paper's summary, as it stands", "the summary's PG",
           PINK, "o", "-", (1,), partial(by_conditional_poisoner, "summary")),
    Method("summary-working", "PG(x, c) of the paper's summary, the loss mended",
           "the summary's PG, mended",
           PINK, "D", "--", (1,), partial(by_conditional_poisoner, "summary-working")),
    Method("ruiz", "Ruiz et al. PGD, transferred", "Ruiz, transferred",
           RED, "s", "-", (1,), partial(transferred, attacks.pgd)),
    Method("ruiz-per-class", "Ruiz et al. PGD, transferred, an x' for each class",
           "Ruiz, per class", RED, "d", ":", (1,), partial(transferred, attacks.pgd_per_class)),
    Method("ruiz-white-box", "Ruiz et al. PGD, white-box", "Ruiz, white-box",
           ORANGE, "P", "-", (1,), white_box),
    Method("i-fgsm", "Ruiz et al. I-FGSM, transferred", "I-FGSM, transferred",
           RED, "p", "--", (1,), partial(transferred, attacks.i_fgsm)),
    Method("universal", "CMUA: one perturbation for all faces, transferred", "CMUA, transferred",
           RED, "X", "-", (1,), partial(by_poisoner, "universal")),
    Method("lab", "Anti-Forgery: a and b of Lab, transferred", "Anti-Forgery, transferred",
           RED, "v", "-.", (1,), partial(transferred, peers.lab)),
    Method("one-pass", "PG on the forger's own editor, white-box", "PG, white-box",
           ORANGE, "*", "--", (1,), partial(by_poisoner, "one-pass")),
    Method("random-noise", "control: uniform random noise", "random noise",
           GREY, "^", ":", (1, 2), partial(noisy, attacks.random_noise)),
    Method("random-colour", "control: random colour noise, +-eps everywhere", "random colour noise",
           GREY, "<", "-", (1,), partial(noisy, attacks.random_colour)),
    Method("tiles", "control: tiles by hand, untrained", "tiles",
           GREEN, "s", ":", (1,), partial(tiled, None, 16)),
    Method("tiles-wrong-period", "control: tiles of period 3", "tiles, period 3",
           GREY, "<", "--", (1,), partial(tiled, carriers(3), 16)),
    Method("tiles-period-5", "control: tiles of period 5", "tiles, period 5",
           GREY, ">", "--", (1,), partial(tiled, carriers(5), 16)),
    Method("tiles-one-region", "control: one tile all over", "one tile",
           GREY, "D", "-.", (1,), partial(tiled, None, 0)),
    Method("brightened", "control: brightened by eps", "brightened",
           GREY, "v", "--", (1, 2), lighter),
    Method("untrained-pg", "control: PG with random weights", "untrained PG",
           PINK, "X", "-.", (1,), partial(by_poisoner, "untrained-pg")),
    # of films only
    Method("clean", "clean", "clean",
           GREY, "o", "-", (2,), unchanged),
    Method("reseed", "clean, another seed", "clean, another seed",
           GREY, "o", "--", (2,), unchanged),
    Method("fine-pattern", "one fine pattern", "one fine pattern",
           GREY, "s", "-", (2,), partial(one_pattern, (0.3, 0.5))),
    Method("coarse-pattern", "one coarse pattern", "one coarse pattern",
           GREY, "s", "--", (2,), partial(one_pattern, (0.02, 0.06))),
    Method("wrong-pairs", "clean, wrong pairs", "clean, wrong pairs",
           GREY, "X", "-", (2,), unchanged),
    Method("ours-no-mask", "PG, no mask", "PG, no mask",
           SKY, "D", "--", (2,), partial(by_poisoner, "ours-no-mask")),
    # in stored rows of experiments only
    Method("moved-landmarks", "searched pattern", "searched pattern",
           GREY, "X", "--", (2,), None),
)
# fmt: on
METHODS: dict[str, Method] = {one.name: one for one in _TABLE}
# films are listed with the controls first: from the floor up to PG
FILM_ORDER = (
    "clean",
    "reseed",
    "random-noise",
    "fine-pattern",
    "coarse-pattern",
    "brightened",
    "wrong-pairs",
    "moved-landmarks",
    "ours-no-ats",
    "ours-no-mask",
    "ours",
)


def method(name: str) -> Method:
    """The method of this name. Raises UserError, with the known names, for an unknown one."""
    if name not in METHODS:
        raise UserError(f"Unknown method {name!r}: use one of {', '.join(METHODS)}.")
    return METHODS[name]


def of_scenario(number: int) -> dict[str, Method]:
    """The methods of a scenario by name, in the order of its tables and figures."""
    if number == 2:
        return {name: METHODS[name] for name in FILM_ORDER}
    return {name: one for name, one in METHODS.items() if number in one.scenarios}


def protection(name: str, context: Context, eps: float) -> Callable:
    """(x, c, number of the first image) -> x' by this method, as idf.evaluation.defence takes it.

    Raises UserError for an unknown method, and for one that has stored rows only.
    """
    make = method(name).make
    if make is None:
        raise UserError(f"{name} is not made here: its stored rows are of an experiment.")

    def protect(x: Tensor, c: Tensor | None = None, number: int = 0) -> Tensor:
        return make(context, x, c, eps, number)

    return protect
