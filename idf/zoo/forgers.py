"""Who forges in scenario 1: an editor with the judge for its domains."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from idf.config import Config, UserError
from idf.evaluation import Forger
from idf.zoo.adaptive import Target
from idf.zoo.grid import EDITORS, GridEditor
from idf.zoo.load import judged_domains, load_judge, ships


def grid_editor(name: str) -> GridEditor:
    """The editor of this name. Raises UserError, with the known names, for an unknown one."""
    if name not in EDITORS:
        raise UserError(f"Unknown forger {name!r}: use one of {', '.join(EDITORS)}.")
    return EDITORS[name]


def editors_that_ship(
    config: Config, names: Iterable[str] = EDITORS, folder: Path | None = None
) -> list[str]:
    """Those of `names` whose weights lie in folder (config.weights by default)."""
    return [name for name in names if ships(folder or config.weights, name)]


def make_forger(config: Config, name: str, folder: Path | None = None) -> Forger:
    """One editor of Table 1 with the judge for its domains."""
    return forger_with(config, grid_editor(name), folder)


def forger_with(config: Config, own: Target, folder: Path | None = None) -> Forger:
    """This editor with the judge for its domains."""
    domains = own.config(config).domains
    judge = judge_for(config, domains, folder)
    return Forger(own.kind, own.setting, own.load(config, folder), domains, judge)


def make_forgers(
    config: Config, names: Iterable[str], folder: Path | None = None
) -> dict[str, Forger]:
    """{name: forger} of those whose weights are there."""
    there = editors_that_ship(config, names, folder)
    return {name: make_forger(config, name, folder) for name in there}


def judge_for(
    config: Config, domains: tuple[str, ...], folder: Path | None = None
) -> Callable[[Tensor], Tensor]:
    """The judge's logits for these domains: images (B, 3, S, S) -> (B, K)."""
    judged, judge = judged_domains(config), load_judge(config, folder)
    return partial(_columns_of, judge, [judged.index(domain) for domain in domains])


def _columns_of(judge: nn.Module, columns: list[int], x: Tensor) -> Tensor:
    return judge(x)[:, columns]
