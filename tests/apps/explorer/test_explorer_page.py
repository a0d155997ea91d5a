"""The explorer's controls, without a browser."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from gallery_photos import encoded, gallery_face

from idf.apps.explorer import html
from idf.apps.explorer import page as page_module
from idf.apps.explorer.latest import Latest
from idf.apps.explorer.state import State, targets_of
from idf.config import DOMAINS, ROOT
from idf.zoo.grid import GRAY_BOX
from idf.zoo.load import SURROGATE


def test_stale_moves_are_dropped():
    begun, go, finished = threading.Event(), threading.Event(), threading.Event()
    done = []

    def work(item):
        begun.set()
        go.wait(10)
        done.append(item)
        if item == 99:
            finished.set()

    latest = Latest(work)
    latest.put(0)
    assert begun.wait(10)
    for item in range(1, 100):
        latest.put(item)  # returns at once, while the first is still being worked on
    go.set()
    assert finished.wait(10) and done == [0, 99]


@pytest.fixture
def page(monkeypatch):
    """A page that draws at once, in the thread of the test."""

    class AtOnce:
        def __init__(self, work):
            self.put = work

    monkeypatch.setattr(page_module, "Latest", AtOnce)
    return page_module.Page()


def uploaded(content, name):
    """What ipywidgets tells of an upload."""
    return {"new": ({"name": name, "content": memoryview(content)},)}


def test_the_page_follows_its_controls(page):
    page.method.value = "ruiz"
    page.target.value = SURROGATE
    before = page.pictures.value
    assert "forgery broken" in page.verdict.value and "= 6.4 / 255" in page.levels.value
    page.eps.value = 0.01
    assert page.pictures.value != before and "= 1.3 / 255" in page.levels.value
    page.transformation.value = "jpeg"
    assert page.strength.value == 95 and "forgery stands" in page.verdict.value
    page.strength.value = 50
    chosen = State(method="ruiz", target=SURROGATE)
    assert page.state() == replace(chosen, eps=0.01, transformation="jpeg", strength=50)
    page.faces[3].click()
    assert page.state().face == 3
    assert page.faces[3].description == "✓ face 4" and page.faces[0].description == "face 1"


def test_the_page_begins_with_the_state_that_a_notebook_begins_with(page):
    assert page.state() == State()


def test_what_was_chosen_stays_where_it_can(other_domains, page):
    page.target.value = other_domains
    assert page.domain.value == "Gray_Hair", "this forger edits other domains"
    page.target.value = GRAY_BOX[1]
    page.domain.value = "Smiling"
    page.target.value = SURROGATE
    assert page.domain.value == "Smiling"


def test_the_film_has_controls_of_its_own(page):
    page.scenario.value = 2
    assert "landmarks z" in page.pictures.value and page.photo_box.layout.display == "none"
    page.frame.value = 1000
    assert page.frame.value == 159 and "test frame 159" in page.pictures.value
    page.scenario.value = 1
    assert "clean x" in page.pictures.value and page.film_box.layout.display == "none"
    assert page.note.value == "", "nothing was said"


def test_an_upload_that_fails_is_one_sentence_and_the_page_goes_on(page):
    before = page.pictures.value
    large = b"x" * (html.MOST_BYTES + 1)
    for content, name in ((b"hello", "<img src=x onerror=alert(1)>.txt"), (large, "../big.png")):
        page._uploaded(uploaded(content, name))
        assert "<img" not in page.note.value
        assert page.pictures.value == before and page.state().photo == b""
    assert "../big.png has 9 MB. A photo may have 9 MB" in page.note.value
    page.eps.value = 0.02
    assert page.pictures.value != before, "the page still works"


def test_an_upload_is_shown_and_the_gallery_leads_back(other_domains, page):
    pytest.importorskip("dlib")
    page.target.value = other_domains
    page._uploaded(uploaded(encoded(gallery_face()), "my 'own' <b>photo</b>.png"))
    assert "my &#x27;own&#x27; &lt;b&gt;photo&lt;/b&gt;.png is shown" in page.note.value
    assert page.state().photo and page.target.value in targets_of("celeba")
    assert page.domain.value in DOMAINS["celeba"]["SD"]
    assert "the judge sees" in page.verdict.value
    assert not any(button.description.startswith("✓") for button in page.faces)
    page.faces[0].click()
    chosen = {"domain": page.domain.value, "target": page.target.value}
    assert page.state() == replace(State(), **chosen)
    assert "is drawn" in page.verdict.value


def test_what_breaks_while_drawing_is_one_sentence(page, monkeypatch):
    before = page.pictures.value
    monkeypatch.setattr(page_module, "render", lambda state: 1 / 0)
    page.eps.value = 0.03
    assert "This could not be drawn (ZeroDivisionError)" in page.note.value
    assert page.pictures.value == before


def test_idf_run_shows_a_sentence_in_place_of_controls(monkeypatch, capsys):
    monkeypatch.setenv("IDF_OUT", "x")
    page_module.explore()
    assert "make explore" in capsys.readouterr().out


SLOW = {"matplotlib", "torchvision", "tensorboard", "papermill", "lpips", "pandas"}
START = "from idf.apps.explorer import film, page, state, view"
DRAW = "view.render(state.State()); film.render_film(0)"


def imported(code):
    """Which modules a fresh Python has imported after this code."""
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code, others",
    [
        (START, {"av", "skimage"}),
        (f"{START}; {DRAW}", set()),
        ("import idf.apps.explorer.server", {"av", "skimage", "torch"}),
    ],
    ids=("the page", "pictures", "the server"),
)
def test_little_is_imported(code, others):
    """Ten sessions at once must fit into a laptop's memory."""
    assert imported(code) & (SLOW | others) == set()
