"""Presets `smoke`, `demo`, `gpu`, `paper`: every setting of a run in one frozen dataclass.

>>> load_config("demo", eps=0.03).eps
0.03
"""

import dataclasses
import hashlib
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
    """All settings of scenario 1. Sources: paper (Implementation details), StarGAN; README tells where presets deviate.

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
    target_iterations: int = 10000  # of the target, which has stage A alone
    n_critic: int = 1
    lr: float = 1e-3
    lr_d: float = 1e-3
    augment: bool = False  # D_A sees shifted faces of changed light: a few thousand photos are soon known by heart
    robust: float = (
        0.1  # D_A also classes faces moved by up to this against its class head (not in StarGAN)
    )
    decay: float = 0.8  # share of the iterations, at their end, over which lr falls to 0
    lambda_cls: float = 2.0
    lambda_rec: float = 30.0
    lambda_idt: float = 0.0  # |x - SM(x, c)| for the face's own label, against forgeries in negative (not in StarGAN)
    idt_share: float = 1.0  # share of the iterations, from the start, in which lambda_idt acts
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
    # lambda_4, 1 in the paper: the small D_A of preset demo is so sure of itself that L_dom would drown the other terms
    lambda_dom: float = 0.01
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
    "smoke": dict(
        size=32,
        faces=160,
        width=4,
        width_d=4,
        width_pg=4,
        levels_pg=3,
        width_d_b=4,
        batch=4,
        batch_pg=2,
        iterations=12,
        target_iterations=12,
        lambda_cls=1.0,
        robust=0.0,
        poison_every=2,
        validate_every=4,
        width_judge=4,
        judge_iterations=20,
        checkpoint_every=4,
        live_iterations=6,
        bf16=False,
    ),
    "demo": dict(),
    "gpu": dict(
        size=128,
        faces=0,
        width=64,
        width_d=64,
        width_pg=32,
        levels_pg=5,
        width_d_b=32,
        batch=16,
        batch_pg=16,
        iterations=60000,
        target_iterations=60000,
        n_critic=5,
        lr=1e-4,
        lr_d=1e-4,
        decay=0.5,
        lambda_rec=10.0,
        lambda_cls=1.0,
        robust=0.0,
        lambda_dom=1.0,
        poison_every=1,
        lr_pg=1e-4,
        width_judge=32,
        judge_iterations=6000,
        live_iterations=1000,
    ),
    "paper": dict(
        size=128,
        faces=0,
        width=64,
        width_d=64,
        width_pg=64,
        levels_pg=5,
        width_d_b=32,
        batch=16,
        batch_pg=16,
        iterations=200000,
        target_iterations=200000,
        n_critic=5,
        lr=1e-4,
        lr_d=1e-4,
        decay=0.5,
        lambda_rec=10.0,
        lambda_cls=1.0,
        robust=0.0,
        lambda_dom=1.0,
        poison_every=1,
        lr_pg=1e-4,
        width_judge=32,
        judge_iterations=6000,
        bf16=False,
        live_iterations=1000,
    ),
}

# Photos differ more than drawn faces do. D_A must not learn a few thousand of them by heart, and its class head must look
# at what a person sees; without the identity term an editor may settle on forgeries in negative, which lead back to x
# just as well; it ends when the polarity has long been settled.
PHOTOS = {
    "demo": dict(
        iterations=10000,
        target_iterations=60000,
        lambda_rec=20.0,
        lr_d=3e-4,
        augment=True,
        robust=0.15,
        lambda_idt=2.0,
        idt_share=0.5625,
        lambda_cls=4.0,
    )
}


@dataclass(frozen=True)
class VideoConfig:
    """All settings of scenario 2. Sources: paper (Implementation details), pix2pix; README tells where presets deviate.

    Lengths are in iterations; `eps` is on the [-1, 1] scale.
    """

    preset: str = "demo"
    seed: int = 0
    video: str = ""  # a video file; empty: the procedural face
    landmarks: str = ""  # its landmarks (.npz, .csv); empty: dlib finds them
    person: int = 12  # the seed of the procedural face
    size: int = 64
    frames: int = 1600  # the most that are used (0: all of a video)
    target: str = "UNet256"

    # the forger: pix2pix
    width: int = 16
    width_d: int = 16
    layers_d: int = 2
    batch: int = 8
    iterations: int = 1500
    lr: float = 2e-4
    decay: float = 0.5  # share of the iterations, at their end, over which lr falls to 0
    lambda_l1: float = 100.0
    find_again: bool = False  # dlib looks for landmarks on the published frames; the paper, and we, use the clean ones

    # the poison
    width_pg: int = 16
    levels_pg: int = 4
    affine_pg: bool = False  # PG's last BatchNorm with scale and shift: else PG(x) averages 0 and stays quieter than +-1
    width_d_b: int = 16
    poison_iterations: int = 1000
    batch_pg: int = 8
    eps: float = 0.02
    lr_pg: float = 2e-4
    lr_d_b: float = 2e-4
    lr_inner: float = 2e-4  # of the step of SGD that makes TM from M'
    inner_steps: int = 1  # such steps in a row, all of them in PG's graph
    round_off: float = (
        0.1  # below this the forger's L1 is a parabola, so that PG gets a gradient through it
    )
    follow: int = 1  # Adam steps of M' on poisoned frames after TM's; the paper has 0
    restart_every: int = 0  # M' starts anew after so many iterations; 0: never
    delay: int = 0  # iterations in which SM and M' train before PG does
    lambda_adv: float = 0.01
    masked: bool = True  # m(x) in Eq. 11; without it m = 1
    background: float = 0.01  # m(x) off the face
    queries: int = 30  # to dlib for each frame, by the search of idf.pairing
    validate_every: int = 100

    # BiSeNet
    parser: str = ""  # a public checkpoint (79999_iter.pth) instead of our own weights
    width_parser: int = 16
    size_parser: int = (
        512  # faces are scaled to this before parsing: its features stop at an eighth
    )
    parser_iterations: int = 3000

    # machine
    bf16: bool = False
    bf16_parser: bool = True
    checkpoint_every: int = 250
    live_iterations: int = 150

    @property
    def dataset(self) -> str:
        return "real-video" if self.video else "procedural-video"

    @property
    def weights(self) -> Path:
        """Where the shipped weights lie: those of the procedural film, and of the face parser."""
        return WEIGHTS / "video"


VIDEO_PRESETS: dict[str, dict] = {
    "smoke": dict(
        size=32,
        frames=120,
        width=4,
        width_d=4,
        layers_d=1,
        batch=4,
        iterations=8,
        width_pg=4,
        levels_pg=3,
        width_d_b=4,
        poison_iterations=6,
        batch_pg=2,
        validate_every=3,
        width_parser=4,
        size_parser=64,
        parser_iterations=6,
        checkpoint_every=4,
        live_iterations=4,
        bf16_parser=False,
    ),
    # a short training learns more at a higher rate than the paper's
    "demo": dict(lr=1e-3, iterations=2000),
    "gpu": dict(
        size=256,
        width=64,
        width_d=64,
        layers_d=3,
        batch=4,
        iterations=20000,
        width_pg=32,
        levels_pg=5,
        width_d_b=32,
        poison_iterations=6000,
        batch_pg=4,
        width_parser=64,
        parser_iterations=20000,
        bf16=True,
        live_iterations=500,
    ),
    "paper": dict(
        size=256,
        width=64,
        width_d=64,
        layers_d=3,
        batch=1,
        iterations=150000,
        width_pg=64,
        levels_pg=5,
        width_d_b=32,
        poison_iterations=30000,
        batch_pg=1,
        width_parser=64,
        parser_iterations=80000,
        live_iterations=500,
    ),
}


def load_config(preset: str = "demo", **overrides) -> Config:
    """The preset (for photos: with PHOTOS) and the overrides, each checked by name, type and range.

    Raises UserError for an unknown preset or setting, a wrong type, or a value out of range.
    """
    photos = PHOTOS.get(preset, {}) if overrides.get("data_root") else {}
    values = _checked(Config, PRESETS, preset, overrides, photos)
    if not values.get("domains"):
        values["domains"] = DOMAINS["celeba" if values.get("data_root") else "procedural"]["SD"]
    config = Config(**values)
    _check_range(config)
    return config


def load_video_config(preset: str = "demo", **overrides) -> VideoConfig:
    """As load_config, for scenario 2."""
    config = VideoConfig(**_checked(VideoConfig, VIDEO_PRESETS, preset, overrides))
    _check_range(config)
    if config.frames and config.frames < 50:
        raise UserError(f"frames={config.frames} must be at least 50, or 0 for all of a video.")
    if not config.frames and not config.video:
        raise UserError(
            "frames=0 means all of a video, but the procedural film has no end: give a number, like 1600."
        )
    if config.landmarks and not config.video:
        raise UserError("landmarks belong to a video: set `video` too, or leave `landmarks` empty.")
    if config.size >> config.layers_d < 3:
        raise UserError(
            f"layers_d={config.layers_d} halves {config.size} px too often: use a smaller number."
        )
    if config.delay >= config.poison_iterations:
        raise UserError(
            f"delay={config.delay} must be below poison_iterations={config.poison_iterations}."
        )
    if config.size_parser % 64:
        raise UserError(f"size_parser={config.size_parser} must be a multiple of 64: 512 is usual.")
    return config


def _checked(
    cls: type, presets: dict[str, dict], preset: str, overrides: dict, more: dict | None = None
) -> dict:
    """The preset's values, then `more`, then the overrides with their types checked."""
    if preset not in presets:
        raise UserError(f"Unknown preset {preset!r}: use one of {', '.join(presets)}.")
    types = {field.name: type(field.default) for field in dataclasses.fields(cls)}
    values = {"preset": preset, **presets[preset], **(more or {})}
    for name, value in overrides.items():
        if name not in types:
            raise UserError(f"Unknown setting {name!r}: the settings are {', '.join(types)}.")
        kind = types[name]
        if kind is tuple and isinstance(value, (list, str)):
            value = (
                tuple(name.strip() for name in value.split(","))
                if isinstance(value, str)
                else tuple(value)
            )
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise UserError(f"Setting {name}={value!r} must be of type {kind.__name__}.")
        values[name] = value
    return values


