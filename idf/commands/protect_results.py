"""`idf protect-results`: what the protection of photos is worth, and how long it takes.

It protects a folder of photos and writes data/results/protect.json (the numbers at the largest eps,
under `rows` those of every eps, under `survival` those by size and way of publishing) and README's
tables.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from idf.commands.options import check_writable
from idf.config import RESULTS, ROOT

EPS = (0.02, 0.03, 0.05)
SURVIVAL_EPS = (0.03, 0.05)  # of which README shows the last
FILE = RESULTS / "protect.json"
MARKS = ("<!-- photos: written by `idf protect-results` -->", "<!-- end of photos -->")
STARTS = 3  # of the command, of which the median counts

Photos = Annotated[str, typer.Argument(metavar="FOLDER", help="Photos of one face each.")]
Out = Annotated[
    str, typer.Option(metavar="FILE", show_default="data/results/protect.json", help="The numbers.")
]


def main(photos: Photos, out: Out = str(FILE)) -> int:
    """README's tables are written only with the numbers that are published."""
    check_writable(Path(out).parent)

    # here, not above: torch takes seconds, and help should not
    from idf.apps.photo.measure import measure
    from idf.apps.photo.plan import plan
    from idf.apps.photo.survival import SIDES, largest_faces, survival
    from idf.commands.readme import write_table
    from idf.data.files import save_json
    from idf.zoo.manifest import command, hardware

    with tempfile.TemporaryDirectory() as folder:
        pairs = plan([photos], folder)
        rows = [measure(pairs, eps) for eps in EPS]
        faces = largest_faces([source for source, _ in pairs])
        survived = []
        for eps in SURVIVAL_EPS:
            for side in SIDES:
                survived += survival(faces, side, eps)
                print(f"survival at eps {eps:g}, {side} px", survived[-1], flush=True)
        start = start_seconds(pairs[0][0], Path(folder) / "start", rows[-1]["seconds_per_photo"])
    results = {
        **rows[-1],
        "start_seconds": start,
        "explorer_ms": explorer_ms(),
        "rows": rows,
        "survival": survived,
        "hardware": hardware(),
        "command": command().replace(photos, "PHOTOS"),
    }
    save_json(Path(out), results)
    if Path(out) == FILE:
        write_table(ROOT / "README.md", readme_tables(results), MARKS)
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


def readme_tables(results: dict) -> str:
    """Markdown: a table by eps, a note, a table by size and way of publishing."""
    note = (
        f"{results['faces_found']} of {results['photos']} faces found; "
        f"{results['seconds_per_photo']:.1f} s a photo on {results['hardware']}, "
        f"{results['start_seconds']:.1f} s to start."
    )
    return f"{table_by_eps(results['rows'])}\n\n{note}\n\n{table_of_survival(results['survival'])}"


def table_by_eps(rows: list[dict]) -> str:
    """Markdown: a line for each eps."""
    import pandas as pd

    from idf.apps.photo.check import EDITORS
    from idf.figures.tables import markdown
    from idf.zoo.grid import EDITORS as GRID

    seeds = ", ".join(str(GRID[editor].seed) for editor in EDITORS)
    lines = []
    for row in rows:
        moved = row["dsr_by_editor"]["protected"]
        seen = [row["edits_seen"][name].values() for name in ("clean", "protected")]
        lines.append(
            {
                "eps": f"{row['eps']:g} ({row['eps'] * 127.5:.1f}/255)",
                "PSNR of the faces": f"{row['psnr']:.1f} dB",
                f"DSR of three editors that PG never met (seeds {seeds})": percentages(
                    moved[editor] for editor in EDITORS
                ),
                "edits seen before and after (mean of the three)": percentages(
                    statistics.mean(shares) for shares in seen
                ),
                "DSR of colour noise": percentages([row["dsr_noise"]]),
                "as JPEG 95": percentages([row["dsr_jpeg_95"]]),
                "as JPEG 75": percentages([row["dsr_jpeg_75"]]),
            }
        )
    return markdown(pd.DataFrame(lines))


def table_of_survival(rows: list[dict]) -> str:
    """Markdown, at the last of SURVIVAL_EPS: a line for each way of publishing, a column a size."""
    import pandas as pd

    from idf.apps.photo.check import EDITORS
    from idf.apps.photo.survival import WAYS
    from idf.figures.tables import markdown

    table = pd.DataFrame(rows)
    table = table[table.eps == SURVIVAL_EPS[-1]]
    title = (
        f"**Where it survives, at eps {SURVIVAL_EPS[-1]:g}**: mean DSR of the three editors (that "
        "of the least), by the width of the face's crop in the photo"
    )
    columns = {"what the editor gets": [*WAYS.values(), "PSNR, LPIPS of the protected faces"]}
    for side, own in table.groupby("side"):
        own = own.set_index("variant").loc[list(WAYS)]
        least = own[list(EDITORS)].min(axis=1)
        cells = [f"{dsr:.0%} ({low:.0%})" for dsr, low in zip(own.dsr, least, strict=True)]
        png = own.loc["png"]
        lpips = "–" if pd.isna(png.lpips) else f"{png.lpips:.3f}"
        cells.append(f"{png.psnr:.1f} dB, {lpips}")
        photos, left_out = own.photos.iloc[0], own.left_out.iloc[0]
        count = f"{photos} of {photos + left_out} photos"
        columns[f"{side} px ({count})"] = cells
    return f"{title}\n\n{markdown(pd.DataFrame(columns))}"


def percentages(shares: Iterable[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares)
