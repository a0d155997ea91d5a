"""The independent judge: an attribute classifier, trained on real labels alone, that says whether an edit worked."""

import sys
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms import v2
from tqdm import tqdm

from idf import losses
from idf.checkpoint import Checkpoint, network_and_optimizer_tensors, restore
from idf.config import Config, UserError
from idf.data import Faces
from idf.networks import Judge
from idf.training import make_accelerator

# forgeries shift colour and blur a little; a judge that has seen such faces does not stumble over that
AUGMENT = v2.Compose(
    [v2.RandomAffine(5, translate=(0.04, 0.04), scale=(0.95, 1.05)), v2.GaussianBlur(3, (0.1, 1.0))]
)


def train_judge(
    config: Config, faces: Faces, folder: Path | None = None, quiet: bool = False
) -> Judge:
    """Multi-label BCE on clean faces, Adam with a one-cycle rate; resumes from `folder`. Evaluation mode at the end."""
    accelerator = make_accelerator(config.bf16)
    torch.manual_seed(config.seed + 1)
    judge = Judge(len(faces.domains), config.width_judge).to(accelerator.device).train()
    optimizer = torch.optim.Adam(judge.parameters(), lr=2e-3, weight_decay=1e-4)
    checkpoint, start = (Checkpoint(folder) if folder else None), 0
    if checkpoint and (saved := checkpoint.load()):
        tensors, info = saved
        restore("judge", tensors, judge, optimizer)
        start = info["iteration"]
    n = config.judge_iterations
    for i in tqdm(
        range(start, n),
        initial=start,
        total=n,
        unit="it",
        mininterval=1,
        dynamic_ncols=True,
        file=sys.stdout,
        disable=quiet,
    ):
        torch.manual_seed(config.seed * 1_000_003 + i)
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, (i + 1) / (0.1 * n), (n - i) / (0.7 * n))
        x, c = (t.to(accelerator.device) for t in faces.batch(i, 8 * config.batch, config.seed + 1))
        with accelerator.autocast():
            loss = losses.classification(judge(AUGMENT(x)), c)
        if not torch.isfinite(loss):
            raise UserError(
                f"The judge's loss became {loss.item()} at iteration {i}: set bf16=false and run it again."
            )
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        optimizer.step()
        if checkpoint and ((i + 1) % config.checkpoint_every == 0 or i + 1 == n):
            checkpoint.save(
                i + 1,
                network_and_optimizer_tensors("judge", judge, optimizer),
                {"loss": loss.item()},
            )
    return judge.eval()


@torch.no_grad()
def verdict(judge: Judge, x: Tensor) -> Tensor:
    """The attributes that the judge sees in x (B, 3, S, S): bool (B, K)."""
    return judge(x) > 0


def judge_accuracy(judge: Judge, faces: Faces) -> dict[str, float]:
    """Accuracy per domain on labelled faces; `mean`, and `balanced`: the mean over both values of each label."""
    labels = faces.labels.bool()
    right = torch.cat([verdict(judge, x) == c.bool() for _, x, c in faces.in_order(64)]).float()
    values = {name: right[:, k].mean().item() for k, name in enumerate(faces.domains)}
    halves = [
        right[labels[:, k] == value, k].mean()
        for k in range(labels.shape[1])
        for value in (True, False)
    ]
    return values | {"mean": right.mean().item(), "balanced": torch.stack(halves).nanmean().item()}
