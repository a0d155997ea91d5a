"""`make explore` and notebook 10 in JupyterLab, driven in a headless Chromium.

IDF_CHROMIUM names another one; IDF_SHOTS a folder for the screenshots.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest
from gallery_photos import encoded, gallery_face
from playwright.sync_api import expect, sync_playwright

from idf.apps.explorer.html import MOST_BYTES
from idf.apps.explorer.state import GALLERY, targets_of
from idf.config import ROOT


def chromium():
    """The program, or None where there is none."""
    if os.environ.get("IDF_CHROMIUM"):
        return os.environ["IDF_CHROMIUM"]
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    programs = [program for program in map(shutil.which, names) if program]
    return programs[0] if programs else None


CHROMIUM = chromium()
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
ADDRESS = r"http://(?:127\.0\.0\.1|localhost):\S+token=\w{40,}"
PATIENCE = 120  # seconds until a kernel has started, also on a busy machine

pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="there is no Chromium: install one, or name it by IDF_CHROMIUM"
)
expect.set_options(timeout=20_000)


def serve(folder, *command):
    """Starts a Jupyter server with settings of its own.

    Its process, its address with the token, and its log file.
    """
    log = folder / "server.log"
    folders = {
        "JUPYTER_CONFIG_DIR": folder / "config",
        "JUPYTER_DATA_DIR": folder / "data",
        "IPYTHONDIR": folder / "ipython",
        "JUPYTERLAB_SETTINGS_DIR": folder / "settings",
        "JUPYTERLAB_WORKSPACES_DIR": folder / "workspaces",
    }
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=os.environ | {name: str(path) for name, path in folders.items()},
        )
    end = time.monotonic() + PATIENCE
    address = None
    while not address:
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)
        address = re.search(ADDRESS, log.read_text())
    return process, address[0], log


def stop(process):
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    process, address, log = serve(
        tmp_path_factory.mktemp("explore"), "idf.apps.explorer", "--no-browser", "--port=18866"
    )
    yield process, address, log
    stop(process)


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(server, browser):
    page = browser.new_page(viewport={"width": 1250, "height": 900})
    page.faults, page.answered = [], set()
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    page.on("response", lambda response: page.answered.add(response.url.split("/")[2]))
    page.goto(server[1])
    page.wait_for_selector(".idf-pictures img", timeout=1000 * PATIENCE)
    return page


def shot(page, name, folder):
    folder = Path(os.environ.get("IDF_SHOTS") or folder)
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


def picture(page, caption):
    return page.locator(".idf-pictures figure", has=page.get_by_text(caption, exact=True)).locator(
        "img"
    )


def shows(page, words):
    """Waits until the pictures are those of a state, by their alternative text."""
    expect(picture(page, "clean x")).to_have_attribute("alt", re.compile(re.escape(words)))


def says(page, words):
    expect(page.locator(".idf-note")).to_contain_text(words)


def verdict(page):
    return page.locator(".idf-verdict").inner_text()


def upload(page, name, content):
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="your own photo").click()
    chooser.value.set_files({"name": name, "mimeType": "image/png", "buffer": content})


def test_only_this_machine_with_the_token_gets_in(server, page):
    process, address, _ = server
    bare = address.split("?")[0]
    with urllib.request.urlopen(bare) as answer:
        assert "/login" in answer.url and "idf-page" not in answer.read().decode()
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(f"{bare}api/kernels/00000000-0000-0000-0000-000000000000")
    connections = psutil.Process(process.pid).net_connections()
    listening = [one.laddr.ip for one in connections if one.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}
    assert "from idf.apps.explorer.page import" not in page.content(), "the page shows no source"


def test_each_control_changes_pictures_and_numbers(page, tmp_path):
    page.get_by_role("button", name="face 3").click()
    page.get_by_label("forger").select_option("the surrogate itself")
    page.get_by_label("x′ made by").select_option("Ruiz, transferred")
    page.get_by_label("on the way").select_option("none")
    shows(page, "face 3, blond hair by the surrogate itself, Ruiz, transferred")
    expect(page.locator(".idf-verdict strong")).to_have_text("✕ forgery broken")
    shot(page, "start", tmp_path)
    seen = [(verdict(page), picture(page, "forged from x′: y′").get_attribute("src"))]
    eps = page.get_by_role("slider", name="eps")
    moves = (
        (lambda: [eps.press("ArrowLeft") for _ in range(15)], "eps 0.020"),
        (lambda: page.get_by_label("edit", exact=True).select_option("eyeglasses"), "eyeglasses"),
        (
            lambda: page.get_by_label("x′ made by").select_option("random colour noise"),
            "random colour noise",
        ),
        (
            lambda: page.get_by_label("forger").select_option("Res6, seed 2"),
            "Res6, seed 2",
        ),
        (
            lambda: page.get_by_label("on the way").select_option("JPEG, a quarter of the colours"),
            "JPEG, a quarter of the colours, quality 95",
        ),
        (lambda: page.get_by_label("strength").select_option("quality 50"), "quality 50"),
        (lambda: page.get_by_role("button", name="face 8").click(), "face 8"),
    )
    for move, words in moves:
        move()
        shows(page, words)
        seen.append((verdict(page), picture(page, "forged from x′: y′").get_attribute("src")))
    verdicts, sources = zip(*seen, strict=True)
    assert len(set(verdicts)) == len(set(sources)) == len(seen)
    expect(page.locator(".idf-page")).to_contain_text("= 2.6 / 255")
    expect(page.locator(".idf-verdict strong")).to_have_text("✓ forgery stands")
    shot(page, "moved", tmp_path)


def test_after_a_burst_of_moves_the_last_is_shown(page):
    eps = page.get_by_role("slider", name="eps")
    eps.press("Home")
    shows(page, "eps 0.000")
    for _ in range(37):
        eps.press("ArrowRight")
    shows(page, "eps 0.074")
    page.wait_for_timeout(700)  # nothing older may come after it
    shows(page, "eps 0.074")
    for key in ("End", "Home") * 10:
        eps.press(key)
    shows(page, "eps 0.000")
    page.wait_for_timeout(700)
    shows(page, "eps 0.000")


def test_photos_are_taken_and_refused_in_the_page(page, tmp_path):
    pytest.importorskip("dlib")
    page.get_by_role("button", name="face 1").click()
    shows(page, "face 1")
    upload(page, "a text.png", b"no picture")
    says(page, "a text.png is not a photo that can be read")
    shows(page, "face 1")
    upload(page, "<b onclick='x'>big</b>.png", encoded(gallery_face()) + b"\0" * MOST_BYTES)
    says(page, "A photo may have 9 MB")
    shot(page, "refused", tmp_path)
    upload(page, '../<img src=x onerror=alert(1)>".png', encoded(gallery_face()))
    says(page, "<img src=x onerror=alert(1)>")
    assert page.locator(".idf-note img").count() == 0
    shows(page, "your photo")
    assert "the judge sees" in verdict(page)
    offered = page.get_by_label("forger").locator("option").all_inner_texts()
    assert [" ".join(words.split()) for words in offered] == list(targets_of("celeba").values())
    shot(page, "uploaded", tmp_path)
    page.get_by_role("button", name="face 2").click()
    shows(page, "face 2")


NAME_OF_FOCUSED = """() => {
  const at = document.activeElement;
  const labels = [...(at.labels || [])].map(label => label.textContent).join();
  return at.getAttribute("aria-label") || labels || at.textContent;
}"""


def test_every_control_is_named_and_reached_by_keyboard(page):
    page.get_by_label("1: a photo is edited").focus()
    reached = []
    for _ in range(20):
        reached.append(page.evaluate(NAME_OF_FOCUSED).strip().removeprefix("✓ "))
        page.keyboard.press("Tab")
    names = [
        "1: a photo is edited",
        *(f"face {i + 1}" for i in range(len(GALLERY))),
        "your own photo (0)",
        "eps",
        "edit",
        "forger",
        "x′ made by",
        "on the way",
    ]
    assert set(names) <= set(reached)
    assert all(page.locator(".idf-pictures img").evaluate_all("all => all.map(one => one.alt)"))


def test_the_film_is_shown_frame_by_frame(page, tmp_path):
    page.get_by_label("2: a film is reenacted").check()
    frame = page.get_by_role("slider", name="test frame")
    frame.press("Home")
    expect(picture(page, "landmarks z")).to_have_attribute("alt", "landmarks z; test frame 0")
    first = picture(page, "landmarks z").get_attribute("src")
    frame.press("PageUp")
    expect(picture(page, "landmarks z")).not_to_have_attribute("alt", "landmarks z; test frame 0")
    assert picture(page, "landmarks z").get_attribute("src") != first
    shot(page, "film", tmp_path)
    page.get_by_label("1: a photo is edited").check()
    shows(page, "face")


def test_no_error_anywhere_and_nothing_from_elsewhere(server, page):
    assert page.faults == []
    assert page.answered == {server[1].split("/")[2]}, "another machine was asked"
    log = server[2].read_text()
    assert not re.search(r"Traceback|ERROR|Exception", log), log
    assert not re.search(r"Traceback|Error", page.locator("body").inner_text())


def test_jupyterlab_runs_the_notebook_with_its_controls(browser, tmp_path):
    shutil.copy(ROOT / "notebooks" / "10_explore.ipynb", tmp_path)  # JupyterLab saves what it runs
    extension = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    extension.mkdir(parents=True)
    # else a cell is drawn only when it is scrolled to
    (extension / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    process, address, log = serve(
        tmp_path,
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--port=18890",
        f"--notebook-dir={tmp_path}",
    )
    try:
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.goto(address.replace("/lab?", "/lab/tree/10_explore.ipynb?"))
        # else its cells are never run
        expect(page.get_by_text("| Idle")).to_be_visible(timeout=1000 * PATIENCE)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.wait_for_selector(".idf-pictures img", timeout=1000 * PATIENCE, state="attached")
        page.locator(".idf-page").scroll_into_view_if_needed()
        eps = page.get_by_role("slider", name="eps")
        eps.press("ArrowRight")
        shows(page, "eps 0.052")
        stderr = ".jp-OutputArea-output[data-mime-type='application/vnd.jupyter.stderr']"
        assert page.locator(stderr).count() == 0
        shot(page, "lab", tmp_path)
        said = log.read_text()  # a message under way while the page closes is an error of tornado
        page.close()
    finally:
        stop(process)
    assert "Traceback" not in said, said
