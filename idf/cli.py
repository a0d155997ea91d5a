"""The console command `idf`: one subcommand per module, each with add_arguments(parser) and main(args).

A mistake of the user ends in one sentence and exit status 2, any other failure in one sentence and 1;
IDF_DEBUG=1 shows the traceback.
"""

import argparse
import errno
import importlib
import os
import sys

from idf.config import UserError

# Imported only when called: torch takes seconds, `idf --help` should not.
COMMANDS = {
    "protect": (
        "idf.protect",
        "infect the faces of photos of your own, so that attribute editors fail on them",
    ),
    "check": (
        "idf.check",
        "show what the shipped editors make of a photo and of its protected copy",
    ),
    "run": ("idf.report", "execute the notebooks and gather them on one page"),
    "weights": ("idf.weights", "train the shipped weights again"),
    "film-weights": (
        "idf.reenactment_weights",
        "train the shipped weights of the film scenario again",
    ),
    "protect-results": (
        "idf.protect_results",
        "measure the protection of photos, write data/results/protect.json",
    ),
    "results": ("idf.results", "measure the defence, write data/results/"),
    "reenact": ("idf.reenactment_results", "measure the poisoning of films, write data/results/"),
    "links": ("idf.links", "write the repository's address into the README and the notebooks"),
    "bench": ("idf.bench", "measure speed, write data/results/speed.json"),
}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message[0].upper()}{message[1:]}: see `{self.prog} --help`.")


def main(argv: list[str] | None = None) -> int:
    """Runs one command and returns the exit status."""
    try:
        return call(sys.argv[1:] if argv is None else argv) or 0
    except KeyboardInterrupt:
        return say(
            "Interrupted: the same command starts again, trainings go on from their last checkpoint.",
            130,
        )
    except Exception as error:
        if os.environ.get("IDF_DEBUG"):
            raise
        return explain(error)


def call(argv: list[str]) -> int | None:
    parser = Parser(
        prog="idf",
        description="Initiative Defense against Facial Manipulation.",
        allow_abbrev=False,
    )
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, (_, text) in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)
    name = parser.parse_args(argv[:1]).command
    module, text = importlib.import_module(COMMANDS[name][0]), COMMANDS[name][1]
    parser = Parser(
        prog=f"idf {name}", description=f"{text[0].upper()}{text[1:]}.", allow_abbrev=False
    )
    module.add_arguments(parser)
    return module.main(parser.parse_args(argv[1:]))


def explain(error: Exception) -> int:
    """Prints what went wrong as one sentence; returns the exit status."""
    if isinstance(error, UserError):
        return say(str(error), 2)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return say(
            "The disk is full: free some space and run the same command again; finished files are kept.",
            1,
        )
    text = " ".join(str(error).split())
    return say(f"{type(error).__name__}: {text} (IDF_DEBUG=1 shows where).", 1)


def say(sentence: str, status: int) -> int:
    print(f"idf: {sentence}", file=sys.stderr)
    return status
