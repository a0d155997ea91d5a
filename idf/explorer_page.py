"""The explorer's controls and its page: ipywidgets around idf.explorer. `explore()` shows it in a notebook or in Voila.

The kernel answers a moved control at once and leaves the drawing to a thread, which takes the latest state: what was asked
for in between is never drawn.
"""

import base64
import io
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from html import escape

import ipywidgets as widgets
import numpy as np
import torch
from IPython.display import Javascript, display
from PIL import Image

from idf import explorer, metrics
from idf.config import UserError
from idf.data import to_picture
from idf.explorer import State, View
from idf.photo import SUFFIXES

MOST_BYTES = 9_000_000  # of an upload: above 10 MiB the server would cut the connection
STYLE = """<style>
.idf-page { max-width: 64rem; gap: 0 1.5rem }
.idf-page .widget-label { width: 5.5rem }
.idf-pictures { display: grid; grid-template-columns: repeat(3, minmax(5rem, 9.5rem)); gap: .5rem 1rem; line-height: 1.3 }
.idf-pictures figure { margin: 0 }
.idf-page img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; display: block; margin: 0 }
.idf-pictures figcaption { font-size: .85rem; margin-top: .1rem }
.idf-verdict { line-height: 1.4; max-width: 31rem }
.idf-verdict strong { display: inline-block; padding: .1rem .6rem; border: 3px double #0072B2; color: #003c5f;
  background: #e3f0f8 }
.idf-verdict strong.idf-broken { border: 3px solid #D55E00; color: #6b2f00; background: #fdebdd }
.idf-verdict ul { display: grid; grid-template-columns: repeat(3, auto); gap: 0 1.2rem; margin: .4rem 0; padding: 0;
  justify-content: start; list-style: none; font-variant-numeric: tabular-nums }
.idf-verdict p { margin: .15rem 0 } .idf-note { line-height: 1.4; max-width: 23rem }
.idf-page :focus-visible { outline: 3px solid #0072B2; outline-offset: 2px }
</style>"""
# ipywidgets names neither its sliders for screen readers, nor bounds what is uploaded
SCRIPT = """
const name = () => document.querySelectorAll(".idf-page .noUi-handle:not([aria-label])").forEach(handle => {
  const label = handle.closest(".widget-inline-hbox").querySelector("label");
  if (label && label.textContent) handle.setAttribute("aria-label", label.textContent);
});
new MutationObserver(name).observe(document.body, {childList: true, subtree: true});
name();
let ours = false;
document.addEventListener("click", event => { ours = Boolean(event.target.closest(".idf-page")); }, true);
const refuse = event => {
  if (event.target.files.length === 0 || event.target.files[0].size <= MOST_BYTES) return;
  event.stopImmediatePropagation();
  event.target.value = "";
  document.querySelectorAll(".idf-note").forEach(note => { note.textContent = TOO_LARGE; });
};
const click = HTMLInputElement.prototype.click;  // the upload's input lies outside the document
HTMLInputElement.prototype.click = function () {
  if (ours && this.type === "file") this.addEventListener("change", refuse, true);
  return click.call(this);
};
"""
TOO_LARGE = f"A photo may have {MOST_BYTES / 1e6:.0f} MB: choose a smaller copy of it."


class Latest:
    """A thread that calls work(item) for the latest item; one that still waits is replaced."""

    def __init__(self, work: Callable):
        self._work, self._thread, self._last = work, ThreadPoolExecutor(1), None

    def put(self, item) -> None:
        if self._last:
            self._last.cancel()  # only what has not begun can be cancelled
        self._last = self._thread.submit(self._work, item)


