"""The public address is one setting: where it is written, what changes with it, and that the Colab cell does its work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from idf.config import ROOT, UserError
from idf.links import MARKS, block, colab_cell, repository, write_links

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[0-9]_*.ipynb"))


def files(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def project(tmp_path):
    """A copy of the files that the command reads and writes, and of some that it must leave alone."""
    shutil.copytree(
        ROOT / "notebooks",
        tmp_path / "notebooks",
        ignore=shutil.ignore_patterns(".ipynb_checkpoints"),
    )
    for name in ("README.md", "pyproject.toml", "environment.yml", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_readme_and_notebooks_agree_with_the_setting(project):
    before = files(project)
    write_links(project)
    assert files(project) == before, "run `idf links`"


def test_another_setting_changes_every_address_and_nothing_else(project):
    settings = project / "pyproject.toml"
    old = "/".join(repository(settings))
    settings.write_text(settings.read_text().replace(old, "ada/faces.2"))
    before = files(project)
    write_links(project)
    changed = {name for name, content in files(project).items() if content != before[name]}
    assert changed == {Path("README.md"), *(Path("notebooks") / path.name for path in NOTEBOOKS)}
    owner, name = old.split("/")
    for path in changed:
        now = (project / path).read_text()
        assert old not in now and "ada/faces.2" in now
        assert now.replace("ada/faces.2", old).replace("faces.2", name) == before[path].decode()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_fetches_the_project_on_colab_before_it_imports_it(path):
    cells = nbformat.read(path, as_version=4).cells
    cell = next(cell for cell in cells if cell.id == "colab")
    place = cells.index(cell)
    assert (
        cell.metadata.tags == ["colab"] and not cell.outputs and len(cell.source.splitlines()) <= 5
    )
    assert cell.source == colab_cell(*repository(ROOT / "pyproject.toml"))
    assert "parameters" in cells[place - 1].metadata.tags and cells[place - 1].source.startswith(
        "import os\n"
    )
    assert not any("idf" in cell.source for cell in cells[:place] if cell.cell_type == "code")


def test_block_has_badges_and_a_link_for_each_notebook():
    text = block("ada", "faces", ["00_faces", "01_surrogate"])
    links = re.findall(r"\]\((\S+?)\)", text)
    assert (ROOT / ".github/workflows/test.yml").exists() and (ROOT / "LICENSE").exists()
    assert "https://github.com/ada/faces/actions/workflows/test.yml" in links and "LICENSE" in links
    assert (
        "https://colab.research.google.com/github/ada/faces/blob/main/notebooks/01_surrogate.ipynb"
        in links
    )
    assert "https://mybinder.org/v2/gh/ada/faces/main?labpath=notebooks%2F00_faces.ipynb" in links
    assert (
        "https://mybinder.org/v2/gh/ada/faces/main?urlpath=voila%2Frender%2Fnotebooks%2F10_explore.ipynb"
        in links
    )


@pytest.mark.parametrize(
    "address",
    [
        "https://github.com/ada/faces",
        "https://github.com/ada/faces/",
        "https://github.com/ada/faces.git",
    ],
)
def test_address_of_a_repository(tmp_path, address):
    settings = tmp_path / "pyproject.toml"
    settings.write_text(f'[project.urls]\nRepository = "{address}"\n')
    assert repository(settings) == ("ada", "faces")


@pytest.mark.parametrize(
    "text, words",
    [
        (
            '[project.urls]\nRepository = "https://gitlab.com/ada/faces"',
            "'https://gitlab.com/ada/faces'",
        ),
        ('[project.urls]\nRepository = "https://github.com/ada"', "'https://github.com/ada'"),
        ('[project.urls]\nRepository = "https://github.com/ada/faces?x=1"', "faces"),
        ('[project.urls]\nRepository = "ada/faces"', "'ada/faces'"),
        ("[project.urls]\nRepository = 3", "is 3:"),
        ('[project]\nname = "idf"', "'missing'"),
        ("[tool]", "cannot be read"),
        ("[project", "cannot be read"),
        (None, "read"),
    ],
)
def test_setting_that_is_no_address_is_one_sentence_and_changes_nothing(project, text, words):
    settings = project / "pyproject.toml"
    settings.write_text(text) if text else settings.unlink()
    before = files(project)
    with pytest.raises(UserError) as error:
        write_links(project)
    assert (
        words in str(error.value)
        and "pyproject.toml" in str(error.value)
        and "\n" not in str(error.value)
    )
    assert files(project) == before


def test_readme_without_the_marks_changes_nothing(project):
    (project / "README.md").write_text("nothing")
    before = files(project)
    with pytest.raises(UserError, match=re.escape(MARKS[0])):
        write_links(project)
    assert files(project) == before


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """execute(place, *codes): what cells print, run in an empty folder on Colab or elsewhere; `pip` only takes notes."""
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/pip.txt"\n')
    pip.chmod(0o755)
    (tmp_path / "empty").mkdir()
    launch = "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
    for place, before in (
        ("colab", "import sys; sys.modules['google.colab'] = sys; "),
        ("elsewhere", ""),
    ):
        folder = tmp_path / "kernels" / place
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(
            json.dumps(
                {
                    "argv": [
                        sys.executable,
                        "-c",
                        before + launch,
                        "-f",
                        "{connection_file}",
                        "--log-level=CRITICAL",
                    ],
                    "display_name": place,
                    "language": "python",
                    "env": {"PATH": f"{pip.parent}{os.pathsep}{os.environ['PATH']}"},
                }
            )
        )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def run(place, *codes):
        notebook = new_notebook(cells=[new_code_cell(code) for code in codes])
        NotebookClient(
            notebook, kernel_name=place, resources={"metadata": {"path": str(tmp_path / "empty")}}
        ).execute()
        return [
            "".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells
        ]

    return run


def test_colab_cell_fetches_the_project_once_on_colab(execute, tmp_path):
    remote = tmp_path / "ada" / "faces"
    (remote / "idf").mkdir(parents=True)
    (remote / "notebooks").mkdir()
    (remote / "idf" / "__init__.py").touch()
    (remote / "notebooks" / "00_faces.ipynb").touch()
    git = ["git", "-C", str(remote), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)
    cell = colab_cell("ada", "faces").replace("https://github.com", f"file://{tmp_path}")
    first, second, places = execute(
        "colab", f"import os\n{cell}", cell, "import idf; print(idf.__file__, os.getcwd())"
    )
    assert first == second == "", "the second time nothing is left to do"
    clone = tmp_path / "empty" / "faces"
    assert places.split() == [str(clone / "idf" / "__init__.py"), str(clone / "notebooks")]
    assert (tmp_path / "pip.txt").read_text() == "install -q --no-deps av lpips -e faces\n"


def test_colab_cell_does_nothing_elsewhere(execute, tmp_path):
    said, place = execute(
        "elsewhere", "import os\n" + colab_cell("ada", "faces"), "print(os.getcwd())"
    )
    assert said == "" and place.strip() == str(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir()) and not (tmp_path / "pip.txt").exists()
