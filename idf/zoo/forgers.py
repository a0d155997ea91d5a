"""Who forges in scenario 1: one table of attackers for results, notebooks, photos and explorer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from idf.config import Config, UserError
from idf.evaluation import Forger
from idf.zoo.load import (
    judged_domains,
    load_judge,
    load_surrogate,
    load_target,
    ships,
    target_name,
    with_other_domains,
)


@dataclass(frozen=True)
class Attacker:
    """A forger of whom the defender knows more or less."""

    key: str
    target: str  # in stored rows
    setting: str  # "SD": the surrogate's domains, "DD": others
    heading: str  # of a column
    label: str  # in figures and the explorer
    about: str  # in a table


_TABLE = (
    Attacker("apart", "Res6", "SD", "apart", "Res6, trained apart", "trained apart (gray-box)"),
    Attacker(
        "tuned",
        "Res6-tuned",
        "SD",
        "tuned",
        "Res6, trained on from the surrogate",
        "trained on from the surrogate's weights, with other faces",
    ),
    Attacker(
        "surrogate",
        "surrogate",
        "SD",
        "surrogate",
        "the surrogate itself",
        "the surrogate itself (white-box)",
    ),
    Attacker(
        "apart-DD",
        "Res6",
        "DD",
        "apart, DD",
        "Res6, other domains (DD)",
        "trained apart on domains that PG never met",
    ),
)
ATTACKERS = {one.key: one for one in _TABLE}


def domains_config(config: Config, key: str) -> Config:
    """config with the domains of this attacker. Raises UserError for an unknown one."""
    if key not in ATTACKERS:
        raise UserError(f"Unknown forger {key!r}: use one of {', '.join(ATTACKERS)}.")
    return with_other_domains(config) if ATTACKERS[key].setting == "DD" else config


def load_attacker(config: Config, key: str, folder: Path | None = None) -> nn.Module:
    """The editor of one attacker, frozen."""
    own = domains_config(config, key)
    if key == "surrogate":
        return load_surrogate(own, folder)[0]
    return load_target(own, folder, tuned=key == "tuned")


def attackers_that_ship(config: Config, folder: Path | None = None) -> list[str]:
    """The keys of ATTACKERS whose weights lie in folder (config.weights by default)."""
    folder = folder or config.weights
    files = {
        "apart": target_name(config),
        "tuned": target_name(config, tuned=True),
        "surrogate": "surrogate",
        "apart-DD": target_name(with_other_domains(config)),
    }
    return [key for key in ATTACKERS if ships(folder, files[key])]


def make_forger(config: Config, key: str, folder: Path | None = None) -> Forger:
    """One attacker with the judge for its domains."""
    own = domains_config(config, key)
    attacker = ATTACKERS[key]
    return Forger(
        attacker.target,
        attacker.setting,
        load_attacker(config, key, folder),
        own.domains,
        judge_for(config, own.domains, folder),
    )


def judge_for(
    config: Config, domains: tuple[str, ...], folder: Path | None = None
) -> Callable[[Tensor], Tensor]:
    """The judge's logits for these domains: images (B, 3, S, S) -> (B, K)."""
    judged, judge = judged_domains(config), load_judge(config, folder)
    return partial(_columns_of, judge, [judged.index(domain) for domain in domains])


def _columns_of(judge: nn.Module, columns: list[int], x: Tensor) -> Tensor:
    return judge(x)[:, columns]


def make_forgers(config: Config, folder: Path | None = None) -> dict[str, Forger]:
    """{key: forger} of all attackers whose weights are there."""
    keys = attackers_that_ship(config, folder)
    return {key: make_forger(config, key, folder) for key in keys}
