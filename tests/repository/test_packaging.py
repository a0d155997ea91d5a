"""pyproject.toml, environment.yml, the Makefile and the workflow say the same.

They name all that the code imports.
"""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions, version
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tools.run_notebooks import STRIPPED

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
OPTIONAL = EXTRAS["cluster"] + EXTRAS["video"]
OPTIONAL += [name for name in EXTRAS["photos"] if name != "idf[video]"]
# whose metadata name the compiled part alone, or that may be missing
DISTRIBUTIONS = {"dlib": ["dlib-bin"], "pillow_heif": ["pillow-heif"]}
NEEDED = PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python"}


def ranges(requirements):
    return {
        requirement.name: requirement.specifier for requirement in map(Requirement, requirements)
    }


def test_conda_and_pip_name_the_same_ranges():
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    named = ranges(entry for entry in conda if isinstance(entry, str) and entry != "pip")
    needed = {name: one for name, one in ranges(NEEDED).items() if name not in ranges(OPTIONAL)}
    wanted = {CONDA_NAMES.get(name, name): specifier for name, specifier in needed.items()}
    assert named == {
        "python": Requirement(f"python{PROJECT['requires-python']}").specifier,
        **wanted,
    }
    (by_pip,) = (entry["pip"] for entry in conda if isinstance(entry, dict))
    assert by_pip[-1] == "-e ." and ranges(by_pip[:-1]) == ranges(OPTIONAL), (
        "conda-forge has none of these"
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
        ("idf/**/*.py", PROJECT["dependencies"] + OPTIONAL),
        ("experiments/*.py", PROJECT["dependencies"]),
        ("benchmarks/*.py", PROJECT["dependencies"]),
        ("tools/*.py", NEEDED),
        ("tests/**/*.py", NEEDED),
        ("notebooks/*.ipynb", PROJECT["dependencies"]),
    ],
)
def test_every_import_is_a_declared_dependency(folder, requirements):
    files = list(ROOT.glob(folder))
    assert files, f"nothing matches {folder}"
    names = {name for path in files for name in imported(sources(path))}
    beside = {
        path.stem for folder in ("tests", "experiments") for path in ROOT.glob(f"{folder}/*.py")
    }
    own = {"idf", "tests", "tools", "benchmarks"} | beside
    outside = names - set(sys.stdlib_module_names) - own
    distributions = DISTRIBUTIONS | packages_distributions()
    declared = set(map(canonicalize_name, ranges(requirements)))
    undeclared = []
    for name in outside:
        if not declared & set(map(canonicalize_name, distributions.get(name, []))):
            undeclared.append(name)
    assert outside and not undeclared


# not imported by name: a program, or what another package asks for
BESIDE_IMPORTS = {
    "ipykernel",  # every notebook
    "jupyterlab",  # make lab
    "tabulate",  # DataFrame.to_markdown
    "tensorboard",  # torch.utils.tensorboard
    "face_recognition_models",  # files of dlib's networks
    "import-linter",
    "nbval",
    "pytest-xdist",  # make test
    "ruff",
    "snakemake",
    "snakemake-executor-plugin-slurm",  # --executor slurm
}


def test_every_declared_dependency_is_used():
    folders = ("idf", "tools", "benchmarks", "experiments", "tests")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    files += (ROOT / "notebooks").glob("*.ipynb")
    names = {name for path in files for name in imported(sources(path))}
    distributions = DISTRIBUTIONS | packages_distributions()
    used = {canonicalize_name(one) for name in names for one in distributions.get(name, [])}
    declared = ranges(NEEDED + OPTIONAL)
    assert {name for name in declared if canonicalize_name(name) not in used} <= BESIDE_IMPORTS


def test_every_package_and_file_is_installed(tmp_path):
    """What pip would install holds all modules, presets and templates."""
    wanted = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "idf").rglob("*")
        if path.suffix in (".py", ".toml", ".j2", ".html", ".css", ".js")
    ]
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "-q", "build_py"]
    # a copy: setuptools writes beside the sources
    shutil.copytree(ROOT / "idf", tmp_path / "idf", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([*command, "--build-lib", "built"], cwd=tmp_path, check=True)
    missing = [name for name in wanted if not (tmp_path / "built" / name).is_file()]
    assert len(wanted) > 30 and not missing


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
    assert 'benchmarks/speed.py --data "x"' in make("-n", "bench", "DATA=x").stdout


@pytest.mark.parametrize("target", ["run", "explore", "weights", "bench", "notebooks"])
def test_what_make_calls_exists(target):
    shown = make("-n", target, "DATA=x").stdout + make("-n", target).stdout
    modules = re.findall(r"-m (idf[\w.]*)", shown)
    programs = re.findall(r"python (\w+/\w+\.py)", shown)
    assert modules or programs
    for module in modules:
        assert importlib.util.find_spec(module), module
    assert all((ROOT / program).is_file() for program in programs)


def test_make_test_looks_at_the_style_first():
    shown = make("-n", "test").stdout
    steps = ["ruff format --check", "ruff check", "pytest"]
    assert [shown.index(step) for step in steps] == sorted(shown.index(step) for step in steps)


def test_pre_commit_strips_what_make_notebooks_strips():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    (strip,) = (hook for repo in hooks for hook in repo["hooks"] if hook["id"] == "nbstripout")
    assert strip["args"][:3] == ["--keep-output", "--keep-count", "--keep-id"]
    assert strip["args"][-1].split() == list(STRIPPED)


def test_make_names_the_python_it_wants(tmp_path):
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    result = make("run", "PYTHON=no-such-python", cwd=tmp_path)
    assert result.returncode != 0
    assert result.stderr.startswith(
        "no-such-python is not Python 3.11, 3.12 or 3.13 with venv: install one"
    )
