"""The face parser BiSeNet: its training, its quality, and the attention mask m(x) of Eq. 11."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from idf.config import FilmConfig, UserError
from idf.data.drawn.faces import LABELS
from idf.data.faces import batch_indices
from idf.data.parsed import FACE, MIRRORED, PUBLIC, ParsedFaces
from idf.networks import BiSeNet, frozen
from idf.training import Run, make_accelerator

LR = 2e-3
BATCH = 4  # BatchNorm needs several


@torch.no_grad()
def class_probabilities(parser: nn.Module, x: Tensor, size: int) -> Tensor:
    """Of each of LABELS (N, 19, S, S), for pictures x (N, 3, S, S) in [-1, 1].

    They are parsed at `size` and scaled back.
    """
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


def attention_mask(parser: nn.Module, x: Tensor, config: FilmConfig) -> Tensor:
    """m(x) (N, 1, S, S): 1.0 where the parser sees the face (FACE), background (.01) elsewhere."""
    probabilities = class_probabilities(parser, x, config.parser.size)
    face = probabilities[:, list(FACE)].sum(1, keepdim=True) > 0.5
    return torch.where(face, 1.0, config.poisoner.background)


@dataclass(kw_only=True)
class ParserTraining(Run):
    parser: nn.Module


def train_parser(
    config: FilmConfig, faces: ParsedFaces, start: nn.Module | None = None, **options
) -> ParserTraining:
    """BiSeNet by cross entropy on its three heads (Yu et al. 2018), from scratch or from `start`.

    options: folder, until, watch, quiet of Run.loop.
    """
    torch.manual_seed(config.seed)
    settings = config.parser
    parser = start or BiSeNet(len(LABELS), settings.width)
    run = ParserTraining(
        identity={"seed": config.seed, "parser": settings.identity(), "faces": len(faces)},
        seed=config.seed,
        checkpoint_every=config.checkpoint_every,
        accelerator=make_accelerator(settings.bf16),
        parser=parser.to(memory_format=torch.channels_last),
    )
    run.prepare({run.parser: LR})
    adam = run.optimizers[run.parser]

    n = settings.iterations
    for i in run.loop(n, **options):
        torch.manual_seed(config.seed * 1_000_003 + i)
        # looked up each time: a resumed optimizer has other groups
        adam.param_groups[0]["lr"] = LR * min(1.0, (i + 1) / (0.05 * n), (n - i) / (0.8 * n))
        x, classes = faces.batch(batch_indices(i, BATCH, len(faces), config.seed))
        x, classes = vary(x.to(run.device), classes.to(run.device))
        with run.accelerator.autocast():
            x = F.interpolate(x, scale_factor=2, mode="bilinear")
            x = x.contiguous(memory_format=torch.channels_last)
            terms = parsing_loss(run.parser.heads(x), classes)
            run.step(run.parser, sum(terms))
        run.record({"parsing": terms[0]})
    return run


def vary(x: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored, moved, of other colours and sharpness, by torch's own generator; x in [-1, 1]."""
    from torchvision import tv_tensors  # slow to import, needed in training only
    from torchvision.transforms import v2

    if torch.rand(()) < 0.5:  # a person's left eye becomes the right one
        mirrored = torch.tensor(MIRRORED, device=classes.device)
        x, classes = x.flip(-1), mirrored[classes.flip(-1)]
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


def parsing_loss(heads: tuple[Tensor, ...], classes: Tensor) -> list[Tensor]:
    """Cross entropy of each head with classes (B, S, S): the first at S, others at their own size.

    As in BiSeNet, only the hard pixels count (those given less than .7, at least a sixteenth):
    borders and thin parts are few, and the mean over all pixels would forget them.
    """
    main, *helping = heads
    full = classes.shape[-1]
    return [
        hard_cross_entropy(main, classes, full),
        *(hard_cross_entropy(logits, classes, logits.shape[-1]) for logits in helping),
    ]


def hard_cross_entropy(logits: Tensor, classes: Tensor, size: int) -> Tensor:
    """The mean over hard pixels of one head, compared at size x size."""
    logits = F.interpolate(logits.float(), (size, size), mode="bilinear", align_corners=True)
    stride = classes.shape[-1] // size
    truth = classes[:, stride // 2 :: stride, stride // 2 :: stride]
    loss = F.cross_entropy(logits, truth, reduction="none").flatten()
    hard = loss[loss.detach() > -math.log(0.7)]
    least = len(loss) // 16
    return (hard if len(hard) > least else loss.topk(least).values).mean()


def parsing_quality(parser: nn.Module, faces: ParsedFaces, config: FilmConfig) -> dict[str, float]:
    """IoU per class, `miou` over skin and features (FACE), `face_iou` of their union."""
    both = torch.zeros(len(LABELS), dtype=torch.float64)
    either = torch.zeros_like(both)
    face_both = face_either = 0.0
    for i in range(0, len(faces), 16):
        x, truth = faces.batch(slice(i, i + 16))
        seen = class_probabilities(parser, x, config.parser.size).argmax(1)
        a, b = F.one_hot(seen, len(LABELS)).bool(), F.one_hot(truth, len(LABELS)).bool()
        both += (a & b).sum((0, 1, 2))
        either += (a | b).sum((0, 1, 2))
        face_a, face_b = a[..., list(FACE)].any(-1), b[..., list(FACE)].any(-1)
        face_both += (face_a & face_b).sum().item()
        face_either += (face_a | face_b).sum().item()
    iou = {name: (both[k] / either[k]).item() for k, name in enumerate(LABELS) if either[k]}
    shown = [iou[LABELS[k]] for k in FACE if LABELS[k] in iou]
    return iou | {"miou": sum(shown) / len(shown), "face_iou": face_both / face_either}


class PublicParser(nn.Module):
    """The public face-parsing checkpoint (79999_iter.pth) behind our conventions.

    x in [-1, 1], classes as in LABELS. Raises UserError for a missing or another file.
    """

    def __init__(self, path: str | Path):
        super().__init__()
        if not Path(path).is_file():
            raise UserError(
                f"There is no checkpoint {path}: fetch 79999_iter.pth, or leave "
                "`parser.checkpoint` empty."
            )
        self.network = BiSeNet(len(LABELS), 64)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
            self.network.load_state_dict(state, strict=True)
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
        order = [PUBLIC.index(k) for k in range(len(LABELS))]
        return tuple(y[:, order] for y in logits)
