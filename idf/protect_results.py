"""`idf protect-results`: protects a folder of photos, measures what the shipped editors make of them, and how long it takes.

It writes data/results/protect.json (the figures at eps .05, under `rows` those of every eps) and the README's table.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from idf.check import EDITORS, VARIANTS, check, mean
from idf.checkpoint import save_json
from idf.config import RESULTS, ROOT, UserError
from idf.photo import open_photo
from idf.protect import counted, plan, protect
from idf.results import write_table
from idf.weights import command, hardware

EPS = (0.02, 0.03, 0.05)
FILE = RESULTS / "protect.json"
MARKS = ("<!-- photos: written by `idf protect-results` -->", "<!-- end of photos -->")


def add_arguments(parser) -> None:
    parser.add_argument("photos", metavar="FOLDER", help="photos of one face each")
    parser.add_argument(
        "--out", default=str(FILE), metavar="FILE", help="default: data/results/protect.json"
    )


def main(args) -> int:
    with tempfile.TemporaryDirectory() as folder:
        pairs = plan([args.photos], folder)
        rows = [measure(pairs, eps) for eps in EPS]
        start = start_seconds(pairs[0][0], Path(folder) / "start", rows[-1]["seconds_per_photo"])
    found = {
        **rows[-1],
        "start_seconds": start,
        "explorer_ms": explorer_ms(),
        "rows": rows,
        "hardware": hardware(),
        "command": command().replace(args.photos, "PHOTOS"),
    }
    save_json(Path(args.out), found)
    if Path(args.out) == FILE:
        write_table(ROOT / "README.md", table(found), MARKS)
    return 0


def measure(pairs: list[tuple[Path, Path]], eps: float) -> dict:
    """The written files, read back: DSR by editor and variant, wishes granted, PSNR, seconds a photo after the first."""
    seconds, psnr, faces, missing = [], [], [], []
    for source, out in pairs:
        start = time.monotonic()
        try:
            psnr.append(protect(source, out, eps).psnr)
            seconds.append(time.monotonic() - start)
            faces += check(open_photo(source), open_photo(out))[:1]
        except UserError as error:
            missing.append(str(error))
    if len(faces) < 2:  # the first warms up, and its time does not count
        raise UserError(
            f"A face was found in {len(faces)} of {counted(len(pairs), 'photo')}: give at least two photos of "
            "one face each."
        )
    moved = {
        name: {editor: mean(faces, lambda face: face.dsr(editor, name)) for editor in EDITORS}
        for name in VARIANTS
    }
    average = {name: statistics.mean(by.values()) for name, by in moved.items()}
    row = {
        "eps": eps,
        "photos": len(pairs),
        "faces_found": len(faces),
        "missing": missing,
        "seconds_per_photo": statistics.mean(seconds[1:]),
        "slowest_photo": max(seconds[1:]),
        "dsr": average["protected"],
        **{f"dsr_{name}": average[name] for name in VARIANTS if name != "protected"},
        "dsr_by_editor": moved,
        "psnr": statistics.mean(psnr),
        "psnr_least": min(psnr),
        "wishes_granted": {
            name: {
                editor: mean(faces, lambda face: face.success[editor][name]) for editor in EDITORS
            }
            for name in ("clean", "protected")
        },
    }
    print({name: value for name, value in row.items() if not isinstance(value, dict)}, flush=True)
    return row


def start_seconds(photo: Path, folder: Path, per_photo: float) -> float:
    """Median over three runs of the command on one photo, less what a photo takes: imports, networks, landmark model."""
    times = []
    for i in range(3):
        begun = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "idf", "protect", str(photo), "-o", str(folder / f"{i}.png")],
            check=True,
            capture_output=True,
        )
        times.append(time.monotonic() - begun - per_photo)
    print("start", times, flush=True)
    return statistics.median(times)


def explorer_ms() -> float:
    """Median milliseconds of `explorer.render` for a moved control, none of the states seen before."""
    from idf.explorer import METHODS, State, domains_of, render

    base = State()
    render(base)
    moves = [replace(base, eps=round(0.002 * i, 4)) for i in range(1, 20)]
    moves += [replace(base, domain=domain) for domain in domains_of(b"", base.target)]
    moves += [replace(base, method=method) for method in METHODS]
    moves += [
        replace(base, transformation="jpeg", strength=quality) for quality in (95, 90, 75, 50)
    ]
    times = []
    for state in moves:
        begun = time.perf_counter()
        render(state)
        times.append(1000 * (time.perf_counter() - begun))
    median = statistics.median(times)
    print(
        f"explorer: median {median:.0f} ms, slowest {max(times):.0f} ms of {len(times)} moves",
        flush=True,
    )
    return median


def table(found: dict) -> str:
    """Markdown: a row for each eps."""
    names = list(EDITORS)
    lines = [
        f"| eps | PSNR of the faces | DSR {', '.join(names)} | wishes granted by *{names[0]}*, clean and protected | "
        "DSR of colour noise | as JPEG 95 | as JPEG 75 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found["rows"]:
        moved = ", ".join(f"{row['dsr_by_editor']['protected'][name]:.0%}" for name in names)
        granted = ", ".join(
            f"{row['wishes_granted'][name][names[0]]:.0%}" for name in ("clean", "protected")
        )
        lines.append(
            f"| {row['eps']:g} ({row['eps'] * 127.5:.1f}/255) | {row['psnr']:.1f} dB | {moved} | {granted} | "
            f"{row['dsr_noise']:.0%} | {row['dsr_jpeg_95']:.0%} | {row['dsr_jpeg_75']:.0%} |"
        )
    lines += [
        "",
        f"{found['faces_found']} of {found['photos']} faces found; {found['seconds_per_photo']:.1f} s a photo on "
        f"{found['hardware']}, {found['start_seconds']:.1f} s to start.",
    ]
    return "\n".join(lines)
