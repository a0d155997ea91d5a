"""Presets `smoke`, `demo`, `gpu`, `paper`: every setting of a run in one frozen dataclass.

>>> load_config("demo", eps=0.03).eps
0.03
"""

import dataclasses
import json
import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "data" / "weights"
RESULTS = ROOT / "data" / "results"

HAIR = ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")
# SD: the five domains of surrogate, PG and target. DD: those of a target that PG never met.
# No_Beard and Male are left to the data set whose faces show them best.
DOMAINS = {
    "procedural": {
        "SD": ("Black_Hair", "Blond_Hair", "Brown_Hair", "Eyeglasses", "Smiling"),
        "DD": ("Gray_Hair", "Pale_Skin", "No_Beard", "Bangs", "Wearing_Hat"),
    },
    "celeba": {
        "SD": ("Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Smiling"),
        "DD": ("Gray_Hair", "Pale_Skin", "No_Beard", "Bangs", "Young"),
    },
}


class UserError(Exception):
    """A mistake the user can mend: one sentence that says what, where, and the remedy.

    Jupyter shows the sentence alone; the console command prints it and exits with 2.
    """

    def _render_traceback_(self):
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class Config:
    """All settings of scenario 1. Sources: paper (Implementation details), StarGAN, FACTS in the README.

    Lengths are in iterations of Algorithm 1; `eps` is on the [-1, 1] scale.
    """

    preset: str = "demo"
    seed: int = 0
    data_root: str = ""  # a CelebA folder; empty: procedural faces
    size: int = 64
    faces: int = 12000  # procedural faces rendered, or the most CelebA images used (0: all)
    domains: tuple[str, ...] = ()  # empty: DOMAINS[dataset]["SD"]
    target: str = "Res6"

    # networks
    width: int = 16
    width_d: int = 16
    width_pg: int = 16
    levels_pg: int = 4
    width_d_b: int = 16

    # stage A
    batch: int = 4
    iterations: int = 8000
    target_iterations: int = 8000  # of the target, which has stage A alone
    n_critic: int = 1
    lr: float = 1e-3
    lr_d: float = 1e-3
    augment: bool = False  # D_A sees shifted faces of changed light: a few thousand photos are soon known by heart
    decay: float = 0.8  # share of the iterations, at their end, over which lr falls to 0
    lambda_cls: float = 1.0
    lambda_rec: float = 30.0
    lambda_idt: float = 0.0  # |x - SM(x, c)| for the face's own label, against forgeries in negative (not in StarGAN)
    lambda_gp: float = 10.0
    balance: bool = False  # draw images so that both values of every domain come equally often

    # stage B
    poison_every: int = 8  # stage B runs in every poison_every-th iteration; the paper has 1
    batch_pg: int = 4  # images of the batch that stage B takes; the paper takes all
    lr_pg: float = 1e-3
    lr_d_b: float = 1e-5
    eps: float = 0.05
    lambda_bs: float = 10.0  # lambda_2 of Eq. 6
    lambda_cyc: float = 2.5  # lambda_3
    lambda_dom: float = 1.0  # lambda_4
    lambda_adv: float = 0.01  # lambda of Eq. 4
    previous: bool = True  # add L' of Eq. 12
    mu_per_sample: bool = False
    validate_every: int = 200  # iterations between two looks at PG_best

    # judge
    width_judge: int = 24
    judge_iterations: int = 2500

    # machine
    bf16: bool = True
    checkpoint_every: int = 500
    live_iterations: int = 300  # what a notebook trains before it loads the shipped weights

    @property
    def dataset(self) -> str:
        return "celeba" if self.data_root else "procedural"

    @property
    def weights(self) -> Path:
        """Where the shipped weights of this preset and data set lie."""
        return WEIGHTS / self.dataset


