"""Options that several commands share, and how the values of options are read."""

import json
import re
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from idf.config import UserError

Preset = Annotated[str, typer.Option(metavar="NAME", help="smoke, demo, gpu or paper.")]
Data = Annotated[
    str, typer.Option(metavar="FOLDER", help="A CelebA folder; without it, procedural faces.")
]
Video = Annotated[
    str, typer.Option(metavar="FILE", help="A video of one face; without it, a drawn one.")
]
Landmarks = Annotated[
    str, typer.Option(metavar="FILE", help="The video's landmarks, .npz or .csv; else dlib's.")
]
Start = Annotated[
    float, typer.Option(metavar="SECONDS", min=0, help="Leave out what the video shows before.")
]
Seed = Annotated[int, typer.Option(metavar="NUMBER")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Leave unreadable pictures out and count them.")
]
Set = Annotated[
    list[str], typer.Option("--set", metavar="NAME=VALUE", help="Change a setting, repeatable.")
]
Images = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Held-out faces.")]
Jobs = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Cells at a time.")]
Resume = Annotated[bool, typer.Option("--resume", help="Leave out the cells that are done.")]
TableOnly = Annotated[
    bool, typer.Option("--table", help="Only write README's table, from the stored rows.")
]
Work = Annotated[
    str, typer.Option(metavar="FOLDER", help="Where checkpoints go; by default into runs/.")
]
Weights = Annotated[
    str,
    typer.Option(
        metavar="FOLDER",
        help="Networks of your own, as `idf weights --out` leaves them, in place of those that "
        "ship; --out then says where the rows go.",
    ),
]

# settings that are options of their own, never --set
OWN_OPTIONS = (
    "preset",
    "seed",
    "data_root",
    "video",
    "landmarks",
    "start",
    "skip_bad",
    "weights_folder",
)


def parse_settings(texts: Iterable[str], options: dict[str, str]) -> dict[str, Any]:
    """["poisoner.eps=.03", ...] as {"poisoner.eps": .03, ...}; values are JSON, or text.

    options: {setting: option} of what this command has an option for, like {"seed": "--seed"}.
    Raises UserError for another form, and for a setting that is no matter of --set.
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UserError(
                f"--set {text} is not of the form NAME=VALUE, like --set poisoner.eps=0.03."
            )
        if name in options:
            raise UserError(f"{name} is no --set of this command: use {options[name]} {value}.")
        if name in OWN_OPTIONS:
            raise UserError(f"{name} cannot be changed in this command: leave it out.")
        settings[name] = parse_value(value)
    return settings


def parse_value(text: str) -> Any:
    """JSON where it is JSON (1e-3, true, [..]; .03 counts, too), else the text itself."""
    with_zero = re.sub(r"^(-?)\.(?=\d)", r"\g<1>0.", text)
    try:
        return json.loads(with_zero)
    except (ValueError, RecursionError):  # no JSON, a number of 5,000 digits, brackets without end
        return text


def check_choices(option: str, values: Iterable[str], known: Iterable[str]) -> None:
    """Raises UserError for a value of an option that is not among the known ones."""
    known = list(known)
    for value in values:
        if value not in known:
            raise UserError(f"{option} {value} is not known: use one of {', '.join(known)}.")


def check_writable(*folders: Path) -> None:
    """Makes the folders. Raises UserError, before any work, where nothing can be written."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(
                f"Nothing can be written to the folder {folder} ({error.strerror}): name another "
                "one, or change its permissions."
            ) from None


def check_places(places: dict[str, str]) -> None:
    """{--out or --work: its value}, of a command that leaves the settings and networks that ship.

    Raises UserError for an empty one: by default it would be the place of the stored results.
    """
    wanted = {"--out": "name a file for the rows", "--work": "name a folder for the networks"}
    for option, place in places.items():
        if not place:
            raise UserError(
                "--weights and --set make results of your own, apart from the stored ones: "
                f"{wanted[option]}, {option}."
            )


def find_data(folder: str) -> str:
    """The absolute path of the data folder; empty for procedural faces."""
    return _find(
        folder, Path.is_dir, "data folder", "give the one that holds CelebA (see data/README.md)"
    )


def find_weights(folder: str) -> str:
    """The absolute path of --weights; empty for the networks that ship."""
    return _find(folder, Path.is_dir, "folder", f"`idf weights --out {folder}` makes it")


def find_video(file: str) -> str:
    """The absolute path of the video; empty for the procedural film."""
    remedy = "give an MP4, MOV or WebM file of one person speaking"
    return _find(file, Path.is_file, "video", remedy)


def find_landmarks(file: str) -> str:
    """The absolute path of a video's landmarks; empty where dlib is to find them."""
    remedy = "give an .npz or .csv, or leave it out, then dlib finds them"
    return _find(file, Path.is_file, "landmark file", remedy)


def _find(place: str, is_there: Callable[[Path], bool], kind: str, remedy: str) -> str:
    if not place:
        return ""
    path = Path(place).expanduser()
    if not is_there(path):
        raise UserError(f"There is no {kind} {place}: {remedy}.")
    return str(path.resolve())
