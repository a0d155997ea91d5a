"""What every training shares: device and processes by Accelerate, one optimizer step, progress, history, checkpoints."""

import contextlib
import copy
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn
from tqdm import tqdm

from idf.checkpoint import Checkpoint, network_and_optimizer_tensors, restore
from idf.config import Config, UserError, VideoConfig


def make_accelerator(bf16: bool) -> Accelerator:
    """Device, bf16 autocast and processes by Hugging Face Accelerate."""
    # one Python process may run several trainings, each with its own precision
    AcceleratorState._reset_state()
    # torchrun without a GPU: Accelerate joins the processes only when told to stay on the CPU
    cpu = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    # the cache would hand the copy of a weight made under no_grad to a later pass that needs its gradient
    handlers = [AutocastKwargs(cache_enabled=False)]
    return Accelerator(cpu=cpu, mixed_precision="bf16" if bf16 else "no", kwargs_handlers=handlers)


@dataclass(kw_only=True)
class Run:
    """One training at iteration `iteration`; subclasses name its networks, each with an optimizer of that name."""

    config: Config | VideoConfig
    accelerator: Accelerator
    best: nn.Module | None = None
    optimizers: dict[str, torch.optim.Optimizer] = field(default_factory=dict)
    iteration: int = 0
    best_distance: float = float("-inf")
    history: list[dict] = field(default_factory=list)
    seconds: float = 0.0  # spent in `advance`, resumed sessions included

    def networks(self) -> dict[str, nn.Module]:
        raise NotImplementedError

    def prepare(self, rates: dict[str, float]) -> None:
        """Networks to the device, in training mode, each with Adam(.5, .999) at its rate."""
        for name, network in self.networks().items():
            # averaged by hand in `step`: DistributedDataParallel does not follow a penalty's double backward
            network.to(self.accelerator.device).train().requires_grad_(True)
            self.optimizers[name] = torch.optim.Adam(
                network.parameters(), lr=rates[name], betas=(0.5, 0.999)
            )
        if self.best is not None:
            self.best.to(self.accelerator.device)

    def tensors(self) -> dict[str, Tensor]:
        """All that a continuation needs, under flat names."""
        tensors = (
            {f"best.{name}": value for name, value in self.best.state_dict().items()}
            if self.best
            else {}
        )
        for name, network in self.networks().items():
            tensors |= network_and_optimizer_tensors(name, network, self.optimizers[name])
        return tensors

    def resume(self, tensors: dict[str, Tensor], info: dict) -> None:
        """The inverse of `tensors`, with what `advance` stored beside them."""
        for name, network in self.networks().items():
            restore(name, tensors, network, self.optimizers[name])
        if self.best is not None:
            self.best.load_state_dict(
                {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}
            )
        self.iteration, self.best_distance = info["iteration"], info["best_distance"]
        self.history, self.seconds = info["history"], info.get("seconds", 0.0)

    def set_learning_rates(self, rates: dict[str, float], iterations: int) -> None:
        """StarGAN's and pix2pix's schedule: constant, then linear to 0 over the last `decay` of the iterations."""
        left, decay = 1 - self.iteration / iterations, self.config.decay
        factor = min(1.0, left / decay) if decay else 1.0
        for name, optimizer in self.optimizers.items():
            optimizer.param_groups[0]["lr"] = rates[name] * factor


