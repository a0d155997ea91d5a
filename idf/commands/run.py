"""`idf run`: execute the numbered notebooks and gather them on one page, runs/<name>/index.html.

A notebook that saves PNGs into the folder named by the environment variable IDF_OUT finds them in
the page's gallery: <name>.png, with <name>.txt beside it as the caption, and at its head where
<name>.headline.txt says what came out. results.json there, rows of a method, an attacker and an
eps, becomes a table.
"""

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import papermill
import typer
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from idf.commands.kernels import PeakMemory, environment
from idf.commands.options import (
    Data,
    Landmarks,
    Preset,
    Seed,
    Set,
    SkipBad,
    Start,
    Video,
    check_writable,
    find_data,
    find_landmarks,
    find_video,
    parse_settings,
)
from idf.commands.parameters import OPTIONS, check_settings, find_notebooks, plan
from idf.config import ROOT

Out = Annotated[
    str, typer.Option(metavar="FOLDER", help="By default runs/<preset>, or with -celeba, -video.")
]


@dataclass
class Row:
    """One notebook of a run: what it was given and what came of it."""

    notebook: Path
    parameters: dict = field(default_factory=dict)
    state: str = "not run"  # then "running", "done", "failed" or "interrupted"
    error: str = ""
    seconds: float = 0.0
    memory: int = 0  # bytes

    @property
    def name(self) -> str:
        return self.notebook.stem

    @property
    def ended(self) -> bool:
        return self.state not in ("not run", "running")


def main(
    preset: Preset = "demo",
    data: Data = "",
    video: Video = "",
    landmarks: Landmarks = "",
    start: Start = 0.0,
    seed: Seed = 0,
    changes: Set = (),
    skip_bad: SkipBad = False,
    out: Out = "",
) -> int:
    """Returns 0, or 1 if a notebook fails, or 2 if it does by a mistake of the user."""
    # what the user gave, checked before anything runs
    settings = parse_settings(changes, OPTIONS)
    sources = {"data_root": find_data(data), "video": find_video(video)}
    if landmarks:
        settings["landmarks"] = find_landmarks(landmarks)
    if start:
        settings["start"] = start
    sizes = check_settings(preset, seed, sources, settings)
    standard = {"preset": preset, "seed": seed}
    planned = plan(find_notebooks(), standard, settings, sources, skip_bad)
    rows = [Row(notebook, parameters) for notebook, parameters in planned.items()]

    # what the page says of it
    name, shown = preset, []
    if data:
        name += "-celeba"
        shown.append(f"CelebA, {data}")
    if video:
        name += "-video"
        shown.append(f"the video {video}")
    facts = {
        "preset": preset,
        "data": " and ".join(shown) or "procedural faces",
        "size": " and ".join(f"{size} px" for size in sizes),
        "seed": seed,
        **settings,
    }
    folder = Path(out or ROOT / "runs" / name).expanduser().resolve()
    check_writable(folder)
    return run(rows, folder, facts)


def run(rows: list[Row], out: Path, facts: dict) -> int:
    """Executes the notebooks in order up to the first failure; returns the exit status.

    The page is written anew after each.
    """
    # imports torch: here, not above, so that a mistake is reported at once
    from idf.commands.page import duration, machine, write_index
    from idf.commands.reader import write_html

    start, status = time.time(), 0
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    facts = facts | machine()

    def show(row: Row) -> None:
        if row.ended and (out / row.notebook.name).exists():
            write_html(out / row.notebook.name)
        write_index(out, facts, rows, since=start)

    with environment(IDF_OUT=str(figures), IDF_PRESET=facts["preset"]):
        for row in rows:
            status = execute(row, out, show)
            memory = f"peak {row.memory / 2**30:.1f} GB"
            print(
                f"{row.name:<24} {duration(row.seconds):>12}   {memory}   {row.state}", flush=True
            )
            if status:
                where = f"{row.notebook.name}, " if status == 1 else ""
                print(f"idf: {where}{row.error}", file=sys.stderr)
                break
    done = sum(row.state == "done" for row in rows)
    page = os.path.relpath(out / "index.html")
    print(f"{page}: {done} of {len(rows)} notebooks, {duration(time.time() - start)}")
    return status


def execute(row: Row, out: Path, show: Callable[[Row], None]) -> int:
    """Executes one notebook into `out`; `show` writes the page before and after."""
    start, status = time.monotonic(), 0
    row.state = "running"
    show(row)
    with PeakMemory() as peak:
        try:
            papermill.execute_notebook(
                str(row.notebook),
                str(out / row.notebook.name),
                row.parameters,
                kernel_name="python3",
                cwd=str(row.notebook.parent),
                progress_bar={"desc": row.name, "leave": False, "disable": None},
            )
            row.state = "done"
        except PapermillExecutionError as error:
            row.state = "failed"
            status, row.error = explain(error)
        except DeadKernelError:
            row.state, status = "failed", 1
            row.error = "the kernel died, most often for want of memory: try --preset smoke."
        except KeyboardInterrupt:
            row.state = "interrupted"
            raise
        finally:
            row.seconds, row.memory = time.monotonic() - start, peak.bytes
            show(row)
    return status


def explain(error: PapermillExecutionError) -> tuple[int, str]:
    """Exit status and sentence for an error in a cell."""
    if error.ename == "UserError":
        return 2, error.evalue
    cell = f"cell [{error.exec_count}]"
    if "Errno 28" in error.evalue:
        return 1, f"{cell} the disk is full: free some space and run the same command again."
    lines = error.evalue.strip().splitlines()
    return 1, f"{cell} {error.ename}: {lines[0]}" if lines else f"{cell} {error.ename}"
