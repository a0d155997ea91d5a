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
    folder = folder or config.weights
    surrogate = load_network(make_generator("Res6", config), folder / "surrogate.safetensors")
    d_a = DomainDiscriminator(config.size, len(config.domains), config.width_d)
    return frozen(surrogate), frozen(load_network(d_a, folder / "d_a.safetensors"))


def load_poisoner(config: Config, name: str = "poisoner", folder: Path | None = None) -> nn.Module:
    """PG; name is poisoner, poisoner_no_ats (no alternation) or poisoner_queries (SM imitated M). Frozen."""
    poisoner = PoisonGenerator(config.width_pg, config.levels_pg)
    return frozen(load_network(poisoner, (folder or config.weights) / f"{name}.safetensors"))


def target_name(config: Config, tuned: bool = False) -> str:
    """The file's name of M; config.domains decides whether it is the one of SD or of DD."""
    return f"target_{config.target}" + ("_DD" * (config.domains == DOMAINS[config.dataset]["DD"])) + "_tuned" * tuned


def load_target(config: Config, folder: Path | None = None, tuned: bool = False) -> nn.Module:
    """M, trained apart; or, if tuned, M that began with the surrogate's weights and learned on other faces. Frozen."""
    path = (folder or config.weights) / f"{target_name(config, tuned)}.safetensors"
    return frozen(load_network(make_generator(config.target, config), path))


def load_judge(config: Config, folder: Path | None = None) -> nn.Module:
    """The judge for judged_domains(config). Frozen."""
    judge = Judge(len(judged_domains(config)), config.width_judge)
    return frozen(load_network(judge, (folder or config.weights) / "judge.safetensors"))


def photo_config() -> Config:
    """The settings of the weights that were trained on CelebA, which serve photos. No folder of faces is behind them."""
    return load_config("demo", data_root="photos")


def small_forger(config: VideoConfig) -> VideoConfig:
    """The settings of the forgers of the film that ship, three narrow CNets, so that they stay small."""
    return dataclasses.replace(config, width=min(12, config.width))


def load_forger(config: VideoConfig, name: str, folder: Path | None = None) -> nn.Module:
    """M ("forger"), M of another seed ("forger_reseed") or M' ("forger_infected") of the procedural film. Frozen."""
    path = (folder or config.weights) / f"{name}.safetensors"
    return frozen(load_network(CNet(0, small_forger(config).width), path))
