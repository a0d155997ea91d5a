"""Trained networks, frozen, from the folder that holds their weights: config.weights by default.

Imports little, so that what needs no training starts soon. Every loader raises UserError for a file
that is missing, damaged, or of another architecture.
"""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from idf.config import DOMAINS, Config, FilmConfig, UserError, load_config
from idf.networks import (
    BiSeNet,
    DomainDiscriminator,
    Judge,
    frozen,
    make_generator,
    make_poisoner,
)

SURROGATE, CRITIC = "editor_Res6_SD_0", "critic_Res6_SD_0"  # SM and its D_A
CLASSES = 19  # of CelebAMask-HQ, which the face parser tells apart
SMALL_WIDTH = 12  # of the film's forgers that ship


def load_network(network: nn.Module, path: Path) -> nn.Module:
    """Fill the network strictly from a safetensors file (float16 becomes float32); frozen."""
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"No weights at {path}: train them with `make weights`, or choose a preset that "
            "ships them."
        )
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}): fetch or train it again."
        ) from error
    state = {name: v.float() if v.is_floating_point() else v for name, v in state.items()}
    try:
        network.load_state_dict(state, strict=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1:2]) or str(error)
        raise UserError(
            f"{path} holds another architecture than {type(network).__name__} with these settings "
            f"({reason.strip()}): use the width, size and domains it was trained with."
        ) from error
    return frozen(network)


def ships(folder: Path, *names: str) -> bool:
    """Are the files of these networks all there?"""
    return all((folder / f"{name}.safetensors").is_file() for name in names)


# Scenario 1


def judged_domains(config: Config) -> tuple[str, ...]:
    """One judge serves both settings: it knows the domains of SD and of DD."""
    return DOMAINS[config.dataset]["SD"] + DOMAINS[config.dataset]["DD"]


def with_other_domains(config: Config) -> Config:
    """The same settings with the domains that PG never met (DD)."""
    return config.changed(domains=DOMAINS[config.dataset]["DD"])


def photo_config() -> Config:
    """The settings of the weights trained on CelebA, which serve photos; no folder is behind it."""
    return load_config("demo", data_root="photos")


def make_editor(config: Config, network: str = "Res6") -> nn.Module:
    """An untrained editor of these settings."""
    return make_generator(network, len(config.domains), config.editor.width, config.size)


def load_surrogate(config: Config, folder: Path | None = None) -> tuple[nn.Module, nn.Module]:
    """SM and its D_A."""
    surrogate = load_editor(config, "Res6", SURROGATE, folder)
    d_a = DomainDiscriminator(config.size, len(config.domains), config.editor.width_d)
    return surrogate, _load(d_a, config, CRITIC, folder)


def load_editor(config: Config, network: str, name: str, folder: Path | None = None) -> nn.Module:
    """One of the editors of Table 1 (idf.zoo.grid)."""
    return _load(make_editor(config, network), config, name, folder)


def load_poisoner(
    config: Config | FilmConfig, name: str = "poisoner", folder: Path | None = None
) -> nn.Module:
    """PG, of the film by default; those of faces have settings of their own (idf.zoo.grid)."""
    return _load(make_poisoner(config.poisoner), config, name, folder)


def load_judge(config: Config, folder: Path | None = None) -> nn.Module:
    """The judge for judged_domains(config)."""
    judge = Judge(len(judged_domains(config)), config.judge.width)
    return _load(judge, config, "judge", folder)


# Scenario 2


def small_forger(config: FilmConfig) -> FilmConfig:
    """The settings of the film's forgers that ship, three narrow CNets, so that they stay small."""
    width = min(SMALL_WIDTH, config.forger.width)
    return config.changed(forger={"network": "CNet", "width": width})


def load_film_forger(config: FilmConfig, name: str, folder: Path | None = None) -> nn.Module:
    """M ("forger"), M of another seed ("forger_reseed") or M' ("forger_infected")."""
    width = small_forger(config).forger.width
    return _load(make_generator("CNet", 0, width, config.size), config, name, folder)


def parser_name(config: FilmConfig) -> str:
    """The file's name of the face parser: for photos, or for drawn faces."""
    return "parser_photos" if config.video else "parser"


def load_parser(config: FilmConfig, name: str = "", folder: Path | None = None) -> nn.Module:
    """BiSeNet for drawn faces or photos (parser_name), or that of config.parser.checkpoint."""
    if config.parser.checkpoint:
        from idf.zoo.parsing import PublicParser  # with the training, which is not needed here

        return PublicParser(config.parser.checkpoint)
    parser = BiSeNet(CLASSES, config.parser.width)
    return _load(parser, config, name or parser_name(config), folder)


def _load(
    network: nn.Module, config: Config | FilmConfig, name: str, folder: Path | None
) -> nn.Module:
    return load_network(network, (folder or config.weights) / f"{name}.safetensors")
