"""A resumable training on disk: safetensors plus a small JSON, written in one step, not pickled."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from idf.config import UserError
from idf.data.files import save_json, save_tensors


class Checkpoint:
    """One resumable training in a folder: state-N.safetensors, and checkpoint.json that names it.

    The JSON is replaced last and in one step, so that a kill at any moment leaves a complete state.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.index = self.folder / "checkpoint.json"

    def save(self, iteration: int, tensors: dict[str, Tensor], info: dict) -> None:
        state = self.folder / f"state-{iteration}.safetensors"
        save_tensors(state, tensors)
        save_json(self.index, {"iteration": iteration, "state": state.name, **info})
        for old in self.folder.glob("state-*.safetensors*"):
            if old != state:
                old.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, Tensor], dict] | None:
        """The tensors and info saved last, None if there are none. UserError for damaged files."""
        if not self.index.is_file():
            return None
        try:
            info = json.loads(self.index.read_text())
            return load_file(self.folder / info["state"]), info
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise UserError(
                f"The checkpoint {self.index} cannot be read ({error}): delete the folder "
                f"{self.folder} to start again."
            ) from error


def network_and_optimizer_tensors(
    prefix: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Every tensor that a bit-identical continuation needs, under flat names."""
    tensors = {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        for name, value in moments.items():
            tensors[f"{prefix}.adam.{index}.{name}"] = value
    return tensors


def restore(
    prefix: str, tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """The inverse of network_and_optimizer_tensors. UserError when the architecture differs."""
    own = {name: v for name, v in tensors.items() if name.startswith(f"{prefix}.")}
    own = {name.removeprefix(f"{prefix}."): value for name, value in own.items()}
    weights = {name: value for name, value in own.items() if not name.startswith("adam.")}
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"The checkpoint's {prefix} has another architecture than these settings: delete the "
            "checkpoint or use the settings that it was started with."
        ) from error

    moments: dict[int, dict] = {}
    for name, value in own.items():
        if name.startswith("adam."):
            _, index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = value
    state = optimizer.state_dict()
    state["state"] = moments
    optimizer.load_state_dict(state)


def refuse_other_training(info: dict, identity: dict, iterations: int, folder: Path) -> None:
    """Raises UserError where a checkpoint is not the beginning of the training asked for.

    It was made with other settings, by an older version, or is longer already.
    """
    remedy = "delete that folder to start anew, or name another place for checkpoints."
    if "identity" not in info:
        raise UserError(f"{folder} holds a checkpoint of an older version: {remedy}")
    now = json.loads(json.dumps(identity))
    for name, value in _flat(info["identity"]).items():
        if name in _flat(now) and _flat(now)[name] != value:
            raise UserError(
                f"{folder} holds a training with {name}={value}, not {_flat(now)[name]}: {remedy}"
            )
    if info["iteration"] > iterations:
        raise UserError(
            f"{folder} holds a training of {info['iteration']} iterations, more than the "
            f"{iterations} asked for: {remedy}"
        )


def _flat(settings: dict, part: str = "") -> dict:
    """{"editor.lr": .001, ...}"""
    out = {}
    for name, value in settings.items():
        out |= _flat(value, f"{part}{name}.") if isinstance(value, dict) else {part + name: value}
    return out
