"""`idf reenact`: trains forgers on clean, poisoned and control films, measures them, writes data/results/.

Two trainings of one network on the same frames already differ. So every forger but M starts from M's seed + 1000: "reseed"
on the same clean frames is the floor, and what another row has beyond it comes from the frames alone.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn

from idf import baselines, figures, losses, metrics, pairing
from idf.checkpoint import load_network, save_json
from idf.config import (
    RESULTS,
    ROOT,
    UserError,
    VideoConfig,
    digest,
    find_video,
    load_video_config,
    parse_settings,
)
from idf.faces import LABELS
from idf.networks import BiSeNet, frozen
from idf.parsing import PublicParser, attention_mask
from idf.reenactment import (
    TARGETS,
    Poisoning,
    by_poisoner,
    draw_landmarks,
    forge_frames,
    publish,
    train_poisoner,
    train_reenactor,
)
from idf.results import stored, write_table
from idf.video import Frames, face_finder, open_video
from idf.weights import command, hardware

FILE = RESULTS / "reenactment_defence.json"
EXPERIMENTS = (
    RESULTS / "reenactment_experiments.json"
)  # rows of the same shape, with other settings
# one fixed pattern for all frames, of these frequencies in cycles a pixel
PATTERNS = {"fine-pattern": (0.3, 0.5), "coarse-pattern": (0.02, 0.06)}
METHODS = (
    "clean",
    "reseed",
    "random-noise",
    *PATTERNS,
    "brightened",
    "wrong-pairs",
    "ours",
    "ours-no-ats",
    "ours-no-mask",
)
CHOICES = (*METHODS, "moved-landmarks")  # the last one means something with find_again alone
UNTOUCHED = ("clean", "reseed", "wrong-pairs")  # frames published as they are
RESEED = 1000
FILMS = {"procedural-video": "The drawn film", "real-video": "A filmed person"}
MARKS = ("<!-- films: written by `idf reenact` -->", "<!-- end of films -->")


def add_arguments(parser) -> None:
    parser.add_argument(
        "--preset", default="demo", help="smoke, demo, gpu or paper (default: demo)"
    )
    parser.add_argument(
        "--video", default="", metavar="FILE", help="a video (default: the procedural film)"
    )
    parser.add_argument(
        "--landmarks",
        default="",
        metavar="FILE",
        help="its landmarks, .npz or .csv (default: dlib's)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument(
        "--targets", nargs="+", default=["UNet256"], choices=list(TARGETS), help="default: UNet256"
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        default=list(METHODS),
        choices=CHOICES,
        help=f"default: all but {CHOICES[-1]}",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting, repeatable",
    )
    parser.add_argument(
        "--work", default="", metavar="FOLDER", help="default: runs/reenact/<preset>-<data set>"
    )
    parser.add_argument(
        "--out",
        default=str(FILE),
        metavar="FILE",
        help="default: data/results/reenactment_defence.json",
    )


def main(args) -> int:
    """A second call continues where the first was stopped: finished trainings are not repeated."""
    settings = parse_settings(args.set)
    config = load_video_config(
        args.preset, video=find_video(args.video), landmarks=args.landmarks, **settings
    )
    work = Path(args.work or ROOT / "runs" / "reenact" / f"{config.preset}-{config.dataset}")
    frames = open_video(config)
    for note in (
        *frames.notes,
        *(f"{count} frames left out: {reason}." for reason, count in frames.dropped.items()),
    ):
        print(note)
    for seed in args.seeds:
        for target in args.targets:
            rows = experiment(
                dataclasses.replace(config, seed=seed), frames, target, args.methods, work
            )
            rows = [
                row | {"settings": {k: v for k, v in settings.items() if k != "eps"}}
                for row in rows
            ]
            out = Path(args.out)
            new = {key(row) for row in rows}
            if PartialState().is_main_process:
                save_json(out, [row for row in stored(out) if key(row) not in new] + rows)
                if out == FILE:
                    write_table(ROOT / "README.md", table(stored(out)), MARKS)
    return 0


def key(row: dict) -> tuple:
    return tuple(
        repr(row[name])
        for name in ("dataset", "size", "method", "reference", "target", "eps", "seed", "settings")
    )


def load_parser(config: VideoConfig, folder: Path | None = None) -> nn.Module:
    """The face parser for drawn faces or for photos in folder (config.weights unless told), or config.parser's. Frozen."""
    if config.parser:
        return PublicParser(config.parser)
    path = (folder or config.weights) / f"{parser_name(config)}.safetensors"
    return frozen(load_network(BiSeNet(len(LABELS), config.width_parser), path))


