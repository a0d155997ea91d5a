"""The repository's address: the same everywhere, so that one `sed` changes it; and Colab's cell."""

import json
import os
import re
import subprocess
import sys
import tomllib

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from idf.config import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("0[0-9]_*.ipynb"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDRESS = PROJECT["urls"]["Repository"]
NAME = ADDRESS.removeprefix("https://github.com/")  # "owner/name"
OWNER = NAME.partition("/")[0]
COLAB = re.compile(r'if "google\.colab" in sys\.modules.*\n(?:    .*\n?)+')


def code_of(path):
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(cell.source for cell in cells if cell.cell_type == "code")


def colab_lines(path):
    return COLAB.search(code_of(path))[0]


def test_every_address_of_the_repository_is_the_one_of_pyproject():
    assert re.fullmatch(r"[\w-]+/[\w.-]+", NAME)
    hosts = (
        r"(?:github\.com|colab\.research\.google\.com/github|mybinder\.org/v2/gh)/([\w-]+/[\w.-]+)"
    )
    for path in [ROOT / "README.md", *NOTEBOOKS]:
        named = [name for name in re.findall(hosts, path.read_text()) if name.startswith(OWNER)]
        assert named and set(named) == {NAME}, path


def test_contributing_says_how_to_change_it():
    assert f"sed -i 's#{NAME}#" in (ROOT / "CONTRIBUTING.md").read_text()


def test_readme_has_badges_and_a_link_for_each_notebook():
    text = (ROOT / "README.md").read_text()
    colab = f"https://colab.research.google.com/github/{NAME}/blob/main/notebooks"
    for path in NOTEBOOKS:
        assert f"[{path.stem}]({colab}/{path.name})" in text
    assert f"{ADDRESS}/actions/workflows/test.yml" in text
    assert (ROOT / ".github/workflows/test.yml").exists()
    assert f"https://mybinder.org/v2/gh/{NAME}/main?labpath=notebooks%2F00_faces.ipynb" in text
    explorer = "urlpath=voila%2Frender%2Fnotebooks%2F10_explore.ipynb"
    assert f"https://mybinder.org/v2/gh/{NAME}/main?{explorer}" in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_notebook_fetches_the_project_on_colab_before_it_imports_it(path):
    assert colab_lines(path) == colab_lines(NOTEBOOKS[0])
    before, _ = code_of(path).split(colab_lines(path))
    assert not re.search(r"^(?:import|from) idf\b", before, re.M)
    assert {"import os", "import sys"} <= set(before.splitlines())


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """execute(machine, *codes): what cells print, run in an empty folder on Colab or elsewhere.

    `pip` only takes notes.
    """
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text(f'#!/bin/sh\necho "$@" >> "{tmp_path}/pip.txt"\n')
    pip.chmod(0o755)
    (tmp_path / "empty").mkdir()
    launch = "from ipykernel import kernelapp; kernelapp.launch_new_instance()"
    pretend = "import sys; sys.modules['google.colab'] = sys; "
    for machine, code in {"colab": pretend + launch, "elsewhere": launch}.items():
        folder = tmp_path / "kernels" / machine
        folder.mkdir(parents=True)
        spec = {
            "argv": [
                sys.executable,
                "-c",
                code,
                "-f",
                "{connection_file}",
                "--log-level=CRITICAL",
            ],
            "display_name": machine,
            "language": "python",
            "env": {"PATH": f"{pip.parent}{os.pathsep}{os.environ['PATH']}"},
        }
        (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))

    def run(machine, *codes):
        notebook = new_notebook(cells=[new_code_cell(code) for code in codes])
        resources = {"metadata": {"path": str(tmp_path / "empty")}}
        NotebookClient(notebook, kernel_name=machine, resources=resources).execute()
        printed = []
        for cell in notebook.cells:
            printed.append("".join(output.get("text", "") for output in cell.outputs))
        return printed

    return run


def test_colab_lines_fetch_the_project_once_on_colab(execute, tmp_path):
    """Under another address, put in as CONTRIBUTING.md has it."""
    remote = tmp_path / "ada" / "faces"
    (remote / "idf").mkdir(parents=True)
    (remote / "notebooks").mkdir()
    (remote / "idf" / "__init__.py").touch()
    (remote / "notebooks" / "00_faces.ipynb").touch()
    git = ["git", "-C", str(remote), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True)

    cell = "import os, sys\n" + colab_lines(NOTEBOOKS[0]).replace(NAME, "ada/faces")
    cell = cell.replace("https://github.com", f"file://{tmp_path}")
    where = "import idf; print(idf.__file__, os.getcwd())"
    first, second, printed = execute("colab", cell, cell, where)
    assert first == second == "", "the second time nothing is left to do"
    (clone,) = (tmp_path / "empty").iterdir()
    assert printed.split() == [str(clone / "idf" / "__init__.py"), str(clone / "notebooks")]
    installed = (tmp_path / "pip.txt").read_text()
    assert installed == f"install -q --no-deps av lpips -e {clone.name}\n"


def test_colab_lines_do_nothing_elsewhere(execute, tmp_path):
    cell = "import os, sys\n" + colab_lines(NOTEBOOKS[0])
    said, folder = execute("elsewhere", cell, "print(os.getcwd())")
    assert said == "" and folder.strip() == str(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir()) and not (tmp_path / "pip.txt").exists()
