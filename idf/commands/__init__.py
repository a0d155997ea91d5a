"""The console command `idf`: each of COMMANDS is a file of its own here, with a function `main`.

A mistake of the user ends in one sentence and exit status 2, any other failure in one sentence and
1; IDF_DEBUG=1 shows the traceback.
"""

import errno
import importlib
import os
import sys
from collections.abc import Sequence

import typer
from typer.core import TyperCommand, TyperGroup

from idf.config import UserError

COMMANDS = {
    "protect": "Infect the faces of photos of your own, so that attribute editors fail on them.",
    "check": "Show what the shipped editors make of a photo and of its protected copy.",
    "run": "Execute the notebooks and gather them on one page.",
    "weights": "Train the shipped weights again.",
    "film-weights": "Train the shipped weights of the film scenario again.",
    "protect-results": "Measure the protection of photos, write data/results/protect.json.",
    "table1": "Measure Table 1, write data/results/table1.json.",
    "robustness": "Measure what is left of Table 1 after JPEG and the like, write data/results/.",
    "ablations": "Train PG without its parts and measure it, write data/results/ablations.json.",
    "adaptive": "Train forgers on with infected faces and measure them, write data/results/.",
    "reenact": "Measure the poisoning of films, write data/results/.",
    "joint": "Measure both defences on one film, write data/results/joint.json.",
}


class Commands(TyperGroup):
    """Imports a command's module only when it is called: torch takes seconds, help should not."""

    def list_commands(self, ctx: typer.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: typer.Context, cmd_name: str) -> TyperCommand | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"idf.commands.{cmd_name.replace('-', '_')}")
        app = typer.Typer(add_completion=False, rich_markup_mode=None)
        app.command(cmd_name, cls=Command, help=COMMANDS[cmd_name])(module.main)
        return typer.main.get_command(app)

    def format_commands(self, ctx: typer.Context, formatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


class Command(TyperCommand):
    """A command whose repeatable options take several values at once, too.

    `--seeds 0 1 2` is `--seeds 0 --seeds 1 --seeds 2`.
    """

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:
        repeatable = set()
        for parameter in self.params:
            if parameter.nargs == 1 and getattr(parameter, "multiple", False):
                repeatable.update(parameter.opts)

        spelled_out, option = [], ""
        for word in args:
            if word.startswith("-"):
                option = word if word in repeatable else ""
            elif option and spelled_out[-1] != option:
                spelled_out.append(option)
            spelled_out.append(word)
        return super().parse_args(ctx, spelled_out)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    try:
        return call(sys.argv[1:] if argv is None else argv)
    except KeyboardInterrupt:
        return say(
            "Interrupted: the same command starts again, trainings go on from their last "
            "checkpoint.",
            130,
        )
    except Exception as error:
        if os.environ.get("IDF_DEBUG"):
            raise
        return explain(error)


def call(argv: Sequence[str]) -> int:
    """As main, but errors pass through, those of the command line as UserError."""
    about = "Initiative Defense against Facial Manipulation."
    group = Commands(name="idf", help=about, rich_markup_mode=None)
    try:
        with group.make_context("idf", list(argv)) as context:
            return group.invoke(context) or 0
    except typer.Exit as done:  # after --help
        return done.exit_code
    except typer.TyperException as error:
        asked = " ".join(["idf", *(word for word in argv[:1] if word in COMMANDS)])
        text = error.format_message().rstrip(".")
        given = _value_given(error, argv)
        if given:
            text = f"{given}: {text.partition(': ')[2]}"
        raise UserError(f"{text}: see `{asked} --help`.") from None


def _value_given(error: Exception, argv: Sequence[str]) -> str:
    """The option that an error is about with its value, as "--eps much"; empty if it is none."""
    for option in getattr(getattr(error, "param", None), "opts", ()):
        if option in argv[:-1]:
            return f"{option} {argv[argv.index(option) + 1]}"
    return ""


def explain(error: Exception) -> int:
    """Prints what went wrong as one sentence; returns the exit status."""
    if isinstance(error, UserError):
        return say(str(error), 2)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return say(
            "The disk is full: free some space and run the same command again; finished files "
            "are kept.",
            1,
        )
    if isinstance(error, OSError) and error.strerror and error.filename:
        return say(
            f"{error.filename}: {error.strerror}; mend that and run the same command again.", 1
        )
    text = " ".join(str(error).split())
    return say(f"{type(error).__name__}: {text} (IDF_DEBUG=1 shows where).", 1)


def say(sentence: str, status: int) -> int:
    """Prints a sentence to stderr; returns the status."""
    print(f"idf: {sentence}", file=sys.stderr)
    return status
