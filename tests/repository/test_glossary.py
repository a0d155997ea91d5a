"""The glossary names what exists in the code, and all names that stand for the paper's symbols."""

import functools
import importlib
import re

import nbformat
import pytest

from idf.config import ROOT, Config, FilmConfig
from idf.settings import setting_names

SETTINGS = {*setting_names(Config), *setting_names(FilmConfig)}
ROWS = [
    [cell.strip() for cell in line.strip().strip("|").split(" | ")]
    for line in (ROOT / "notebooks" / "GLOSSARY.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| symbol", "| term"))
]
NAMES = sorted({name for row in ROWS for name in re.findall(r"`(.+?)`", row[1])})


@functools.cache
def identifiers():
    """All words in the code and in the notebooks' cells."""
    texts = [path.read_text() for path in (ROOT / "idf").rglob("*.py")]
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        texts += [cell.source for cell in cells if cell.cell_type == "code"]
    return set(re.findall(r"\w+", "\n".join(texts)))


def exists(name):
    """Is it a setting (config.poisoner.eps), in a module (losses.infect), or a word of the code?"""
    module, _, attribute = name.rpartition(".")
    if not module:
        return name in identifiers()
    if module.split(".")[0] == "config" and attribute.islower():
        return name.removeprefix("config.") in SETTINGS
    return hasattr(importlib.import_module(f"idf.{module}"), attribute)


def test_every_row_has_a_symbol_code_a_meaning_and_a_place():
    assert ROWS and all(len(row) == 4 and all(row) and "`" in row[1] for row in ROWS)


@pytest.mark.parametrize("name", NAMES)
def test_every_code_name_exists(name):
    assert exists(name)


def test_the_names_of_both_scenarios_are_in_it():
    both = (
        "x x_infected delta y y_infected surrogate poisoner target d_b loss_adv config.poisoner.eps"
    )
    editing = "c c_trg c_rev targets d_a mu loss_bs loss_cyc loss_dom loss_influence"
    films = "z infected temporary mask metrics.dsr_frames"
    measured = "metrics.dsr metrics.psnr metrics.lpips metrics.lbp"
    assert set(" ".join((both, editing, films, measured)).split()) <= set(NAMES)
    terms = " ".join(row[0] for row in ROWS)
    for term in (
        "tau",
        "gray-box",
        "white-box",
        "black-box",
        "SD, DD",
        "ATS",
        "TDE",
        "DSR",
        "floor",
        "control",
        "judge",
    ):
        assert term in terms
