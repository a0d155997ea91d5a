"""Executes the numbered notebooks with papermill and gathers them on one page, runs/<name>/index.html.

A notebook that saves PNGs into the folder named by the environment variable IDF_OUT finds them in the page's gallery:
<name>.png, with <name>.txt beside it as the caption. results.json there, a list of flat rows, becomes a table.
"""

import json
import logging
import os
import platform
import re
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from importlib.metadata import version
from pathlib import Path

import jinja2
import nbformat
import papermill
import psutil
from ipykernel.kernelspec import write_kernel_spec
from nbclient.exceptions import DeadKernelError
from nbconvert import HTMLExporter
from papermill.exceptions import PapermillExecutionError

from idf.committing import drop_progress, findings, first_line
from idf.config import (
    ROOT,
    Config,
    UserError,
    VideoConfig,
    find_data,
    find_landmark_file,
    find_video,
    load_config,
    load_video_config,
    parse_settings,
)

NOTEBOOKS = ROOT / "notebooks"
# the parameter that names a notebook's data tells its scenario, and so the settings that it knows
SETTINGS = {
    name: {field.name for field in fields(cls)}
    for name, cls in (("data_root", Config), ("video", VideoConfig))
}
WIDGET = "application/vnd.jupyter.widget-view+json"


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
    def title(self) -> str:
        """The first heading of the notebook."""
        cells = nbformat.read(self.notebook, as_version=4).cells
        headings = (
            re.match(r"#\s+(.+)", cell.source) for cell in cells if cell.cell_type == "markdown"
        )
        return next((heading[1] for heading in headings if heading), self.name)


def add_arguments(parser) -> None:
    parser.add_argument(
        "--preset", default="demo", help="smoke, demo, gpu or paper (default: demo)"
    )
    parser.add_argument(
        "--data", default="", metavar="FOLDER", help="a CelebA folder (default: procedural faces)"
    )
    parser.add_argument(
        "--video", default="", metavar="FILE", help="a video of one face (default: a drawn one)"
    )
    parser.add_argument(
        "--landmarks",
        default="",
        metavar="FILE",
        help="its landmarks, .npz or .csv (default: dlib's)",
    )
    parser.add_argument("--seed", type=int, default=0, help="default: 0")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="change a setting, repeatable",
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="leave unreadable pictures out and count them"
    )
    parser.add_argument(
        "--out",
        default="",
        metavar="FOLDER",
        help="default: runs/<preset>, or with -celeba, -video",
    )
    parser.add_argument(
        "--update",
        action="store_true",
        help="write the outputs back into notebooks/ (defaults only)",
    )


def main(args) -> int:
    """`idf run`. Returns 0, or 1 if a notebook fails, or 2 if it does by a mistake of the user or may not be committed."""
    settings = parse_settings(args.set)
    sources = {"data_root": find_data(args.data), "video": find_video(args.video)}
    if args.landmarks:
        settings["landmarks"] = find_landmark_file(args.landmarks)
    sizes = check_settings(args.preset, args.seed, sources, settings)
    rows = plan(
        find_notebooks(),
        {"preset": args.preset, "seed": args.seed},
        settings,
        args.skip_bad,
        sources,
    )
    if args.update:
        if (sources, args.seed, settings, args.skip_bad) != (
            {"data_root": "", "video": ""},
            0,
            {},
            False,
        ):
            raise UserError(
                "--update keeps the notebooks' defaults: use it without --data, --video, --landmarks, --seed, "
                "--set, --skip-bad."
            )
        rows = [Row(row.notebook) for row in rows]
    name = args.preset + "-celeba" * bool(args.data) + "-video" * bool(args.video)
    out = Path(args.out or ROOT / "runs" / name).expanduser().resolve()
    data = [f"CelebA, {args.data}"] * bool(args.data) + [f"the video {args.video}"] * bool(
        args.video
    )
    facts = {
        "preset": args.preset,
        "data": " and ".join(data) or "procedural faces",
        "size": " and ".join(f"{size} px" for size in sizes),
        "seed": args.seed,
        **settings,
    }
    status = run(rows, out, facts)
    return write_back(rows, out) if args.update and status == 0 else status


