"""The solutions: every exercise has one, in words and code, and answers that are wrong.

A solution's cell names its exercise in metadata.exercise; metadata.wrong lists wrong answers, as
code. That the check accepts the ones and refuses the others is tested where every notebook is run
once, in test_notebooks.py.
"""

import re
from textwrap import indent

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from idf.commands.kernels import environment
from idf.commands.parameters import NOTEBOOKS, find_notebooks
from tools.run_notebooks import faults

WITH_EXERCISES = [path for path in find_notebooks() if '"exercise-1"' in path.read_text()]
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
    """A copy of the notebook with more cells.

    Each exercise is tried with its solutions, which must pass, and with wrong answers.
    """
    notebook = read(path)
    asked = exercises(notebook)
    for cell in solutions(path):
        check = asked[cell.metadata.exercise].source
        opening = OPEN.search(check)
        before, after = check[: opening.start()], check[opening.end() :]
        notebook.cells.append(new_code_cell(before + cell.source + after))
        for wrong in cell.metadata.get("wrong", []):
            tried = f"{before}{opening[1]} = {wrong}{after}"
            refused = REFUSED.format(check=indent(tried, "    "))
            notebook.cells.append(new_code_cell(refused))
    nbformat.write(notebook, folder / path.name)
    return folder / path.name


@each_notebook
def test_each_exercise_is_asked_and_answered_in_words_and_code(path):
    notebook, solved = read(path), read(path.parent / "solutions" / path.name)
    asked = {cell.id: cell.source for cell in notebook.cells}
    answers = {cell.id: cell for cell in solved.cells}
    assert exercises(notebook)
    for name, cell in exercises(notebook).items():
        assert len(OPEN.findall(cell.source)) == 1 and "print(" in cell.source.splitlines()[-1]
        assert answers[f"{name}-text"].source == asked[f"{name}-text"]
        number = name.split("-")[1]
        in_words, in_code = answers[f"answer-{number}"], answers[f"solution-{number}"]
        assert in_words.cell_type == "markdown" and in_words.source
        assert in_code.metadata.exercise == name and in_code.metadata.wrong


@each_notebook
def test_solutions_are_clean(path):
    notebook = read(path.parent / "solutions" / path.name)
    nbformat.validate(notebook)
    assert notebook.cells[0].source.startswith("# ") and list(faults(notebook)) == []
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))
    assert not {"papermill", "widgets"} & set(notebook.metadata)


@each_notebook
def test_each_solution_stands_above_the_check_of_its_exercise_and_what_it_printed(path):
    notebook, asked = read(path.parent / "solutions" / path.name), exercises(read(path))
    cells = {cell.id: cell for cell in notebook.cells}
    assert "parameters" in cells["parameters"].metadata.tags
    assert f"%run ../{path.name}" in cells["run"].source
    for cell in solutions(path):
        check = cells[cell.id.replace("solution", "check")]
        without_opening = OPEN.sub("", asked[cell.metadata.exercise].source, count=1)
        assert check.source == without_opening.lstrip("\n")
        assert "".join(output.text for output in check.outputs).startswith("right")


def test_a_solutions_notebook_runs_by_itself():
    path = NOTEBOOKS / "solutions" / "00_faces.ipynb"
    notebook = read(path)
    resources = {"metadata": {"path": str(path.parent)}}
    with environment():
        NotebookClient(notebook, kernel_name="python3", resources=resources).execute()
    printed = []
    for cell in notebook.cells:
        if cell.id.startswith("check"):
            printed += [output.text for output in cell.outputs]
    assert printed == ["right\n"] * len(solutions(NOTEBOOKS / path.name))
