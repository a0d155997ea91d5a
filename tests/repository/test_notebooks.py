"""The committed notebooks: as they lie there, under nbval, and as `idf run` executes them."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from idf.commands import main
from idf.commands.parameters import find_notebooks
from idf.config import ROOT, UserError
from idf.data.drawn.attributes import ATTRIBUTES
from idf.data.drawn.film import talking_face
from idf.data.movies import write_film
from tests.repository.test_solutions import WITH_EXERCISES, with_answers
from tools.run_notebooks import faults

NOTEBOOKS = find_notebooks()
LONGEST, WIDEST = 20, 100  # lines of a cell, columns of a line

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(path, kind=None):
    return [
        cell for cell in nbformat.read(path, as_version=4).cells if kind in (None, cell.cell_type)
    ]


def outputs(path):
    return [output for cell in cells(path, "code") for output in cell.outputs]


def parameters(path):
    return papermill.inspect_notebook(str(path))


def test_the_notebooks_of_both_scenarios_are_there():
    wanted = [
        "00_faces",
        "01_surrogate",
        "02_poison_generator",
        "03_attribute_defence",
        "05_face_masks",
        "06_face2face_poisoning",
        "07_reenactment_defence",
        "08_ablations_and_joint",
    ]
    assert [path.stem for path in NOTEBOOKS if path.stem in wanted] == wanted


@each_notebook
def test_starts_with_a_title_and_standard_parameters(path):
    first = nbformat.read(path, as_version=4).cells[0]
    assert first.cell_type == "markdown" and first.source.startswith("# ")
    known = parameters(path)
    assert {"preset", "seed"} <= set(known) and len({"data_root", "video"} & set(known)) == 1
    assert known["preset"]["default"].endswith('"demo")') and known["seed"]["default"] == "0"
    assert all(
        known[name]["default"] == '""'
        for name in ("data_root", "video", "landmarks")
        if name in known
    )
    assert nbformat.read(path, as_version=4).metadata.kernelspec.name == "python3"


@each_notebook
def test_is_committed_with_outputs_in_order_and_without_fault(path):
    counts = [cell.execution_count for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))
    assert list(faults(nbformat.read(path, as_version=4))) == []


@each_notebook
def test_cells_are_short(path):
    for cell in cells(path, "code"):
        lines = cell.source.splitlines()
        assert len(lines) <= LONGEST, f"{cell.id} has {len(lines)} lines: split it"
        assert max(map(len, lines)) <= WIDEST, f"{cell.id} has a line of more than {WIDEST} columns"


def shows_picture(cell):
    kinds = [kind for output in cell.get("outputs", []) for kind in output.get("data", {})]
    return any(kind.startswith("image/") for kind in kinds)


@each_notebook
def test_every_figure_is_followed_by_a_paragraph_that_reads_it(path):
    unread, shown = "", 0
    for cell in cells(path):
        if cell.cell_type == "markdown":
            unread = ""
        elif shows_picture(cell):
            shown += 1
            assert not unread, f"no text reads the figure of {unread}"
            unread = cell.id
    assert shown and not unread, f"no text reads the figure of {unread}"


@each_notebook
def test_is_clean_for_a_stranger(path):
    notebook = nbformat.read(path, as_version=4)
    assert not {"papermill", "widgets"} & set(notebook.metadata)
    for cell in notebook.cells:
        assert "papermill" not in cell.metadata
        assert "injected-parameters" not in cell.metadata.get("tags", [])


WRONG = [
    ("preset", 3),
    ("preset", ["demo"]),
    ("seed", -1),
    ("seed", "one"),
    ("seed", 2**31),
    ("data_root", 5),
    ("video", 5),
    ("video", ["a.mp4"]),
    ("landmarks", 5),
    ("skip_bad", "no"),
    ("overrides", [1, 2]),
    ("overrides", 3),
    ("overrides", {"epz": 1}),
    ("overrides", {"eps": "much"}),
    ("overrides", {"start": -1}),
]


def first_cells(path):
    """The code of a notebook up to the cell that loads its settings; empty where none does."""
    code = []
    for cell in cells(path, "code"):
        code.append(TransformerManager().transform_cell(cell.source))
        if "overrides)" in cell.source:
            return code
    return []


INJECTED = [
    pytest.param(path, name, value, id=f"{path.stem}-{name}={value}")
    for path in filter(first_cells, NOTEBOOKS)
    for name, value in WRONG
    if name in parameters(path)
]


@pytest.mark.parametrize("path, name, value", INJECTED)
def test_a_wrong_parameter_is_one_sentence(path, name, value):
    """As papermill injects it, behind the cell of parameters."""
    parameter_cell, *others = first_cells(path)
    values = {}
    exec(parameter_cell, values)
    values[name] = value
    with pytest.raises(UserError) as error:
        for code in others:
            exec(code, values)
    said = str(error.value)
    assert "\n" not in said and said[-1] in ".?" and len(said) < 1500


def test_every_cell_runs_and_checked_outputs_agree(tmp_path):
    """nbval in lax mode: all cells must run, and print what is committed where nbval-check-output.

    Below the notebooks' own cells, each exercise is tried with its solutions, and with wrong
    answers.
    """
    assert NOTEBOOKS
    run = [with_answers(path, tmp_path) if path in WITH_EXERCISES else path for path in NOTEBOOKS]
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.conftest",
            "--nbval-lax",
            "--nbval-current-env",
            "--nbval-cell-timeout=300",
            "-p",
            "no:cacheprovider",
            *map(str, run),
        ],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    assert f"{sum(len(cells(path, 'code')) for path in run)} passed" in result.stdout


@pytest.fixture(scope="session")
def celeba(tmp_path_factory):
    """A CelebA folder: the one IDF_CELEBA names, else a generated stand-in in the same layout."""
    if os.environ.get("IDF_CELEBA"):
        return Path(os.environ["IDF_CELEBA"])
    from tests.standin import write_stand_in

    folder = tmp_path_factory.mktemp("celeba")
    write_stand_in(folder)
    return folder


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A video of one speaking face: the one IDF_VIDEO names, else a drawn one."""
    if os.environ.get("IDF_VIDEO"):
        return Path(os.environ["IDF_VIDEO"])
    frames = talking_face(0, range(80), 256).images.permute(0, 2, 3, 1).numpy()
    return write_film(tmp_path_factory.mktemp("film") / "film.mp4", frames, 25.0)


