"""The explorer's controls: ipywidgets around `render` and `render_film`.

`explore()` shows them in a notebook or in Voila. The kernel answers a moved control at once and
leaves the drawing to a thread, which takes the latest state: what was asked for in between is never
drawn.
"""

import os
from functools import partial

import ipywidgets as widgets
import torch
from IPython.display import Javascript, display

from idf.apps.explorer import html
from idf.apps.explorer.film import render_film, test_frames
from idf.apps.explorer.latest import Latest
from idf.apps.explorer.state import (
    GALLERY,
    MOST_EPS,
    OFFERED_TRANSFORMATIONS,
    State,
    domains_of,
    methods_of,
    targets_of,
)
from idf.apps.explorer.upload import own_face
from idf.apps.explorer.view import render
from idf.apps.explorer.words import in_words, state_in_words
from idf.apps.photo import SUFFIXES
from idf.config import UserError


class Page:
    """The controls and what they show; `box` is the widget to be displayed."""

    def __init__(self):
        # what is chosen by buttons, not by controls that hold a value
        self.face, self.photo = 0, b""

        # what is shown
        self.pictures = widgets.HTML()
        self.verdict = widgets.HTML()
        self.note = widgets.HTML()
        self.levels = widgets.HTML()

        # the controls
        self.scenario = widgets.RadioButtons(
            options=[("1: a photo is edited", 1), ("2: a film is reenacted", 2)],
            description="Scenario",
        )
        self.faces = [widgets.Button(layout={"width": "5.4rem"}) for _ in GALLERY]
        self.upload = widgets.FileUpload(
            accept=",".join(SUFFIXES), description="your own photo", layout={"width": "auto"}
        )
        start = State()
        self.eps = widgets.FloatSlider(
            value=start.eps, max=MOST_EPS, step=0.002, readout_format=".3f", description="eps"
        )
        self.target = dropdown("forger", targets_of(start.dataset), start.target)
        domains = domains_of(start.dataset, start.target)
        self.domain = dropdown("edit", named(domains), start.domain)
        self.method = dropdown("x′ made by", methods_of(start.dataset), start.method)
        ways = {name: way.label for name, way in OFFERED_TRANSFORMATIONS.items()}
        self.transformation = dropdown("on the way", ways, start.transformation)
        self.strength = dropdown("strength", {0: "none"}, start.strength)
        self.strength.disabled = True
        self.frame = widgets.IntSlider(max=0, description="test frame")

        self.drawing, self.reading = Latest(self._draw), Latest(self._read)
        self._offer()
        self._listen()
        self.box = self._layout()
        self.moved()

    def state(self) -> State:
        """What the controls of scenario 1 say."""
        return State(
            face=self.face,
            photo=self.photo,
            domain=self.domain.value,
            target=self.target.value,
            method=self.method.value,
            eps=round(self.eps.value, 4),
            transformation=self.transformation.value,
            strength=self.strength.value,
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
        """Below the controls."""
        self.note.value = html.note_html(sentences)

    def _offer(self) -> None:
        """The forgers, edits and methods that go with the face; what was chosen stays if it can."""
        dataset = self.state().dataset
        set_options(self.target, targets_of(dataset))
        set_options(self.domain, named(domains_of(dataset, self.target.value)))
        set_options(self.method, methods_of(dataset))
        for i, button in enumerate(self.faces):
            is_chosen = i == self.face and not self.photo
            button.description = f"✓ face {i + 1}" if is_chosen else f"face {i + 1}"

    def _offer_strengths(self) -> None:
        way = OFFERED_TRANSFORMATIONS[self.transformation.value]
        set_options(self.strength, {value: way.in_words(value) for value in way.strengths})
        self.strength.disabled = len(way.strengths) == 1

    def _listen(self) -> None:
        """Who answers when a control is moved. What offers others comes before what draws."""
        self.target.observe(lambda _: self._offer(), "value")
        self.transformation.observe(lambda _: self._offer_strengths(), "value")
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
            button.on_click(partial(self._clicked, i))
        self.upload.observe(self._uploaded, "value")

    def _clicked(self, face: int, _) -> None:
        self.choose(face)

    def _uploaded(self, change) -> None:
        if not change["new"]:
            return
        file = change["new"][0]
        self.upload.value = ()  # so that the same file can be chosen again
        self.say("The photo is being read.")
        self.reading.put((bytes(file["content"]), file["name"][-80:]))

    def _read(self, upload: tuple[bytes, str]) -> None:
        """In its thread: the content and the name of a photo become the face that is shown."""
        content, name = upload
        try:
            if len(content) > html.MOST_BYTES:
                raise UserError(f"{name} has {len(content) / 1e6:.0f} MB. {html.TOO_LARGE}")
            photo, notes = own_face(content, name)
        except Exception as error:  # whatever it is: the page goes on with what it shows
            self.say(reason(error))
            return
        self.photo = photo
        self.say(f"{name} is shown, by the networks for photos.", *notes)
        self._offer()
        self.moved()

    def _draw(self, state: State | int) -> None:
        """In its thread: a State of scenario 1, or a test frame of scenario 2."""
        try:
            if isinstance(state, State):
                view = render(state)
                verdict = html.verdict_html(view)
            else:
                view = render_film(state)
                verdict = html.film_verdict_html(view)
        except Exception as error:  # as above
            self.say(reason(error))
            return
        self.levels.value = f"= {view.numbers['levels']:.1f} / 255"
        self.verdict.value = verdict
        self.pictures.value = html.pictures_html(view, state_in_words(state))

    def _arrange(self) -> None:
        """Shows the controls of the scenario that is chosen."""
        is_film = self.scenario.value == 2
        self.photo_box.layout.display = "none" if is_film else ""
        self.film_box.layout.display = "" if is_film else "none"
        if is_film:  # not earlier: it imports much that photos do not need
            self.frame.max = len(test_frames()) - 1

    def _layout(self) -> widgets.Widget:
        thumbs = []
        for i, button in enumerate(self.faces):
            picture = widgets.HTML(html.thumbnail_html(i))
            thumbs.append(widgets.VBox([picture, button], layout={"width": "5.6rem"}))
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
        style = widgets.HTML(html.STYLE)
        box = widgets.HBox([style, left, right], layout={"flex_flow": "row wrap"})
        box.add_class("idf-page")
        return box


def dropdown(description: str, options: dict, value) -> widgets.Dropdown:
    """options: {value: words}."""
    return widgets.Dropdown(description=description, options=as_pairs(options), value=value)


def set_options(control: widgets.Dropdown, options: dict) -> None:
    """Offers {value: words}; the control keeps its value where it can, else takes the first."""
    if list(control.options) == as_pairs(options):
        return
    kept = control.value
    control.options = as_pairs(options)
    control.value = kept if kept in options else next(iter(options))


def as_pairs(options: dict) -> list[tuple]:
    """As ipywidgets takes them: words first."""
    return [(words, value) for value, words in options.items()]


def named(domains: tuple[str, ...]) -> dict[str, str]:
    """{domain: words}."""
    return {domain: in_words(domain) for domain in domains}


def reason(error: Exception) -> str:
    """One sentence."""
    if isinstance(error, UserError):
        return str(error)
    return f"This could not be drawn ({type(error).__name__}): try another."


def explore() -> None:
    """Shows the page; in `idf run`, whose pages have no kernel, a sentence instead."""
    if os.environ.get("IDF_OUT"):
        print(
            "The controls appear here in JupyterLab (make lab), or by themselves with make explore."
        )
        return
    # the pictures are small: more threads, or sessions, would only wait for each other
    torch.set_num_threads(1)
    page = Page()
    display(Javascript(html.SCRIPT), page.box)
