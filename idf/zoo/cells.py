"""Cells of Table 1 and of its robustness: one way to make x' against one forger's editor.

Each is measured on its own. Where the cell names a transformation T, the forger is sent T(x') in
place of x' and T(x) in place of x: all that a row says is of those two.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from idf import metrics
from idf.config import Config
from idf.data.faces import Faces, open_faces
from idf.data.pictures import to_model, to_uint8
from idf.data.transforms import TRANSFORMS
from idf.data.workers import worker_pool
from idf.evaluation import Forger, clean_forgeries, clean_quality, defence
from idf.judge import judge_accuracy
from idf.methods import Context, protection
from idf.zoo.ablations import VARIANTS
from idf.zoo.adaptive import AdaptedEditor, Target
from idf.zoo.forgers import forger_with
from idf.zoo.grid import (
    EDITORS,
    OF_ONE_FORGER,
    POISONERS,
    QUERIED,
    load_grid_poisoner,
    poisoner_name,
)
from idf.zoo.load import SURROGATE, judged_domains, load_judge, make_editor, ships
from idf.zoo.manifest import hardware, read_manifest
from idf.zoo.on_the_spot import MADE, make


@dataclass(frozen=True)
class Cell:
    """editor: a name of EDITORS; seed: of PG and of what is random; transform: of TRANSFORMS.

    Without a transform it is a cell of Table 1; "none" gives the same numbers, and the columns of
    robustness. variant: of VARIANTS, a PG whose weights lie in the folder `poisoners`. adapted:
    what the editor has become, in its place.
    """

    editor: str
    method: str
    eps: float
    seed: int = 0
    transform: str = ""
    variant: str = ""
    poisoners: Path | None = None
    adapted: AdaptedEditor | None = None

    @property
    def target(self) -> Target:
        """M, the forger's editor."""
        return self.adapted or EDITORS[self.editor]

    def key(self, config: Config) -> tuple:
        """What tells its row from all others."""
        own = self.target
        place = (config.dataset, config.size, own.kind, own.setting, own.seed)
        return (*place, self.method, self.eps, self.seed, self.variant, self.transform)


def key_of(row: dict) -> tuple:
    """Cell.key of a stored row."""
    place = tuple(row[name] for name in ("dataset", "size", "target", "domains", "target_seed"))
    which = (row.get("variant", ""), row.get("transform", ""))
    return (*place, row["method"], row["eps"], row["seed"], *which)


def networks_behind(cell: Cell) -> tuple[str, ...]:
    """What a cell rests on beside the judge: the names of its editor, of SM, and of PG, if any."""
    if cell.variant:
        return cell.target.name, SURROGATE, VARIANTS[cell.variant].file_name(cell.seed)
    if cell.method in POISONERS:
        return cell.target.name, SURROGATE, poisoner_name(cell.method, cell.seed)
    return cell.target.name, SURROGATE


def weights_behind(config: Config, cell: Cell) -> str:
    """The digests of the networks that a cell rests on: where they change, its row is old."""
    manifest = read_manifest(config.weights)
    if cell.poisoners:
        manifest |= read_manifest(cell.poisoners)
    if cell.adapted:
        manifest |= read_manifest(cell.adapted.folder)
    names = [name for name in networks_behind(cell) if name in manifest]
    return "-".join(manifest[name]["sha256"][:8] for name in names)


def measure(config: Config, cell: Cell, images: int) -> dict:
    """The row of one cell, on the first `images` held-out faces.

    With a transformation: edit_success and reconstruction_l1 are those of T(x), psnr is that of
    T(x') beside T(x), transform_psnr that of T(x) beside x; lpips is left out.
    """
    own, depends = cell.target, depends_on_target(cell.method)
    forger, faces, facts = _forger(config, own, cell.transform, images)
    made = replace(cell, transform="")
    if depends != "weights":
        made = replace(made, editor=depends and own.network, adapted=None)
    x_infected = _published(config, made, images)
    rounded, features, more = True, ("lpips",), {"variant": cell.variant} if cell.variant else {}
    if cell.transform:
        transform = TRANSFORMS[cell.transform]
        x_infected = transform(x_infected)
        rounded, features, more = transform.kind.rounded, (), more | {"transform": cell.transform}

    def protect(x: Tensor, c: Tensor, start: int) -> Tensor:
        return x_infected[..., start : start + len(x), :, :, :]

    clean = _clean(config, own, cell.transform, images)
    measured = defence(forger, protect, faces, features=features, clean=clean, rounded=rounded)
    return {
        "dataset": config.dataset,
        "size": config.size,
        "method": cell.method,
        "target": own.kind,
        "domains": own.setting,
        "target_seed": own.seed,
        "eps": cell.eps,
        **more,
        **measured,
        **facts,
        "images": len(faces),
        "seed": cell.seed,
        "weights": weights_behind(config, cell),
        "hardware": hardware(),
    }


