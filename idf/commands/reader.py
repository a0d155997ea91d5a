"""Notebooks as HTML files that read without a network: pictures inside, formulas as MathML."""

import unicodedata
from functools import cache
from html import escape
from pathlib import Path

import latex2mathml.converter
import nbformat
from jinja2 import DictLoader
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from idf.data.files import write_atomically

WIDGET = "application/vnd.jupyter.widget-view+json"
# browsers without MathML's mathvariant need the letters themselves
VARIANTS = {"script": "SCRIPT", "double-struck": "DOUBLE-STRUCK", "bold": "BOLD"}


def write_html(notebook: Path) -> None:
    """<notebook>.html beside the notebook, its widgets as text."""
    content = nbformat.read(notebook, as_version=4)
    content.metadata.pop("widgets", None)
    for cell in content.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop(WIDGET, None)
    html, _ = exporter().from_notebook_node(content, {"metadata": {"name": notebook.stem}})
    html = html.replace('<script src=""></script>', "")
    write_page(notebook.with_suffix(".html"), html)


def write_page(file: Path, text: str) -> None:
    """In one step, so that a reader never meets half of a page."""
    write_atomically(file, lambda temporary: temporary.write_text(text, encoding="utf-8"))


class Formulas(IPythonRenderer):
    """Markdown's formulas as MathML."""

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body, "inline")


class Exporter(HTMLExporter):
    """nbconvert's, with Formulas in place of MathJax."""

    def default_filters(self):
        yield from super().default_filters()
        # an anchor would be parsed as HTML of its own, and the heading's formulas with it
        renderer = Formulas(escape=False, exclude_anchor_links=True)
        yield ("markdown2html", MarkdownWithMath(renderer=renderer).render)


def exporter() -> Exporter:
    no_mathjax = DictLoader({"mathjax.html.j2": "{% macro mathjax(url) %}{% endmacro %}"})
    return Exporter(require_js_url="", embed_images=True, extra_loaders=[no_mathjax])


@cache
def mathml(formula: str, display: str) -> str:
    """LaTeX as MathML, display "inline" or "block"; what cannot be converted stays LaTeX."""
    try:
        text = latex2mathml.converter.convert(formula, display=display)
    except Exception:  # the library has no error of its own
        return f"<code>{escape(formula)}</code>"
    for variant, name in VARIANTS.items():
        before, *parts = text.split(f'<mi mathvariant="{variant}">')
        text = before + "".join(f"<mi>{letter(part[0], name)}{part[1:]}" for part in parts)
    return text


def letter(plain: str, variant: str) -> str:
    """A letter of mathematics: ("P", "SCRIPT") -> 𝒫."""
    case = "CAPITAL" if plain.isupper() else "SMALL"
    for name in (f"MATHEMATICAL {variant}", variant):  # a few letters are older than the rest
        try:
            return unicodedata.lookup(f"{name} {case} {plain.upper()}")
        except KeyError:
            pass
    return plain
