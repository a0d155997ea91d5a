"""Procedural faces and a procedural film: pixels, attributes, landmarks and classes, all exact.

`faces.render_faces` and `film.talking_face` are what others call. A face is a set of numbers
(`sample`), its lines are curves of them (`anatomy`), and signed distances to these lines
(`shapes`) are painted from the back to the front (`canvas`, `paint`).
"""

from pathlib import Path

from idf.config import HAIR
from idf.data.cache import digest

SOURCES = sorted(Path(__file__).parent.glob("*.py"))


def drawing_code() -> str:
    """A key for caches that changes with any source of the renderer: another code, other pixels."""
    return digest((HAIR, [file.read_bytes() for file in SOURCES]))