def measure_all(
    config: Config, cells: list[Cell], images: int, jobs: int
) -> Iterator[tuple[Cell, dict | Exception]]:
    """Each cell with its row as it becomes ready, or with what went wrong: the others go on."""
    if jobs == 1:
        for cell in cells:
            try:
                yield cell, measure(config, cell, images)
            except Exception as error:
                yield cell, error
        return
    with worker_pool(jobs) as pool:
        waiting = {pool.submit(measure, config, cell, images): cell for cell in cells}
        try:
            for future in as_completed(waiting):
                error = future.exception()
                yield waiting[future], error or future.result()
        finally:
            pool.shutdown(cancel_futures=True)


# what several cells share is kept by each process


@lru_cache(maxsize=32)
def _forger(config: Config, own: Target, transform: str, images: int) -> tuple[Forger, Faces, dict]:
    """An editor with the judge for its domains, the faces it is sent, and its clean quality."""
    forger = forger_with(config, own)
    domains = forger.domains
    faces = _received(config, domains, transform, images)
    accuracy = _judge_accuracy(config, images)
    facts = {
        **clean_quality(forger, faces),
        "judge_accuracy": sum(accuracy[domain] for domain in domains) / len(domains),
    }
    if transform:
        facts["transform_psnr"] = _psnr(_faces(config, domains, images), faces)
    return forger, faces, facts


# a table of many transformations has done with one before it takes the next
@lru_cache(maxsize=len(EDITORS))
def _clean(config: Config, own: Target, transform: str, images: int) -> Tensor:
    forger, faces, _ = _forger(config, own, transform, images)
    return clean_forgeries(forger, faces)


@lru_cache(maxsize=4)
def _faces(config: Config, domains: tuple[str, ...], images: int) -> Faces:
    return open_faces(config, "test", domains, limit=images)


@lru_cache(maxsize=4)
def _received(config: Config, domains: tuple[str, ...], transform: str, images: int) -> Faces:
    """The held-out faces as they reach the forger, T(x) in 8 bits."""
    faces = _faces(config, domains, images)
    if not transform:
        return faces
    x = TRANSFORMS[transform](to_model(np.array(faces.images)))
    return Faces(to_uint8(x).numpy(), faces.labels, faces.domains, faces.names)


def _psnr(faces: Faces, others: Faces) -> float:
    """Mean PSNR of the same faces in two versions, dB."""
    x, y = (to_model(np.array(own.images)) for own in (faces, others))
    return metrics.psnr(x, y).mean().item()


@lru_cache(maxsize=1)
def _judge_accuracy(config: Config, images: int) -> dict[str, float]:
    faces = _faces(config, judged_domains(config), images)
    return judge_accuracy(load_judge(config), faces)


# as many as there are ways to make x' in a table that takes one transformation after the other
@lru_cache(maxsize=24)
def _published(config: Config, cell: Cell, images: int) -> Tensor:
    """x' of all held-out faces (N, 3, S, S); (J, N, 3, S, S) where each class has its own.

    cell.editor: that of the forger, or its architecture, where the method knows it; else empty.
    """
    method, seed, editor = cell.method, cell.seed, cell.editor
    poisoners = {}
    if cell.variant:
        poisoners[method] = VARIANTS[cell.variant].load(config, seed, cell.poisoners)
    elif method in POISONERS:
        poisoners[method] = load_grid_poisoner(config, method, seed)
    elif method in MADE:
        poisoners[method] = make(config, method)
    surrogate = EDITORS[SURROGATE].load(config)
    target, domains = None, config.domains
    if editor in EDITORS:
        target = cell.target.load(config)
        domains = cell.target.config(config).domains
    elif editor:
        target = make_editor(config, editor)
    context = Context(seed, poisoners, surrogate, config.domains, target, domains)
    protect = protection(method, context, cell.eps)
    batches = [protect(x, c, start) for start, x, c in _faces(config, domains, images).in_order(25)]
    return torch.cat(batches, dim=-4)


def depends_on_target(method: str) -> str:
    """What a method knows of the forger: "weights", "network", or nothing."""
    if method == "ruiz-white-box":
        return "weights"
    return "network" if method in ("tiles", "tiles-one-region") else ""


def cells_of(
    editors: Iterable[str],
    methods: Iterable[str],
    strengths: Iterable[float],
    seeds: Iterable[int],
) -> list[Cell]:
    """All cells of these editors and methods. Only PG's methods have several seeds."""
    cells = []
    # a method makes its x' once for all editors
    for method in methods:
        for seed in seeds if method in POISONERS else (0,):
            # whoever may query a forger, or knows its weights, is not asked about another
            met = [QUERIED.get(seed)] if method in OF_ONE_FORGER else editors
            forgers = [name for name in editors if name in met]
            cells += [Cell(name, method, eps, seed) for eps in strengths for name in forgers]
    return cells


def that_ship(config: Config, cells: Iterable[Cell]) -> list[Cell]:
    """Those whose weights are there."""
    return [cell for cell in cells if ships(config.weights, "judge", *networks_behind(cell))]


def transformed(cells: Iterable[Cell], transforms: Iterable[str]) -> list[Cell]:
    """Each cell under each transformation, in an order that makes T(x) and its forgeries once."""
    in_order = sorted(cells, key=attrgetter("editor"))  # stable: methods stay in their order
    return [replace(cell, transform=name) for name in transforms for cell in in_order]
