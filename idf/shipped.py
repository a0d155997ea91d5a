"""Trained networks from the folder that holds their weights. Imports little, so that what needs no training starts soon."""

import dataclasses
from pathlib import Path

from torch import nn

from idf.checkpoint import load_network
from idf.config import DOMAINS, Config, VideoConfig, load_config
from idf.networks import CNet, DomainDiscriminator, Judge, PoisonGenerator, frozen, make_generator


def judged_domains(config: Config) -> tuple[str, ...]:
    """One judge serves both settings: it knows the domains of SD and of DD."""
    return DOMAINS[config.dataset]["SD"] + DOMAINS[config.dataset]["DD"]


def wild(config: Config) -> Config:
    """The same settings with the domains that PG never met (DD)."""
    return dataclasses.replace(config, domains=DOMAINS[config.dataset]["DD"])


def load_surrogate(config: Config, folder: Path | None = None) -> tuple[nn.Module, nn.Module]:
    """SM and its D_A, frozen."""
    surrogate = _load(make_generator("Res6", config), config, "surrogate", folder)
    return surrogate, _load(
        DomainDiscriminator(config.size, len(config.domains), config.width_d), config, "d_a", folder
    )


def load_poisoner(config: Config, name: str = "poisoner", folder: Path | None = None) -> nn.Module:
    """PG; name is poisoner, poisoner_no_ats (no alternation) or poisoner_queries (SM imitated M). Frozen."""
    return _load(PoisonGenerator(config.width_pg, config.levels_pg), config, name, folder)


def target_name(config: Config, tuned: bool = False) -> str:
    """The file's name of M; config.domains decides whether it is the one of SD or of DD."""
    return (
        f"target_{config.target}"
        + ("_DD" * (config.domains == DOMAINS[config.dataset]["DD"]))
        + "_tuned" * tuned
    )


def load_target(config: Config, folder: Path | None = None, tuned: bool = False) -> nn.Module:
    """M, trained apart; or, if tuned, M that began with the surrogate's weights and learned on other faces. Frozen."""
    return _load(make_generator(config.target, config), config, target_name(config, tuned), folder)


def load_judge(config: Config, folder: Path | None = None) -> nn.Module:
    """The judge for judged_domains(config). Frozen."""
    return _load(Judge(len(judged_domains(config)), config.width_judge), config, "judge", folder)


def photo_config() -> Config:
    """The settings of the weights that were trained on CelebA, which serve photos. No folder of faces is behind them."""
    return load_config("demo", data_root="photos")


def small_forger(config: VideoConfig) -> VideoConfig:
    """The settings of the forgers of the film that ship, three narrow CNets, so that they stay small."""
    return dataclasses.replace(config, width=min(12, config.width))


def load_forger(config: VideoConfig, name: str, folder: Path | None = None) -> nn.Module:
    """M ("forger"), M of another seed ("forger_reseed") or M' ("forger_infected") of the procedural film. Frozen."""
    return _load(CNet(0, small_forger(config).width), config, name, folder)


def ships(folder: Path, *names: str) -> bool:
    """Are the files of these networks all there?"""
    return all((folder / f"{name}.safetensors").is_file() for name in names)


def _load(
    network: nn.Module, config: Config | VideoConfig, name: str, folder: Path | None
) -> nn.Module:
    return frozen(load_network(network, (folder or config.weights) / f"{name}.safetensors"))
