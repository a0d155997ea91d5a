"""The program around fuzz.py and kills.py: it counts, and writes data/results/reliability.json."""

import argparse
import json
from collections.abc import Callable

from idf.config import RESULTS
from idf.data.files import read_json_rows, save_json
from idf.zoo.manifest import hardware

FILE = RESULTS / "reliability.json"


def main(what: str, about: str, count: int, trial: Callable[[int], tuple[dict, list[str]]]) -> int:
    """Its row takes the place of the last one of the same `what`. Returns 1 if there was a fault.

    about: of --help; count: how many are tried by default; trial: takes their number, and returns
    the counts and a line for each fault.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--count", type=int, default=count, help="how many are tried")
    options = parser.parse_args()
    if options.count < 1:
        parser.error(f"--count {options.count} must be at least 1")

    counts, faults = trial(options.count)
    row = {"what": what, **counts}
    row |= {"hardware": hardware(), "command": f"make {what} N={options.count}"}
    save_json(FILE, [*(one for one in read_json_rows(FILE) if one["what"] != what), row])
    print(*faults, json.dumps(row, indent=1), sep="\n")
    return 1 if faults else 0
