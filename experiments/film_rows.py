"""What the experiments on films share: options, the rows of trained forgers, the file of rows."""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated

import typer
from torch import nn

from idf import evaluation, metrics
from idf.config import RESULTS, ROOT, FilmConfig, UserError, load_film_config
from idf.data.files import read_json_rows, save_json
from idf.data.film import Frames, open_film
from idf.data.landmarks import Finder, draw_landmarks
from idf.forger import forge_frames
from idf.zoo.films import is_published_clean
from idf.zoo.manifest import command, hardware

EXPERIMENTS = RESULTS / "reenactment_experiments.json"
# rows that agree in all of these are the same measurement
IDENTITY = ("dataset", "size", "method", "reference", "target", "eps", "seed", "settings")

Preset = Annotated[str, typer.Option(metavar="NAME", help="smoke, demo, gpu or paper.")]
Video = Annotated[str, typer.Option(metavar="FILE", help="A video of one face; else a drawn one.")]
Seed = Annotated[int, typer.Option(metavar="NUMBER")]
Work = Annotated[
    str, typer.Option(metavar="FOLDER", help="Where checkpoints go; else that of `idf reenact`.")
]
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where rows are added.")]

# the method by which a film was published, the forger trained on it, and that film
Trained = tuple[str, nn.Module, Frames]


def start(main: Callable) -> None:
    """Runs a program; a mistake of the user ends it with one sentence and exit status 2."""
    try:
        typer.run(main)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def open_experiment(
    preset: str, video: str, seed: int, work: str
) -> tuple[FilmConfig, Frames, Path]:
    """Settings, film, and the folder of checkpoints. Raises UserError as open_film does."""
    path = str(Path(video).expanduser().resolve()) if video else ""
    config = load_film_config(preset, video=path, seed=seed)
    film = open_film(config)
    for note in film.notes:
        print(note)
    for reason, count in film.dropped.items():
        print(f"{count} frames left out: {reason}.")
    default = ROOT / "runs" / "reenact" / f"{config.preset}-{config.dataset}"
    return config, film, Path(work or default)


def measure(
    config: FilmConfig,
    film: Frames,
    test: Frames,
    trained: Iterable[Trained],
    settings: dict,
    find: Finder | None,
) -> list[dict]:
    """The rows of these forgers, "clean" (M) first: each against M and against the truth x.

    test: the frames whose landmarks they are given. settings: what the rows say of the experiment.
    find: the judge of expression, None where dlib is missing.
    """
    train = film.part("train")
    z, x = draw_landmarks(test.landmarks, test.size), test.x()
    forged_by_m, rows = None, []
    for method, forger, published in trained:
        y = forge_frames(forger, z, config)
        references = {"M": forged_by_m, "x": x}
        if method == "clean":
            forged_by_m, references = y, {"x": x}

        # what does not depend on the reference: PSNR of x', and the forgery's expression
        own = {"psnr": None, "expression_error": None, "face_found": None}
        if not is_published_clean(method):
            # a forger who finds landmarks himself leaves frames out
            few = [train.numbers.index(number) for number in published.numbers[:200]]
            own["psnr"] = metrics.psnr(train.x(few), published.x(slice(0, 200))).mean().item()
        if find:
            own |= evaluation.expression(find, y, test.landmarks)

        for reference, other in references.items():
            row = {
                "dataset": config.dataset,
                "size": config.size,
                "method": method,
                "reference": reference,
                "target": config.forger.network,
                "eps": config.poisoner.eps,
                **evaluation.differences(y, other),
                **own,
                "seed": config.seed,
                "hardware": hardware(),
                "command": command_line(),
                "settings": settings,
            }
            rows.append(row)
            print(f"{method} against {reference}: L1 {row['l1']:.4f} DSR {row['dsr']:.2f}")
    return rows


def command_line() -> str:
    """How this experiment was called, without the places of this machine."""
    return f"python experiments/{Path(sys.argv[0]).name} {command().removeprefix('idf ')}".strip()


def add_rows(rows: list[dict], out: Path) -> None:
    """Adds rows to a file; one of the same measurement replaces the older one."""
    new = [_identity(row) for row in rows]
    kept = [row for row in read_json_rows(out) if _identity(row) not in new]
    save_json(out, kept + rows)


def _identity(row: dict) -> list:
    return [row[name] for name in IDENTITY]
