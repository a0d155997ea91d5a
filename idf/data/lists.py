"""Lists beside a folder of pictures: CelebA's text files, or what a spreadsheet writes."""

import csv
import difflib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from idf.config import UserError

SEPARATORS = ",;\t"
YES, NO = {"1", "1.0", "true", "yes"}, {"-1", "-1.0", "0", "0.0", "false", "no"}


def stem(name: str) -> str:
    """Lists are read without suffixes: pictures re-packed as PNG still carry labels for .jpg."""
    return name.split(".")[0]


def read_labels(path: Path, domains: tuple[str, ...]) -> dict[str, list[int]]:
    """{name without suffix: 0 or 1 for each of `domains`} of list_attr_celeba.

    Raises UserError for a damaged list and an unknown attribute.
    """
    rows = _rows(path)
    header, first = next(rows, []), next(rows, [])
    if not header:
        raise UserError(f"{path} is empty: put the attributes' names and a line a picture into it.")
    # pandas writes its index as a first column without a name
    numbered = header[0] in ("", "Unnamed: 0", "index") and first[:1] and first[0].isdigit()
    if numbered and len(first) > 2:
        header, rows = header[1:], (row[1:] for row in chain([first], rows))
        first = next(rows)
    attributes = header[1:] if len(header) == len(first) else header

    columns = attribute_columns(attributes, domains, path)
    labels = {}
    for name, *values in chain([first] if first else [], rows):
        complete = len(values) == len(attributes)
        chosen = [values[column].lower() for column in columns] if complete else []
        if not complete or not set(chosen) <= YES | NO:
            raise UserError(
                f"{path} is damaged at {name}: a line has a picture's name and {len(attributes)} "
                "labels, each -1 (or 0) or 1; mend the line, or take the list anew."
            )
        labels[stem(name)] = [int(value in YES) for value in chosen]
    return labels


def read_numbers(path: Path) -> dict[str, str]:
    """{name without suffix: its number} of identity_CelebA and list_eval_partition."""
    return {stem(row[0]): row[1] for row in _rows(path) if len(row) > 1 and row[1].isdigit()}


def attribute_columns(
    attributes: Sequence[str], domains: tuple[str, ...], where: str | Path
) -> list[int]:
    """Where each of `domains` stands among the attributes. Raises UserError for an unknown one."""
    for name in domains:
        if name not in attributes:
            close = difflib.get_close_matches(name, attributes, n=3, cutoff=0.4)
            hint = f"use some of {', '.join(attributes)}."
            if close:
                hint = f"did you mean {' or '.join(close)}?"
            raise UserError(f"Unknown attribute {name!r} in {where}: {hint}")
    return [list(attributes).index(name) for name in domains]


def _rows(path: Path) -> Iterator[list[str]]:
    """The cells of each line; without the count with which list_attr_celeba.txt begins."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for cells in _cells(file):
                cells = [cell.strip() for cell in cells]
                if any(cells) and not (len(cells) == 1 and cells[0].isdigit()):
                    yield cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path} cannot be read as text ({error}): save it as plain text or CSV, in UTF-8."
        ) from error


def _cells(file) -> Iterator[list[str]]:
    """By the separator that the first line has most of; between spaces where it has none."""
    first = file.readline()
    lines = chain([first], file)
    separator = max(SEPARATORS, key=first.count)
    if separator in first:
        return csv.reader(lines, delimiter=separator)
    return (line.split() for line in lines)