def needed(config: VideoConfig) -> list[str]:
    """The weights that a notebook of scenario 2 asks `live.ready` for."""
    return [] if config.parser else [parser_name(config)]


def parser_name(config: VideoConfig) -> str:
    return "parser_photos" if config.video else "parser"


def masks_of(config: VideoConfig, frames: Frames, folder: Path | None = None) -> Tensor:
    """m(x) of all frames, (N, 1, S, S)."""
    parser = load_parser(config, folder)
    parts = (frames.x(slice(i, i + 64)) for i in range(0, len(frames), 64))
    return torch.cat([attention_mask(parser, x, config) for x in parts])


def poisoner_for(
    method: str, config: VideoConfig, frames: Frames, work: Path, folder: Path | None = None
) -> Poisoning:
    """The training of PG by the method's name: ours, ours-no-ats (against a finished SM) or ours-no-mask (m = 1).

    folder: where the face parser's weights lie.
    """
    own = dataclasses.replace(config, masked=config.masked and method != "ours-no-mask")
    train, validation = frames.part("train"), frames.part("validation")
    masks = masks_of(own, train, folder) if own.masked else None
    surrogate = None
    if method == "ours-no-ats":
        # a finished SM is the forger on clean frames of this seed: one training serves both
        surrogate = train_forger("clean", own, frames, own.target, work)[0]
    return train_poisoner(
        own, train, validation, masks, surrogate, work / f"{method}-{digest(config)}-{own.seed}"
    )


def protection(
    method: str,
    config: VideoConfig,
    frames: Frames,
    work: Path,
    poisoner: nn.Module | None = None,
) -> Callable[[Tensor], Tensor]:
    """x -> x' by the method's name. poisoner: a trained PG for "ours"; the others, and else this one, are trained here."""
    if method in UNTOUCHED:
        return lambda x: x
    generator = torch.Generator().manual_seed(config.seed)
    if method == "random-noise":
        return lambda x: baselines.random_noise(x, config.eps, generator)
    if method in PATTERNS:
        pattern = baselines.band_noise(
            (1, 3, config.size, config.size), *PATTERNS[method], "free", generator
        )
        return lambda x: losses.infect(x, pattern, config.eps)
    if method == "brightened":
        return lambda x: baselines.brightened(x, config.eps)
    if method != "ours" or poisoner is None:
        poisoner = poisoner_for(method, config, frames, work).best
    return by_poisoner(frozen(poisoner), config.eps)


def downloaded(
    method: str, config: VideoConfig, frames: Frames, work: Path, poisoner: nn.Module | None = None
) -> Frames:
    """The training frames as published with this method, and the landmarks that the forger goes by."""
    train = frames.part("train")
    if method == "moved-landmarks":
        folder = work / f"{method}-{config.seed}-eps{config.eps:g}-{config.queries}"
        published = pairing.move_landmarks(
            train, face_finder(), config.eps, config.queries, config.seed, folder
        )
    else:
        published = publish(train, protection(method, config, frames, work, poisoner))
    if config.find_again:
        published = pairing.found_again(published, face_finder())
    return pairing.wrong_pairs(published) if method == "wrong-pairs" else published


def train_forger(
    method: str,
    config: VideoConfig,
    frames: Frames,
    target: str,
    work: Path,
    poisoner: nn.Module | None = None,
    quiet: bool = False,
) -> tuple[nn.Module, Frames]:
    """A forger from scratch on the film as published with this method, and that film; kept in work."""
    published = downloaded(method, config, frames, work, poisoner)
    seed = config.seed + RESEED * (method != "clean")
    how = digest(config) if method.startswith("ours") else f"eps{config.eps:g}"
    name = (
        f"{target}-{method}-{seed}"
        + ("" if method in UNTOUCHED else f"-{how}")
        + "-found" * config.find_again
    )
    return train_reenactor(
        config, published, seed, target, work / name, quiet=quiet
    ).network, published


