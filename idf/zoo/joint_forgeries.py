"""Both manipulations tried on a film as it was published, a job at a time, and their rows.

Editing: single frames, by the surrogate and by the gray-box forgers of Table 1. Reenactment: a
forger trained from scratch on the film, held against M as in Table 2 (idf/zoo/films.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from idf import evaluation, losses
from idf.data.faces import Faces
from idf.data.film import Frames
from idf.data.landmarks import draw_landmarks, face_finder_or_none
from idf.data.pictures import to_model
from idf.evaluation import Forger
from idf.forger import forge_frames, train_reenactor
from idf.zoo.films import RESEED, train_forger
from idf.zoo.forgers import make_forger
from idf.zoo.grid import EDITORS, GRAY_BOX
from idf.zoo.joint import (
    CASES,
    POISONS,
    SEED,
    Joint,
    Publication,
    facts_of,
    frames_as_faces,
    labels_of_person,
    made_of,
    publications,
    published,
)
from idf.zoo.load import SURROGATE
from idf.zoo.manifest import hardware, read_manifest

EDITING, REENACTMENT = MANIPULATIONS = ("editing", "reenactment")
EDITED_BY = (SURROGATE, *GRAY_BOX)


@dataclass(frozen=True)
class Job:
    """One forger and one film. editor: of EDITED_BY, where the film is edited; seed: a forger's."""

    publication: Publication
    editor: str = ""
    seed: int = SEED

    @property
    def manipulation(self) -> str:
        return EDITING if self.editor else REENACTMENT

    @property
    def references(self) -> tuple[str, ...]:
        """What its rows are held against: the clean edits y; M, and the frames x."""
        if self.editor:
            return ("y",)
        return ("x",) if self.publication.case == "clean" else ("M", "x")

    def keys(self, joint: Joint) -> list[tuple]:
        """What tells each of its rows from all others, as key_of does."""
        place = (joint.film_config.dataset, joint.film.size, self.manipulation)
        target = self.editor or joint.film_config.forger.network
        own = (self.publication.poison, self.publication.case, target, self.seed)
        return [(*place, *own, reference) for reference in self.references]

    def weights(self, joint: Joint) -> str:
        """The digests of all that its rows rest on: where they change, the rows are old."""
        made = made_of(joint, self.publication)
        if not self.editor:
            return made
        manifest = read_manifest(joint.config.weights)
        digests = [manifest.get(name, {}).get("sha256", "") for name in (self.editor, "judge")]
        return "-".join([made, *(digest[:8] for digest in digests)])

    def __str__(self) -> str:
        case = f"{self.publication.case} {self.publication.poison}".strip()
        forger = self.editor.removeprefix("editor_") or f"a forger of seed {self.seed}"
        return f"{case}, {self.manipulation} by {forger}"


def key_of(row: dict) -> tuple:
    """Job.keys of a stored row."""
    target = row["target"]
    if row["manipulation"] == EDITING:
        target = f"editor_{target}_{row['domains']}_{row['target_seed']}"
    place = (row["dataset"], row["size"], row["manipulation"])
    return (*place, row["poison"], row["method"], target, row["seed"], row["reference"])


def jobs_of(
    seeds: Iterable[int],
    poisons: Iterable[str] = POISONS,
    manipulations: Iterable[str] = MANIPULATIONS,
) -> list[Job]:
    """All jobs, the short ones first: editing, then the forgers seed by seed."""
    films, jobs = publications(poisons), []
    if EDITING in manipulations:
        poisoned = [film for film in films if film.stages]
        jobs += [Job(film, editor) for film in poisoned for editor in EDITED_BY]
    if REENACTMENT in manipulations:
        jobs += [Job(film, seed=seed) for seed in seeds for film in films]
    return jobs


def measure(joint: Joint, job: Job, images: int, work: Path) -> list[dict]:
    """The rows of a job. images: frames of the test part that are edited."""
    films = published(joint, job.publication)
    facts = facts_of(joint, job.publication, films) | {"manipulation": job.manipulation}
    if job.editor:
        rows = [edited(joint, job, films[-1], images)]
    else:
        rows = list(reenacted(joint, job, films[-1], work))
    last = {"seed": job.seed, "weights": job.weights(joint), "hardware": hardware()}
    return [facts | row | last for row in rows]


# Editing