PRESETS: dict[str, dict] = {
    "smoke": dict(size=32, faces=160, width=4, width_d=4, width_pg=4, levels_pg=3, width_d_b=4, batch=4, batch_pg=2,
                  iterations=12, target_iterations=12, poison_every=2, validate_every=4, width_judge=4,
                  judge_iterations=20, checkpoint_every=4, live_iterations=6, bf16=False),
    "demo": dict(),
    "gpu": dict(size=128, faces=0, width=64, width_d=64, width_pg=32, levels_pg=5, width_d_b=32, batch=16, batch_pg=16,
                iterations=60000, target_iterations=60000, n_critic=5, lr=1e-4, lr_d=1e-4, decay=0.5, lambda_rec=10.0,
                poison_every=1, lr_pg=1e-4, width_judge=32, judge_iterations=6000, live_iterations=1000),
    "paper": dict(size=128, faces=0, width=64, width_d=64, width_pg=64, levels_pg=5, width_d_b=32, batch=16, batch_pg=16,
                  iterations=200000, target_iterations=200000,
                  n_critic=5, lr=1e-4, lr_d=1e-4, decay=0.5, lambda_rec=10.0, poison_every=1, lr_pg=1e-4, width_judge=32,
                  judge_iterations=6000, bf16=False, live_iterations=1000),
}

# Photos differ more than drawn faces do: D_A must not learn a few thousand of them by heart, and without the identity term
# an editor may settle on forgeries in negative, which lead back to x just as well.
PHOTOS = {"demo": dict(iterations=10000, target_iterations=24000, lambda_rec=20.0, lr_d=3e-4, augment=True,
                       lambda_idt=5.0, lambda_cls=2.0)}


def load_config(preset: str = "demo", **overrides) -> Config:
    """The preset (for photos: with PHOTOS) and the overrides, each checked by name, type and range.

    Raises UserError for an unknown preset or setting, a wrong type, or a value out of range.
    """
    if preset not in PRESETS:
        raise UserError(f"Unknown preset {preset!r}: use one of {', '.join(PRESETS)}.")
    types = {field.name: type(field.default) for field in dataclasses.fields(Config)}
    values = {"preset": preset, **PRESETS[preset], **(PHOTOS.get(preset, {}) if overrides.get("data_root") else {})}
    for name, value in overrides.items():
        if name not in types:
            raise UserError(f"Unknown setting {name!r}: the settings are {', '.join(types)}.")
        kind = types[name]
        if kind is tuple and isinstance(value, (list, str)):
            value = tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else tuple(value)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise UserError(f"Setting {name}={value!r} must be of type {kind.__name__}.")
        values[name] = value
    if not values.get("domains"):
        values["domains"] = DOMAINS["celeba" if values.get("data_root") else "procedural"]["SD"]
    config = Config(**values)
    _check_range(config)
    return config


def _check_range(config: Config) -> None:
    if not 0 < config.eps <= 1:
        raise UserError(f"eps={config.eps} is outside (0, 1]: the paper uses .01 to .05 on the [-1, 1] scale.")
    if config.size not in (32, 64, 128, 256):
        raise UserError(f"size={config.size} is not supported: use 32, 64, 128 or 256.")
    if not 0 <= config.decay <= 1:
        raise UserError(f"decay={config.decay} is outside [0, 1]: it is the share of iterations with a falling rate.")
    for name in ("width", "width_d", "width_pg", "levels_pg", "width_d_b", "batch", "batch_pg", "iterations",
                 "target_iterations", "n_critic", "poison_every", "validate_every", "width_judge", "judge_iterations",
                 "checkpoint_every"):
        if getattr(config, name) < 1:
            raise UserError(f"{name}={getattr(config, name)} must be at least 1.")
    if config.size % 2 ** (config.levels_pg - 1):
        raise UserError(f"levels_pg={config.levels_pg} halves {config.size} px too often: use at most 6 at 32 px.")
    for name in ("lr", "lr_d", "lr_pg", "lr_d_b"):
        if not getattr(config, name) > 0:
            raise UserError(f"{name}={getattr(config, name)} must be above 0.")


def parse_setting(text: str):
    """The value of `name=value` on a command line: JSON if it parses (1e-3, true, [..]), else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def parse_settings(texts: list[str]) -> dict:
    """["eps=.03", ...] as {"eps": .03, ...}; values are JSON, or text."""
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UserError(f"--set {text} is not of the form NAME=VALUE, like --set eps=0.03.")
        if name in ("preset", "data_root", "seed"):
            raise UserError(f"{name} has an option of its own: use --{name.removesuffix('_root')} {value}.")
        settings[name] = parse_setting(re.sub(r"^(-?)\.(?=\d)", r"\g<1>0.", value))
    return settings


def find_data(folder: str) -> str:
    """The absolute path of the data folder; empty for procedural faces."""
    if not folder:
        return ""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(f"There is no data folder {folder}: give the one that holds CelebA (see data/README.md).")
    return str(path.resolve())
