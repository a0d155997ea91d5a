"""pyproject.toml, environment.yml, the Makefile and the workflow say the same, and name all that the code imports."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VIDEO = PROJECT["optional-dependencies"]["video"]
NEEDED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}


def ranges(requirements):
    return {
        requirement.name: requirement.specifier for requirement in map(Requirement, requirements)
    }


def test_conda_and_pip_name_the_same_ranges():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    named = ranges(entry for entry in conda if isinstance(entry, str) and entry != "pip")
    wanted = {CONDA_NAMES.get(name, name): specifier for name, specifier in ranges(NEEDED).items()}
    assert named == {
        "python": Requirement(f"python{PROJECT['requires-python']}").specifier,
        **wanted,
    }
    (by_pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert by_pip[-1] == "-e ." and ranges(by_pip[:-1]) == ranges(VIDEO), (
        "conda has no wheel of these"
    )


@pytest.mark.parametrize("name, specifier", ranges(PROJECT["dependencies"]).items())
def test_dependency_is_a_range_that_holds_what_is_installed(name, specifier):
    assert {part.operator for part in specifier} == {">=", "<"}
    assert specifier.contains(version(name).split("+")[0], prereleases=True)


def test_torch_and_torchvision_are_a_pair():
    import torch
    from torchvision.ops import nms

    assert nms(
        torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([0.9, 0.8]), 0.5
    ).tolist() == [0]


def imported(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


def sources(path):
    if path.suffix == ".py":
        return path.read_text()
    cells = nbformat.read(path, as_version=4).cells
    return "\n".join(
        re.sub(r"(?m)^\s*[%!].*$", "", cell.source) for cell in cells if cell.cell_type == "code"
    )


@pytest.mark.parametrize(
    "folder, requirements",
    [
        ("idf/*.py", PROJECT["dependencies"] + VIDEO),
        ("tests/*.py", NEEDED),
        ("notebooks/*.ipynb", PROJECT["dependencies"]),
    ],
)
def test_every_import_is_a_declared_dependency(folder, requirements):
    files = list(ROOT.glob(folder))
    assert files, f"nothing matches {folder}"
    names = {name for path in files for name in imported(sources(path))}
    outside = (
        names
        - set(sys.stdlib_module_names)
        - {"idf", "tests"}
        - {path.stem for path in ROOT.glob("tests/*.py")}
    )
    distributions = {
        "dlib": ["dlib-bin"],
        **packages_distributions(),
    }  # its metadata names the compiled part alone
    declared = {name.lower() for name in ranges(requirements)}
    undeclared = {
        name for name in outside if not {d.lower() for d in distributions.get(name, [])} & declared
    }
    assert outside and not undeclared


def test_workflow_runs_every_supported_python():
    job = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())["jobs"]["test"]
    supported = Requirement(f"python{PROJECT['requires-python']}").specifier
    assert job["strategy"]["matrix"]["python"] == [
        f"3.{n}" for n in range(8, 20) if supported.contains(f"3.{n}")
    ]
    assert job["steps"][-1]["run"] == "make test PYTHON=python"


def make(*arguments, cwd=ROOT):
    # Without MAKEFLAGS: these tests run under `make test` themselves.
    plain = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    return subprocess.run(["make", *arguments], cwd=cwd, env=plain, text=True, capture_output=True)


def test_make_help_lists_every_command():
    for target in ("run", "test", "lab", "explore", "weights", "bench", "notebooks", "clean"):
        assert f"make {target} " in make("help").stdout


def test_make_run_passes_its_options_on():
    shown = make("-n", "run", "DATA=my faces", "PRESET=smoke", "SEED=3").stdout
    assert 'run --preset "smoke" --seed "3" --data "my faces"' in shown
    assert "--data" not in make("-n", "run").stdout


def test_make_names_the_python_it_wants(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    result = make("run", "PYTHON=no-such-python", cwd=tmp_path)
    assert result.returncode != 0
    assert result.stderr.startswith(
        "no-such-python is not Python 3.11, 3.12 or 3.13 with venv: install one"
    )
