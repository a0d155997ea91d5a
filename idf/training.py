"""What every training shares: the loop, one optimizer step, history, checkpoints, PG_best.

Device, bf16 and processes come from Hugging Face Accelerate.
"""

import contextlib
import copy
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from torch import Tensor, nn
from tqdm import tqdm

from idf import losses
from idf.checkpoint import (
    Checkpoint,
    network_and_optimizer_tensors,
    refuse_other_training,
    restore,
)
from idf.config import UserError

RECORDS = 40  # entries of a short training's history


def make_accelerator(bf16: bool) -> Accelerator:
    """Device, bf16 autocast and processes."""
    # one Python process may run several trainings, each with its own precision
    AcceleratorState._reset_state()
    # torchrun without a GPU: Accelerate joins the processes only if made to stay on the CPU
    cpu = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    # the cache would hand a weight's copy made under no_grad to a later pass that needs a gradient
    handlers = [AutocastKwargs(cache_enabled=False)]
    precision = "bf16" if bf16 else "no"
    return Accelerator(cpu=cpu, mixed_precision=precision, kwargs_handlers=handlers)


@dataclass(kw_only=True)
class Run:
    """One training at iteration `iteration`.

    Subclasses add its networks as fields. identity: the settings that make it another training;
    a checkpoint with other ones is refused.
    """

    accelerator: Accelerator
    identity: dict
    seed: int
    checkpoint_every: int = 500
    best: nn.Module | None = None
    best_distance: float = -math.inf
    iteration: int = 0
    iterations: int = 0
    history: list[dict] = field(default_factory=list)
    seconds: float = 0.0  # spent in `loop`, resumed sessions included
    optimizers: dict[nn.Module, torch.optim.Optimizer] = field(default_factory=dict)
    terms: dict[str, Tensor] = field(default_factory=dict)  # of the iterations since the last entry
    generator: torch.Generator | None = None  # of this iteration

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    def networks(self) -> dict[str, nn.Module]:
        """The networks in training, by the names of their fields."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "best"}
        return {name: value for name, value in own.items() if isinstance(value, nn.Module)}

    def prepare(self, rates: dict[nn.Module, float]) -> None:
        """Networks to the device, in training mode, each with Adam(.5, .999) at its rate."""
        for network, rate in rates.items():
            # gradients are averaged by hand in `step`: DistributedDataParallel does not follow a
            # penalty's double backward
            network.to(self.device).train().requires_grad_(True)
            adam = torch.optim.Adam(network.parameters(), lr=rate, betas=(0.5, 0.999))
            adam.param_groups[0]["initial_lr"] = rate
            self.optimizers[network] = adam
        if self.best is not None:
            self.best.to(self.device)

    def step(self, network: nn.Module, loss: Tensor) -> None:
        """One Adam step of this network; gradients are averaged over the processes."""
        optimizer = self.optimizers[network]
        optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(loss)
        average(self.accelerator, [p.grad for p in network.parameters() if p.grad is not None])
        optimizer.step()

    def record(self, terms: dict[str, Tensor]) -> None:
        """Terms for the history: the last value before an entry is kept."""
        self.terms |= {name: torch.as_tensor(value).detach() for name, value in terms.items()}

    def loop(
        self,
        iterations: int,
        decay: float = 0.0,
        folder: Path | None = None,
        until: int | None = None,
        watch: Callable[["Run"], None] | None = None,
        quiet: bool = False,
    ) -> Iterator[int]:
        """The numbers of the iterations to do, up to `iterations` (or `until`).

        Resumes from the checkpoint in `folder` and saves there; sets rates (constant, then linear
        to 0 over the share `decay`), this iteration's generator and the history; watch is called
        with the run at each of its entries. Raises UserError for NaN, and for a checkpoint of other
        settings.
        """
        self.iterations = iterations
        checkpoint = Checkpoint(folder) if folder else None
        if checkpoint and (saved := checkpoint.load()):
            self._resume(*saved, folder)
        main = self.accelerator.is_main_process
        board = _tensorboard(folder) if folder and main else None
        stop = min(until or iterations, iterations)
        record_every = max(1, min(50, iterations // RECORDS))
        progress = tqdm(
            total=stop,
            initial=self.iteration,
            unit="it",
            mininterval=1,
            dynamic_ncols=True,
            file=sys.stdout,
            disable=quiet or not main,
        )
        start = time.monotonic() - self.seconds
        while self.iteration < stop:
            self._set_rates(decay)
            rank = self.accelerator.process_index
            self.generator = randomness(self.seed, self.iteration, rank)
            yield self.iteration

            self.iteration += 1
            self.seconds = time.monotonic() - start
            saves = self.iteration % self.checkpoint_every == 0 or self.iteration == stop
            if self.iteration % record_every == 0 or saves:
                self._add_to_history(folder, board)
                progress.update(self.iteration - progress.n)
                if watch:
                    watch(self)
            if saves and checkpoint:
                self.synchronise()  # or a resumed training would differ in BatchNorm's statistics
                if main:
                    self._save(checkpoint)
        self.synchronise()
        progress.close()
        self.accelerator.wait_for_everyone()

    def is_due(self, every: int) -> bool:
        """Does this iteration end a round of `every`, or the training?"""
        done = self.iteration + 1
        return done % every == 0 or done == self.iterations

    def keep_best(self, network: nn.Module, distance: Callable[[nn.Module], float]) -> None:
        """Algorithm 1, lines 19-23: network becomes PG_best if its distance is larger.

        What PG is measured against has moved since PG_best was kept, so both are measured now.
        """
        self.synchronise()
        kept, now = distance(self.best), distance(network)
        if self.best_distance == -math.inf or now > kept:
            self.best.load_state_dict(copy.deepcopy(network.state_dict()))
            kept = now
        self.best_distance = kept
        self.record({"best_distance": torch.tensor(kept)})

    def synchronise(self) -> None:
        """BatchNorm's statistics become their mean over the processes, as weights are."""
        buffers = [b for network in self.networks().values() for b in network.buffers()]
        average(self.accelerator, [b for b in buffers if b.is_floating_point()])

    def tensors(self) -> dict[str, Tensor]:
        """All that a continuation needs, under flat names."""
        tensors = {}
        if self.best is not None:
            tensors = {f"best.{name}": value for name, value in self.best.state_dict().items()}
        for name, network in self.networks().items():
            tensors |= network_and_optimizer_tensors(name, network, self.optimizers[network])
        return tensors

    def _resume(self, tensors: dict[str, Tensor], info: dict, folder: Path | None) -> None:
        refuse_other_training(info, self.identity, self.iterations, folder)
        for name, network in self.networks().items():
            restore(name, tensors, network, self.optimizers[network])
        if self.best is not None:
            best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
            self.best.load_state_dict(best)
        self.iteration = info["iteration"]
        self.best_distance = info["best_distance"]
        self.history = info["history"]
        self.seconds = info.get("seconds", 0.0)

    def _set_rates(self, decay: float) -> None:
        left = 1 - self.iteration / self.iterations
        factor = min(1.0, left / decay) if decay else 1.0
        for optimizer in self.optimizers.values():
            group = optimizer.param_groups[0]
            group["lr"] = group["initial_lr"] * factor

    def _add_to_history(self, folder: Path | None, board) -> None:
        values = {name: value.item() for name, value in self.terms.items()}
        entry = {"iteration": self.iteration, **values}
        stop_at_nan(entry, folder)
        self.history.append(entry)
        self.terms = {}
        if board:
            for name, value in values.items():
                board.add_scalar(name, value, self.iteration)

    def _save(self, checkpoint: "Checkpoint") -> None:
        tensors = self.tensors()
        # an infinite gradient can spoil the weights after a finite loss
        largest = {name: float(value.abs().max()) for name, value in tensors.items()}
        stop_at_nan({"iteration": self.iteration, **largest}, checkpoint.folder)
        info = {
            "best_distance": self.best_distance,
            "history": self.history,
            "seconds": self.seconds,
            "identity": self.identity,
        }
        checkpoint.save(self.iteration, tensors, info)


