"""The PGs of the ablations: those of Table 1 with one thing changed, and those of the summary.

A variant is trained as the grid trains its own (idf.zoo.grid), from the same SM and seeds. Where
nothing is changed it is a PG of Table 1, under the name that it has there, and is not trained
twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import nn

from idf import summary
from idf.config import Config
from idf.data.faces import open_faces
from idf.networks import make_conditional_poisoner
from idf.zoo.grid import (
    EDITORS,
    GRAY_BOX,
    QUERIED,
    poisoner_config,
    poisoner_name,
    train_grid_poisoner,
)
from idf.zoo.load import SURROGATE, load_network, load_poisoner, ships
from idf.zoo.manifest import export

ANOTHER_NETWORK = "editor_CNet_SD_1"  # a black box of the same domains


@dataclass(frozen=True)
class Variant:
    """Another way to train a PG of Table 1.

    method: of POISONERS, what it is without the changes; changes: settings by their names.
    """

    name: str
    label: str
    method: str
    changes: Mapping[str, float | bool] = field(default_factory=dict)

    def file_name(self, seed: int) -> str:
        """Of the weights' file: without changes that of Table 1."""
        return poisoner_name(self.name if self.changes else self.method, seed)

    def folder(self, config: Config, seed: int, work: Path) -> Path:
        """Where its weights are or will be: those of Table 1 that ship are not trained again."""
        ships_already = not self.changes and ships(config.weights, self.file_name(seed))
        return config.weights if ships_already else work

    def forgers(self, seed: int) -> tuple[str, ...]:
        """The editors on which it is measured: white-box, then gray-box."""
        return (SURROGATE, *GRAY_BOX)

    def config(self, config: Config, seed: int) -> Config:
        return poisoner_config(config, self.method, seed, dict(self.changes))

    def load(self, config: Config, seed: int, folder: Path) -> nn.Module:
        """The trained PG, frozen."""
        return load_poisoner(self.config(config, seed), self.file_name(seed), folder)

    def train(self, config: Config, seed: int, work: Path) -> None:
        """Checkpoints and weights go to `work`; SM and the forgers are read."""
        name, changes = self.file_name(seed), dict(self.changes)
        train_grid_poisoner(
            config, self.method, seed, work, work, name, changes, editors=config.weights
        )


@dataclass(frozen=True)
class SummaryVariant(Variant):
    """PG(x, c) of idf/summary.py, with as many steps as the paper's, and as many of imitation.

    SM begins as the one of Table 1, beside which all other PGs are trained.
    """

    infection: summary.Infection = summary.AS_WRITTEN

    def file_name(self, seed: int) -> str:
        return poisoner_name(self.name, seed)

    def folder(self, config: Config, seed: int, work: Path) -> Path:
        return work

    def forgers(self, seed: int) -> tuple[str, ...]:
        """White-box, the gray-box forger that was queried, and a black box."""
        return (SURROGATE, QUERIED[seed], ANOTHER_NETWORK)

    def config(self, config: Config, seed: int) -> Config:
        length = 2 * config.poisoner.iterations
        own = config.changed(seed=config.seed + seed, poisoner={"iterations": length})
        return own.changed(**self.changes)

    def load(self, config: Config, seed: int, folder: Path) -> nn.Module:
        own = self.config(config, seed)
        poisoner = make_conditional_poisoner(own.poisoner, len(own.domains))
        return load_network(poisoner, folder / f"{self.file_name(seed)}.safetensors")

    def train(self, config: Config, seed: int, work: Path) -> None:
        own, name = self.config(config, seed), self.file_name(seed)
        run = summary.make_training(own, EDITORS[SURROGATE].load(config))
        with run.accelerator.main_process_first():
            faces, validation = open_faces(own, "surrogate"), open_faces(own, "validation")
        target = EDITORS[QUERIED[seed]].load(config).to(run.device)
        summary.train(run, faces, validation, target, self.infection, folder=work / name)

        asked = summary.queries(own, self.infection) * run.accelerator.num_processes
        more = {"method": self.method, "queried": QUERIED[seed], "queries": asked}
        export(own, work, name, run.best, run.iteration, run.seconds, more)


_TABLE = (
    # Figure 7 of the paper, and the terms of its loss one by one
    Variant("full", "PG as in the paper", "ours"),
    Variant("no-ats", "without alternation (†)", "ours-no-ats"),
    Variant("no-previous", "without L'", "ours", {"poisoner.previous": False}),
    Variant("no-bs", "without L_bs", "ours", {"poisoner.lambda_bs": 0.0}),
    Variant("no-cyc", "without L_cyc", "ours", {"poisoner.lambda_cyc": 0.0}),
    Variant("no-dom", "without L_dom", "ours", {"poisoner.lambda_dom": 0.0}),
    Variant("no-adv", "without L_B", "ours", {"poisoner.lambda_adv": 0.0}),
    Variant("dom-1", "L_dom at the paper's weight, 1", "ours", {"poisoner.lambda_dom": 1.0}),
    Variant("summed", "the published code's sum, 2 L + L'", "ours", {"poisoner.summed": True}),
    # beyond the paper
    Variant("keyless", "keyless PG", "keyless"),
    Variant("keyless-no-ats", "keyless, without alternation", "keyless-no-ats"),
    Variant("keyless-no-previous", "keyless, without L'", "keyless", {"poisoner.previous": False}),
    Variant("keyless-no-cap", "keyless, no cap on a pair", "keyless", {"poisoner.cap": 2.0}),
    Variant("one-key", "its waves, always the same key", "keyless", {"poisoner.keys": 0}),
    SummaryVariant(
        "summary",
        "PG(x, c) of the summary, as it stands",
        "summary",
        # with a scale in its last BatchNorm the amplitude may fall, as this loss asks for
        {"poisoner.affine": True},
    ),
    SummaryVariant(
        "summary-working",
        "PG(x, c) of the summary, the loss mended",
        "summary-working",
        infection=summary.WORKING,
    ),
)
VARIANTS: dict[str, Variant] = {one.name: one for one in _TABLE}
