"""Forgers who have noticed the defence: gray-box editors trained on with faces found in public.

Nobody hands PG to them. They train as they did before, on faces of their own: as these were, with
noise, or infected, as their owners published them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from idf.config import Config, EditorSettings
from idf.data.faces import Faces, open_faces
from idf.data.pictures import to_uint8
from idf.editing import make_training, train_target
from idf.methods import Context, protection
from idf.zoo.grid import EDITORS, POISONERS, VARIANTS, GridEditor, load_grid_poisoner
from idf.zoo.load import load_editor, load_surrogate
from idf.zoo.manifest import export

EPS = 0.05  # of what the faces of a diet carry
SEED = 0  # of the PG that infected them


@dataclass(frozen=True)
class Diet:
    """What a forger trains on with: his own faces, made into x' by a method of METHODS, if any.

    changes: what is different in his recipe, of its settings.
    """

    label: str
    method: str = ""
    changes: Callable[[EditorSettings], dict] = lambda own: {}


DIETS = {
    "clean": Diet("clean faces"),
    "random-colour": Diet("faces with random colour noise", "random-colour"),
    "ours": Diet("faces infected by PG as in the paper", "ours"),
    "keyless-no-ats": Diet("faces infected by the keyless PG", "keyless-no-ats"),
    # he knows why he is fooled
    "codeless": Diet("clean faces, to hide no code", changes=VARIANTS["codeless"].changes),
}


@dataclass(frozen=True)
class AdaptedEditor:
    """A forger's editor after a diet. forger: of GRAY_BOX; folder: of its weights."""

    forger: str
    diet: str
    folder: Path

    @property
    def before(self) -> GridEditor:
        """The editor as it was."""
        return EDITORS[self.forger]

    @property
    def name(self) -> str:
        """Of its weights' file."""
        return f"{self.forger}_adapted-{self.diet}"

    @property
    def kind(self) -> str:
        """What it is called in rows, its domains and seed apart."""
        return f"{self.before.kind}-adapted-{self.diet}"

    @property
    def network(self) -> str:
        return self.before.network

    @property
    def setting(self) -> str:
        return self.before.setting

    @property
    def seed(self) -> int:
        return self.before.seed

    def config(self, config: Config) -> Config:
        """That of the editor before, for a quarter of the time: every diet has the same batches."""
        own = self.before.config(config)
        changes = VARIANTS["tuned"].changes(own.editor) | DIETS[self.diet].changes(own.editor)
        return own.changed(editor=changes)

    def load(self, config: Config, folder: Path | None = None) -> nn.Module:
        """The adapted editor, frozen. folder: of the editors that ship, which are not read."""
        return load_editor(self.config(config), self.network, self.name, self.folder)

    def train(self, config: Config) -> None:
        """Stage A alone, from M's weights on. Checkpoints and weights go to `folder`.

        D_A begins as that of the surrogate, which had the same task: M's own does not ship.
        """
        own = self.config(config)
        _, d_a = load_surrogate(config)
        run = make_training(own, self.before.load(config), d_a, network=self.network)
        with run.accelerator.main_process_first():
            faces = faces_of(self.diet, config, own, run.device)
        train_target(run, faces, folder=self.folder / self.name)
        more = {"network": self.network, "setting": self.setting}
        more |= {"began_as": self.forger, "diet": self.diet}
        export(own, self.folder, self.name, run.surrogate, run.iteration, run.seconds, more)


Target = GridEditor | AdaptedEditor  # M, whose forgeries are looked at


def faces_of(diet: str, config: Config, own: Config, device: torch.device) -> Faces:
    """The forger's own faces as he finds them, x' in 8 bits as published; PG runs on `device`.

    What is random in x' comes from the forger's seed: no key is one that the test faces get.
    """
    faces, method = open_faces(own, "target"), DIETS[diet].method
    if not method:
        return faces
    poisoners = {}
    if method in POISONERS:
        poisoners[method] = load_grid_poisoner(config, method, SEED).to(device)
    protect = protection(method, Context(own.seed, poisoners), EPS)
    parts = [to_uint8(protect(x, c, start)).numpy() for start, x, c in faces.in_order(100)]
    return Faces(np.concatenate(parts), faces.labels, faces.domains, faces.names)
