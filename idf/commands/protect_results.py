"""`idf protect-results`: what the protection of photos is worth, and how long it takes.

It protects a folder of photos and writes data/results/protect.json (the numbers at the largest eps,
under `rows` those of every eps) and README's table.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from idf.config import RESULTS, ROOT

EPS = (0.02, 0.03, 0.05)
FILE = RESULTS / "protect.json"
MARKS = ("<!-- photos: written by `idf protect-results` -->", "<!-- end of photos -->")
STARTS = 3  # of the command, of which the median counts

Photos = Annotated[str, typer.Argument(metavar="FOLDER", help="Photos of one face each.")]
Out = Annotated[
    str, typer.Option(metavar="FILE", show_default="data/results/protect.json", help="The numbers.")
]


def main(photos: Photos, out: Out = str(FILE)) -> int:
    """README's table is written only with the numbers that are published."""
    # here, not above: torch takes seconds, and help should not
    from idf.apps.photo.measure import measure
    from idf.apps.photo.plan import plan
    from idf.commands.readme import write_table
    from idf.data.files import save_json
    from idf.zoo.manifest import command, hardware

    with tempfile.TemporaryDirectory() as folder:
        pairs = plan([photos], folder)
        rows = [measure(pairs, eps) for eps in EPS]
        start = start_seconds(pairs[0][0], Path(folder) / "start", rows[-1]["seconds_per_photo"])
    results = {
        **rows[-1],
        "start_seconds": start,
        "explorer_ms": explorer_ms(),
        "rows": rows,
        "hardware": hardware(),
        "command": command().replace(photos, "PHOTOS"),
    }
    save_json(Path(out), results)
    if Path(out) == FILE:
        write_table(ROOT / "README.md", readme_table(results), MARKS)
    return 0


def start_seconds(photo: Path, folder: Path, per_photo: float) -> float:
    """Seconds of the command on one photo, less what a photo takes.

    These are imports, networks and the landmark model.
    """
    times = []
    for i in range(STARTS):
        copy = folder / f"{i}.png"
        start = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "idf", "protect", str(photo), "-o", str(copy)],
            check=True,
            capture_output=True,
        )
        times.append(time.monotonic() - start - per_photo)
    print("start", times, flush=True)
    return statistics.median(times)


def explorer_ms() -> float:
    """Median milliseconds of the explorer's `render` for a moved control.

    None of the states was seen before.
    """
    from idf.apps.explorer.state import OFFERED_METHODS, State, domains_of
    from idf.apps.explorer.view import render

    base = State()
    render(base)
    moves = [replace(base, eps=round(0.002 * i, 4)) for i in range(1, 20)]
    moves += [replace(base, domain=domain) for domain in domains_of(base.dataset, base.target)]
    moves += [replace(base, method=method) for method in OFFERED_METHODS]
    moves += [
        replace(base, transformation="jpeg", strength=quality) for quality in (95, 90, 75, 50)
    ]
    times = []
    for state in moves:
        start = time.perf_counter()
        render(state)
        times.append(1000 * (time.perf_counter() - start))
    median = statistics.median(times)
    print(
        f"explorer: median {median:.0f} ms, slowest {max(times):.0f} ms of {len(times)} moves",
        flush=True,
    )
    return median


def readme_table(results: dict) -> str:
    """Markdown: a row for each eps."""
    import pandas as pd

    from idf.apps.photo.check import EDITORS
    from idf.figures.tables import markdown

    editors = list(EDITORS)
    rows = []
    for row in results["rows"]:
        moved = [row["dsr_by_editor"]["protected"][editor] for editor in editors]
        success = [row["wishes_granted"][name][editors[0]] for name in ("clean", "protected")]
        rows.append(
            {
                "eps": f"{row['eps']:g} ({row['eps'] * 127.5:.1f}/255)",
                "PSNR of the faces": f"{row['psnr']:.1f} dB",
                f"DSR {', '.join(editors)}": percentages(moved),
                f"edits seen in those of *{editors[0]}*, clean and protected": percentages(success),
                "DSR of colour noise": percentages([row["dsr_noise"]]),
                "as JPEG 95": percentages([row["dsr_jpeg_95"]]),
                "as JPEG 75": percentages([row["dsr_jpeg_75"]]),
            }
        )
    note = (
        f"{results['faces_found']} of {results['photos']} faces found; "
        f"{results['seconds_per_photo']:.1f} s a photo on {results['hardware']}, "
        f"{results['start_seconds']:.1f} s to start."
    )
    return f"{markdown(pd.DataFrame(rows))}\n\n{note}"


def percentages(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
