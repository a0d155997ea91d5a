"""Face parsing: which of the 19 CelebAMask-HQ classes is each pixel, and the attention mask m(x) of scenario 2."""

import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2
from tqdm import tqdm

from idf import faces
from idf.config import ROOT, UserError, VideoConfig, digest
from idf.data import open_cache, places, read_image, to_model
from idf.faces import LABELS, render_faces
from idf.networks import BiSeNet, frozen
from idf.training import Run, advance, make_accelerator, step

FACE = (1, 2, 3, 4, 5, 6, 7, 10, 11, 12)  # skin and features: what m(x) covers, ears and hair not
MIRRORED = [
    LABELS.index(n.replace("left", "*").replace("right", "left").replace("*", "right"))
    for n in LABELS
]
# the public checkpoint's order of the classes, as places in LABELS
PUBLIC = [
    LABELS.index(name)
    for name in (
        "background",
        "skin",
        "left brow",
        "right brow",
        "left eye",
        "right eye",
        "glasses",
        "left ear",
        "right ear",
        "earring",
        "nose",
        "mouth",
        "upper lip",
        "lower lip",
        "neck",
        "necklace",
        "cloth",
        "hair",
        "hat",
    )
]
SETTINGS = (
    "preset",
    "seed",
    "size",
    "frames",
    "batch",
    "width_parser",
    "size_parser",
    "parser_iterations",
    "bf16_parser",
    "checkpoint_every",
)
FACES = {"train": 1500, "test": 200}  # procedural faces


@dataclass(eq=False)
class ParsedFaces:
    """N faces with the class of every pixel."""

    stack: np.ndarray  # uint8 (N, 4, S, S): red, green, blue, class

    def __len__(self) -> int:
        return len(self.stack)

    def batch(self, index) -> tuple[Tensor, Tensor]:
        """x float32 (B, 3, S, S) in [-1, 1] and classes int64 (B, S, S)."""
        stack = np.array(self.stack[index])
        return to_model(stack[:, :3]), torch.from_numpy(stack[:, 3].astype(np.int64))


def open_parsed(
    config: VideoConfig, part: str, folder: str = "", limit: int | None = None
) -> ParsedFaces:
    """The part train or test of the procedural faces, or of a CelebAMask-HQ folder: images/*.jpg, masks/*.png.

    In a folder every tenth pair is for the test. Masks are palette pictures of the classes 0 to 18 (LABELS).
    Pictures have half of config.size_parser: the network sees them enlarged, and answers at their size.
    Raises UserError for a folder without pairs, or a mask with other classes.
    """
    cache = Path(os.environ.get("IDF_CACHE") or ROOT / "runs" / "cache")
    size = config.size_parser // 2
    if folder:
        names, items = _pairs(Path(folder), size)
        names = [name for i, name in enumerate(names) if (i % 10 == 9) == (part == "test")]
        state: list = [
            [
                (file.name, file.stat().st_size, file.stat().st_mtime_ns)
                for file in sorted(Path(folder).glob("*/*"))
                if file.stem in set(names)
            ],
            names,
        ]
    else:
        count = min(FACES[part], config.frames if config.preset == "smoke" else FACES[part])
        names, items = [str(10**9 * (part == "test") + i) for i in range(count)], _drawn(size)
        state = [Path(faces.__file__).read_bytes(), names]
    names = names[:limit]
    if not names:
        raise UserError(f"The part {part!r} of {folder} is empty: at least ten pairs are needed.")
    key = digest((state, size, limit))
    made = tqdm(
        items(names),
        "Preparing faces",
        len(names),
        leave=False,
        unit="face",
        delay=1,
        file=sys.stdout,
    )
    stack, _ = open_cache(cache / f"parsed-{size}-{key}", size, made, channels=4)
    return ParsedFaces(stack)


def _drawn(size: int) -> Callable:
    def items(names):
        for some in (names[i : i + 32] for i in range(0, len(names), 32)):
            batch = render_faces([int(name) for name in some], size)
            yield from (
                (name, stack, "")
                for name, stack in zip(
                    some, torch.cat([batch.images, batch.labels[:, None]], 1).numpy(), strict=True
                )
            )

    return items


