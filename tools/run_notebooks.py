"""Execute the notebooks and their solutions at preset demo, and keep the outputs: `make notebooks`.

All are written back, or none where an output holds an error, a warning, or a path of this machine.
Figures for README.md come into runs/notebooks/figures.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from nbstripout import strip_output

from idf.commands.kernels import environment
from idf.config import ROOT

NOTEBOOKS = ROOT / "notebooks"
FOLDERS = ("/work", "/tmp", "/root", "/home", "/Users", str(ROOT), tempfile.gettempdir())
MACHINE_PATH = re.compile(f"(?:{'|'.join(map(re.escape, FOLDERS))})/[\\w./-]+")
MEMORY_ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")
# metadata that differs from one execution to the next; .pre-commit-config.yaml names the same
STRIPPED = (
    "metadata.widgets",
    "metadata.papermill",
    "cell.metadata.papermill",
    "cell.metadata.execution",
)


def main() -> int:
    paths = [
        *sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")),
        *sorted((NOTEBOOKS / "solutions").glob("*.ipynb")),
    ]
    figures = ROOT / "runs" / "notebooks" / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    executed = {}
    with environment(IDF_PRESET="demo", IDF_OUT=str(figures)):
        for path in paths:
            try:
                executed[path] = execute(path)
            except CellExecutionError as error:
                print(f"{path.relative_to(ROOT)} ends in an error, {error}", file=sys.stderr)
                return 1

    found = []
    for path, notebook in executed.items():
        found += [f"{path.relative_to(ROOT)}, {fault}" for fault in faults(notebook)]
    if found:
        print(*found, "Nothing was written back.", sep="\n", file=sys.stderr)
        return 1
    for path, notebook in executed.items():
        nbformat.write(notebook, path)
    return 0


def execute(path: Path) -> NotebookNode:
    """The notebook with new outputs, without what differs from one execution to the next."""
    print(path.relative_to(ROOT), flush=True)
    notebook = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    drop_progress(notebook)
    return strip_output(
        notebook, keep_output=True, keep_count=True, keep_id=True, extra_keys=list(STRIPPED)
    )


def drop_progress(notebook: NotebookNode) -> None:
    """Progress bars are for who waits, not for who reads."""
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        join_printed(cell)
        for output in cell.outputs:
            if output.get("name") == "stdout":
                lines = output.text.splitlines(keepends=True)
                lines = [line.rsplit("\r", 1)[-1] for line in lines]
                output.text = "".join(line for line in lines if not re.search(r"\d%\|", line))
        cell.outputs = [o for o in cell.outputs if o.get("name") != "stdout" or o.text.strip()]


def join_printed(cell: NotebookNode) -> None:
    """What was printed in a row becomes one output: a kernel may send a line and its end apart."""
    outputs: list[NotebookNode] = []
    for output in cell.outputs:
        if outputs and output.get("name") == outputs[-1].get("name") == "stdout":
            outputs[-1].text += output.text
        else:
            outputs.append(output)
    cell.outputs = outputs


def faults(notebook: NotebookNode) -> Iterator[str]:
    """A sentence for each reason why these outputs may not be committed."""
    for cell in notebook.cells:
        where = f"cell [{cell.get('execution_count', 'text')}]"
        if path := MACHINE_PATH.search(cell.source):
            yield f"{where} holds a path of this machine, {path[0]}: make it relative."
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"{where} ends in an error, {output.ename}: {output.evalue}."
            if output.get("name") == "stderr":
                yield f"{where} writes to stderr: {output.text.strip()}"
            if path := MACHINE_PATH.search(text_of(output)):
                yield f"{where} prints a path of this machine, {path[0]}: make it relative."
            if MEMORY_ADDRESS.search(text_of(output)):
                yield f"{where} shows an object, not a result: give its last line a name."


def text_of(output: NotebookNode) -> str:
    """What a reader sees of an output as text.

    Pictures and films are left out: their base64 may spell anything.
    """
    texts = [output.get("text", "")]
    for kind, content in output.get("data", {}).items():
        if not kind.startswith("image/"):
            texts.append(str(content))
    return re.sub(r"base64,[\w+/=]+", "", "".join(texts))


if __name__ == "__main__":
    sys.exit(main())
