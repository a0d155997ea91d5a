"""`idf protect-results`: protects a folder of photos, measures what the shipped editors make of them, and how long it takes.

It writes data/results/protect.json: the figures at eps .05, and under `rows` those of every eps.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from idf.check import EDITORS, VARIANTS, check, mean
from idf.checkpoint import save_json
from idf.config import RESULTS, UserError
from idf.photo import find_faces, open_photo
from idf.protect import plan, protect
from idf.weights import command, hardware

EPS = (0.02, 0.03, 0.05)


def add_arguments(parser) -> None:
    parser.add_argument("photos", metavar="FOLDER", help="photos of one face each")
    parser.add_argument("--out", default=str(RESULTS / "protect.json"), metavar="FILE",
                        help="default: data/results/protect.json")


def main(args) -> int:
    with tempfile.TemporaryDirectory() as folder:
        pairs = list(plan([args.photos], folder))
        rows = [measure(pairs, eps) for eps in EPS]
        start = start_seconds(pairs[0][0], Path(folder) / "start", rows[-1]["seconds_per_photo"])
    save_json(Path(args.out), {**rows[-1], "start_seconds": start, "explorer_ms": explorer_ms(), "rows": rows,
                               "hardware": hardware(), "command": command().replace(args.photos, "PHOTOS")})
    return 0


def measure(pairs: list[tuple[Path, Path]], eps: float) -> dict:
    """The written files, read back: DSR by editor and variant, wishes granted, PSNR, seconds a photo after the first."""
    seconds, psnr, faces, missing = [], [], [], []
    for source, out in pairs:
        start = time.monotonic()
        try:
            psnr.append(protect(source, out, eps).psnr)
        except UserError as error:
            missing.append(str(error))
            continue
        seconds.append(time.monotonic() - start)
        faces += check(open_photo(source), open_photo(out))[:1]
    moved = {name: {editor: mean(faces, lambda face: face.dsr(editor, name)) for editor in EDITORS} for name in VARIANTS}
    average = {name: statistics.mean(by.values()) for name, by in moved.items()}
    row = {"eps": eps, "photos": len(pairs), "faces_found": len(faces), "missing": missing,
           "seconds_per_photo": statistics.mean(seconds[1:]), "slowest_photo": max(seconds[1:]),
           "dsr": average["protected"], **{f"dsr_{name}": average[name] for name in VARIANTS if name != "protected"},
           "dsr_by_editor": moved, "psnr": statistics.mean(psnr), "psnr_least": min(psnr),
           "wishes_granted": {name: {editor: mean(faces, lambda face: face.success[editor][name]) for editor in EDITORS}
                              for name in ("clean", "protected")}}
    print({name: value for name, value in row.items() if not isinstance(value, dict)}, flush=True)
    return row


def start_seconds(photo: Path, folder: Path, per_photo: float) -> float:
    """Median over three runs of the command on one photo, less what a photo takes: imports, networks, landmark model."""
    times = []
    for i in range(3):
        begun = time.monotonic()
        subprocess.run([sys.executable, "-m", "idf", "protect", str(photo), "-o", str(folder / f"{i}.png")], check=True,
                       capture_output=True)
        times.append(time.monotonic() - begun - per_photo)
    print("start", times, flush=True)
    return statistics.median(times)


def explorer_ms() -> float | None:
    return None