class Page:
    """The controls and what they show; `box` is the widget to be displayed."""

    def __init__(self):
        self.face, self.photo = 0, b""
        self.pictures, self.verdict, self.note, self.levels = (widgets.HTML() for _ in range(4))
        self.scenario = widgets.RadioButtons(
            options=[("1: a photo is edited", 1), ("2: a film is reenacted", 2)],
            description="Scenario",
        )
        self.faces = [widgets.Button(layout={"width": "5.4rem"}) for _ in explorer.GALLERY]
        self.upload = widgets.FileUpload(
            accept=",".join(SUFFIXES), description="your own photo", layout={"width": "auto"}
        )
        self.eps = widgets.FloatSlider(
            value=State().eps,
            max=explorer.MOST_EPS,
            step=0.002,
            readout_format=".3f",
            description="eps",
        )
        start = State()
        self.target = _dropdown("forger", explorer.targets_of(b""), start.target)
        self.domain = _dropdown(
            "edit", _in_words(explorer.domains_of(b"", start.target)), start.domain
        )
        self.method = _dropdown("x′ made by", explorer.METHODS, start.method)
        self.transformation = _dropdown(
            "on the way",
            {name: of[0] for name, of in explorer.TRANSFORMATIONS.items()},
            start.transformation,
        )
        self.strength = widgets.Dropdown(
            options=[("none", 0)], description="strength", disabled=True
        )
        self.frame = widgets.IntSlider(
            max=len(explorer.test_frames()) - 1, description="test frame"
        )
        self.drawing, self.reading = Latest(self._draw), Latest(self._read)
        self._offer()
        self._listen()
        self.box = self._layout()
        self.moved()

    def state(self) -> State:
        return State(
            self.face,
            self.photo,
            self.domain.value,
            self.target.value,
            self.method.value,
            round(self.eps.value, 4),
            self.transformation.value,
            self.strength.value,
        )

    def moved(self, _=None) -> None:
        """A control has moved: the thread shall draw what they say now."""
        self.drawing.put(self.state() if self.scenario.value == 1 else self.frame.value)

    def choose(self, face: int) -> None:
        """A face of the gallery."""
        self.face, self.photo = face, b""
        self.say("")
        self._offer()
        self.moved()

    def say(self, *sentences: str) -> None:
        self.note.value = f'<div class="idf-note" role="status">{escape(" ".join(sentences))}</div>'

    def _offer(self) -> None:
        """The forgers and edits that go with the face; what was chosen stays chosen where it is among them."""
        _offer(self.target, explorer.targets_of(self.photo))
        _offer(self.domain, _in_words(explorer.domains_of(self.photo, self.target.value)))
        for i, button in enumerate(self.faces):
            button.description = f"{'✓ ' * (i == self.face and not self.photo)}face {i + 1}"

    def _offer_strength(self) -> None:
        _, strengths, words = explorer.TRANSFORMATIONS[self.transformation.value]
        _offer(self.strength, {value: words.format(value) for value in strengths})
        self.strength.disabled = len(strengths) == 1

    def _listen(self) -> None:
        self.target.observe(lambda _: self._offer(), "value")
        self.transformation.observe(lambda _: self._offer_strength(), "value")
        self.scenario.observe(lambda _: self._arrange(), "value")
        for control in (
            self.scenario,
            self.eps,
            self.domain,
            self.target,
            self.method,
            self.transformation,
            self.strength,
            self.frame,
        ):
            control.observe(self.moved, "value")
        for i, button in enumerate(self.faces):
            button.on_click(lambda _, i=i: self.choose(i))
        self.upload.observe(self._uploaded, "value")

    def _uploaded(self, change) -> None:
        if not change["new"]:
            return
        file, self.upload.value = (
            change["new"][0],
            (),
        )  # emptied, so that the same file can be chosen again
        self.say("The photo is being read.")
        self.reading.put((bytes(file["content"]), file["name"][-80:]))

    def _read(self, upload: tuple[bytes, str]) -> None:
        content, name = upload
        try:
            if len(content) > MOST_BYTES:
                raise UserError(f"{name} has {len(content) / 1e6:.0f} MB. {TOO_LARGE}")
            photo, notes = explorer.own_face(content, name)
        except Exception as error:  # whatever it is: the page goes on with what it shows
            self.say(reason(error))
            return
        self.photo = photo
        self.say(f"{name} is shown, by the networks for photos.", *notes)
        self._offer()
        self.moved()

    def _draw(self, state: State | int) -> None:
        try:
            view = explorer.render_film(state) if isinstance(state, int) else explorer.render(state)
        except Exception as error:  # as above
            self.say(reason(error))
            return
        self.levels.value = f"= {view.numbers['levels']:.1f} / 255"
        self.verdict.value = (
            film_verdict_html(view) if isinstance(state, int) else verdict_html(view)
        )
        self.pictures.value = pictures_html(view, what(state))

    def _arrange(self) -> None:
        for box, number in ((self.photo_box, 1), (self.film_box, 2)):
            box.layout.display = "" if self.scenario.value == number else "none"

    def _layout(self) -> widgets.Widget:
        thumbs = [
            widgets.VBox([widgets.HTML(thumbnail_html(i)), button], layout={"width": "5.6rem"})
            for i, button in enumerate(self.faces)
        ]
        gallery = widgets.HBox(thumbs, layout={"flex_flow": "row wrap", "width": "23.5rem"})
        self.photo_box = widgets.VBox(
            [
                gallery,
                self.upload,
                widgets.HBox([self.eps, self.levels]),
                self.domain,
                self.target,
                self.method,
                self.transformation,
                self.strength,
            ]
        )
        self.film_box = widgets.VBox([self.frame])
        self._arrange()
        left = widgets.VBox(
            [self.scenario, self.photo_box, self.film_box, self.note], layout={"width": "24rem"}
        )
        right = widgets.VBox([self.verdict, self.pictures])
        box = widgets.HBox([widgets.HTML(STYLE), left, right], layout={"flex_flow": "row wrap"})
        box.add_class("idf-page")
        return box


