"""workflow/Snakefile: which jobs there are, that two run at once, what a kill and a failure leave.

One tiny grid at preset smoke serves all: killed, continued, and then with a PG that is damaged.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from idf.commands.reenact import METHODS as FILM_METHODS
from idf.commands.robustness import FORGERS, METHODS_MEASURED
from idf.config import ROOT
from idf.zoo.ablations import VARIANTS
from idf.zoo.adaptive import DIETS
from idf.zoo.grid import (
    CODELESS,
    EDITORS,
    GRAY_BOX,
    OF_ONE_FORGER,
    POISONERS,
    SEEDS,
    THROUGH,
    poisoner_name,
)
from idf.zoo.load import CRITIC, SURROGATE
from idf.zoo.manifest import check_manifest, read_manifest
from idf.zoo.recipes import ALL, needs

GRID = Path("runs/grid/smoke/procedural")
PG, LENGTH = "poisoner_ours_0", 40
NOISE, WAYS, VARIANT = ["random-colour"], ["none", "jpeg-75"], "no-bs"
TINY = (
    f"editors=[{SURROGATE}]",
    "seeds=[0]",
    "eps=[0.05]",
    "images=4",
    f'set=["editor.iterations={LENGTH}", "judge.iterations=2", "poisoner.iterations=2"]',
)


def start(folder, *words, config=()):
    """`snakemake` on two cores in a folder of its own; what it says goes to its file `said`."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *words]
    command += ["--snakefile", str(ROOT / "workflow" / "Snakefile"), "--directory", str(folder)]
    command += ["--config", "preset=smoke", *config]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache")}
    with (folder / "said").open("w") as said:
        return subprocess.Popen(
            command, env=environment, stdout=said, stderr=said, start_new_session=True
        )


def run(folder, *words, config=()):
    """(exit status, what was said)."""
    return start(folder, *words, config=config).wait(300), (folder / "said").read_text()


def files(folder):
    """Every network with the time at which it was written."""
    weights = (folder / GRID / "weights").glob("*.safetensors")
    return {path.stem: path.stat().st_mtime_ns for path in weights}


def jobs_in(said):
    """{rule: number of jobs} of a dry run."""
    table = re.findall(r"(?m)^(\w+) +(\d+)$", said.partition("Job stats:")[2])
    return {name: int(count) for name, count in table}


def test_a_dry_run_lists_every_network_cell_and_film(tmp_path):
    status, said = run(tmp_path, "--dry-run")
    assert status == 0
    # PGs that may query a forger, or know it, meet that one alone
    of_all = [method for method in POISONERS if method not in (*OF_ONE_FORGER, *THROUGH)]
    table1 = len(EDITORS) * (1 + len(SEEDS) * len(of_all)) + len(SEEDS) * len(OF_ONE_FORGER)
    # one seed of PG; the queried forger is one of the four
    of_all = [method for method in POISONERS if method in METHODS_MEASURED]
    robustness = len(FORGERS) * len(of_all) + 1
    of_one_seed = [poisoner_name(method, seed) for method in THROUGH for seed in SEEDS[1:]]
    networks = [name for name in ALL if name not in of_one_seed]
    wanted = {"network": len(networks), "cells": table1 + robustness, "parser": 1}
    wanted |= {"ablation": len(SEEDS) * len(VARIANTS), "adapted": len(GRAY_BOX) * len(DIETS)}
    wanted |= {"film": len(SEEDS) * len(FILM_METHODS), "both": 1 + len(SEEDS)}
    tables = ("table1", "robustness", "ablations", "adaptive", "films", "joint")
    wanted |= dict.fromkeys((*tables, "all"), 1)
    assert jobs_in(said) == wanted | {"total": sum(wanted.values())}
    assert f"{sum(wanted.values())} jobs" in (ROOT / "README.md").read_text()
    inputs = re.findall(r"input: (.*)\n +output: \S*/([\w-]+)\.safetensors", said)
    given = {name: tuple(Path(one).stem for one in line.split(", ")) for line, name in inputs}
    assert given == {name: needs(name) for name in networks if needs(name)}
    assert not (tmp_path / GRID).exists()