def edited(joint: Joint, job: Job, film: Frames, images: int) -> dict:
    """Edits of published frames x' beside those of x, and what the judge sees of either."""
    own = EDITORS[job.editor]
    forger, clean, y, quality = _editor(joint, job.editor, images)
    faces = frames_as_faces(film, clean.domains, images, clean.labels[0])
    x_infected = to_model(np.array(faces.images))

    def protect(x: Tensor, c: Tensor, start: int) -> Tensor:
        return x_infected[start : start + len(x)]

    measured = evaluation.defence(forger, protect, clean, features=(), clean=y)
    for name in ("left_out", "psnr", "spread"):
        measured.pop(name)  # psnr is the whole film's
    return {
        "reference": "y",
        "target": own.kind,
        "domains": own.setting,
        "target_seed": own.seed,
        **measured,
        **quality,
        "frames": len(faces),
    }


@lru_cache(maxsize=len(EDITED_BY))
def _editor(joint: Joint, editor: str, images: int) -> tuple[Forger, Faces, Tensor, dict]:
    """An editor, the clean frames as faces, their edits (J, N, 3, S, S), and how good these are."""
    forger = make_forger(joint.config, editor)
    labels = labels_of_person(joint, forger.domains)
    faces = frames_as_faces(joint.film, forger.domains, images, labels)
    y = evaluation.clean_forgeries(forger, faces)
    return forger, faces, y, evaluation.clean_quality(forger, faces)


# Reenactment


def reenacted(joint: Joint, job: Job, film: Frames, work: Path) -> Iterator[dict]:
    """A forger trained on this film, against M and against x, on the clean film's test part."""
    test = joint.film.part("test")
    y, own = forgeries(joint, job, film, work), {"expression_error": None, "face_found": None}
    find = face_finder_or_none()
    if find:
        own |= evaluation.expression(find, y, test.landmarks)
    for reference in job.references:
        other = test.x()
        if reference == "M":
            other = forgeries(joint, Job(Publication("clean"), seed=job.seed), joint.film, work)
        yield {
            "reference": reference,
            "target": joint.film_config.forger.network,
            **evaluation.differences(y, other),
            **own,
            "frames": len(test),
        }


def forgeries(joint: Joint, job: Job, film: Frames, work: Path) -> Tensor:
    """What the job's forger makes of the test part's landmarks, (N, 3, S, S)."""
    test = joint.film.part("test")
    network = forger_of(joint, job, film, work)
    return forge_frames(network, draw_landmarks(test.landmarks, test.size), joint.film_config)


def forger_of(joint: Joint, job: Job, film: Frames, work: Path) -> nn.Module:
    """Trained on the published training frames; M starts from the seed, the others from another.

    M and the reseeded one are those of `idf reenact`, where it worked in the same folder.
    """
    config, case = joint.film_config.changed(seed=job.seed), job.publication.case
    network = config.forger.network
    if not job.publication.stages:
        return train_forger(case, config, joint.film, network, work)[0]
    made = made_of(joint, job.publication)
    folder = work / f"{network}-joint-{case}-{job.seed + RESEED}-{made}"
    run = train_reenactor(config, film.part("train"), job.seed + RESEED, network, folder=folder)
    return run.network


# Figure 8

COLUMNS = ("clean", "scenario-1", "scenario-2", "both", "exchanged")
ROWS = {"edited by\nthe surrogate": SURROGATE, "edited by\na forger": GRAY_BOX[0]}


def contact(
    joint: Joint, poison: str, seed: int, work: Path, domain: str = "Blond_Hair"
) -> dict[str, dict[str, Tensor]]:
    """{column: {row: (3, S, S)}} for the figure: a test frame published, reenacted and edited.

    Edited to `domain` by the surrogate and by the first gray-box forger.
    """
    sheet = {}
    for name in COLUMNS:
        publication = next(one for one in publications([poison]) if one.case == name)
        film = published(joint, publication)[-1]
        test = film.part("test")
        middle = len(test) // 2
        x = test.x(slice(middle, middle + 1))
        y = forgeries(joint, Job(publication, seed=seed), film, work)[middle]
        edits = {row: _edit(joint, editor, x, domain) for row, editor in ROWS.items()}
        sheet[CASES[name].legend] = {"published": x[0], "reenacted": y} | edits
    return sheet


@torch.no_grad()
def _edit(joint: Joint, editor: str, x: Tensor, domain: str) -> Tensor:
    """The forgery (3, S, S) of one frame (1, 3, S, S) for one domain."""
    forger = make_forger(joint.config, editor)
    labels = labels_of_person(joint, forger.domains)
    targets = forger.targets(labels[None])
    return losses.forge(forger.editor, x, targets)[forger.domains.index(domain), 0]
