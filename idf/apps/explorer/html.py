"""What the page shows, as HTML: pictures and verdicts; and its style and script."""

import base64
import io
import json
from html import escape

import numpy as np
from PIL import Image

from idf.apps.explorer.face import drawn_face
from idf.apps.explorer.state import State
from idf.apps.explorer.view import View
from idf.apps.explorer.words import what_it_shows
from idf.data.pictures import to_picture
from idf.metrics import DSR_THRESHOLD

MOST_BYTES = 9_000_000  # of an upload: above 10 MiB the server would cut the connection
TOO_LARGE = f"A photo may have {MOST_BYTES / 1e6:.0f} MB: choose a smaller copy of it."

STYLE = """<style>
.idf-page { max-width: 64rem; gap: 0 1.5rem }
.idf-page .widget-label { width: 5.5rem }
.idf-pictures { display: grid; gap: .5rem 1rem; line-height: 1.3;
  grid-template-columns: repeat(3, minmax(5rem, 9.5rem)) }
.idf-pictures figure { margin: 0 }
.idf-page img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; display: block;
  margin: 0 }
.idf-pictures figcaption { font-size: .85rem; margin-top: .1rem }
.idf-verdict { line-height: 1.4; max-width: 31rem }
.idf-verdict strong { display: inline-block; padding: .1rem .6rem; border: 3px double #0072B2;
  color: #003c5f; background: #e3f0f8 }
.idf-verdict strong.idf-broken { border: 3px solid #D55E00; color: #6b2f00; background: #fdebdd }
.idf-verdict ul { display: grid; grid-template-columns: repeat(3, auto); gap: 0 1.2rem;
  margin: .4rem 0; padding: 0; justify-content: start; list-style: none;
  font-variant-numeric: tabular-nums }
.idf-verdict p { margin: .15rem 0 } .idf-note { line-height: 1.4; max-width: 23rem }
.idf-page :focus-visible { outline: 3px solid #0072B2; outline-offset: 2px }
</style>"""

# ipywidgets names neither its sliders for screen readers, nor bounds what is uploaded
_SCRIPT = """
const nameSlider = handle => {
  const label = handle.closest(".widget-inline-hbox").querySelector("label");
  if (label && label.textContent) handle.setAttribute("aria-label", label.textContent);
};
const nameSliders = () => {
  document.querySelectorAll(".idf-page .noUi-handle:not([aria-label])").forEach(nameSlider);
};
new MutationObserver(nameSliders).observe(document.body, {childList: true, subtree: true});
nameSliders();

let onPage = false;  // was the last click on our page?
document.addEventListener(
  "click", event => { onPage = Boolean(event.target.closest(".idf-page")); }, true
);
const refuseLarge = event => {
  if (event.target.files.length === 0 || event.target.files[0].size <= MOST_BYTES) return;
  event.stopImmediatePropagation();
  event.target.value = "";
  document.querySelectorAll(".idf-note").forEach(note => { note.textContent = TOO_LARGE; });
};
const click = HTMLInputElement.prototype.click;  // the upload's input lies outside the document
HTMLInputElement.prototype.click = function () {
  if (onPage && this.type === "file") this.addEventListener("change", refuseLarge, true);
  return click.call(this);
};
"""
SCRIPT = _SCRIPT.replace("MOST_BYTES", str(MOST_BYTES)).replace("TOO_LARGE", json.dumps(TOO_LARGE))


def note_html(sentences: tuple[str, ...]) -> str:
    """What is said below the controls."""
    return f'<div class="idf-note" role="status">{escape(" ".join(sentences))}</div>'


def thumbnail_html(index: int) -> str:
    """A face of the gallery."""
    pixels = to_picture(drawn_face(index).x[0])
    alt = f"drawn face {index + 1}: {what_it_shows(State(index))}"
    return f'<img src="{png(pixels)}" alt="{escape(alt)}">'


def pictures_html(view: View, state: str) -> str:
    """All pictures with their captions; the state, in words, is for those who hear them."""
    figures = []
    for caption, pixels in view.pictures.items():
        alt = escape(f"{caption}; {state}")
        figures.append(
            f'<figure><img decoding="sync" src="{png(pixels)}" alt="{alt}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return f'<div class="idf-pictures">{"".join(figures)}</div>'


def png(pixels: np.ndarray) -> str:
    """uint8 (S, S, 3) as a data address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def verdict_html(view: View) -> str:
    """The verdict in words and by its frame, the numbers, the sentences."""
    numbers = view.numbers
    badge = '<strong class="">✓ forgery stands</strong>'
    if numbers["L2 of y′"] > DSR_THRESHOLD:
        badge = '<strong class="idf-broken">✕ forgery broken</strong>'
    rows = {
        "L2(y, y′)": f"{numbers['L2 of y′']:.3f}",
        "L1(y, y′)": f"{numbers['L1 of y′']:.3f}",
        "PSNR of x′": decibels(numbers["PSNR of x′"]),
        "edit worked on y": yes_or_no(numbers["edited"]),
        "edit worked on y′": yes_or_no(numbers["edited, infected"]),
    }
    return _verdict(badge, rows, view)


def film_verdict_html(view: View) -> str:
    """The numbers and the sentences: of one frame there is no verdict."""
    numbers = view.numbers
    rows = {"PSNR of x′": decibels(numbers["PSNR of x′"]), "eps": f"{numbers['eps']:.3f}"}
    for name, value in numbers.items():
        if name.startswith("L1"):
            rows[name] = f"{value:.3f}"
    return _verdict("", rows, view)


def _verdict(badge: str, rows: dict[str, str], view: View) -> str:
    items = [f"<li>{escape(name)}: <b>{escape(value)}</b></li>" for name, value in rows.items()]
    paragraphs = [f"<p>{escape(sentence)}</p>" for sentence in view.sentences]
    return (
        f'<div class="idf-verdict" role="status">{badge}<ul>{"".join(items)}</ul>'
        f"{''.join(paragraphs)}</div>"
    )


def decibels(psnr: float) -> str:
    return f"{psnr:.1f} dB" if psnr < 100 else "no change"


def yes_or_no(value: bool) -> str:
    return "yes" if value else "no"