def test_a_wrong_setting_is_said(tmp_path):
    status, said = run(tmp_path, "--dry-run", config=["seeds=0"])
    assert status == 1 and "seeds=0 is no list: write 'seeds=[0]'" in said


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A grid killed while SM is trained, as by a machine that goes down: nobody could tidy up."""
    folder = tmp_path_factory.mktemp("grid")
    process = start(folder, "table1", config=[*TINY, "methods=[ours]"])
    checkpoint = folder / GRID / "checkpoints" / SURROGATE / "checkpoint.json"
    end = time.monotonic() + 120
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and SURROGATE not in files(folder)
    return folder, (folder / "said").read_text()


@pytest.fixture(scope="module")
def done(killed):
    """The same grid continued."""
    folder, _ = killed
    assert run(folder, "--unlock", config=TINY)[0] == 0
    status, said = run(folder, "table1", config=[*TINY, "methods=[ours]"])
    assert status == 0, said
    return folder


def test_two_jobs_run_at_once(killed):
    _, said = killed
    started = re.findall(r"output: \S*/weights/(\w+)\.safetensors", said.partition("Finished")[0])
    assert sorted(started) == sorted([SURROGATE, "judge"])


def test_a_killed_training_goes_on_from_its_checkpoint(done):
    log = (done / GRID / "logs" / f"{SURROGATE}.log").read_text()
    first, *_ = re.findall(rf"(\d+)/{LENGTH}\b", log)
    assert int(first) >= 4


def test_the_grid_leaves_weights_with_their_manifest_and_a_table(done):
    weights = done / GRID / "weights"
    check_manifest(weights)
    assert set(read_manifest(weights)) == set(files(done)) == {"judge", SURROGATE, CRITIC, PG}
    (row,) = json.loads((done / GRID / "table1.json").read_text())
    assert (row["method"], row["eps"], row["images"]) == ("ours", 0.05, 4)
    digests = [read_manifest(weights)[name]["sha256"][:8] for name in (SURROGATE, SURROGATE, PG)]
    assert row["weights"] == "-".join(digests)
    assert "--weights WEIGHTS" in row["command"] and "/" not in row["command"]


def test_the_other_tables_are_made_from_the_same_networks(done):
    before = files(done)
    own = ["editors=[]", f"methods={NOISE}", f"transforms={WAYS}", f"variants=[{VARIANT}]"]
    status, said = run(done, "robustness", "ablations", config=[*TINY[1:], *own])
    assert status == 0, said
    assert before.items() < files(done).items()
    assert set(files(done)) - set(before) == {*GRAY_BOX, CODELESS}
    rows = json.loads((done / GRID / "robustness.json").read_text())
    assert {(row["target"], row["target_seed"]) for row in rows} == {
        (EDITORS[name].kind, EDITORS[name].seed) for name in FORGERS
    }
    assert {(row["method"], row["transform"]) for row in rows} == {
        (method, way) for method in NOISE for way in WAYS
    }
    rows = json.loads((done / GRID / "ablations.json").read_text())
    assert {(row["variant"], row["seed"], row["images"]) for row in rows} == {(VARIANT, 0, 4)}
    assert {row["target_seed"] for row in rows} == {0, 1, 2, 3}
    (work,) = [
        path for path in (done / GRID / "checkpoints" / "ablations").iterdir() if path.is_dir()
    ]
    made = read_manifest(work)
    assert made[poisoner_name(VARIANT, 0)]["iterations"] == 2


def test_both_defences_are_listed_where_the_film_fits_the_faces(tmp_path):
    """A filmed person is edited by editors of photos."""
    video = tmp_path / "person.mp4"
    video.touch()
    status, said = run(tmp_path, "--dry-run", config=[f"video={video}"])
    assert status == 0
    assert "film" in jobs_in(said) and not {"joint", "both"} & set(jobs_in(said))
    status, said = run(tmp_path, "joint", "--dry-run", config=[f"video={video}"])
    assert status == 1 and "give `video` and `data`, or neither" in said


def test_a_failing_cell_leaves_the_others_done_and_nothing_is_repeated(done):
    before = files(done)
    for folder in ("table1", "checkpoints/table1"):
        shutil.rmtree(done / GRID / folder)
    (done / GRID / "table1.json").unlink()
    (done / GRID / "weights" / f"{PG}.safetensors").write_bytes(b"damaged")

    status, said = run(done, "table1", config=[*TINY, "methods=[brightened, ours]"])
    assert status == 1 and f"{PG}.safetensors is not a readable safetensors file" in said
    # the same networks, and of the cells the one that needs no PG
    rules = Counter(re.findall(r"(?m)^(?:local)?rule (\w+):$", said))
    assert rules == {"cells": 2}
    (other,) = (done / GRID / "table1").iterdir()
    assert [row["method"] for row in json.loads(other.read_text())] == ["brightened"]
    assert not (done / GRID / "table1.json").exists()
    assert files(done) | {PG: 0} == before | {PG: 0}
