"""The judge: an attribute classifier, trained on real labels alone, says if an edit worked."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from idf import losses
from idf.config import Config
from idf.data.faces import Faces
from idf.networks import Judge
from idf.training import Run, make_accelerator

LR = 2e-3


@dataclass(kw_only=True)
class JudgeTraining(Run):
    judge: nn.Module


def train_judge(config: Config, faces: Faces, **options) -> JudgeTraining:
    """Multi-label BCE on clean faces, Adam with a one-cycle rate; evaluation mode at the end.

    options: folder, until, watch, quiet of Run.loop.
    """
    torch.manual_seed(config.seed + 1)
    settings = config.judge
    run = JudgeTraining(
        identity=_identity(config, faces),
        seed=config.seed,
        checkpoint_every=config.checkpoint_every,
        accelerator=make_accelerator(config.bf16),
        judge=Judge(len(faces.domains), settings.width),
    )
    run.judge.to(run.device).train()
    adam = torch.optim.Adam(run.judge.parameters(), lr=LR, weight_decay=1e-4)
    adam.param_groups[0]["initial_lr"] = LR
    run.optimizers = {run.judge: adam}

    augment = augmentation()
    n = settings.iterations
    for i in run.loop(n, **options):
        torch.manual_seed(config.seed * 1_000_003 + i)
        adam.param_groups[0]["lr"] = LR * min(1.0, (i + 1) / (0.1 * n), (n - i) / (0.7 * n))
        x, c = (t.to(run.device) for t in faces.batch(i, settings.batch, config.seed + 1))
        with run.accelerator.autocast():
            loss = losses.classification(run.judge(augment(x)), c)
        run.step(run.judge, loss)
        run.record({"judge": loss})
    run.judge.eval()
    return run


def augmentation() -> Callable[[Tensor], Tensor]:
    """Forgeries shift colour and blur a little: a judge that has seen such faces does not mind."""
    from torchvision.transforms import v2  # slow to import, needed in training only

    affine = v2.RandomAffine(5, translate=(0.04, 0.04), scale=(0.95, 1.05))
    return v2.Compose([affine, v2.GaussianBlur(3, (0.1, 1.0))])


def _identity(config: Config, faces: Faces) -> dict:
    """No setting of editor or PG makes it another training."""
    own = ("seed", "data_root", "size", "interpolation", "faces", "bf16", "judge")
    whole = config.identity()
    return {name: whole[name] for name in own} | {"domains": list(faces.domains)}


@torch.no_grad()
def verdict(judge: nn.Module, x: Tensor) -> Tensor:
    """The attributes that the judge sees in x (B, 3, S, S): bool (B, K)."""
    parameters = judge.parameters() if isinstance(judge, nn.Module) else ()
    device = next(iter(parameters), x).device
    return judge(x.to(device)).to(x.device) > 0


def judge_accuracy(judge: nn.Module, faces: Faces) -> dict[str, float]:
    """Accuracy per domain on labelled faces.

    `mean`: over domains; `balanced`: over both values of each label, too.
    """
    labels = faces.labels.bool()
    right = torch.cat([verdict(judge, x) == c.bool() for _, x, c in faces.in_order(64)]).float()
    accuracy = {name: right[:, k].mean().item() for k, name in enumerate(faces.domains)}
    halves = []
    for k in range(labels.shape[1]):
        for value in (True, False):
            halves.append(right[labels[:, k] == value, k].mean())
    accuracy["mean"] = right.mean().item()
    accuracy["balanced"] = torch.stack(halves).nanmean().item()
    return accuracy