def write_back(rows: list[Row], out: Path) -> int:
    """Takes the executed notebooks over into notebooks/, all or none; 2, and a sentence each, for what must be mended."""
    executed = {row.notebook: nbformat.read(out / row.notebook.name, as_version=4) for row in rows}
    for notebook in executed.values():
        drop_progress(notebook)
    found = [
        f"{path.name}, {finding}"
        for path, notebook in executed.items()
        for finding in findings(notebook)
    ]
    if found:
        lines = [
            *found,
            f"Nothing was written back: the executed notebooks are in {os.path.relpath(out)}.",
        ]
        print(*(f"idf: {line}" for line in lines), sep="\n", file=sys.stderr)
        return 2
    for path, notebook in executed.items():
        nbformat.write(notebook, path)
    return 0


def check_settings(preset: str, seed: int, sources: dict, settings: dict) -> list[int]:
    """Raises UserError for a setting that neither scenario knows, or a wrong value; the sizes of what will be run."""
    of_video = {name: value for name, value in settings.items() if name in SETTINGS["video"]}
    rest = {
        name: value
        for name, value in settings.items()
        if name in SETTINGS["data_root"] or name not in of_video
    }
    configs = {
        "data_root": load_config(preset, data_root=sources["data_root"], seed=seed, **rest),
        "video": load_video_config(preset, video=sources["video"], seed=seed, **of_video),
    }
    given = [name for name in sources if sources[name]] or list(sources)
    return sorted({configs[name].size for name in given})


def find_notebooks(folder: Path | None = None) -> list[Path]:
    folder = folder or NOTEBOOKS
    notebooks = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not notebooks:
        raise UserError(
            f"No numbered notebook in {folder}: run `idf` from a clone of the project (pip install -e .)."
        )
    return notebooks


def plan(
    notebooks: list[Path],
    standard: dict,
    settings: dict,
    skip_bad: bool = False,
    sources: dict | None = None,
) -> list[Row]:
    """The parameters of each notebook.

    All of `standard` go to every notebook. Each has one of `sources` (data_root, video), which tells its scenario; where
    one is given, the notebooks of the other are left out. A setting goes to the parameter of its name, else into the
    dict `overrides` of the scenario that knows it; UserError if no notebook has a place for it, or one lacks a standard
    parameter.
    """
    wanted = {**settings, **({"skip_bad": True} if skip_bad else {})}
    sources = sources or {"data_root": "", "video": ""}
    rows, placed = [], set()
    for notebook in notebooks:
        known = papermill.inspect_notebook(str(notebook))
        missing = [name for name in standard if name not in known]
        source = next((name for name in sources if name in known), None)
        if missing or not source:
            name = repr(missing[0]) if missing else " or ".join(map(repr, sources))
            raise UserError(
                f"{notebook.name} has no parameter {name}: set it in the cell tagged `parameters`."
            )
        if any(sources.values()) and not sources[source]:
            continue
        parameters = {
            **standard,
            source: sources[source],
            **{name: value for name, value in wanted.items() if name in known},
        }
        rest = {
            name: value
            for name, value in settings.items()
            if name not in known and name in SETTINGS[source]
        }
        if rest and "overrides" in known:
            parameters["overrides"] = rest
            placed |= set(rest)
        placed |= set(parameters)
        rows.append(Row(notebook, parameters))
    if not rows:
        given = next(name for name in sources if sources[name])
        raise UserError(
            f"No notebook here takes {given}: leave the option --{given.removesuffix('_root')} out."
        )
    for name in wanted:
        if name not in placed:
            raise UserError(
                f"No notebook has a parameter {name!r} or `overrides`: add one to a cell `parameters`."
            )
    return rows


