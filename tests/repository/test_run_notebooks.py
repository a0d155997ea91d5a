"""`make notebooks`: what is written back, and what is not."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from idf.config import ROOT
from tools import run_notebooks
from tools.run_notebooks import drop_progress, faults


def printed(text, name="stdout"):
    return new_output("stream", name=name, text=text)


def code(source="x = 1", *outputs):
    return new_code_cell(source, outputs=list(outputs), execution_count=3)


def shown(kind, content):
    return new_output("display_data", {kind: content})


def test_a_clean_notebook_has_no_fault():
    film = '<video src="data:video/mp4;base64,AAAA/tmp/x00/work/y==">'
    cells = [
        new_markdown_cell("As in data/weights and at https://x.org/home, a square."),
        code("x = 1", printed("a line\n")),
        code("plot()", shown("image/png", "aG9tZQ/tmp/x")),
        code("film()", shown("text/html", film)),
    ]
    assert list(faults(new_notebook(cells=cells))) == []


@pytest.mark.parametrize(
    "cell, fault",
    [
        (
            code("1 / 0", new_output("error", ename="ZeroDivisionError", evalue="by zero")),
            "cell [3] ends in an error, ZeroDivisionError: by zero.",
        ),
        (
            code("warn()", printed("UserWarning: old\n", "stderr")),
            "cell [3] writes to stderr: UserWarning: old",
        ),
        (
            code('open("/home/ada/faces.txt")'),
            "cell [3] holds a path of this machine, /home/ada/faces.txt: make it relative.",
        ),
        (
            new_markdown_cell("Look into /Users/ada/idf."),
            "cell [text] holds a path of this machine, /Users/ada/idf.: make it relative.",
        ),
        (
            code("print(ROOT)", printed(f"in {ROOT}/data\n")),
            f"cell [3] prints a path of this machine, {ROOT}/data: make it relative.",
        ),
        (
            code("path", shown("text/plain", "PosixPath('/tmp/x')")),
            "cell [3] prints a path of this machine, /tmp/x: make it relative.",
        ),
        (
            code("run", shown("text/plain", "Run(device=<Device object at 0x7fabbbf41290>)")),
            "cell [3] shows an object, not a result: give its last line a name.",
        ),
    ],
)
def test_each_fault_is_one_sentence(cell, fault):
    assert list(faults(new_notebook(cells=[cell]))) == [fault]


def test_no_progress_bar_stays_and_a_line_whose_end_came_apart_is_whole():
    cells = [
        new_code_cell("", outputs=[printed("equal: True"), printed("\n")]),
        new_code_cell("", outputs=[printed("  5%|  | 1/20"), printed("\r 10%|  | 2/20\n")]),
    ]
    notebook = new_notebook(cells=cells)
    drop_progress(notebook)
    assert [[o.text for o in cell.outputs] for cell in notebook.cells] == [["equal: True\n"], []]


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """A function that writes notebooks, a list of codes each, and executes them in place.

    It gives the status, and the files before and after.
    """
    monkeypatch.setattr(run_notebooks, "ROOT", tmp_path)
    monkeypatch.setattr(run_notebooks, "NOTEBOOKS", tmp_path / "notebooks")
    (tmp_path / "notebooks" / "solutions").mkdir(parents=True)

    def write_and_execute(**codes):
        for name, sources in codes.items():
            cells = [new_markdown_cell("# Step"), *map(new_code_cell, sources)]
            folder = tmp_path / "notebooks" / ("" if name[1:].isdigit() else "solutions")
            nbformat.write(new_notebook(cells=cells), folder / f"0{name[-1]}_step.ipynb")
        files = sorted((tmp_path / "notebooks").rglob("*.ipynb"))
        before = [file.read_text() for file in files]
        status = run_notebooks.main()
        return status, before, [file.read_text() for file in files]

    return write_and_execute


def test_outputs_are_kept_without_widgets_and_times(execute, tmp_path):
    slider = "import ipywidgets\nipywidgets.IntSlider()"
    where = "import os; print(os.environ['IDF_PRESET'], 6 * 7)"
    bar = "from tqdm import tqdm\nfor _ in tqdm(range(3), file=__import__('sys').stdout): pass"
    status, before, after = execute(n0=[where, slider], solution0=["print(6 * 9)", bar])
    assert status == 0 and "demo 42" in after[0] and "54" in after[1]
    assert "it/s" not in after[1]
    for text in after:
        notebook = nbformat.reads(text, as_version=4)
        assert not {"widgets", "papermill"} & set(notebook.metadata)
        assert not any("execution" in cell.metadata for cell in notebook.cells)
        assert notebook.cells[1].execution_count == 1
    assert (tmp_path / "runs" / "notebooks" / "figures").is_dir()


def test_one_fault_and_nothing_is_written(execute, capsys):
    status, before, after = execute(n0=["print(6 * 7)"], n1=["import os; print(os.getcwd())"])
    assert status == 1 and after == before
    said = capsys.readouterr().err
    assert "notebooks/01_step.ipynb, cell [1] prints a path of this machine" in said
    assert said.rstrip().endswith("Nothing was written back.")


def test_a_notebook_that_fails_and_nothing_is_written(execute, capsys):
    status, before, after = execute(n0=["print(6 * 7)"], n1=["1 / 0"])
    assert status == 1 and after == before
    assert "notebooks/01_step.ipynb ends in an error" in capsys.readouterr().err
