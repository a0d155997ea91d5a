"""`idf run`: what it refuses, what it says, what it leaves behind."""

import json
import re
import signal
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from idf.commands import main
from idf.commands.parameters import find_notebooks, plan
from idf.config import UserError

PARAMETERS = 'preset = "demo"\ndata_root = ""\nseed = 0\nskip_bad = False\noverrides = {}'
SAVE_FIGURE = """
import os, pathlib, json
from PIL import Image
folder = pathlib.Path(os.environ["IDF_OUT"])
Image.new("RGB", (8, 8), "teal").save(folder / "faces.png")
(folder / "faces.txt").write_text("Teal & <b>square</b>")
(folder / "faces.headline.txt").write_text("Teal is what came out.")
Image.new("RGB", (8, 8), "red").save(folder / "more.png")
common = {"attacker": "seed 1", "edit_success": 0.9, "infected_edit_success": 0.5, "psnr": 34.56}
rows = [{"method": "ours", "eps": eps, "dsr": 10 * eps} | common for eps in (0.03, 0.05)]
rows.append(rows[-1] | {"method": "ruiz", "attacker": "seed 2", "dsr": 0.125})
(folder / "results.json").write_text(json.dumps(rows))
"""


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    """A function that writes notebooks, one code cell each, where `idf run` looks for them."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    monkeypatch.setattr("idf.commands.parameters.NOTEBOOKS", folder)
    monkeypatch.delenv("IDF_DEBUG", raising=False)

    def write(*cells, parameters=PARAMETERS):
        for index, code in enumerate(cells):
            cell = new_code_cell(parameters)
            cell.metadata["tags"] = ["parameters"]
            notebook = new_notebook(
                cells=[new_markdown_cell(f"# Step {index}"), cell, new_code_cell(code)]
            )
            notebook.metadata["kernelspec"] = {
                "name": "python3",
                "display_name": "Python 3",
                "language": "python",
            }
            nbformat.write(notebook, folder / f"0{index}_step.ipynb")
        return folder

    return write


def run(tmp_path, *options):
    return main(["run", "--preset", "smoke", "--out", str(tmp_path / "out"), *options])


def texts(path):
    """All that the executed notebook printed."""
    cells = nbformat.read(path, as_version=4).cells
    return "".join(output.get("text", "") for cell in cells for output in cell.get("outputs", []))


def test_run_gathers_notebooks_figures_and_results(notebooks, tmp_path, capsys):
    notebooks("import sys; print(preset, seed, overrides, sys.executable)", SAVE_FIGURE)
    assert run(tmp_path, "--seed", "4", "--set", "eps=.03", "--set", "domains=Smiling,Bangs") == 0
    out = tmp_path / "out"
    assert (
        texts(out / "00_step.ipynb")
        == f"smoke 4 {{'eps': 0.03, 'domains': 'Smiling,Bangs'}} {sys.executable}\n"
    )
    page = (out / "index.html").read_text()
    for link in (
        "00_step.html",
        "00_step.ipynb",
        "01_step.html",
        "01_step.ipynb",
        "figures/faces.png",
    ):
        assert f'href="{link}"' in page and (out / link).exists()
    assert "Step 0" in page and "Teal &amp; &lt;b&gt;square" in page
    # what came out stands first, then the other figures, then a line a method at the largest eps
    order = ("Teal is what came out.", ">Notebooks<", ">Figures<", ">Results<", ">This run<")
    assert sorted(order, key=page.index) == list(order)
    assert page.count('src="figures/faces.png"') == 1 and 'src="figures/more.png"' in page
    cells = re.findall("<td>(.*?)</td>", page[page.index(">Results<") :])
    assert (
        cells[:6] == ["PG, as in the paper", "0.5", "–", "0.9", "0.5", "34.56"]
        and cells[8] == "0.12"
    )
    heads = re.findall("<th>(.*?)</th>", page[page.index(">Results<") :])
    assert heads == ["method", "seed 1", "seed 2", "edits, clean", "edits, infected", "PSNR, dB"]
    assert 'href="figures/results.json"' in page and (out / "figures" / "results.json").exists()
    assert re.search(r"[1-9]\d* s</td>\s*<td class=\"tight\">\d\.\d GB", page)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["00_step", "01_step"]
    assert "2 of 2 notebooks" in lines[-1]
    assert not list(out.glob("*.tmp"))


def test_page_and_notebooks_read_without_a_network(notebooks, tmp_path):
    folder = notebooks(
        "import ipywidgets\nfrom IPython.display import display\ndisplay(ipywidgets.IntSlider())"
    )
    notebook = nbformat.read(folder / "00_step.ipynb", as_version=4)
    formulas = r"## $x_1$ of `$HOME`\n\n$$\mathcal{PG}(x) \le \mathbb{E}$$\n\n$\nonsense{$"
    notebook.cells.append(new_markdown_cell(formulas.replace(r"\n\n", "\n\n")))
    nbformat.write(notebook, folder / "00_step.ipynb")
    assert run(tmp_path) == 0
    assert not re.search(r"(?:src|href)=.?https?://", (tmp_path / "out" / "index.html").read_text())
    html = (tmp_path / "out" / "00_step.html").read_text()
    assert "IntSlider(" in html and "mathjax" not in html.lower()
    assert html.count("<math") >= 2 and "\U0001d4ab" in html and "\U0001d53c" in html
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in html and "$HOME" in html
    outside = re.findall(r"<(?:script|link)[^>]*https?://[^>]*>", html)
    assert not outside


def test_kernel_is_this_interpreter_whatever_the_user_has_registered(
    notebooks, tmp_path, monkeypatch
):
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": ["/nowhere/python", "{connection_file}"],
                "display_name": "Stray",
                "language": "python",
            }
        )
    )
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "0")
    notebooks("import sys; print(sys.prefix)")
    assert run(tmp_path) == 0
    assert texts(tmp_path / "out" / "00_step.ipynb").strip() == sys.prefix


@pytest.mark.parametrize(
    "code, status, said",
    [
        (
            "from idf.config import UserError\nraise UserError('No face in x.jpg: remove it.')",
            2,
            "idf: No face in x.jpg: remove it.\n",
        ),
        ("1 / 0", 1, "idf: 00_step.ipynb, cell [3] ZeroDivisionError: division by zero\n"),
        (
            "raise OSError(28, 'No space left on device')",
            1,
            "idf: 00_step.ipynb, cell [3] the disk is full: free some space and run the same "
            "command again.\n",
        ),
        (
            "import os; os._exit(9)",
            1,
            "idf: 00_step.ipynb, the kernel died, most often for want of memory: try "
            "--preset smoke.\n",
        ),
    ],
)
def test_failing_notebook_is_named_in_one_line_and_on_the_page(
    notebooks, tmp_path, capsys, code, status, said
):
    notebooks(code, "print(1)")
    assert run(tmp_path) == status
    assert capsys.readouterr().err == said
    page = (tmp_path / "out" / "index.html").read_text()
    assert re.search(r"failed: .*(x\.jpg|division|disk is full|kernel died)", page)
    assert "not run" in page and 'href="00_step.html"' in page and 'href="01_step.html"' not in page


@pytest.mark.parametrize(
    "options, word",
    [
        (["--preset", "huge"], "preset 'huge'"),
        (["--set", "epz=1"], "setting 'epz'"),
        (["--set", "eps=0"], "poisoner.eps=0 "),
        (["--set", "poisoner.eps=big"], "eps='big' should be a valid number"),
        (["--set", "poisoner.follow=-1"], "poisoner.follow=-1"),
        (["--set", "width=8"], "say editor.width or poisoner.width"),
        (["--set", "eps"], "NAME=VALUE"),
        (["--set"], "--set"),
        (["--set", "seed=1"], "--seed 1"),
        (["--set", "data_root=x"], "--data x"),
        (["--data", "no/such/folder"], "no/such/folder"),
        (["--video", "no/such.mp4"], "no/such.mp4"),
        (["--set", "video=x"], "--video x"),
        (["--landmarks", "no/such.npz"], "no/such.npz"),
        (["--landmarks", __file__], "landmarks belong to a video"),
        (["--set", "landmarks=x.npz"], "--landmarks x.npz"),
        (["--start", "2"], "start is of a video"),
        (["--start", "-2"], "--start -2"),
        (["--start", "nan"], "--start nan"),
        (["--set", "start=2"], "--start 2"),
        (["--seed", "x"], "--seed"),
        (["--seed", "-1"], "seed=-1"),
        (["--seed", "9" * 30], "seed=9"),
        (["--set", "domains=[1,2]"], "domains=1 should be a valid string"),
        (["--set", "faces=" + "9" * 5000], "faces='999"),
        (["--set", "faces=" + "[" * 100_000], "faces='[[["),
        (["--colour", "red"], "--colour"),
        (["--update"], "--update"),
    ],
)
def test_mistake_is_one_sentence_and_runs_nothing(notebooks, tmp_path, capsys, options, word):
    notebooks("print(1)")
    assert run(tmp_path, *options) == 2
    said = capsys.readouterr().err
    assert said.startswith("idf: ") and said.count("\n") == 1 and word in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "parameters, options, word",
    [
        ('preset = "demo"', [], "no parameter 'seed'"),
        ('preset = "demo"\nseed = 0', [], "no parameter 'data_root' or 'video'"),
        ('preset = "demo"\ndata_root = ""\nseed = 0', ["--set", "eps=.03"], "parameter 'eps'"),
        ('preset = "demo"\ndata_root = ""\nseed = 0', ["--skip-bad"], "parameter 'skip_bad'"),
    ],
)
def test_parameter_unknown_to_the_notebooks_is_refused(
    notebooks, tmp_path, capsys, parameters, options, word
):
    notebooks("print(1)", parameters=parameters)
    assert run(tmp_path, *options) == 2
    assert word in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_landmarks_reach_the_notebooks_of_the_film(notebooks, tmp_path):
    notebooks(
        "print(video, landmarks, overrides)",
        parameters='preset = "demo"\nvideo = ""\nlandmarks = ""\nseed = 0\noverrides = {}',
    )
    marks = tmp_path / "marks.csv"
    marks.touch()
    words = ["--video", __file__, "--landmarks", str(marks), "--start", "2.5"]
    assert run(tmp_path, *words) == 0
    assert texts(tmp_path / "out" / "00_step.ipynb") == f"{__file__} {marks} {{'start': 2.5}}\n"


NO_DATA = {"data_root": "", "video": ""}
STANDARD = {"preset": "smoke", "seed": 0}


def test_setting_goes_to_the_parameter_of_its_name(notebooks):
    folder = notebooks("print(1)", parameters=PARAMETERS + "\neps = 0.05")
    settings = {"eps": 0.03, "editor.batch": 2}
    (given,) = plan(find_notebooks(folder), STANDARD, settings, NO_DATA, skip_bad=True).values()
    expected = {"data_root": "", "skip_bad": True, "eps": 0.03, "overrides": {"editor.batch": 2}}
    assert given == STANDARD | expected


def test_each_scenario_gets_its_own_data_and_settings(notebooks):
    folder = notebooks("print(1)", "print(2)")
    text = (folder / "01_step.ipynb").read_text()
    (folder / "01_step.ipynb").write_text(text.replace("data_root = ", "video = "))
    found = find_notebooks(folder)

    settings = {"poisoner.eps": 0.03, "lr_inner": 0.1, "lambda_rec": 5.0}
    photos, film = plan(found, STANDARD, settings, NO_DATA).values()
    assert photos["data_root"] == "" and "video" not in photos
    assert photos["overrides"] == {"poisoner.eps": 0.03, "lambda_rec": 5.0}
    assert film["video"] == "" and "data_root" not in film
    assert film["overrides"] == {"poisoner.eps": 0.03, "lr_inner": 0.1}

    only = plan(found, STANDARD, {}, {"data_root": "", "video": "me.mp4"})
    assert [path.stem for path in only] == ["01_step"]
    assert only[found[1]] == STANDARD | {"video": "me.mp4"}
    assert len(plan(found, STANDARD, {}, {"data_root": "x", "video": "me.mp4"})) == 2
    with pytest.raises(UserError, match="No notebook here takes video: leave the option --video"):
        plan(found[:1], STANDARD, {}, {"data_root": "", "video": "me.mp4"})


def test_interrupted_run_says_so_and_leaves_no_kernel(notebooks, tmp_path):
    folder = notebooks(
        "print(1)", "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(60)"
    )
    # a shell's background jobs ignore SIGINT, and so would their children
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        # what tornado prints now and then, where the signal comes in the middle of a message
        "import nbclient, tornado.log; end = nbclient.NotebookClient._cleanup_kernel\n"
        "def closing(*args):\n"
        "    tornado.log.gen_log.error('Uncaught exception in ZMQStream callback')\n"
        "    end(*args)\n"
        "nbclient.NotebookClient._cleanup_kernel = closing\n"
        "import pathlib, sys; from idf.commands import main, parameters\n"
        f"parameters.NOTEBOOKS = pathlib.Path({str(folder)!r})\n"
        f"sys.exit(main(['run', '--preset', 'smoke', '--out', {str(tmp_path / 'out')!r}]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1)  # people wait longer than it takes the cell's first messages to arrive
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert (
        process.returncode == 130 and said.startswith("idf: Interrupted") and said.count("\n") == 1
    )
    assert "<td>interrupted</td>" in (tmp_path / "out" / "index.html").read_text()
    assert kernels and not psutil.wait_procs(kernels, timeout=5)[1]


def test_no_notebooks_is_a_mistake_with_a_remedy(notebooks, tmp_path):
    notebooks()
    with pytest.raises(UserError, match="clone of the project"):
        find_notebooks()