def run(rows: list[Row], out: Path, facts: dict) -> int:
    """Executes the notebooks in order up to the first failure, the page written anew after each; returns the status."""
    from idf.weights import (
        hardware,
    )  # here, not above: it imports torch, and a mistake should be told at once

    start = time.time()
    figures = out / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GB of memory"
    facts = {**facts, "hardware": f"{hardware()}, {memory}", "software": software()}
    status = 0
    with environment(IDF_OUT=str(figures), IDF_PRESET=facts["preset"]):
        for row in rows:
            status = execute(row, out, lambda: write_index(out, facts, rows, since=start))
            if status:
                break
    page = os.path.relpath(out / "index.html")
    done = sum(row.state == "done" for row in rows)
    print(f"{page}: {done} of {len(rows)} notebooks, {duration(time.time() - start)}")
    return status


def execute(row: Row, out: Path, show) -> int:
    """Executes one notebook into `out` as .ipynb and .html; `show` writes the page before and after."""
    executed = out / row.notebook.name
    start = time.monotonic()
    row.state = "running"
    show()
    status = 0
    try:
        with peak_memory() as peak:
            papermill.execute_notebook(
                str(row.notebook),
                str(executed),
                row.parameters,
                kernel_name="python3",
                cwd=str(row.notebook.parent),
                progress_bar={"desc": row.name, "leave": False, "disable": None},
            )
        row.state = "done"
    except PapermillExecutionError as error:
        row.state, status = "failed", 2 if error.ename == "UserError" else 1
        row.error = (
            error.evalue
            if status == 2
            else f"cell [{error.exec_count}] {one_line(error.ename, error.evalue)}"
        )
    except DeadKernelError:
        row.state, status = "failed", 1
        row.error = "the kernel died, most often for want of memory: try --preset smoke."
    except KeyboardInterrupt:
        row.state = "interrupted"
        raise
    finally:
        row.seconds, row.memory = time.monotonic() - start, max(peak)
        if executed.exists():
            write(executed.with_suffix(".html"), to_html(executed))
        show()
    print(
        f"{row.name:<24} {duration(row.seconds):>12}   peak {row.memory / 2**30:.1f} GB   {row.state}",
        flush=True,
    )
    if row.error:
        print(
            f"idf: {row.error if status == 2 else f'{row.notebook.name}, {row.error}'}",
            file=sys.stderr,
        )
    return status


def one_line(name: str, text: str) -> str:
    if "Errno 28" in text:
        return "the disk is full: free some space and run the same command again."
    return f"{name}: {first_line(text)}".strip()


@contextmanager
def environment(**variables):
    """Environment variables for the kernels, and a kernel `python3` that is this interpreter."""
    saved = dict(os.environ)
    for name in (
        "asyncio",
        "tornado",
    ):  # interrupted in the middle of a message, they print how its socket closed
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        write_kernel_spec(
            Path(folder) / "kernels" / "python3", extra_arguments=["--log-level=CRITICAL"]
        )
        os.environ.update(
            variables,
            JUPYTER_PATH=os.pathsep.join(filter(None, [folder, saved.get("JUPYTER_PATH")])),
            PYDEVD_DISABLE_FILE_VALIDATION="1",
        )
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(saved)


@contextmanager
def peak_memory(every: float = 0.2):
    """Yields a list of one number: the largest resident memory, in bytes, of this process's children together."""
    peak, done = [0], threading.Event()

    def resident(process) -> int:
        try:
            return process.memory_info().rss
        except psutil.Error:
            return 0

    def watch():
        while not done.wait(every):
            peak[0] = max(peak[0], sum(map(resident, psutil.Process().children(recursive=True))))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def to_html(executed: Path) -> str:
    """The notebook as one HTML file that reads without a network: pictures inside, widgets as their text.

    Only the typesetting of formulas comes from the network (MathJax); without it they show as TeX.
    """
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    html, _ = HTMLExporter(require_js_url="", embed_images=True).from_notebook_node(
        notebook, {"metadata": {"name": executed.stem}}
    )
    # async: an unreachable network must not hold up the page.
    return html.replace('<script src=""></script>', "").replace(
        "<script src=", "<script async src="
    )


