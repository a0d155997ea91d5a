"""The settings of both scenarios: pydantic models, one part for each network that is trained.

The defaults are the paper's and its published code's; a preset (`idf/presets/*.toml`) says what
it changes.

>>> load_config("demo", eps=0.03).poisoner.eps
0.03
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from idf.settings import FREE, Settings, UserError, flat, load, names, numbers

ROOT = Path(__file__).resolve().parent.parent
WEIGHTS = ROOT / "data" / "weights"
RESULTS = ROOT / "data" / "results"
PRESETS = {file.stem: file for file in sorted((Path(__file__).parent / "presets").glob("*.toml"))}

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

Number = Annotated[int, Field(ge=0, le=10**7)]
Count = Annotated[int, Field(ge=1, le=10**5)]
Width = Annotated[int, Field(ge=1, le=1024)]  # channels: four times as much fills any memory
Length = Annotated[int, Field(ge=1, le=10**9), FREE]  # in iterations
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
OF_PAPER = "the paper uses .01 to .05 on the [-1, 1] scale"
Eps = Annotated[float, Field(gt=0, le=1, description=OF_PAPER)]
Size = Literal[32, 64, 128, 256]
MOST_SEED = 2**31 - 1
Seed = Annotated[int, Field(ge=0, le=MOST_SEED)]
Periods = Annotated[
    tuple[Annotated[int, Field(ge=2)], ...], BeforeValidator(numbers), Field(min_length=1)
]
Names = Annotated[tuple[str, ...], BeforeValidator(names)]
Domains = Annotated[Names, Field(max_length=10, description="one to ten attributes")]


class EditorSettings(Settings):
    """An editor and its critic D_A (StarGAN): the surrogate SM in stage A, the forger's M."""

    width: Width = 64
    width_d: Width = 64
    batch: Count = 16
    iterations: Length = 200_000
    n_critic: Count = 5
    lr: Rate = 1e-4
    lr_d: Rate = 1e-4
    decay: Share = 0.5  # share of the iterations, at their end, over which lr falls to 0
    lambda_cls: Weight = 1.0
    lambda_rec: Weight = 10.0
    lambda_gp: Weight = 10.0
    # not in StarGAN:
    robust: Weight = 0.0  # D_A also classes faces moved by up to this against its class head
    noise: Weight = 0.0  # strength of noise on y before it leads back to x: against hidden codes


class NetworkSettings(Settings):
    """PG and its critic D_B, in both scenarios."""

    width: Width = 64
    levels: Count = 5
    affine: bool = True  # its last BatchNorm has a scale and a shift
    align_corners: bool = True  # of its bilinear upsampling
    width_d_b: Width = 32
    lambda_adv: Weight = 0.01  # lambda of Eq. 4
    lambda_gp: Weight = 10.0  # of D_B's gradient penalty, Eq. 5


class PoisonerSettings(NetworkSettings):
    """Algorithm 1: PG in stage B, beside SM."""

    iterations: Length = 30_000
    decay: Share = 0.0  # share of the iterations, at their end, over which all rates fall to 0
    every: Count = 1  # stage B runs in every `every`-th iteration
    batch: Count = 16  # images of the batch that stage B takes
    lr: Rate = 1e-4
    lr_d_b: Rate = 1e-5
    eps: Eps = 0.05
    lambda_bs: Weight = 10.0  # lambda_2 of Eq. 6
    lambda_cyc: Weight = 2.5  # lambda_3
    lambda_dom: Weight = 1.0  # lambda_4
    previous: bool = True  # add L' of Eq. 12
    summed: bool = False  # 2 L + L': the published code does not reset its sums before L'
    mu_per_sample: bool = False
    # not in the paper:
    through: bool = False  # L_PG is of x and x' after a random transformation
    head: Literal["UNet", "Waves"] = "UNet"
    periods: Periods = (4,)  # of the waves, in px, that head="Waves" paints
    focused: bool = False  # of head="Waves": only where keys lie in most trainings
    keys: Number = 0  # of head="Waves": random keys a face and step; 0: none
    cap: Rate = 2.0  # a pair counts at most this much in L_bs, so that all are moved; 2: the paper
    validate_every: Count = 200  # iterations between two looks at PG_best


class JudgeSettings(Settings):
    """The independent judge."""

    width: Width = 32
    batch: Count = 128
    iterations: Length = 6000


class Config(Settings):
    """All settings of scenario 1. Sources: the paper (Implementation details), StarGAN."""

    preset: str = "paper"
    seed: Seed = 0
    data_root: str = ""  # a CelebA folder; empty: procedural faces
    size: Size = 128
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"  # of CelebA's pictures to `size`
    crop: Literal["", "centre"] = ""  # of pictures of any shape: the largest square in the middle
    faces: Number = 0  # procedural ones, or the most of CelebA (0: all)
    domains: Domains = ()  # empty: DOMAINS[dataset]["SD"]
    skip_bad: Annotated[bool, FREE] = False  # leave unreadable pictures out, and count them
    weights_folder: Annotated[str, FREE] = ""  # networks of one's own, in place of those that ship

    editor: EditorSettings = EditorSettings()
    poisoner: PoisonerSettings = PoisonerSettings()
    judge: JudgeSettings = JudgeSettings()

    bf16: bool = False
    checkpoint_every: Length = 500
    live_iterations: Length = 1000  # what a notebook trains before it loads the shipped weights

    @property
    def dataset(self) -> str:
        return "celeba" if self.data_root else "procedural"

    @property
    def weights(self) -> Path:
        """Where the weights of this data set lie."""
        return Path(self.weights_folder) if self.weights_folder else WEIGHTS / self.dataset

    @model_validator(mode="after")
    def _fits(self) -> Self:
        twice = [name for name in self.domains if self.domains.count(name) > 1]
        if twice:
            raise ValueError(f"domains names {twice[0]} twice: name each attribute once")
        _check_levels(self.poisoner, self.size)
        uneven = [period for period in self.poisoner.periods if self.size % period]
        if uneven:
            raise ValueError(
                f"poisoner.periods={uneven[0]} does not divide {self.size} px: use 2 or 4"
            )
        if self.poisoner.keys and self.poisoner.head != "Waves":
            raise ValueError('poisoner.keys are of waves: set poisoner.head="Waves", or keys=0')
        return self


