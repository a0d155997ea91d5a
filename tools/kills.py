"""Kills commands at random moments and starts them again: `make kills N=50`.

`idf weights`, `idf reenact`, `idf protect` (four photos) and `idf table1` (few faces, shipped
weights), the others at preset smoke. Each is first run unbroken. Then it is killed (SIGKILL) at a
moment drawn uniformly from that run's duration, and the same command is run to its end: what it
leaves must equal what the unbroken run left, file by file. data/results/reliability.json gets the
counts; the exit status is 1 where something differed.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from idf.config import ROOT
from idf.data.drawn.faces import render_faces
from tools.reliability import main

PHOTOS = 4
NETWORKS = ("editor_Res6_SD_0", "poisoner_keyless_0")
FORGERS = ("editor_Res6_SD_1", "editor_Res6_SD_2")
# The words after `idf`, for a folder of one's own: what is left is compared under folder/out
COMMANDS = {
    "weights": "weights --preset smoke --only {networks} --out {folder}/out --work {folder}/work",
    "reenact": "reenact --preset smoke --seeds 0 --methods ours random-noise"
    " --out {folder}/out/rows.json --work {folder}/work",
    "protect": "protect {photos} -o {folder}/out",
    "table1": "table1 --images 4 --seeds 0 --editors {forgers} --resume"
    " --methods random-noise brightened keyless-no-ats --out {folder}/out/rows.json",
}
TIMES = ("seconds",)  # the only entries in which two runs may differ


def write_photos(folder: Path) -> Path:
    """A face on a plain wall in each."""
    folder.mkdir()
    for number, face in enumerate(render_faces(range(PHOTOS), size=200).images):
        wall = np.pad(face.permute(1, 2, 0), ((60, 40), (50, 50), (0, 0)), constant_values=180)
        Image.fromarray(wall).save(folder / f"{number}.png")
    return folder


def words_of(command: str, folder: Path, photos: Path) -> list[str]:
    """The command line, for subprocess."""
    words = []
    for word in COMMANDS[command].split():
        if word in ("{networks}", "{forgers}"):
            words += NETWORKS if word == "{networks}" else FORGERS
        else:
            words.append(word.format(folder=folder, photos=photos))
    return [sys.executable, "-m", "idf", *words]


def run(words: list[str], kill_after: float | None = None) -> str | None:
    """Runs to the end: what it said, where it failed. None if it was killed before."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # workers are killed with it
    )
    try:
        said, _ = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return said if process.returncode else ""


def outcome(folder: Path) -> dict[str, object]:
    """What stands in each file under it: {path: content}, apart from TIMES."""
    return {str(file.relative_to(folder)): _content(file) for file in sorted(folder.rglob("*.*"))}


def _content(file: Path) -> object:
    if file.suffix == ".safetensors":
        return {name: tensor.tobytes() for name, tensor in load_file(file).items()}
    if file.suffix == ".json":
        return _without_times(json.loads(file.read_text()))
    if file.suffix == ".jsonl":  # a batch's log: its lines come as the photos become ready
        lines = [_without_times(json.loads(line)) for line in file.read_text().splitlines()]
        return sorted(json.dumps(line, sort_keys=True) for line in lines)
    return file.read_bytes()


def _without_times(entry: object) -> object:
    if isinstance(entry, list):
        return [_without_times(one) for one in entry]
    if isinstance(entry, dict):
        return {name: _without_times(one) for name, one in entry.items() if name not in TIMES}
    return entry


def kill_and_repeat(
    command: str, count: int, generator: random.Random, scratch: Path, photos: Path
) -> list[str]:
    """`count` kills of one command; a line for each that did not end as the unbroken run."""
    start = time.monotonic()
    said = run(words_of(command, scratch / f"{command}-whole", photos))
    duration = time.monotonic() - start
    whole = outcome(scratch / f"{command}-whole" / "out")
    if said or not whole:
        raise SystemExit(f"{command} fails unbroken already: {said[-2000:]}")

    faults = []
    for number in range(count):
        folder = scratch / f"{command}-{number}"
        words, moment = words_of(command, folder, photos), generator.uniform(0, duration)
        while run(words, kill_after=moment) is not None:  # it was faster than the unbroken run
            shutil.rmtree(folder)
            moment *= 0.9
        said = run(words)
        left = outcome(folder / "out")
        differing = sorted(
            name for name in whole.keys() | left.keys() if whole.get(name) != left.get(name)
        )
        verdict = "equal"
        if said or differing:
            verdict = f"not equal: {', '.join(differing)} {said[-500:]}"
            faults.append(f"{command} killed after {moment:.2f} s: {verdict}")
        print(f"{command} {number + 1}/{count}: after {moment:.2f} of {duration:.2f} s, {verdict}")
    return faults


def kills(count: int, seed: int = 0) -> tuple[dict[str, int], list[str]]:
    """`count` kills spread over COMMANDS. Their counts, and a line for each that failed."""
    generator = random.Random(seed)
    faults = []
    with tempfile.TemporaryDirectory() as scratch:
        photos = write_photos(Path(scratch) / "photos")
        for place, command in enumerate(COMMANDS):
            own = len(range(place, count, len(COMMANDS)))
            if own:
                faults += kill_and_repeat(command, own, generator, Path(scratch), photos)
    return {"tried": count, "equal": count - len(faults)}, faults


if __name__ == "__main__":
    sys.exit(main("kills", __doc__.splitlines()[0], 50, kills))