def test_scenario_1_runs_for_one_domain(tmp_path, monkeypatch):
    """The fewest that a configuration takes; with the most, the notebooks are gathered below."""
    own = [path for path in NOTEBOOKS if {"data_root", "overrides"} <= set(parameters(path))]
    monkeypatch.setattr("idf.commands.run.find_notebooks", lambda: own)
    words = ["run", "--preset", "smoke", "--set", "domains=Smiling", "--out", str(tmp_path)]
    assert main(words) == 0


SOURCES = {"--data": ("celeba", "data_root"), "--video": ("film", "video")}


@pytest.mark.parametrize("option", ["", *SOURCES])
def test_idf_run_gathers_the_notebooks(option, tmp_path, request):
    """Given data, those that take such data run on it; without, all run, with ten domains."""
    wanted, given = NOTEBOOKS, ["--set", f"domains={','.join(ATTRIBUTES[:10])}"]
    if option:
        fixture, parameter = SOURCES[option]
        wanted = [path for path in NOTEBOOKS if parameter in parameters(path)]
        given = [option, str(request.getfixturevalue(fixture))]
    result = subprocess.run(
        [sys.executable, "-m", "idf", "run", "--preset", "smoke", "--out", str(tmp_path), *given],
        cwd=ROOT,
        text=True,
        capture_output=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    page = (tmp_path / "index.html").read_text()
    assert wanted and page.count("<td>done</td>") == len(wanted)
    assert ("<dd>CelebA, " in page) == (option == "--data")
    assert ("the video " in page) == (option == "--video")
    for path in wanted:
        assert f'href="{path.stem}.html"' in page and f'href="{path.name}"' in page
        assert (tmp_path / f"{path.stem}.html").stat().st_size > 10_000
        executed = tmp_path / path.name
        assert not [output.evalue for output in outputs(executed) if output.output_type == "error"]
        assert all(cell.execution_count for cell in cells(executed, "code"))
    assert list((tmp_path / "figures").glob("*.png")) and "<figcaption>" in page