def update_d_b(run: Run, x: Tensor, alpha: Tensor) -> dict[str, Tensor]:
    """Stage B of both scenarios: D_B learns clean from infected images (WGAN-GP, Eq. 5)."""
    settings = run.config.poisoner
    with run.accelerator.autocast():
        with torch.no_grad():  # D_B's step must not reach PG
            x_infected = losses.infect(x, run.poisoner(x, run.generator), settings.eps)
        loss = losses.critic_loss(run.d_b, x, x_infected, alpha, settings.lambda_gp)
    run.step(run.d_b, loss)
    return {"d_b": loss}


@contextlib.contextmanager
def weights_fixed(*networks: nn.Module):
    """No gradient for these weights: backward stops at the activations, a third of its work."""
    for network in networks:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in networks:
            network.requires_grad_(True)


@torch.no_grad()
def average(accelerator: Accelerator, tensors: list[Tensor]) -> None:
    """Each tensor becomes its mean over the processes, in place."""
    if accelerator.num_processes > 1 and tensors:
        mean = accelerator.reduce(torch.cat([t.flatten() for t in tensors]), "mean")
        for tensor, part in zip(tensors, mean.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


def randomness(seed: int, iteration: int, rank: int) -> torch.Generator:
    """A generator of seed, iteration and process alone: a resumed run draws the same numbers."""
    return torch.Generator().manual_seed((seed * 1_000_003 + iteration) * 1009 + rank)


def stop_at_nan(entry: dict[str, float], folder: Path | None) -> None:
    """Raises UserError for a loss or weight that is no finite number."""
    for name, value in entry.items():
        if not math.isfinite(value):
            kept = "nothing was overwritten"
            if folder:
                kept = f"the last good checkpoint is in {folder}"
            raise UserError(
                f"Loss or weight {name} became {value} at iteration {entry['iteration']}: training "
                f"stopped, {kept}; lower its lr or set bf16=false and run it again."
            )


def _tensorboard(folder: Path):
    from torch.utils.tensorboard import SummaryWriter  # slow to import, needed in training only

    return SummaryWriter(str(folder))