def write_index(out: Path, facts: dict, rows: list[Row], since: float) -> None:
    """Writes out/index.html at once, with the figures and results newer than `since` (seconds since the epoch)."""
    figures = [
        path
        for path in sorted((out / "figures").glob("*.png"))
        if path.stat().st_mtime >= since - 1
    ]
    captions = {
        path: path.with_suffix(".txt").read_text()
        if path.with_suffix(".txt").exists()
        else path.stem
        for path in figures
    }
    results = out / "figures" / "results.json"
    table = (
        json.loads(results.read_text())
        if results.exists() and results.stat().st_mtime >= since - 1
        else []
    )
    columns = list(dict.fromkeys(name for entry in table for name in entry))
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        PAGE
    )
    write(
        out / "index.html",
        page.render(
            facts=facts,
            rows=rows,
            out=out,
            captions=captions,
            table=table,
            columns=columns,
            cell=table_cell,
            duration=duration,
        ),
    )


def table_cell(value) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def write(path: Path, text: str) -> None:
    """Writes a text file at once, so that a reader never meets half of it."""
    part = path.with_suffix(path.suffix + ".tmp")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def duration(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 60
        else f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    )


def software() -> str:
    names = ("torch", "torchvision", "accelerate", "numpy")
    return ", ".join(
        [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in names)]
    )


PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Initiative Defense against Facial Manipulation: {{ facts.preset }}</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --soft: #8881; --accent: light-dark(#0b6e5f, #5fd0bd) }
  body { font: 16px/1.55 system-ui, sans-serif; max-width: 68rem; margin: 3rem auto; padding: 0 1.2rem }
  h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem } h2 { font-size: 1.25rem; margin: 2.6rem 0 .8rem }
  p.lead { margin: 0 0 1.6rem; opacity: .75 } a { color: var(--accent) }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; margin: 0 }
  dt { opacity: .65 } dd { margin: 0; overflow-wrap: anywhere }
  .scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }
  th, td { text-align: left; padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
  th { font-weight: 600; opacity: .65; white-space: nowrap } .results { font-size: .85rem }
  td.tight { white-space: nowrap }
  .failed { color: light-dark(#b3261e, #ff8a80) } .failed td { border-left: 0 }
  .gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem }
  figure { margin: 0; background: var(--soft); border-radius: .6rem; padding: .8rem }
  figure img { width: 100%; display: block; border-radius: .3rem } figcaption { font-size: .9rem; margin-top: .6rem }
</style>
<h1>Initiative Defense against Facial Manipulation</h1>
<p class="lead">What the notebooks computed in this run.</p>
<dl>
{% for name, value in facts.items() %}
  <dt>{{ name }}</dt><dd>{{ value }}</dd>
{% endfor %}
</dl>
<h2>Notebooks</h2>
<div class="scroll"><table>
<tr><th>notebook</th><th>files</th><th>time</th><th>peak memory</th><th>state</th></tr>
{% for row in rows %}
<tr>
  <td>{{ row.title }}</td>
  <td class="tight">
  {% if row.state not in ("not run", "running") and (out / (row.name ~ ".html")).exists() %}
    <a href="{{ row.name }}.html">read</a> · <a href="{{ row.name }}.ipynb">notebook</a>
  {% endif %}
  </td>
  <td class="tight">{{ duration(row.seconds) if row.seconds else "" }}</td>
  <td class="tight">{{ "%.1f GB"|format(row.memory / 2**30) if row.memory else "" }}</td>
  <td{% if row.error %} class="failed"{% endif %}>{{ row.state }}{{ ": " if row.error }}{{ row.error }}</td>
</tr>
{% endfor %}
</table></div>
{% if table %}
<h2>Results</h2>
<div class="scroll"><table class="results">
<tr>{% for name in columns %}<th>{{ name }}</th>{% endfor %}</tr>
{% for entry in table %}
<tr>{% for name in columns %}<td>{{ cell(entry.get(name)) }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endif %}
{% if captions %}
<h2>Figures</h2>
<div class="gallery">
{% for path, caption in captions.items() %}
<figure><a href="figures/{{ path.name }}"><img src="figures/{{ path.name }}" alt="{{ caption }}" loading="lazy"></a>
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}
</div>
{% endif %}
</html>
"""
