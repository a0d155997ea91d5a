"""One row of results per method, target and eps: the defence beside the forgery's own quality and the controls."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from idf import baselines, losses, metrics
from idf.config import HAIR, Config
from idf.data import Faces
from idf.judge import verdict
from idf.networks import PoisonGenerator, frozen

Protect = Callable[[Tensor, Tensor, Tensor], Tensor]  # x (B, 3, S, S), c (B, K), batch number -> x'
METHODS = (
    "ours",
    "ours-no-ats",
    "ours-queries",
    "ruiz",
    "ruiz-white-box",
    "random-noise",
    "random-colour",
    "brightened",
    "untrained-pg",
)


@dataclass(frozen=True)
class Forger:
    """The forger's editor, its own domains, and the judge for them."""

    name: str
    setting: str  # "SD": trained on the surrogate's domains, "DD": on others
    editor: nn.Module
    domains: tuple[str, ...]
    judge: nn.Module

    def targets(self, c: Tensor) -> Tensor:
        return losses.target_labels(c, self.domains, HAIR)


def untrained_poisoner(config: Config, faces: Faces) -> PoisonGenerator:
    """A control: PG with random weights. Its BatchNorm statistics are measured, so that it has a real amplitude."""
    torch.manual_seed(config.seed + 2)
    poisoner = PoisonGenerator(config.width_pg, config.levels_pg).train()
    for module in poisoner.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average over the batches
    with torch.no_grad():
        for i in range(8):
            poisoner(faces.batch(i, 16, config.seed)[0])
    return frozen(poisoner)


def make_methods(
    config: Config,
    surrogate: nn.Module,
    poisoners: dict[str, nn.Module],
    forger: Forger,
    eps: float,
) -> dict[str, Protect]:
    """Every way to protect x, by name; random ones draw from seed.

    poisoners: by their names in METHODS ("ours", "ours-no-ats", "ours-queries", "untrained-pg").
    """

    def by(poisoner: nn.Module) -> Protect:
        return lambda x, c, number: losses.infect(x, poisoner(x), eps)

    def noise(number: int) -> torch.Generator:
        return torch.Generator().manual_seed(config.seed * 1_000_003 + number)

    def attack(editor: nn.Module, domains: tuple[str, ...]) -> Protect:
        return lambda x, c, number: baselines.pgd(
            editor, x, losses.target_labels(c, domains, HAIR), eps, generator=noise(number)
        )

    methods = {name: by(poisoner) for name, poisoner in poisoners.items()}
    # in the DD setting the labels are the forger's; Ruiz transferred needs the surrogate's, which the caller swaps in
    methods["ruiz"] = attack(surrogate, config.domains)
    methods["ruiz-white-box"] = attack(forger.editor, forger.domains)
    methods["random-noise"] = lambda x, c, number: baselines.random_noise(x, eps, noise(number))
    methods["random-colour"] = lambda x, c, number: baselines.random_colour(x, eps, noise(number))
    methods["brightened"] = lambda x, c, number: baselines.brightened(x, eps)
    return {name: methods[name] for name in METHODS if name in methods}


def clean_quality(forger: Forger, faces: Faces, batch: int = 25) -> dict[str, float]:
    """edit_success and reconstruction_l1 of the clean forgery: what a DSR must be read beside."""
    worked = asked = 0
    distance = []
    with torch.no_grad():
        for _, x, c in faces.in_order(batch):
            targets = forger.targets(c)
            y = losses.forge(forger.editor, x, targets)
            seen = verdict(forger.judge, y.flatten(0, 1)).unflatten(0, y.shape[:2])
            w, a = metrics.edit_success(seen, targets, c)
            worked, asked = worked + w, asked + a
            distance.append(
                metrics.l1(losses.forge(forger.editor, y, c.expand_as(targets)), x).flatten()
            )
    return {
        "edit_success": worked / max(asked, 1),
        "reconstruction_l1": torch.cat(distance).mean().item(),
    }


def defence(
    forger: Forger, protect: Protect, faces: Faces, own: Tensor | None = None, batch: int = 25
) -> dict:
    """dsr, l1, l2, lpips, perceptual of the forgeries of x' against those of x; psnr of x'; infected_edit_success.

    own: labels handed to `protect` where they are not the forger's (a Ruiz attack on a surrogate of other domains).
    """
    sums: dict[str, list[Tensor]] = {
        name: [] for name in ("dsr", "l1", "l2", "psnr", "lpips", "perceptual")
    }
    worked = asked = 0
    left_out = {}
    for start, x, c in faces.in_order(batch):
        x_infected = protect(x, c if own is None else own[start : start + batch], start)
        with torch.no_grad():
            targets = forger.targets(c)
            y, y_infected = (
                losses.forge(forger.editor, image, targets) for image in (x, x_infected)
            )
            seen = verdict(forger.judge, y_infected.flatten(0, 1)).unflatten(0, y.shape[:2])
        w, a = metrics.edit_success(seen, targets, c)
        worked, asked = worked + w, asked + a
        distance = metrics.l2(y, y_infected).flatten()
        sums["l2"].append(distance)
        sums["dsr"].append((distance > metrics.DSR_THRESHOLD).float())
        sums["l1"].append(metrics.l1(y, y_infected).flatten())
        sums["psnr"].append(metrics.psnr(x, x_infected))
        for name, measure in (("lpips", metrics.lpips), ("perceptual", metrics.perceptual)):
            try:
                sums[name].append(measure(y.flatten(0, 1), y_infected.flatten(0, 1)))
            except metrics.Unavailable as why:
                left_out[name] = str(why)
    row = {
        name: torch.cat(values).mean().item() if values else None for name, values in sums.items()
    }
    return row | {"infected_edit_success": worked / max(asked, 1), "left_out": left_out}