@contextlib.contextmanager
def weights_fixed(*networks: nn.Module):
    """No gradient for these weights: backward stops at the activations, which saves a third of its work."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


def step(run: Run, name: str, loss: Tensor) -> None:
    """One Adam step of the network called name; gradients are averaged over the processes."""
    network, optimizer, accelerator = run.networks()[name], run.optimizers[name], run.accelerator
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    average(accelerator, [p.grad for p in network.parameters() if p.grad is not None])
    optimizer.step()


@torch.no_grad()
def average(accelerator: Accelerator, tensors: list[Tensor]) -> None:
    """Each tensor becomes its mean over the processes, in place."""
    if accelerator.num_processes > 1 and tensors:
        mean = accelerator.reduce(torch.cat([t.flatten() for t in tensors]), "mean")
        for tensor, part in zip(tensors, mean.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def randomness(seed: int, iteration: int, rank: int) -> torch.Generator:
    """A generator that depends on nothing but seed, iteration and process: a resumed run draws the same numbers."""
    return torch.Generator().manual_seed((seed * 1_000_003 + iteration) * 1009 + rank)


def advance(
    run: Run,
    iterations: int,
    iterate: Callable[[], dict[str, Tensor]],
    folder: Path | None = None,
    until: int | None = None,
    watch: Callable | None = None,
    quiet: bool = False,
) -> Run:
    """Calls iterate() up to `iterations` (or `until`), continuing from `folder`'s checkpoint if there is one.

    iterate does one iteration and returns the terms to record. watch is called with the run at every record of its
    history. Raises UserError for NaN.
    """
    config, accelerator = run.config, run.accelerator
    checkpoint = Checkpoint(folder) if folder else None
    if checkpoint and (saved := checkpoint.load()):
        _refuse_other_settings(saved[1].get("config", {}), config, folder)
        run.resume(*saved)
    board = _tensorboard(folder) if folder and accelerator.is_main_process else None
    stop = min(until or iterations, iterations)
    record_every = max(1, min(50, iterations // 40))
    progress = tqdm(
        total=stop,
        initial=run.iteration,
        unit="it",
        mininterval=1,
        dynamic_ncols=True,
        file=sys.stdout,
        disable=quiet or not accelerator.is_main_process,
    )
    recent: dict[str, Tensor] = {}
    start = time.monotonic() - run.seconds
    while run.iteration < stop:
        recent |= iterate()
        run.iteration += 1
        i = run.iteration
        saves = i % config.checkpoint_every == 0 or i == stop
        run.seconds = time.monotonic() - start
        if i % record_every == 0 or saves:
            record = {"iteration": i} | {
                name: torch.as_tensor(value).detach().item() for name, value in recent.items()
            }
            _stop_at_nan(record, folder)
            run.history.append(record)
            progress.update(i - progress.n)
            if board:
                for name, value in record.items():
                    board.add_scalar(name, value, i)
            if watch:
                watch(run)
            recent = {}
        if saves and checkpoint and accelerator.is_main_process:
            tensors = run.tensors()
            # an infinite gradient can spoil the weights after a finite loss
            _stop_at_nan(
                {"iteration": i}
                | {name: float(value.abs().max()) for name, value in tensors.items()},
                folder,
            )
            checkpoint.save(
                i,
                tensors,
                {
                    "best_distance": run.best_distance,
                    "history": run.history,
                    "seconds": run.seconds,
                    "config": dataclasses.asdict(config),
                },
            )
    synchronise(run)
    progress.close()
    if board:
        board.close()
    accelerator.wait_for_everyone()
    return run


# a training may be made longer, and saved more or less often, without being another one
FREE = (
    "checkpoint_every",
    "live_iterations",
    "iterations",
    "target_iterations",
    "poison_iterations",
    "parser_iterations",
    "judge_iterations",
)


def _refuse_other_settings(saved: dict, config: Config | VideoConfig, folder: Path | None) -> None:
    now = json.loads(json.dumps(dataclasses.asdict(config)))
    for name, value in saved.items():
        if name in now and name not in FREE and now[name] != value:
            raise UserError(
                f"{folder} holds a training with {name}={value}, not {now[name]}: delete that folder to start "
                "anew, or name another place for checkpoints."
            )


def synchronise(run: Run) -> None:
    """BatchNorm's statistics become their mean over the processes; weights are equal already."""
    average(
        run.accelerator,
        [
            buffer
            for network in run.networks().values()
            for buffer in network.buffers()
            if buffer.is_floating_point()
        ],
    )


def keep_best(run: Run, network: nn.Module, distance: Callable[[nn.Module], float]) -> None:
    """Algorithm 1, lines 19-23. What PG is measured against has moved since PG_best was kept, so both are measured now."""
    synchronise(run)
    kept, now = distance(run.best), distance(network)
    if run.best_distance == float("-inf") or now > kept:
        run.best.load_state_dict(copy.deepcopy(network.state_dict()))
        kept = now
    run.best_distance = kept


def _tensorboard(folder: Path):
    from torch.utils.tensorboard import SummaryWriter  # slow to import, needed in training only

    return SummaryWriter(str(folder))


def _stop_at_nan(record: dict, folder: Path | None) -> None:
    bad = [name for name, value in record.items() if value != value or abs(value) == float("inf")]
    if bad and not (bad == ["best_distance"]):
        kept = f"the last good checkpoint is in {folder}" if folder else "nothing was overwritten"
        raise UserError(
            f"Loss or weight {bad[0]} became {record[bad[0]]} at iteration {record['iteration']}: "
            f"training stopped, {kept}; lower lr or set bf16=false and run it again."
        )
