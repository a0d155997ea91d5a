"""Forgers of scenario 2, trained on a film as each method publishes it, and kept in a work folder.

Two trainings of one network on the same frames already differ. So every forger but M starts from
M's seed + RESEED: "reseed" on the same clean frames is the floor, and what another method has
beyond it comes from the frames alone.
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from idf import evaluation, metrics
from idf.config import FilmConfig
from idf.data.cache import digest
from idf.data.film import Frames, wrong_pairs
from idf.data.landmarks import draw_landmarks, face_finder_or_none
from idf.forger import forge_frames, publish, train_reenactor
from idf.methods import Context, protection, unchanged
from idf.methods import method as method_of
from idf.networks import frozen
from idf.reenactment import PoisonTraining, train_poisoner
from idf.zoo.load import load_parser
from idf.zoo.manifest import command, hardware
from idf.zoo.parsing import attention_mask

RESEED = 1000


def masks_of(config: FilmConfig, frames: Frames, folder: Path | None = None) -> Tensor:
    """m(x) of all frames, (N, 1, S, S). folder: where the face parser's weights lie."""
    parser = load_parser(config, folder=folder)
    parts = [frames.x(slice(i, i + 64)) for i in range(0, len(frames), 64)]
    return torch.cat([attention_mask(parser, x, config) for x in parts])


def poisoner_for(
    method: str, config: FilmConfig, film: Frames, work: Path, folder: Path | None = None
) -> PoisonTraining:
    """PG's training by the method's name.

    "ours"; "ours-no-ats", against a finished SM; "ours-no-mask", with m = 1. folder: where the face
    parser's weights lie.
    """
    own = config
    if method == "ours-no-mask":
        own = config.changed(**{"poisoner.masked": False})
    train, validation = film.part("train"), film.part("validation")
    masks = masks_of(own, train, folder) if own.poisoner.masked else None
    surrogate = None
    if method == "ours-no-ats":
        # a finished SM is the forger on clean frames of this seed: one training serves both
        surrogate, _ = train_forger("clean", own, film, own.forger.network, work)
    kept = work / f"{method}-{digest(config.identity())}-{own.seed}"
    return train_poisoner(own, train, validation, masks, surrogate, folder=kept)


def film_protection(
    method: str,
    config: FilmConfig,
    film: Frames,
    work: Path,
    poisoner: nn.Module | None = None,
    folder: Path | None = None,
) -> Callable[[Tensor], Tensor]:
    """x -> x' by this method. poisoner: a trained PG for "ours"; else PG is trained here."""
    poisoners = {}
    if method.startswith("ours"):
        if method != "ours" or poisoner is None:
            poisoner = poisoner_for(method, config, film, work, folder).best
        poisoners[method] = frozen(poisoner)
    generator = torch.Generator().manual_seed(config.seed)
    context = Context(seed=config.seed, poisoners=poisoners, generator=generator)
    return protection(method, context, config.poisoner.eps)


def needs(method: str, network: str, config: FilmConfig) -> list[tuple[str, str]]:
    """(network, method) of the forgers that an experiment with this method reads."""
    if method == "clean":
        return []
    # SM of "ours-no-ats" is a forger on clean frames (poisoner_for)
    surrogate = [config.forger.network] if method == "ours-no-ats" else []
    return [(name, "clean") for name in dict.fromkeys([network, *surrogate])]


def is_published_clean(method: str) -> bool:
    """Does this method leave the frames as they are?"""
    return method_of(method).make is unchanged


def published_film(method: str, film: Frames, protect: Callable[[Tensor], Tensor]) -> Frames:
    """The training frames as the forger downloads them, and the landmarks that he goes by."""
    published = publish(film.part("train"), protect)
    return wrong_pairs(published) if method == "wrong-pairs" else published


def train_forger(
    method: str,
    config: FilmConfig,
    film: Frames,
    network: str,
    work: Path,
    poisoner: nn.Module | None = None,
    quiet: bool = False,
    folder: Path | None = None,
) -> tuple[nn.Module, Frames]:
    """A forger from scratch on the film as published with this method, and that film.

    folder: where the face parser's weights lie, if PG is to be trained.
    """
    protect = film_protection(method, config, film, work, poisoner, folder)
    published = published_film(method, film, protect)
    seed = config.seed + (0 if method == "clean" else RESEED)
    name = f"{network}-{method}-{seed}"
    if method.startswith("ours"):
        name += f"-{digest(config.identity())}"
    elif not is_published_clean(method):
        name += f"-eps{config.poisoner.eps:g}"
    run = train_reenactor(config, published, seed, network, folder=work / name, quiet=quiet)
    return run.network, published


def experiment(
    config: FilmConfig,
    film: Frames,
    network: str,
    methods: list[str],
    work: Path,
    folder: Path | None = None,
) -> list[dict]:
    """The rows of one network and seed: each forger against M and against the truth x.

    On the test part; published frames against the clean ones are measured on 200 of training.
    folder: where the face parser's weights lie.
    """
    train, test = film.part("train"), film.part("test")
    find = face_finder_or_none()
    z, x = draw_landmarks(test.landmarks, test.size), test.x()
    forged_by_m, rows = None, []
    for method in ["clean", *(name for name in methods if name != "clean")]:
        print(f"{config.dataset}, {network}, seed {config.seed}, {method}", flush=True)
        forger, published = train_forger(method, config, film, network, work, folder=folder)
        y = forge_frames(forger, z, config)

        own = {"psnr": None, "expression_error": None, "face_found": None}
        if find:
            own |= evaluation.expression(find, y, test.landmarks)
        if not is_published_clean(method):
            few = slice(0, 200)
            own["psnr"] = metrics.psnr(train.x(few), published.x(few)).mean().item()

        references = {"x": x} if method == "clean" else {"M": forged_by_m, "x": x}
        if method == "clean":
            forged_by_m = y
        for reference, other in references.items():
            row = {
                "dataset": config.dataset,
                "size": config.size,
                "method": method,
                "reference": reference,
                "target": network,
                "eps": config.poisoner.eps,
                **evaluation.differences(y, other),
                **own,
                "seed": config.seed,
                "hardware": hardware(),
                "command": command(),
            }
            rows.append(row)
            print(
                f"  against {reference}: L1 {row['l1']:.4f} L2 {row['l2']:.4f} "
                f"DSR {row['dsr']:.2f} expression error {row['expression_error']}",
                flush=True,
            )
    return rows
