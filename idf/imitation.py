"""In place of stage A, for a defender who may query M: SM imitates its answers."""

import torch
from torch import Tensor, nn

from idf import attacks, losses
from idf.editing import StageA, Training

BANDS = (0.0, 0.1, 0.22, 0.34, 0.5, 0.72)  # cycles per pixel


def imitate(target: nn.Module) -> StageA:
    """A stage A in which SM learns M's answers to queries. target is called as a black box, on
    the run's device."""

    def imitation(run: Training, x: Tensor, c: Tensor, c_trg: Tensor, alpha: Tensor):
        return update_imitation(
            run, target, queries(x, run.config.poisoner.eps, run.generator), c_trg
        )

    return imitation


def queries(x: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """What the defender sends: every other image with coloured noise, up to 4 eps strong.

    Where photos hold nothing, in fine colour contrast, an imitator of clean answers stays free to
    differ from the editor; there the poison lives. The answer to noise of eps alone is too faint to
    learn from. x (B, 3, S, S) in [-1, 1].
    """
    band = _draw(len(BANDS), generator)
    strength = 2 ** _draw(3, generator)
    kind = ("colour", "free")[_draw(2, generator)]
    whole = band == len(BANDS) - 1
    low, high = (BANDS[0], BANDS[-1]) if whole else (BANDS[band], BANDS[band + 1])
    noise = attacks.band_noise(tuple(x.shape), low, high, kind, generator)
    noise[::2] = 0
    return (x + strength * eps * noise.to(x)).clamp(-1, 1)


def _draw(n: int, generator: torch.Generator) -> int:
    return int(torch.randint(0, n, (), generator=generator))


def update_imitation(
    run: Training, target: nn.Module, x: Tensor, c_trg: Tensor
) -> dict[str, Tensor]:
    """SM learns M's answers, mean |SM(x, c) - M(x, c)|: it needs no label and no weight of M."""
    with run.accelerator.autocast():
        with torch.no_grad():
            answer = target(x, c_trg)
        loss = losses.imitation_loss(answer, run.surrogate(x, c_trg))
        run.step(run.surrogate, loss)
    return {"imitation": loss}
