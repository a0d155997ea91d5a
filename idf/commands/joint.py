"""`idf joint`: both defences on one film, and both manipulations tried on it (Figure 8).

A forger and a film at a time; a stopped call goes on where it was, and finished trainings are not
repeated.
"""

import sys
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import pandas as pd
import typer

from idf.commands.options import (
    Landmarks,
    Preset,
    Resume,
    Start,
    TableOnly,
    Video,
    Weights,
    Work,
    check_choices,
    check_places,
    check_writable,
    find_landmarks,
    find_video,
    find_weights,
)
from idf.commands.readme import write_table
from idf.commands.reenact import FILMS, Seeds
from idf.config import RESULTS, ROOT, load_config, load_film_config
from idf.data.files import read_json_rows, save_json
from idf.data.film import open_film
from idf.figures.joint import joint_sheet
from idf.figures.tables import markdown, select, spread, with_times
from idf.methods import METHODS
from idf.zoo.joint import CASES, POISONS, Joint, open_joint
from idf.zoo.joint_forgeries import (
    EDITING,
    MANIPULATIONS,
    REENACTMENT,
    Job,
    contact,
    jobs_of,
    key_of,
    measure,
)
from idf.zoo.manifest import command

FILE = RESULTS / "joint.json"
FIGURE = "joint-{}-{}.png"  # in the folder of checkpoints
MARKS = ("<!-- joint: written by `idf joint` -->", "<!-- end of joint -->")

Poisons = Annotated[
    list[str],
    typer.Option(metavar="NAME ...", help=f"Scenario 1's PG: of {', '.join(POISONS)}."),
]
Manipulations = Annotated[
    list[str], typer.Option(metavar="NAME ...", help=f"Of {', '.join(MANIPULATIONS)}.")
]
Images = Annotated[int, typer.Option(metavar="NUMBER", min=1, help="Frames that are edited.")]
Out = Annotated[str, typer.Option(metavar="FILE", help="By default data/results/joint.json.")]


def main(
    preset: Preset = "demo",
    video: Video = "",
    landmarks: Landmarks = "",
    start: Start = 0.0,
    seeds: Seeds = (0, 1, 2),
    poisons: Poisons = POISONS,
    manipulations: Manipulations = MANIPULATIONS,
    images: Images = 100,
    work: Work = "",
    resume: Resume = False,
    weights: Weights = "",
    out: Out = "",
    table_only: TableOnly = False,
) -> int:
    """Writes rows, README's table and, of the drawn film, the figure. Returns 1 if a job failed."""
    if table_only:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
        return 0
    check_choices("--poisons", poisons, POISONS)
    check_choices("--manipulations", manipulations, MANIPULATIONS)
    sources = {"video": find_video(video), "landmarks": find_landmarks(landmarks), "start": start}
    # editors of photos serve a filmed person; no folder of pictures is read for them
    photos = "photos" if video else ""
    config = load_config(preset, data_root=photos, weights_folder=find_weights(weights))
    if weights:
        check_places({"--out": out, "--work": work})
    film_config = load_film_config(preset, size=config.size, **sources)
    checkpoints = Path(work or ROOT / "runs" / "reenact" / f"{preset}-{film_config.dataset}")
    file = Path(out or FILE)
    check_writable(checkpoints, file.parent)

    film = open_film(film_config)
    print(*film.notes, sep="\n", end="\n" if film.notes else "")
    joint = open_joint(config, film_config, film, poisons, checkpoints)
    jobs = jobs_of(seeds, poisons, manipulations)
    failed = measure_into(file, joint, jobs, images, checkpoints, resume)
    if not failed and not video and REENACTMENT in manipulations:
        draw(joint, poisons, seeds[0], checkpoints)
    if file == FILE:
        write_table(ROOT / "README.md", readme_table(read_json_rows(FILE)), MARKS)
    return 1 if failed else 0


def measure_into(
    file: Path, joint: Joint, jobs: list[Job], images: int, work: Path, resume: bool
) -> int:
    """Does the jobs and saves after each; returns how many failed.

    resume: leave out those whose rows are there, of the same PGs, strengths and editors.
    """
    rows = {key_of(row): row for row in read_json_rows(file)}
    if resume:
        jobs = [job for job in jobs if not is_done(joint, job, rows)]
    failed = 0
    for number, job in enumerate(jobs, start=1):
        print(f"{number}/{len(jobs)} {job}", flush=True)
        try:
            new = measure(joint, job, images, work)
        except Exception as error:  # the others go on
            failed += 1
            failure = f"{type(error).__name__}: {error}"
            print(f"{job} failed: {failure}", file=sys.stderr, flush=True)
            continue
        for row in new:
            print(f"  against {row['reference']}: L1 {row['l1']:.4f}, DSR {row['dsr']:.2f}")
            rows[key_of(row)] = row | {"command": command()}
        save_json(file, in_order(rows))
    if failed:
        print(f"{failed} of {len(jobs)} failed: the same command with --resume tries them again.")
    return failed


