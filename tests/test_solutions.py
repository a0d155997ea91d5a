"""The solutions: every exercise has one, in words and code, and answers that are wrong.

A solution's cell names its exercise in metadata.exercise; metadata.wrong lists wrong answers, as code. That the check
accepts the ones and refuses the others is tested where every notebook is run once, in test_notebooks.py.
"""

import re
from pathlib import Path
from textwrap import indent

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from idf import report
from idf.committing import findings

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
WITH_EXERCISES = [
    path for path in report.find_notebooks(NOTEBOOKS) if '"exercise-1"' in path.read_text()
]
OPEN = re.compile(r"^(\w+) = \.\.\.( +#.*)?$", re.M)

each_notebook = pytest.mark.parametrize("path", WITH_EXERCISES, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def solutions(path):
    return [
        cell
        for cell in read(path.parent / "solutions" / path.name).cells
        if "exercise" in cell.metadata
    ]


def exercises(notebook):
    return {cell.id: cell for cell in notebook.cells if re.fullmatch(r"exercise-\d", cell.id)}


REFUSED = """\
try:
{check}
except AssertionError as hint:
    assert str(hint), "refused without a hint"
else:
    raise RuntimeError("this wrong answer was accepted")"""


def with_answers(path, folder):
    """A copy of the notebook with more cells: each exercise with its solutions, which must pass, and with wrong answers."""
    notebook = read(path)
    asked = exercises(notebook)
    for cell in solutions(path):
        check = asked[cell.metadata.exercise].source
        name = OPEN.search(check)[1]
        wrong = [f"{name} = {code}" for code in cell.metadata.get("wrong", [])]
        right, *wrong = (
            OPEN.sub(lambda match: code, check, count=1) for code in [cell.source, *wrong]
        )
        tried = [right, *(REFUSED.format(check=indent(code, "    ")) for code in wrong)]
        notebook.cells += map(new_code_cell, tried)
    nbformat.write(notebook, folder / path.name)
    return folder / path.name


@each_notebook
def test_each_exercise_is_asked_and_answered_in_words_and_code(path):
    notebook, solved = (
        read(path),
        {cell.id: cell for cell in read(path.parent / "solutions" / path.name).cells},
    )
    asked = {cell.id: cell.source for cell in notebook.cells}
    assert exercises(notebook)
    for name, cell in exercises(notebook).items():
        number = name.split("-")[1]
        assert len(OPEN.findall(cell.source)) == 1 and "print(" in cell.source.splitlines()[-1]
        assert solved[f"{name}-text"].source == asked[f"{name}-text"]
        assert (
            solved[f"answer-{number}"].cell_type == "markdown" and solved[f"answer-{number}"].source
        )
        assert (
            solved[f"solution-{number}"].metadata.exercise == name
            and solved[f"solution-{number}"].metadata.wrong
        )


@each_notebook
def test_solutions_are_clean(path):
    notebook = read(path.parent / "solutions" / path.name)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ") and findings(notebook) == []
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)) and not {"papermill", "widgets"} & set(
        notebook.metadata
    )


@each_notebook
def test_each_solution_stands_above_the_check_of_its_exercise_and_what_it_printed(path):
    notebook, asked = read(path.parent / "solutions" / path.name), exercises(read(path))
    cells = {cell.id: cell for cell in notebook.cells}
    assert (
        "parameters" in cells["parameters"].metadata.tags
        and f"%run ../{path.name}" in cells["run"].source
    )
    for cell in solutions(path):
        check = cells[cell.id.replace("solution", "check")]
        assert check.source == OPEN.sub("", asked[cell.metadata.exercise].source, count=1).lstrip(
            "\n"
        )
        assert "".join(output.text for output in check.outputs).startswith("right")


def test_a_solutions_notebook_runs_by_itself():
    path = NOTEBOOKS / "solutions" / "00_faces.ipynb"
    notebook = read(path)
    with report.environment():
        NotebookClient(
            notebook, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
        ).execute()
    printed = [
        output.text
        for cell in notebook.cells
        if cell.id.startswith("check")
        for output in cell.outputs
    ]
    assert printed == ["right\n"] * len(solutions(NOTEBOOKS / path.name))
