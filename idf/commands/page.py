"""What `idf run` leaves to read: each notebook as HTML, and the page index.html."""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path

import jinja2
import nbformat
import pandas as pd
import psutil
from nbconvert import HTMLExporter

from idf.data.files import write_atomically
from idf.zoo.manifest import hardware

WIDGET = "application/vnd.jupyter.widget-view+json"


def write_html(notebook: Path) -> None:
    """The notebook as one file that reads without a network: pictures inside, widgets as text.

    Only the typesetting of formulas comes from the network (MathJax); without it they show as TeX.
    """
    content = nbformat.read(notebook, as_version=4)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    exporter = HTMLExporter(require_js_url="", embed_images=True)
    html, _ = exporter.from_notebook_node(content, {"metadata": {"name": notebook.stem}})
    html = html.replace('<script src=""></script>', "")
    # an unreachable network must not hold up the page
    html = html.replace("<script src=", "<script async src=")
    _write(notebook.with_suffix(".html"), html)


def write_index(out: Path, facts: dict, rows: list, since: float) -> None:
    """out/index.html, with the figures and results newer than `since` (seconds since the epoch)."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    options = {"autoescape": True, "trim_blocks": True, "lstrip_blocks": True}
    template = jinja2.Environment(loader=loader, **options).get_template("index.html.j2")

    captions = {}
    for figure in sorted((out / "figures").glob("*.png")):
        if _is_new(figure, since):
            text = figure.with_suffix(".txt")
            captions[figure.name] = text.read_text() if text.exists() else figure.stem
    results = out / "figures" / "results.json"
    table = results_table(results) if _is_new(results, since) else ""

    page = template.render(
        facts=facts,
        rows=rows,
        titles={row.name: title(row.notebook) for row in rows},
        readable={row.name for row in rows if row.ended and (out / f"{row.name}.html").exists()},
        table=table,
        captions=captions,
        duration=duration,
    )
    _write(out / "index.html", page)


def results_table(file: Path) -> str:
    """results.json, a list of flat rows, as an HTML table."""
    rows = pd.DataFrame(json.loads(file.read_text()), dtype=object)
    rows = rows.where(rows.notna(), "–")
    return rows.to_html(index=False, border=0, classes="results", float_format="{:.4g}".format)


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


def _write(file: Path, text: str) -> None:
    """In one step, so that a reader never meets half of a page."""
    write_atomically(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))
