"""What may not be committed: each fault by itself, and what `idf run --update` does about it."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from idf import cli, report
from idf.committing import findings
from idf.config import ROOT

PARAMETERS = 'preset = "demo"\ndata_root = ""\nseed = 0'
FIGURE = "from PIL import Image\ndisplay(Image.new('RGB', (4, 4)))"


def picture():
    return new_output("display_data", {"image/png": "aG9tZQ/tmp/x"})


def said(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def code(source="x = 1", *outputs):
    return new_code_cell(source, outputs=list(outputs), execution_count=3)


def of(*cells):
    return findings(new_notebook(cells=[new_markdown_cell("# Step"), *cells]))


def test_a_clean_notebook_has_no_finding():
    read = new_markdown_cell(
        "The figure shows, as in data/weights and at https://x.org/home, a square."
    )
    film = new_output(
        "display_data", {"text/html": '<video src="data:video/mp4;base64,AAAA/tmp/x00/work/y==">'}
    )
    assert (
        of(
            code("x = 1\n" * 25, said("a line\n")),
            code("plot()", picture(), picture()),
            read,
            code("film()", film),
        )
        == []
    )


@pytest.mark.parametrize(
    "cells, finding",
    [
        (
            [
                code(
                    "1 / 0",
                    new_output(
                        "error", ename="ZeroDivisionError", evalue="by zero\nand more", traceback=[]
                    ),
                )
            ],
            "cell [3] ends in an error, ZeroDivisionError (by zero): mend it.",
        ),
        (
            [code("warn()", said("\nUserWarning: old\n  warn()", "stderr"))],
            "cell [3] writes to stderr (UserWarning: old): mend what it warns of.",
        ),
        ([code("x = 1\n" * 26)], "cell [3] has 26 lines, more than 25: split it."),
        (
            [code("plot()", picture())],
            "cell [3] shows a figure that no text reads: put a paragraph after it.",
        ),
        (
            [
                code("plot()", picture()),
                code(),
                code("plot()", picture()),
                new_markdown_cell("Both."),
            ],
            "cell [3] shows a figure that no text reads: put a paragraph after it.",
        ),
        (
            [code('open("/home/ada/faces.txt")')],
            "cell [3] holds a path of this machine, /home/ada/faces.txt: name it relative to the project.",
        ),
        (
            [new_markdown_cell("Look into /Users/ada/idf.")],
            "the text that begins with 'Look into /Users/ada/idf.' holds a path of this machine, /Users/ada/idf.: "
            "name it relative to the project.",
        ),
        (
            [code("print(ROOT)", said(f"in {ROOT}/data\n"))],
            f"cell [3] prints a path of this machine, {ROOT}/data: print it relative to the project.",
        ),
        (
            [
                code(
                    "path",
                    new_output(
                        "execute_result", {"text/plain": "PosixPath('/tmp/x')"}, execution_count=3
                    ),
                )
            ],
            "cell [3] prints a path of this machine, /tmp/x: print it relative to the project.",
        ),
    ],
)
def test_each_fault_is_one_sentence(cells, finding):
    assert of(*cells) == [finding]


@pytest.fixture
def update(tmp_path, monkeypatch):
    """A function that writes notebooks, one list of cells each, and gives the status of `idf run --update`."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr(report, "NOTEBOOKS", folder)
    monkeypatch.chdir(tmp_path)

    def write_and_run(*notebooks):
        for index, cells in enumerate(notebooks):
            parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
            notebook = new_notebook(
                cells=[new_markdown_cell(f"# Step {index}"), parameters, *cells]
            )
            notebook.metadata["kernelspec"] = {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
            nbformat.write(notebook, folder / f"0{index}_step.ipynb")
        before = {path.name: path.read_bytes() for path in folder.iterdir()}
        status = cli.main(["run", "--preset", "smoke", "--update", "--out", "out"])
        return status, before, {path.name: path.read_bytes() for path in folder.iterdir()}

    return write_and_run


def test_update_refuses_what_may_not_be_committed_and_writes_nothing(update, tmp_path, capfd):
    status, before, after = update(
        [new_code_cell("print(40 + 2)")],
        [new_code_cell("import os; print(os.getcwd())"), new_code_cell(FIGURE)],
    )
    assert status == 2 and after == before
    # a kernel that is shut down on a busy machine may print a traceback of its own
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("idf: ")]
    assert lines[0].startswith(
        f"idf: 01_step.ipynb, cell [2] prints a path of this machine, {tmp_path}"
    )
    assert lines[1:] == [
        "idf: 01_step.ipynb, cell [3] shows a figure that no text reads: put a paragraph after it.",
        "idf: Nothing was written back: the executed notebooks are in out.",
    ]
    assert "42" in (tmp_path / "out" / "00_step.ipynb").read_text()


def test_update_writes_nothing_where_a_notebook_fails(update, tmp_path):
    status, before, after = update([new_code_cell("print(40 + 2)")], [new_code_cell("1 / 0")])
    assert status == 1 and after == before
    assert "ZeroDivisionError" in (tmp_path / "out" / "01_step.ipynb").read_text()


def test_update_takes_clean_notebooks(update):
    status, before, after = update([new_code_cell(FIGURE), new_markdown_cell("A black square.")])
    assert status == 0 and "image/png" in after["00_step.ipynb"].decode() and after != before