def experiment(
    config: VideoConfig, frames: Frames, target: str, methods: list[str], work: Path
) -> list[dict]:
    """The rows of one target and seed: each forger against M and against the truth x, on the test part."""
    train, test = frames.part("train"), frames.part("test")
    find = face_finder_or_none()
    if config.find_again:
        test = pairing.found_again(test, face_finder())
    z, x = draw_landmarks(test.landmarks, test.size), test.x()
    m, rows = None, []
    for method in ["clean", *(name for name in methods if name != "clean")]:
        print(f"{config.dataset}, {target}, seed {config.seed}, {method}", flush=True)
        network, published = train_forger(method, config, frames, target, work)
        y = forge_frames(network, z, config)
        m = y if method == "clean" else m
        own = (
            expression(find, y, test.landmarks)
            if find
            else {"expression_error": None, "face_found": None}
        )
        some = published.numbers[
            :200
        ]  # a forger who finds landmarks himself leaves some frames out
        quality = (
            metrics.psnr(
                train.x([train.numbers.index(n) for n in some]), published.x(slice(0, 200))
            )
            .mean()
            .item()
        )
        for reference, other in (("M", m), ("x", x)):
            if method == "clean" and reference == "M":
                continue
            row = {
                "dataset": config.dataset,
                "size": config.size,
                "method": method,
                "reference": reference,
                "target": target,
                "eps": config.eps,
                **differences(y, other),
                "psnr": None if method in UNTOUCHED else quality,
                **own,
                "seed": config.seed,
                "hardware": hardware(),
                "command": command(),
            }
            rows.append(row)
            print(
                f"  against {reference}: L1 {row['l1']:.4f} L2 {row['l2']:.4f} DSR {row['dsr']:.2f} "
                f"expression error {row['expression_error']}",
                flush=True,
            )
    return rows


def table(rows: list[dict], eps: float = 0.02) -> str:
    """Markdown: for each film, what each method's forger does, and below it the other target networks, a line each."""
    rows = [r for r in rows if r["eps"] == eps and not r["settings"]]
    parts = []
    films = {(r["dataset"], r["size"]) for r in rows}
    for dataset, size in sorted(films, key=lambda film: (list(FILMS).index(film[0]), film[1])):
        film = f"{FILMS[dataset]}, {size} px"
        own = [r for r in rows if (r["dataset"], r["size"]) == (dataset, size)]
        target, *others = sorted({r["target"] for r in own}, key=list(TARGETS).index)
        parts.append(
            table_of_methods([r for r in own if r["target"] == target], f"{film}, {target}")
        )
        if others:
            parts.append(
                table_of_targets(
                    [r for r in own if r["target"] in others], f"{film}, other forgers"
                )
            )
    return "\n\n".join(parts)


