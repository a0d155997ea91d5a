"""What a notebook must be before it is committed: `idf run --update` and the tests ask here."""

import re
import tempfile
from collections.abc import Iterator

from nbformat import NotebookNode

from idf.config import ROOT

LONGEST = 25  # lines of a code cell
FOLDERS = ("/work", "/tmp", "/root", "/home", "/Users", str(ROOT), tempfile.gettempdir())
MACHINE_PATH = re.compile(f"(?:{'|'.join(map(re.escape, FOLDERS))})/[\\w./-]+")


def drop_progress(notebook: NotebookNode) -> None:
    """Progress bars are for who waits, not for who reads: a committed notebook keeps none."""
    for cell in notebook.cells:
        outputs = []
        for output in cell.get("outputs", []):  # a kernel may send a line and its end apart
            if outputs and output.get("name") == outputs[-1].get("name") == "stdout":
                outputs[-1].text += output.text
            else:
                outputs.append(output)
        for output in outputs:
            if output.get("name") == "stdout":
                lines = (line.rsplit("\r", 1)[-1] for line in output.text.splitlines(keepends=True))
                output.text = "".join(line for line in lines if not re.search(r"\d%\|", line))
        if "outputs" in cell:
            cell.outputs = [o for o in outputs if o.get("name") != "stdout" or o.text.strip()]


def findings(notebook: NotebookNode) -> list[str]:
    """One sentence for each fault of an executed notebook (which cell, what, remedy); none if it may be committed."""
    figure = "shows a figure that no text reads: put a paragraph after it."
    return [
        *(f"{place(cell)} {fault}" for cell in notebook.cells for fault in faults(cell)),
        *(f"{place(cell)} {figure}" for cell in unread(notebook)),
    ]


def place(cell: NotebookNode) -> str:
    if cell.cell_type == "code":
        return f"cell [{cell.execution_count}]"
    return f"the text that begins with {cell.source[:40]!r}"


def faults(cell: NotebookNode) -> Iterator[str]:
    """What is wrong with a cell by itself."""
    lines = len(cell.source.splitlines())
    if cell.cell_type == "code" and lines > LONGEST:
        yield f"has {lines} lines, more than {LONGEST}: split it."
    if path := MACHINE_PATH.search(cell.source):
        yield f"holds a path of this machine, {path[0]}: name it relative to the project."
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            yield f"ends in an error, {output.ename} ({first_line(output.evalue)}): mend it."
        if output.get("name") == "stderr":
            yield f"writes to stderr ({first_line(output.text)}): mend what it warns of."
        if path := MACHINE_PATH.search(text_of(output)):
            yield f"prints a path of this machine, {path[0]}: print it relative to the project."


def unread(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells whose figure no text follows before the next figure or the end."""
    waiting, found = None, []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            waiting = None
        elif shows_picture(cell):
            found += [waiting] * bool(waiting)
            waiting = cell
    return found + [waiting] * bool(waiting)


def shows_picture(cell: NotebookNode) -> bool:
    return any(
        kind.startswith("image/")
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    )


def text_of(output: NotebookNode) -> str:
    """What a reader sees of an output as text; left out are pictures and films, whose base64 may spell anything."""
    data = output.get("data", {})
    text = "".join(
        [
            output.get("text", ""),
            *(str(data[kind]) for kind in data if not kind.startswith("image/")),
        ]
    )
    return re.sub(r"base64,[\w+/=]+", "", text)


def first_line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")
