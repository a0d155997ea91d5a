"""`idf links`: writes the public repository's address into the README's badges and links and the notebooks' Colab cells.

The address is one setting: Repository under [project.urls] in pyproject.toml.
"""

import re
import tomllib
from pathlib import Path
from urllib.parse import quote

import nbformat

from idf.config import ROOT, UserError
from idf.results import write_table

MARKS = ("<!-- links: written by `idf links` -->", "<!-- end of links -->")
ADDRESS = re.compile(r"https://github\.com/([A-Za-z0-9-]+)/([A-Za-z0-9._-]+?)(?:\.git)?/?")
# Colab has all that the notebooks need but av and lpips, and breaks where its IPython is replaced: hence --no-deps.
COLAB = """\
import sys
if "google.colab" in sys.modules and not os.path.isdir("../idf"):  # on Google Colab, once; elsewhere nothing happens
    !git clone -q --depth 1 {address} && pip install -q --no-deps av lpips -e {name}
    %cd -q {name}/notebooks
    sys.path.insert(0, os.path.abspath(".."))  # a running kernel does not see what was installed just now"""


def add_arguments(parser) -> None:
    """It has none: the setting is in pyproject.toml."""


def main(args) -> None:
    write_links(ROOT)


def write_links(root: Path) -> None:
    """README.md between the marks, and the cell `colab` of each notebook that has one; nothing else changes."""
    owner, name = repository(root / "pyproject.toml")
    notebooks = {
        path: nbformat.read(path, as_version=4)
        for path in sorted((root / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    }
    cells = {
        path: cell
        for path, notebook in notebooks.items()
        for cell in notebook.cells
        if cell.id == "colab"
    }
    write_table(root / "README.md", block(owner, name, [path.stem for path in cells]), MARKS)
    for path, cell in cells.items():
        cell.source = colab_cell(owner, name)
        nbformat.write(notebooks[path], path)


def repository(settings: Path) -> tuple[str, str]:
    """Owner and name on GitHub, from [project.urls] of a pyproject.toml; UserError if there is no such address."""
    try:
        urls = tomllib.loads(settings.read_text())["project"].get("urls", {})
    except (OSError, KeyError, tomllib.TOMLDecodeError):
        raise UserError(
            f"{settings} cannot be read as a project's settings: mend it and run the command again."
        ) from None
    found = ADDRESS.fullmatch(str(urls.get("Repository", "")))
    if not found:
        raise UserError(
            f"Repository under [project.urls] in {settings} is {urls.get('Repository', 'missing')!r}: "
            "set it to an address like https://github.com/OWNER/NAME."
        )
    return found[1], found[2]


def colab_cell(owner: str, name: str) -> str:
    return COLAB.format(address=f"https://github.com/{owner}/{name}", name=name)


def block(owner: str, name: str, notebooks: list[str]) -> str:
    """Markdown: a line of badges, then where each notebook opens in Colab, and JupyterLab and the explorer on Binder."""
    github, binder = (
        f"https://github.com/{owner}/{name}",
        f"https://mybinder.org/v2/gh/{owner}/{name}/main",
    )
    tests = f"{github}/actions/workflows/test.yml"
    colab = {
        stem: f"https://colab.research.google.com/github/{owner}/{name}/blob/main/notebooks/{stem}.ipynb"
        for stem in notebooks
    }
    lab = f"{binder}?labpath={quote(f'notebooks/{notebooks[0]}.ipynb', safe='')}"
    badges = [
        (f"{tests}/badge.svg", "tests", tests),
        ("https://img.shields.io/badge/licence-MIT-blue.svg", "licence: MIT", "LICENSE"),
        (
            "https://colab.research.google.com/assets/colab-badge.svg",
            "open in Colab",
            colab[notebooks[0]],
        ),
        ("https://mybinder.org/badge_logo.svg", "launch Binder", lab),
    ]
    explorer = f"{binder}?urlpath={quote('voila/render/notebooks/10_explore.ipynb', safe='')}"
    return "\n".join(
        [
            *(f"[![{text}]({picture})]({link})" for picture, text, link in badges),
            "",
            f"In Google Colab: {' · '.join(f'[{stem}]({link})' for stem, link in colab.items())}.",
            "",
            f"On Binder: [JupyterLab]({lab}) · [the explorer]({explorer}).",
        ]
    )