class ForgerSettings(Settings):
    """The forger of scenario 2 and the surrogate: pix2pix."""

    network: Literal["UNet256", "UNet128-BN", "CNet", "Res6", "Res9"] = "UNet256"
    width: Width = 64
    width_d: Width = 64
    layers_d: Count = 3
    batch: Count = 1
    iterations: Length = 150_000
    lr: Rate = 2e-4
    decay: Share = 0.5
    lambda_l1: Weight = 100.0


class FilmPoisonerSettings(NetworkSettings):
    """PG of scenario 2, trained through the temporary model TM."""

    iterations: Length = 30_000
    batch: Count = 1
    eps: Eps = 0.02
    lr: Rate = 2e-4
    lr_d_b: Rate = 2e-4
    decay: Share = 0.5  # of all rates in this training
    lr_inner: Rate = 2e-4  # of the step of SGD that makes TM from M'
    inner_steps: Count = 1  # such steps in a row, all of them in PG's graph
    round_off: Rate = 0.1  # below this the forger's L1 is a parabola, so that PG gets a gradient
    follow: Number = 0  # Adam steps of M' on x' after TM's
    masked: bool = True  # m(x) in Eq. 11; without it m = 1
    background: Share = 0.01  # m(x) off the face
    validate_every: Count = 100


class ParserSettings(Settings):
    """BiSeNet, the face parser behind m(x)."""

    checkpoint: str = ""  # a public checkpoint (79999_iter.pth) instead of our own weights
    width: Width = 64
    size: Annotated[int, Field(ge=64, le=2048, multiple_of=64)] = 512  # px, of scaled faces
    iterations: Length = 80_000
    bf16: bool = True


class FilmConfig(Settings):
    """All settings of scenario 2. Sources: the paper (Implementation details), pix2pix."""

    preset: str = "paper"
    seed: Seed = 0
    video: str = ""  # a video file; empty: the procedural film
    landmarks: str = ""  # its landmarks (.npz, .csv); empty: dlib finds them
    person: Seed = 12  # the seed of the procedural face
    size: Size = 256
    start: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0  # of a video, in seconds
    frames: Number = 1600  # the most from the first face on (0: all)

    forger: ForgerSettings = ForgerSettings()
    poisoner: FilmPoisonerSettings = FilmPoisonerSettings()
    parser: ParserSettings = ParserSettings()

    bf16: bool = False
    checkpoint_every: Length = 250
    live_iterations: Length = 500

    @property
    def dataset(self) -> str:
        return "real-video" if self.video else "procedural-video"

    @property
    def weights(self) -> Path:
        """Where the shipped weights lie: those of the procedural film, and of the face parser."""
        return WEIGHTS / "video"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if 0 < self.frames < 50:
            raise ValueError(f"frames={self.frames} must be at least 50, or 0 for all of a video")
        if not self.frames and not self.video:
            raise ValueError(
                "frames=0 means all of a video, but the procedural film has no end: "
                "give a number, like 1600"
            )
        if self.landmarks and not self.video:
            raise ValueError(
                "landmarks belong to a video: set `video` too, or leave `landmarks` empty"
            )
        if self.start and not self.video:
            raise ValueError("start is of a video: set `video` too, or leave `start` out")
        layers = self.forger.layers_d
        if self.size >> layers < 3:
            raise ValueError(
                f"forger.layers_d={layers} halves {self.size} px too often: use a smaller number"
            )
        _check_levels(self.poisoner, self.size)
        if self.poisoner.batch > self.forger.batch:
            raise ValueError(
                f"poisoner.batch={self.poisoner.batch} is more than forger.batch="
                f"{self.forger.batch}, of which stage B takes its images: use a smaller number, or "
                "a larger batch"
            )
        return self


def _check_levels(settings: PoisonerSettings | FilmPoisonerSettings, size: int) -> None:
    levels = settings.levels
    if size % 2 ** (levels - 1):
        raise ValueError(
            f"poisoner.levels={levels} halves {size} px too often: use at most {size.bit_length()}"
        )


def load_config(preset: str = "demo", **overrides) -> Config:
    """The settings of a preset for scenario 1, with overrides.

    An override is named by its part ("poisoner.eps", or poisoner={"eps": .03}) or, where only one
    part has the name, by itself (eps=.03). Raises UserError for an unknown preset or setting, a
    wrong type, or a value out of range. overrides: a notebook's dict of them, as it stands.
    """
    tables, overrides = _read_preset(preset), flat(overrides)
    photos = tables.get("photos", {}) if overrides.get("data_root") else {}
    config = load(Config, preset, [tables.get("attributes", {}), photos], overrides)
    if config.domains:
        return config
    return config.changed(domains=DOMAINS[config.dataset]["SD"])


def load_film_config(preset: str = "demo", **overrides) -> FilmConfig:
    """As load_config, for scenario 2."""
    return load(FilmConfig, preset, [_read_preset(preset).get("film", {})], flat(overrides))


def _read_preset(preset: str) -> dict:
    if not isinstance(preset, str) or preset not in PRESETS:
        raise UserError(f"Unknown preset {preset!r}: use one of {', '.join(PRESETS)}.")
    return tomllib.loads(PRESETS[preset].read_text())
