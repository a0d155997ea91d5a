"""`idf protect` of many photos: where copies go, what a stopped batch leaves and takes up again."""

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from drawn_photos import canvas, run

from idf.apps.photo.plan import LOG
from idf.config import ROOT

ALL = {"a.jpg.png", "a.png.png", "more/b.png"}


@pytest.fixture
def album():
    Path("album/more").mkdir(parents=True)
    canvas(0).save("album/a.jpg", quality=95)
    canvas(1).save("album/a.png")
    canvas(2).save("album/more/b.PNG", "PNG")
    Path("album/notes.txt").write_text("left alone")
    Path("album/.hidden.png").write_text("left alone")
    return Path("album")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copies(folder):
    files = {str(path.relative_to(folder)) for path in contents(Path(folder))}
    return {name for name in files if not name.endswith(LOG)}


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_batch_goes_on_after_a_bad_photo(album, jobs, capsys):
    Path("album/broken.jpg").write_bytes(Path("album/a.jpg").read_bytes()[:900])
    before = contents(album)
    assert run("protect", album, "-o", "out", "--jobs", jobs) == 2
    said = capsys.readouterr()
    assert copies("out") == ALL and contents(album) == before
    assert "3 photos with 3 faces protected, 1 not: " in said.out
    assert "left out, as no photos that can be read: notes.txt (1)" in said.out
    assert "idf: album/broken.jpg cannot be read" in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert run("protect", album, "-o", "out", "--jobs", jobs) == 2
    assert "0 photos with 0 faces protected, 3 protected before, 1 not" in capsys.readouterr().out


def test_the_folder_where_one_stands(album, monkeypatch, capsys):
    monkeypatch.chdir(album)
    assert run("protect", ".") == 0
    assert run("protect", ".", "-o", "inside") == 0
    assert run("protect", ".", "-o", "inside") == 0
    assert copies("../album_protected") == copies("inside") == ALL
    assert "3 protected before" in capsys.readouterr().out


def test_a_copy_is_not_protected_once_more(album, capsys):
    for copy_of in ("album/a.jpg", "album/a.png"):
        assert run("protect", copy_of, "-o", "album/a_protected.png", "--force") == 0
    before = contents(album)
    assert run("protect", "album/a_protected.png") == 2
    assert "is protected already: give the photo that it was made from" in capsys.readouterr().err
    assert run("protect", "album", "-o", "out") == 0
    assert copies("out") == ALL and contents(album) == before
    assert "Left out, protected already: a_protected.png (1)" in capsys.readouterr().out
    # by the log of a folder of copies, whatever the names
    assert run("protect", "out", "-o", "twice") == 2
    assert run("protect", "out/a.jpg.png", "-o", "twice/", "--again") == 0
    assert copies("twice") == {"a.jpg.png"}


@pytest.mark.parametrize(
    "words, said",
    [
        (
            ["album", "-o", "album"],
            "The copy of album/a.jpg would replace the photo album/a.jpg.png",
        ),
        (["one/x.png", "two/x.png", "-o", "o"], "one/x.png and two/x.png would both become"),
    ],
)
def test_no_photo_that_was_given_is_ever_replaced(album, words, said, capsys):
    for name in ("one/x.png", "two/x.png", "album/a.jpg.png"):
        Path(name).parent.mkdir(exist_ok=True)
        canvas(0).save(name)
    before = contents(Path())
    assert run("protect", *words, "--force") == 2
    assert contents(Path()) == before and said in capsys.readouterr().err


KILLED = """
import os
from idf import commands
from idf.apps.photo import batch
write = batch.write_atomically
def killed(path, content):
    if path.name == "b.png" and "{when}" == "before":
        os._exit(9)
    write(path, content)
    if path.name == "a.png.png" and "{when}" == "after":
        os._exit(9)
batch.write_atomically = killed
commands.main(["protect", "album", "-o", "out"])
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_killed_batch_is_continued(album, when, capsys):
    """Killed between the line in the log and the copy, and right after the copy."""
    code = KILLED.replace("{when}", when)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment)
    assert killed.returncode == 9, killed.stderr
    assert copies("out") == {"a.jpg.png", "a.png.png"}
    times = {name: Path("out", name).stat().st_mtime_ns for name in copies("out")}
    assert run("protect", album, "-o", "out") == 0
    assert "1 photo with 1 face protected, 2 protected before" in capsys.readouterr().out
    assert copies("out") == ALL
    assert {name: Path("out", name).stat().st_mtime_ns for name in times} == times


def test_no_process_is_left_behind_by_a_kill(album):
    process = subprocess.Popen(
        [sys.executable, "-m", "idf", "protect", "album", "-o", "out", "--jobs", "2"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    workers = []
    while len(workers) < 3 and process.poll() is None:  # two, and the tracker of their resources
        assert time.monotonic() < deadline
        time.sleep(0.05)
        workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(workers, timeout=60)[1]


def test_another_eps_or_a_changed_photo_is_not_taken_for_finished(album, capsys):
    assert run("protect", album) == 0
    canvas(3).save("album/more/b.PNG", "PNG")
    assert run("protect", album) == 2
    assert "b.png is there already" in capsys.readouterr().err
    assert run("protect", album, "--eps", "0.05", "--force") == 0
    assert run("protect", album, "--eps", "0.05") == 0
    assert "3 protected before" in capsys.readouterr().out


def test_a_damaged_log_is_survived(album):
    Path("album_protected").mkdir()
    Path("album_protected", LOG).write_text('[]\n{"copy": "a.p\n\x00')
    assert run("protect", album) == 0