def _pairs(root: Path, size: int) -> tuple[list[str], Callable]:
    images, masks = root / "images", root / "masks"
    found = sorted(path.stem for path in images.glob("*.jpg")) if images.is_dir() else []
    names = [name for name in found if (masks / f"{name}.png").is_file()]
    if not names:
        raise UserError(
            f"{root} holds no pairs images/NAME.jpg and masks/NAME.png: give a CelebAMask-HQ folder."
        )

    def items(names):
        for name in names:
            try:
                with Image.open(masks / f"{name}.png") as mask:
                    classes = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))
            except (OSError, SyntaxError) as error:
                raise UserError(
                    f"{masks / name}.png cannot be read as a picture ({error}): replace the file."
                ) from error
            if classes.ndim != 2 or classes.max() >= len(LABELS):
                raise UserError(
                    f"{masks / name}.png is not a palette picture of the classes 0 to 18: convert it."
                )
            picture = Image.fromarray(read_image(images / f"{name}.jpg").permute(1, 2, 0).numpy())
            colours = np.asarray(picture.resize((size, size), Image.Resampling.BOX)).transpose(
                2, 0, 1
            )
            yield name, np.concatenate([colours, classes[None].astype(np.uint8)]), ""

    return names, items


@dataclass(kw_only=True)
class Parsing(Run):
    parser: nn.Module

    def networks(self) -> dict[str, nn.Module]:
        return {"parser": self.parser}


