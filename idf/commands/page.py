"""The page that `idf run` leaves: runs/<name>/index.html."""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import jinja2
import nbformat
import pandas as pd
import psutil

from idf.commands.reader import write_page
from idf.methods import METHODS
from idf.zoo.manifest import hardware


def write_index(out: Path, facts: dict, rows: list, since: float) -> None:
    """out/index.html, with the figures and results newer than `since` (seconds since the epoch)."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    template = jinja2.Environment(loader=loader, **options).get_template("index.html.j2")

    captions, headlines = {}, {}
    for figure in sorted((out / "figures").glob("*.png")):
        if _is_new(figure, since):
            text, first = figure.with_suffix(".txt"), figure.with_suffix(".headline.txt")
            captions[figure.name] = text.read_text() if text.exists() else figure.stem
            if _is_new(first, since):
                headlines[figure.name] = first.read_text()
    results = out / "figures" / "results.json"
    table = results_table(results) if _is_new(results, since) else ""

    page = template.render(
        facts=facts,
        rows=rows,
        titles={row.name: title(row.notebook) for row in rows},
        readable={row.name for row in rows if row.ended and (out / f"{row.name}.html").exists()},
        headlines=headlines,
        table=table,
        captions=captions,
        duration=duration,
    )
    write_page(out / "index.html", page)


def results_table(file: Path) -> str:
    """results.json as an HTML table: a line a method, at the largest eps, a DSR an attacker."""
    rows = pd.DataFrame(json.loads(file.read_text()))
    rows = rows[rows.eps == rows.eps.max()]
    table = rows.pivot(index="method", columns="attacker", values="dsr")
    table = table.loc[[name for name in METHODS if name in table.index], rows.attacker.unique()]
    table = table.rename_axis(columns=None)  # else it has a column of its own
    by_method = rows.groupby("method")
    table["edits, clean"] = by_method.edit_success.mean()
    table["edits, infected"] = by_method.infected_edit_success.mean()
    table["PSNR, dB"] = by_method.psnr.first()
    table = table.round(2).rename(index=lambda name: METHODS[name].legend).reset_index()
    return table.to_html(index=False, border=0, classes="results", na_rep="–")


def title(notebook: Path) -> str:
    """The first heading of a notebook."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        heading = re.match(r"#\s+(.+)", cell.source)
        if cell.cell_type == "markdown" and heading:
            return heading[1]
    return notebook.stem


def machine() -> dict[str, str]:
    """What a run ran on, in words."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    names = ("torch", "torchvision", "accelerate", "numpy")
    software = [f"{name} {version(name)}" for name in names]
    return {
        "hardware": f"{hardware()}, {memory}",
        "software": ", ".join([f"Python {platform.python_version()}", *software]),
    }


def duration(seconds: float) -> str:
    """5 s, or 2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"


def _is_new(file: Path, since: float) -> bool:
    return file.exists() and file.stat().st_mtime >= since - 1