def is_done(joint: Joint, job: Job, rows: dict[tuple, dict]) -> bool:
    weights = job.weights(joint)
    return all(rows.get(key, {}).get("weights") == weights for key in job.keys(joint))


def in_order(rows: dict[tuple, dict]) -> list[dict]:
    """The rows by film and manipulation, then by scenario 1's PG, case, forger and seed."""
    place = {name: number for number, name in enumerate(CASES)}

    def rank(key: tuple) -> tuple:
        dataset, size, manipulation, poison, case, *rest = key
        return dataset, size, manipulation, poison, place[case], *rest

    return [rows[key] for key in sorted(rows, key=rank)]


def draw(joint: Joint, poisons: list[str], seed: int, work: Path) -> None:
    """Figure 8, a sheet for each PG of scenario 1, beside the checkpoints."""
    for poison in poisons:
        file = work / FIGURE.format(poison, seed)
        sheet = contact(joint, poison, seed, work)
        figure = joint_sheet(sheet, f"Scenario 1's PG: {METHODS[poison].legend}")
        figure.savefig(file)
        plt.close(figure)
        print(f"The figure: {file}")


# README's table


def readme_table(rows: list[dict]) -> str:
    """Markdown: for each film a line a case, with what both manipulations make of it."""
    parts = []
    for dataset, heading in FILMS.items():
        own = [row for row in rows if row["dataset"] == dataset]
        for size in sorted({row["size"] for row in own}):
            of_size = [row for row in own if row["size"] == size]
            parts += [f"**{heading}, {size} px.**", markdown(table_of_cases(of_size))]
    return "\n\n".join(parts)


def table_of_cases(rows: list[dict]) -> pd.DataFrame:
    """The editors' columns, then the reenactor's: mean and range over the forgers' seeds."""
    edits = pd.DataFrame([row for row in rows if row["manipulation"] == EDITING])
    trained = [row for row in rows if row["manipulation"] == REENACTMENT]
    forgers = with_times(trained) if has_floor(trained) else pd.DataFrame()
    lines = []
    for poison in ("", *POISONS):
        for case in CASES.values():
            own = [row for row in rows if (row["poison"], row["method"]) == (poison, case.name)]
            if own:
                line = {
                    "published with": case.label,
                    "scenario 1's PG": METHODS[poison].legend if poison else "–",
                    "PSNR after each stage": decibels(own[0]),
                }
                line |= edits_of(edits, case.name, poison)
                lines.append(line | reenactments_of(forgers, case.name, poison))
    return pd.DataFrame(lines)


def has_floor(rows: list[dict]) -> bool:
    """Is there a reseeded forger for every seed? Without it nothing is told by a multiple."""
    floor = {row["seed"] for row in rows if row["method"] == "reseed"}
    return bool(floor) and {row["seed"] for row in rows} <= floor


def decibels(row: dict) -> str:
    values = [value for value in (row["psnr_first"], row["psnr"]) if value is not None]
    return ", ".join(f"{value:.1f}" for value in values) + " dB" if values else "–"


def edits_of(table: pd.DataFrame, case: str, poison: str) -> dict[str, str]:
    """Edits of its frames by the surrogate (seed 0) and by the gray-box forgers.

    Of the clean film, what the judge sees of the clean edits.
    """
    names = ["L2", "DSR", "edits seen"]
    line = dict.fromkeys([f"{name}, {who}" for who in ("surrogate", "gray-box") for name in names])
    if table.empty or case == "reseed":
        return {heading: "–" for heading in line}
    own, seen = table[(table.method == case) & (table.poison == poison)], "infected_edit_success"
    if case == "clean":
        own, seen = table.drop_duplicates("target_seed").assign(l2=None, dsr=None), "edit_success"
    for who, cell in (
        ("surrogate", own[own.target_seed == 0]),
        ("gray-box", own[own.target_seed > 0]),
    ):
        line[f"L2, {who}"] = spread(cell.l2)
        line[f"DSR, {who}"] = spread(cell.dsr, 2)
        line[f"edits seen, {who}"] = spread(cell[seen], 2)
    return line


def reenactments_of(table: pd.DataFrame, case: str, poison: str) -> dict[str, str]:
    """The forger trained on it: against M, in L1 and beside the floor; does it follow?"""
    headings = ("L1 to M", "times the floor", "DSR to M", "expression error")
    if table.empty:
        return dict.fromkeys(headings, "–")
    own = table[table.poison == poison]
    to_m, to_x = select(own, case, "M"), select(own, case, "x")
    cells = (
        spread(to_m.l1),
        spread(to_m.times, 2),
        spread(100 * to_m.dsr, 0, "%"),
        spread(to_x.expression_error),
    )
    return dict(zip(headings, cells, strict=True))