def _check_range(config: Config | VideoConfig) -> None:
    if not 0 < config.eps <= 1:
        raise UserError(
            f"eps={config.eps} is outside (0, 1]: the paper uses .01 to .05 on the [-1, 1] scale."
        )
    if config.size not in (32, 64, 128, 256):
        raise UserError(f"size={config.size} is not supported: use 32, 64, 128 or 256.")
    if not 0 <= config.decay <= 1:
        raise UserError(
            f"decay={config.decay} is outside [0, 1]: it is the share of iterations with a falling rate."
        )
    for name in (
        "width",
        "width_d",
        "width_pg",
        "levels_pg",
        "width_d_b",
        "batch",
        "batch_pg",
        "iterations",
        "target_iterations",
        "n_critic",
        "poison_every",
        "validate_every",
        "width_judge",
        "judge_iterations",
        "checkpoint_every",
        "layers_d",
        "poison_iterations",
        "inner_steps",
        "queries",
        "width_parser",
        "size_parser",
        "parser_iterations",
    ):
        if getattr(config, name, 1) < 1:
            raise UserError(f"{name}={getattr(config, name)} must be at least 1.")
    if config.size % 2 ** (config.levels_pg - 1):
        raise UserError(
            f"levels_pg={config.levels_pg} halves {config.size} px too often: use at most 6 at 32 px."
        )
    for name in ("lr", "lr_d", "lr_pg", "lr_d_b", "lr_inner", "round_off"):
        if not getattr(config, name, 1) > 0:
            raise UserError(f"{name}={getattr(config, name)} must be above 0.")


def digest(value) -> str:
    """16 letters that stand for a value in the name of a folder: the same for values that print alike."""
    return hashlib.sha256(repr(value).encode()).hexdigest()[:16]


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
        if name in ("preset", "data_root", "video", "landmarks", "seed"):
            raise UserError(
                f"{name} is no --set of this command: where it applies, use --{name.removesuffix('_root')} "
                f"{value}."
            )
        settings[name] = parse_setting(re.sub(r"^(-?)\.(?=\d)", r"\g<1>0.", value))
    return settings


def find_video(file: str) -> str:
    """The absolute path of the video; empty for the procedural film."""
    if not file:
        return ""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(
            f"There is no video {file}: give an MP4, MOV or WebM file of one person speaking."
        )
    return str(path.resolve())


def find_landmark_file(file: str) -> str:
    """The absolute path of a video's landmarks."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise UserError(
            f"There is no landmark file {file}: give an .npz or .csv, or leave it out, then dlib finds them."
        )
    return str(path.resolve())


def find_data(folder: str) -> str:
    """The absolute path of the data folder; empty for procedural faces."""
    if not folder:
        return ""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise UserError(
            f"There is no data folder {folder}: give the one that holds CelebA (see data/README.md)."
        )
    return str(path.resolve())