def _dropdown(description: str, options: dict, value: str) -> widgets.Dropdown:
    """options: {value: words}."""
    return widgets.Dropdown(description=description, options=_pairs(options), value=value)


def _pairs(options: dict) -> list[tuple]:
    return [(words, value) for value, words in options.items()]


def _in_words(domains: tuple[str, ...]) -> dict[str, str]:
    return {name: explorer.words(name) for name in domains}


def _offer(control: widgets.Widget, options: dict) -> None:
    """New options {value: words} for a control, which keeps its value where it can, else takes the first."""
    kept = control.value
    if list(control.options) == _pairs(options):
        return
    control.options = _pairs(options)
    control.value = kept if kept in options else next(iter(options))


def reason(error: Exception) -> str:
    """One sentence."""
    return (
        str(error)
        if isinstance(error, UserError)
        else f"This could not be drawn ({type(error).__name__}): try another."
    )


def what(state: State | int) -> str:
    """The state in words, for those who hear the pictures."""
    if isinstance(state, int):
        return f"test frame {state}"
    face = "your photo" if state.photo else f"face {state.face + 1}"
    way, _, strength = explorer.TRANSFORMATIONS[state.transformation]
    arrived = "" if state.transformation == "none" else f", {way} {strength.format(state.strength)}"
    return (
        f"{face}, {explorer.words(state.domain)} by {explorer.TARGETS[state.target]}, {explorer.METHODS[state.method]}, "
        f"eps {state.eps:.3f}{arrived}"
    )


def png(pixels: np.ndarray) -> str:
    """uint8 (S, S, 3) as a data address."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def thumbnail_html(face: int) -> str:
    pixels = to_picture(explorer.subject(face, b"")[0][0])
    alt = f"drawn face {face + 1}: {explorer.shows(State(face))}"
    return f'<img src="{png(pixels)}" alt="{escape(alt)}">'


def pictures_html(view: View, state: str) -> str:
    figures = (
        f'<figure><img decoding="sync" src="{png(pixels)}" alt="{escape(f"{caption}; {state}")}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
        for caption, pixels in view.pictures.items()
    )
    return f'<div class="idf-pictures">{"".join(figures)}</div>'


def verdict_html(view: View) -> str:
    """The verdict in words and by its frame, the numbers, the sentences."""
    numbers = view.numbers
    broken = numbers["L2 of y′"] > metrics.DSR_THRESHOLD
    yes = lambda value: "yes" if value else "no"
    rows = {
        "L2(y, y′)": f"{numbers['L2 of y′']:.3f}",
        "L1(y, y′)": f"{numbers['L1 of y′']:.3f}",
        "PSNR of x′": decibels(numbers["PSNR of x′"]),
        "edit worked on y": yes(numbers["edited"]),
        "edit worked on y′": yes(numbers["edited, infected"]),
    }
    badge = f'<strong class="{"idf-broken" * broken}">{"✕ forgery broken" if broken else "✓ forgery stands"}</strong>'
    return _verdict(badge, rows, view)


def film_verdict_html(view: View) -> str:
    rows = {
        "PSNR of x′": decibels(view.numbers["PSNR of x′"]),
        "eps": f"{view.numbers['eps']:.3f}",
        **{name: f"{value:.3f}" for name, value in view.numbers.items() if name.startswith("L1")},
    }
    return _verdict("", rows, view)


def decibels(psnr: float) -> str:
    return f"{psnr:.1f} dB" if psnr < 100 else "no change"


def _verdict(badge: str, rows: dict[str, str], view: View) -> str:
    items = "".join(
        f"<li>{escape(name)}: <b>{escape(value)}</b></li>" for name, value in rows.items()
    )
    text = "".join(f"<p>{escape(sentence)}</p>" for sentence in view.sentences)
    return f'<div class="idf-verdict" role="status">{badge}<ul>{items}</ul>{text}</div>'


def explore() -> None:
    """Shows the page; in `idf run`, whose pages have no kernel, a sentence instead."""
    if os.environ.get("IDF_OUT"):
        print(
            "The controls appear here in JupyterLab (make lab), or by themselves with make explore."
        )
        return
    torch.set_num_threads(
        1
    )  # the pictures are small: more threads, or sessions, would only wait for each other
    page = Page()
    display(
        Javascript(
            SCRIPT.replace("MOST_BYTES", str(MOST_BYTES)).replace("TOO_LARGE", repr(TOO_LARGE))
        ),
        page.box,
    )
