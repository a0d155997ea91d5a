"""What a defence is worth: forgeries of x' against those of x, beside the forgery's own quality.

Scenario 1 compares (image, domain) pairs, scenario 2 the frames of two forgers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from idf import losses, metrics
from idf.config import HAIR, Config
from idf.data.faces import Faces
from idf.data.landmarks import Finder, expression_error, find_on
from idf.data.pictures import in_8_bits
from idf.judge import verdict
from idf.networks import PoisonGenerator, frozen, make_poisoner

Protect = Callable[[Tensor, Tensor, int], Tensor]  # x (B, 3, S, S), c (B, K), first index -> x'


@dataclass(frozen=True)
class Forger:
    """The forger's editor, its own domains, and the judge for them."""

    name: str
    setting: str  # "SD": trained on the surrogate's domains, "DD": on others
    editor: nn.Module
    domains: tuple[str, ...]
    judge: Callable[[Tensor], Tensor]  # images -> logits (B, K) of these domains

    def targets(self, c: Tensor) -> Tensor:
        return losses.target_labels(c, self.domains, HAIR)

    def judged(self, y: Tensor) -> Tensor:
        """What the judge sees in forgeries (J, B, 3, S, S): bool (J, B, K)."""
        return verdict(self.judge, y.flatten(0, 1)).unflatten(0, y.shape[:2])


def untrained_poisoner(config: Config, faces: Faces) -> PoisonGenerator:
    """A control: PG with random weights.

    Its BatchNorm statistics are measured, so that it has a real amplitude.
    """
    torch.manual_seed(config.seed + 2)
    poisoner = make_poisoner(config.poisoner).train()
    for module in poisoner.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average over the batches
    with torch.no_grad():
        for i in range(8):
            poisoner(faces.batch(i, 16, config.seed)[0])
    return frozen(poisoner)


@torch.no_grad()
def clean_quality(forger: Forger, faces: Faces, batch: int = 25) -> dict[str, float]:
    """edit_success and reconstruction_l1 of the clean forgery: what a DSR must be read beside."""
    succeeded = asked = 0
    distance = []
    for _, x, c in faces.in_order(batch):
        targets = forger.targets(c)
        y = losses.forge(forger.editor, x, targets)
        x_cycled = losses.forge(forger.editor, y, c.expand_as(targets))
        counts = metrics.edit_success(forger.judged(y), targets, c)
        succeeded, asked = succeeded + counts[0], asked + counts[1]
        distance.append(metrics.l1(x_cycled, x).flatten())
    return {
        "edit_success": succeeded / max(asked, 1),
        "reconstruction_l1": torch.cat(distance).mean().item(),
    }


@torch.no_grad()
def clean_forgeries(forger: Forger, faces: Faces, batch: int = 25) -> Tensor:
    """y of all faces for all domains, (J, N, 3, S, S)."""
    batches = faces.in_order(batch)
    return torch.cat([losses.forge(forger.editor, x, forger.targets(c)) for _, x, c in batches], 1)


def defence(
    forger: Forger,
    protect: Protect,
    faces: Faces,
    own: Tensor | None = None,
    batch: int = 25,
    features: tuple[str, ...] = ("lpips", "perceptual"),
    clean: Tensor | None = None,
    rounded: bool = True,
) -> dict:
    """A row: dsr, l1, l2 and `features` of y' against y, psnr of x', infected_edit_success, spread.

    x' is rounded to 8 bits, as a published picture is, unless `rounded` says otherwise. spread: of
    y' over the domains, as a share of y's. own: labels handed to `protect` where they are not the
    forger's (an attack on a surrogate of other domains). clean: clean_forgeries, where they are at
    hand. left_out: {column: why} for what could not be computed.
    """
    labels = faces.labels if own is None else own
    columns: dict[str, list[Tensor]] = {
        name: [] for name in ("dsr", "l1", "l2", "psnr", "spread", *features)
    }
    succeeded = asked = 0
    left_out = {}
    for start, x, c in faces.in_order(batch):
        x_infected = protect(x, labels[start : start + batch], start)
        if rounded:
            x_infected = in_8_bits(x_infected)
        targets = forger.targets(c)
        with torch.no_grad():
            if clean is None:
                y = losses.forge(forger.editor, x, targets)
            else:
                y = clean[:, start : start + batch]
            y_infected = losses.forge(forger.editor, x_infected, targets)
            counts = metrics.edit_success(forger.judged(y_infected), targets, c)
        succeeded, asked = succeeded + counts[0], asked + counts[1]

        distance = metrics.l2(y, y_infected).flatten()
        columns["l2"].append(distance)
        columns["dsr"].append((distance > metrics.DSR_THRESHOLD).float())
        columns["l1"].append(metrics.l1(y, y_infected).flatten())
        columns["psnr"].append(metrics.psnr(x, x_infected).flatten())
        columns["spread"].append(metrics.spread(y_infected) / metrics.spread(y))
        for name in features:
            try:
                measure = getattr(metrics, name)
                columns[name].append(measure(y.flatten(0, 1), y_infected.flatten(0, 1)))
            except metrics.Unavailable as why:
                left_out[name] = str(why)
    row = {
        name: torch.cat(values).mean().item() if values else None
        for name, values in columns.items()
    }
    row["infected_edit_success"] = succeeded / max(asked, 1)
    return row | {"left_out": left_out}


def differences(y: Tensor, reference: Tensor) -> dict:
    """l1, l2, dsr (share of frames with L1 > .05) and lpips of forgeries (N, 3, S, S).

    lpips is None where its backbone cannot be had.
    """
    row = {
        "dsr": metrics.dsr_frames(y, reference),
        "l1": metrics.l1(y, reference).mean().item(),
        "l2": metrics.l2(y, reference).mean().item(),
        "lpips": None,
    }
    try:
        row["lpips"] = metrics.lpips(y, reference).mean().item()
    except metrics.Unavailable:
        pass
    return row


def expression(find: Finder, y: Tensor, landmarks: Tensor) -> dict:
    """Does the forgery follow the expression asked for, by its landmarks (N, 68, 2)?

    expression_error: the mean over the frames (N, 3, S, S) with exactly one face, None without
    any; face_found: the share of those frames.
    """
    errors = []
    for frame, wanted in zip(y, landmarks.numpy(), strict=True):
        seen = find_on(find, frame)
        if seen is not None:
            errors.append(expression_error(seen, wanted))
    error = float(np.mean(errors)) if errors else None
    return {"expression_error": error, "face_found": len(errors) / len(y)}
