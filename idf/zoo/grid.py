"""What Table 1 is made of: editors of four architectures and two sets of domains, and the PGs.

All editors have one recipe, StarGAN's as the preset has it, and differ in seed and faces alone.
Seed 0 is the defender's, trained on the surrogate's faces; the others are forgers', on the
target's.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from idf import losses, metrics
from idf.config import HAIR, Config, EditorSettings, UserError
from idf.data.faces import Faces, open_faces
from idf.editing import Training, make_training, train, train_editor, train_target
from idf.imitation import imitate
from idf.training import make_accelerator
from idf.zoo.load import (
    CRITIC,
    SURROGATE,
    load_editor,
    load_poisoner,
    load_surrogate,
    with_other_domains,
)
from idf.zoo.manifest import export

NETWORKS = ("Res6", "Res9", "CNet", "UNet128")


# The editors


@dataclass(frozen=True)
class Variant:
    """Another recipe than that of all: what is said of it, and what it changes in the preset's."""

    label: str
    changes: Callable[[EditorSettings], dict]


VARIANTS = {
    # by a forger who trains published weights, SM's, on with other faces
    "tuned": Variant(
        "trained on from the surrogate", lambda own: {"iterations": max(1, own.iterations // 4)}
    ),
    # the way back is noisy, so that nothing can be hidden in y (Bashkirova et al. 2019)
    "codeless": Variant("trained to hide no code", lambda own: {"noise": 0.1}),
    "wide": Variant("twice as wide", lambda own: {"width": 2 * own.width}),
}


@dataclass(frozen=True)
class GridEditor:
    """One training: network, "SD" or "DD", the number of its seed, and one of VARIANTS."""

    network: str
    setting: str
    seed: int
    variant: str = ""

    @property
    def name(self) -> str:
        """Of its weights' file."""
        parts = ("editor", self.network, self.setting, str(self.seed), self.variant)
        return "_".join(part for part in parts if part)

    @property
    def kind(self) -> str:
        """What it is called in rows, its domains and seed apart."""
        return "-".join(part for part in (self.network, self.variant) if part)

    @property
    def label(self) -> str:
        """In figures and in the explorer."""
        if self.is_surrogate:
            return "the surrogate itself"
        domains = ", other domains" if self.setting == "DD" else ""
        variant = f", {VARIANTS[self.variant].label}" if self.variant else ""
        return f"{self.network}{domains}{variant}, seed {self.seed}"

    @property
    def is_surrogate(self) -> bool:
        return self.seed == 0

    def config(self, config: Config) -> Config:
        """Its own domains and seed: seeds share neither initial weights nor batches.

        A variant differs from the plain editor of its seed in its recipe alone.
        """
        if self.variant:
            config = config.changed(editor=VARIANTS[self.variant].changes(config.editor))
        if self.setting == "DD":
            return with_other_domains(config).changed(seed=config.seed + 100 * self.seed + 50)
        return config.changed(seed=config.seed + 100 * self.seed)

    @property
    def needs(self) -> tuple[str, ...]:
        """The editors that its training reads."""
        return (SURROGATE,) if self.variant == "tuned" else ()

    def load(self, config: Config, folder: Path | None = None) -> nn.Module:
        """The trained editor, frozen."""
        return load_editor(self.config(config), self.network, self.name, folder)

    def train(self, config: Config, work: Path, out: Path) -> None:
        """Stage A alone. D_A of the surrogate beside which PG is trained is kept, for L_dom."""
        own, start = self.config(config), ()
        if self.variant == "tuned":
            start = load_surrogate(config, out)
        with make_accelerator(own.bf16).main_process_first():  # one process fills the cache
            faces = open_faces(own, "surrogate" if self.is_surrogate else "target")
        for attempt in range(ATTEMPTS):
            seed = own.seed + attempt
            run = make_training(own.changed(seed=seed), *copy.deepcopy(start), network=self.network)
            folder = work / (f"{self.name}-{attempt}" if attempt else self.name)
            train_target(run, faces, folder=folder, until=LOOK)
            if own.editor.iterations <= LOOK or looks_upright(run, faces):
                break
        else:
            raise all_in_negative(self.name)
        train_target(run, faces, folder=folder)
        self.export(run, out, attempt)

    def export(self, run: Training, out: Path, attempt: int) -> None:
        """Its weights, for the surrogate D_A's too, and their entries in the manifest."""
        own = run.config.changed(seed=run.config.seed - attempt)
        more = {"network": self.network, "setting": self.setting, "attempt": attempt}
        export(own, out, self.name, run.surrogate, run.iteration, run.seconds, more)
        if self.name == SURROGATE:
            export(own, out, CRITIC, run.d_a, run.iteration, run.seconds, more)


# A forger looks at the first forgeries: a training that begins in negative (metrics.upright) is
# stopped and begun again from other initial weights.
LOOK, ATTEMPTS = 250, 5  # iterations


def all_in_negative(name: str) -> UserError:
    """What is said where no attempt began upright."""
    return UserError(f"{name}: {ATTEMPTS} trainings in a row began in negative: lower editor.lr.")


@torch.no_grad()
def looks_upright(run: Training, faces: Faces) -> bool:
    """Are the forgeries of a batch as bright and dark as the faces, rather than the opposite?"""
    x, c = (t.to(run.device) for t in faces.batch(0, min(32, len(faces)), run.seed))
    y = losses.forge(run.surrogate, x, losses.target_labels(c, run.config.domains, HAIR))
    return metrics.upright(x, y) > 0


def _editors() -> tuple[GridEditor, ...]:
    # keys differ from seed to seed, so the first column of the table has three of each
    targets = [GridEditor("Res6", setting, seed) for setting in ("SD", "DD") for seed in (1, 2, 3)]
    for network in NETWORKS[1:]:
        targets += [GridEditor(network, setting, 1) for setting in ("SD", "DD")]
    others = [GridEditor("Res6", "SD", 1, variant) for variant in VARIANTS]
    return (GridEditor("Res6", "SD", 0), *targets, *others)


EDITORS = {editor.name: editor for editor in _editors()}
# the gray-box forgers of the paper's first column: their weights
GRAY_BOX = tuple(f"editor_Res6_SD_{seed}" for seed in (1, 2, 3))
TUNED = "editor_Res6_SD_1_tuned"
OTHER_DOMAINS = "editor_Res6_DD_1"
CODELESS = "editor_Res6_SD_1_codeless"
OTHERS: tuple[str, ...] = ()  # more surrogates for the keyless PG: their names


# The PGs: what each way of training one changes in the preset

PAPER = {"editor.n_critic": 5, "poisoner.every": 1}  # SM in every 5th iteration, PG in each
KEYLESS = PAPER | {
    "poisoner.head": "Waves",
    "poisoner.keys": 1,
    "poisoner.cap": 0.2,  # a little above where a DSR counts, so that the unmoved are moved
}
# Imitation takes longer than PG. The imitated editor has no D_A that we could know: no L_dom.
QUERIES = {"poisoner.every": 4, "poisoner.lambda_dom": 0.0}
# Against a forger's own editor, whose D_A nobody shows either: what such a PG could do at most.
ONE_PASS = PAPER | {"poisoner.lambda_dom": 0.0}
# beyond the paper: PGs that have seen what may happen to a picture before it is edited
OURS_THROUGH = PAPER | {"poisoner.through": True}
KEYLESS_THROUGH = KEYLESS | {"poisoner.through": True, "poisoner.focused": True}
POISONERS = {
    "ours": PAPER,
    "ours-no-ats": PAPER,
    "ours-queries": QUERIES,
    "one-pass": ONE_PASS,
    "keyless": KEYLESS,
    "keyless-no-ats": KEYLESS,
    "ours-through": OURS_THROUGH,
    "keyless-through": KEYLESS_THROUGH,
}
THROUGH = ("ours-through", "keyless-through")  # measured by `idf robustness`, not in Table 1
FROZEN = ("ours-no-ats", "one-pass", "keyless-no-ats", "keyless-through")  # without stage A
# Iterations, as multiples of the preset's. With queries every fourth is one of PG, which so has as
# many steps as the others; a PG of waves has little to learn.
SHORT = dict.fromkeys(("keyless", "keyless-no-ats", "keyless-through"), 0.5)
LENGTHS = {"ours-queries": 4.0} | SHORT
SEEDS = (0, 1, 2)  # of PG
OF_ONE_FORGER = ("ours-queries", "one-pass")  # PGs that query a forger, or know its weights
QUERIED = dict(zip(SEEDS, GRAY_BOX, strict=True))  # which one, by PG's seed


def poisoner_name(method: str, seed: int) -> str:
    """Of the weights' file."""
    return f"poisoner_{method}_{seed}"


GRID_POISONERS = {poisoner_name(m, seed): (m, seed) for m in POISONERS for seed in SEEDS}


def poisoner_config(config: Config, method: str, seed: int, changes: dict | None = None) -> Config:
    """The settings of one PG of Table 1, or with changes those of a variant of it."""
    length = max(1, round(config.poisoner.iterations * LENGTHS.get(method, 1)))
    own = config.changed(seed=config.seed + seed, poisoner={"iterations": length})
    own = own.changed(**(POISONERS[method] | (changes or {})))
    if own.poisoner.head == "Waves":  # at a quarter of the size it can be four times as wide
        own = own.changed(poisoner={"width": 4 * config.poisoner.width})
    return own


def needs_of_poisoner(method: str, seed: int) -> tuple[str, ...]:
    """The editors that the training of one PG of Table 1 reads."""
    if method == "one-pass":
        return (QUERIED[seed],)
    others = OTHERS if POISONERS[method].get("poisoner.keys") else ()
    queried = (QUERIED[seed],) if method == "ours-queries" else ()
    return (SURROGATE, *others, *queried)


def load_grid_poisoner(
    config: Config, method: str, seed: int = 0, folder: Path | None = None
) -> nn.Module:
    """One PG of Table 1, frozen."""
    return load_poisoner(poisoner_config(config, method, seed), poisoner_name(method, seed), folder)


def train_grid_poisoner(
    config: Config,
    method: str,
    seed: int,
    work: Path,
    out: Path,
    name: str = "",
    changes: dict | None = None,
    editors: Path | None = None,
) -> None:
    """Algorithm 1 from the trained SM on.

    Stage A goes on beside it, SM is frozen (FROZEN), or SM learns the answers of a forger to
    queries; the manifest then says how many. "one-pass": a forger's editor is in SM's place,
    frozen; the manifest says whose. name, changes: of a variant (idf.zoo.ablations), and
    what it changes in the settings. editors: the folder of SM and the others, by default `out`.
    """
    own = poisoner_config(config, method, seed, changes)
    name, editors = name or poisoner_name(method, seed), editors or out
    others = OTHERS if own.poisoner.keys else ()
    if method == "one-pass":  # beside a D_A that L_dom, of weight 0, does not use
        known = (EDITORS[QUERIED[seed]].load(config, editors),)
    else:
        known = load_surrogate(config, editors)
    run = make_training(
        own,
        *known,
        others=tuple(EDITORS[other].load(config, editors) for other in others),
    )
    with run.accelerator.main_process_first():
        faces, validation = open_faces(own, "surrogate"), open_faces(own, "validation")
    stage_a, more = None if method in FROZEN else train_editor, {"method": method}
    if method == "one-pass":
        more |= {"target": QUERIED[seed]}
    if method == "ours-queries":
        queried = QUERIED[seed]
        stage_a = imitate(EDITORS[queried].load(config, editors).to(run.device))
        asked = own.poisoner.iterations * own.editor.batch * run.accelerator.num_processes
        more |= {"queried": queried, "queries": asked}
    train(run, faces, validation, stage_a, folder=work / name)
    export(own, out, name, run.best, run.iteration, run.seconds, more)