def table_of_methods(rows: list[dict], title: str) -> str:
    """The rows of one film and target network: mean and range over the seeds."""
    seeds = len({r["seed"] for r in rows})
    lines = [
        f"**{title}, {seeds} seed{'s' * (seeds > 1)}**",
        "",
        "| M' trained on | L1 to M | times the floor | DSR | LPIPS to M | L1 to x | expression error | PSNR of x' |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for method, label in figures.FILM_METHODS.items():
        to_m, to_x = (
            [r for r in rows if (r["method"], r["reference"]) == (method, reference)]
            for reference in "Mx"
        )
        cells = [
            spread(to_m, "l1"),
            times_the_floor(to_m, rows),
            spread(to_m, "dsr", 0, 100, "%"),
            spread(to_m, "lpips"),
            spread(to_x, "l1"),
            spread(to_x, "expression_error"),
            spread(to_x, "psnr", 1, unit=" dB"),
        ]
        if to_x:
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def table_of_targets(rows: list[dict], title: str) -> str:
    """The rows of one film: the forger's quality, its floor, and how many times the floor others are away from M."""
    lines = [
        f"**{title}**",
        "",
        "| forger | seeds | M, L1 to x | floor | random noise | brightened | PG (ours) | DSR of M2, M' | "
        "expression error of M, M2, M' |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for found in by_target(rows, rows[0]["dataset"], rows[0]["eps"]):
        of = lambda method, reference: [
            r
            for r in rows
            if (r["target"], r["method"], r["reference"]) == (found["target"], method, reference)
        ]
        dsr = (spread(of(method, "M"), "dsr", 0, 100, "%") for method in ("reseed", "ours"))
        errors = (
            spread(of(method, "x"), "expression_error") for method in ("clean", "reseed", "ours")
        )
        cells = [
            str(found[name])
            for name in ("target", "seeds", "clean", "floor", "random-noise", "brightened", "ours")
        ]
        lines.append(f"| {' | '.join([*cells, ', '.join(dsr), ', '.join(errors)])} |")
    return "\n".join(lines)


def spread(rows: list[dict], name: str, digits: int = 3, scale: float = 1, unit: str = "") -> str:
    """Mean and range over the rows as text; a dash where nothing was measured."""
    values = [scale * r[name] for r in rows if r[name] is not None]
    if not values:
        return "–"
    show = lambda value: f"{value:.{digits}f}"
    around = (
        f" ({show(min(values))} to {show(max(values))})"
        if show(min(values)) != show(max(values))
        else ""
    )
    return show(sum(values) / len(values)) + unit + around


def times_the_floor(to_m: list[dict], rows: list[dict]) -> str:
    """Each seed's L1 to M over that of the reseeded forger of the same seed."""
    floor = {r["seed"]: r["l1"] for r in rows if (r["method"], r["reference"]) == ("reseed", "M")}
    return spread(
        [{"ratio": r["l1"] / floor[r["seed"]]} for r in to_m if r["seed"] in floor], "ratio", 2
    )


def by_settings(rows: list[dict], dataset: str, target: str) -> list[dict]:
    """For each eps and change of settings: the floor as text, and how many times the floor each method's L1 to M is."""
    own = [r for r in rows if (r["dataset"], r["target"]) == (dataset, target)]
    own.sort(key=lambda r: (r["settings"] != {}, r["eps"]))
    words = lambda settings: (
        ", ".join(f"{name} {value}" for name, value in settings.items()) or "the preset's"
    )
    return [
        {"eps": eps, "settings": words(settings), **found}
        for (eps, settings), found in _grouped(own, "eps", "settings")
    ]


def by_target(rows: list[dict], dataset: str, eps: float) -> list[dict]:
    """For each target network, with the preset's settings: as by_settings, and the clean forger's L1 to x."""
    own = [r for r in rows if (r["dataset"], r["eps"], r["settings"]) == (dataset, eps, {})]
    own.sort(key=lambda r: list(TARGETS).index(r["target"]))
    return [{"target": target, **found} for (target,), found in _grouped(own, "target")]


def _grouped(rows: list[dict], *names: str) -> list[tuple[tuple, dict]]:
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(str([row[name] for name in names]), []).append(row)
    out = []
    for own in groups.values():
        of = lambda method, reference="M": [
            r for r in own if (r["method"], r["reference"]) == (method, reference)
        ]
        found = {
            "seeds": len({r["seed"] for r in own}),
            "floor": spread(of("reseed"), "l1", 4),
            "clean": spread(of("clean", "x"), "l1", 4),
            **{method: times_the_floor(of(method), own) for method in CHOICES[1:]},
        }
        out.append((tuple(own[0][name] for name in names), found))
    return out


def differences(y: Tensor, reference: Tensor) -> dict:
    """l1, l2, dsr (share of frames with L1 > .05) and lpips (None without its backbone) of forgeries (N, 3, S, S)."""
    row = {
        "dsr": metrics.dsr_frames(y, reference),
        "l1": metrics.l1(y, reference).mean().item(),
        "l2": metrics.l2(y, reference).mean().item(),
    }
    try:
        return row | {"lpips": metrics.lpips(y, reference).mean().item()}
    except metrics.Unavailable:
        return row | {"lpips": None}


def face_finder_or_none():
    """dlib's finder, or None where the extra `video` is not installed: then there is no expression error."""
    try:
        return face_finder()
    except UserError:
        return None


def expression(find: pairing.Finder, y: Tensor, landmarks: Tensor) -> dict:
    """Does the forgery follow the expression asked for, by its landmarks (N, 68, 2)?

    expression_error: mean of `pairing.expression_error`; face_found: share of frames with exactly one face.
    """
    errors = [
        pairing.expression_error(seen, wanted)
        for picture, wanted in zip(y, landmarks.numpy(), strict=True)
        if (seen := pairing.look(find, picture)) is not None
    ]
    return {
        "expression_error": float(np.mean(errors)) if errors else None,
        "face_found": len(errors) / len(y),
    }