def vary(x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored, moved, of other colours and sharpness, drawn from torch's own generator; x in [-1, 1]."""
    if torch.rand(()) < 0.5:  # a person's left eye becomes the right one
        x, classes = x.flip(-1), torch.tensor(MIRRORED, device=classes.device)[classes.flip(-1)]
    move = v2.RandomAffine(
        12,
        translate=(0.08, 0.08),
        scale=(0.8, 1.25),
        interpolation=v2.InterpolationMode.BILINEAR,
        fill={tv_tensors.Image: -1.0, tv_tensors.Mask: 0, "others": 0},
    )
    x, classes = move(tv_tensors.Image(x), tv_tensors.Mask(classes))
    x, classes = x.as_subclass(Tensor), classes.as_subclass(Tensor)
    light, shift = torch.rand(2, len(x), 1, 1, 1, device=x.device)
    x = (x * (0.7 + 0.6 * light) + 0.4 * (shift - 0.5)).clamp(-1, 1)
    share = 2 ** -(2 * torch.rand(()).item())  # frames of 64 px are seen enlarged fourfold
    small = F.interpolate(x, scale_factor=share, mode="bilinear", antialias=True)
    return F.interpolate(small, x.shape[2:], mode="bilinear"), classes


def train_parser(
    config: VideoConfig,
    faces: ParsedFaces,
    folder: Path | None = None,
    start: nn.Module | None = None,
    quiet: bool = False,
    until: int | None = None,
) -> Parsing:
    """BiSeNet by cross entropy on its three heads (Yu et al. 2018), from scratch or from `start`. Resumes from folder."""
    # no setting of the forger makes it another training
    config = VideoConfig(**{name: getattr(config, name) for name in SETTINGS})
    torch.manual_seed(config.seed)
    parser = (start or BiSeNet(len(LABELS), config.width_parser)).to(
        memory_format=torch.channels_last
    )
    run = Parsing(config=config, accelerator=make_accelerator(config.bf16_parser), parser=parser)
    run.prepare({"parser": 1e-3})
    n, size = config.parser_iterations, max(4, config.batch // 2)  # BatchNorm needs several

    def iterate() -> dict[str, Tensor]:
        i = run.iteration
        torch.manual_seed(config.seed * 1_000_003 + i)
        run.optimizers["parser"].param_groups[0]["lr"] = 2e-3 * min(
            1.0, (i + 1) / (0.05 * n), (n - i) / (0.8 * n)
        )
        x, classes = faces.batch(places(i, size, len(faces), config.seed))
        x, classes = vary(x.to(run.accelerator.device), classes.to(run.accelerator.device))
        with run.accelerator.autocast():
            x = F.interpolate(x, scale_factor=2, mode="bilinear").contiguous(
                memory_format=torch.channels_last
            )
            terms = parsing_loss(run.parser.heads(x), classes)
            step(run, "parser", sum(terms))
        return {"parsing": terms[0].detach()}

    return advance(run, n, iterate, folder, until, quiet=quiet)


def parsing_loss(heads: tuple[Tensor, ...], classes: Tensor) -> list[Tensor]:
    """Cross entropy of each head with classes (B, S, S): the first at S, the helping ones at their own coarse size.

    As in BiSeNet, only the hard pixels count (those given less than .7, at least a sixteenth): borders and thin parts
    are few, and the mean over all pixels would forget them.
    """
    terms = []
    for logits, size in zip(
        heads, (classes.shape[-1], *(logits.shape[-1] for logits in heads[1:])), strict=True
    ):
        logits = F.interpolate(logits.float(), (size, size), mode="bilinear", align_corners=True)
        step = classes.shape[-1] // size
        loss = F.cross_entropy(
            logits, classes[:, step // 2 :: step, step // 2 :: step], reduction="none"
        ).flatten()
        hard = loss[loss.detach() > -math.log(0.7)]
        least = len(loss) // 16
        terms.append((hard if len(hard) > least else loss.topk(least).values).mean())
    return terms


@torch.no_grad()
def class_probabilities(parser: nn.Module, x: Tensor, size: int) -> Tensor:
    """Of each of LABELS (N, 19, S, S), for pictures x (N, 3, S, S) in [-1, 1]; parsed at `size`, scaled back."""
    device = next(parser.parameters()).device
    out = []
    for part in x.split(16):
        large = F.interpolate(part.to(device), (size, size), mode="bilinear", antialias=True)
        logits = parser.heads(large.contiguous(memory_format=torch.channels_last))[0]
        logits = F.interpolate(logits, (size, size), mode="bilinear", align_corners=True)
        # scaled down before the softmax, which at full size would take longer than the network
        small = F.interpolate(logits, part.shape[2:], mode="bilinear", antialias=True)
        out.append(small.softmax(1).to(x.device))
    return torch.cat(out)


def attention_mask(parser: nn.Module, x: Tensor, config: VideoConfig) -> Tensor:
    """m(x) (N, 1, S, S): 1.0 where the parser sees the face (FACE), config.background (.01) elsewhere."""
    face = (
        class_probabilities(parser, x, config.size_parser)[:, list(FACE)].sum(1, keepdim=True) > 0.5
    )
    return torch.where(face, 1.0, config.background)


def parsing_quality(parser: nn.Module, faces: ParsedFaces, config: VideoConfig) -> dict[str, float]:
    """IoU per class, `miou` over skin and features (FACE), `face_iou` of their union."""
    both, either, region = (torch.zeros(len(LABELS), dtype=torch.float64) for _ in range(3))
    region = region[:2]
    for i in range(0, len(faces), 16):
        x, truth = faces.batch(slice(i, i + 16))
        seen = class_probabilities(parser, x, config.size_parser).argmax(1)
        a, b = (F.one_hot(t, len(LABELS)).bool() for t in (seen, truth))
        both += (a & b).sum((0, 1, 2))
        either += (a | b).sum((0, 1, 2))
        a, b = (t[..., list(FACE)].any(-1) for t in (a, b))
        region += torch.stack([(a & b).sum(), (a | b).sum()])
    iou = {name: (both[k] / either[k]).item() for k, name in enumerate(LABELS) if either[k]}
    shown = [iou[LABELS[k]] for k in FACE if LABELS[k] in iou]
    return iou | {"miou": sum(shown) / len(shown), "face_iou": (region[0] / region[1]).item()}


class PublicParser(nn.Module):
    """The public face-parsing checkpoint (79999_iter.pth) behind our conventions: x in [-1, 1], classes as in LABELS."""

    def __init__(self, path: str | Path):
        super().__init__()
        if not Path(path).is_file():
            raise UserError(
                f"There is no checkpoint {path}: fetch 79999_iter.pth, or leave `parser` empty."
            )
        self.network = BiSeNet(len(LABELS), 64)
        try:
            self.network.load_state_dict(
                torch.load(path, map_location="cpu", weights_only=True), strict=True
            )
        except Exception as error:  # pickle, zip and shape errors alike
            raise UserError(
                f"{path} is not the public face-parsing checkpoint ({str(error)[:80]}): fetch it "
                "again."
            ) from error
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406])[:, None, None])
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225])[:, None, None])
        frozen(self)

    def heads(self, x: Tensor) -> tuple[Tensor, ...]:
        """As BiSeNet.heads, with classes in the order of LABELS."""
        logits = self.network.heads(((x + 1) / 2 - self.mean) / self.std)
        return tuple(y[:, [PUBLIC.index(k) for k in range(len(LABELS))]] for y in logits)
