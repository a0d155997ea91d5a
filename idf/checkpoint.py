"""Checkpoints and shipped weights: safetensors plus a small JSON, written atomically, never pickled."""

import errno
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from idf.config import UserError


def write_atomically(path: Path, write) -> None:
    """Call write(temporary path), then move it to `path` in one step; on a full disk the old file stays.

    Raises UserError when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        full = getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error)
        if not full:
            raise
        raise UserError(
            f"The disk is full: {path} was not saved, the file saved before it is untouched; free some space "
            "and run the same command again to go on."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], half: bool = False) -> None:
    """Save named tensors as safetensors; half stores floating-point ones as float16, for shipping."""
    out = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().to(
            "cpu", torch.float16 if half and tensor.is_floating_point() else None
        )
        out[name] = tensor.contiguous().clone()
    write_atomically(path, lambda temporary: save_file(out, temporary))


def save_json(path: Path, content) -> None:
    write_atomically(
        path, lambda temporary: temporary.write_text(json.dumps(content, indent=1) + "\n")
    )


def load_network(network: nn.Module, path: Path) -> nn.Module:
    """Fill the network strictly from a safetensors file (float16 is widened); evaluation mode.

    Raises UserError for a missing, damaged or foreign file.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(
            f"No weights at {path}: train them with `make weights`, or choose a preset that ships them."
        )
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a readable safetensors file ({error}): fetch or train it again."
        ) from error
    try:
        network.load_state_dict(
            {k: v.float() if v.is_floating_point() else v for k, v in state.items()}, strict=True
        )
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1:2]) or str(error)
        raise UserError(
            f"{path} holds another architecture than {type(network).__name__} with these settings "
            f"({reason.strip()}): use the width, size and domains it was trained with."
        ) from error
    return network.eval()


class Checkpoint:
    """One resumable training in a folder: state-N.safetensors, and checkpoint.json that names it.

    The JSON is replaced last and in one step, so that a kill at any moment leaves a complete older state.
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
        """The tensors and info saved last, or None when there is nothing yet. Raises UserError for damaged files."""
        if not self.index.is_file():
            return None
        try:
            info = json.loads(self.index.read_text())
            return load_file(self.folder / info["state"]), info
        except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
            raise UserError(
                f"The checkpoint {self.index} cannot be read ({error}): delete the folder {self.folder} to "
                "start again."
            ) from error


def network_and_optimizer_tensors(
    prefix: str, network: nn.Module, optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Every tensor that a bit-identical continuation needs, under flat names."""
    tensors = {f"{prefix}.{name}": value for name, value in network.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors.update({f"{prefix}.adam.{index}.{name}": value for name, value in moments.items()})
    return tensors


def restore(
    prefix: str, tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """The inverse of network_and_optimizer_tensors. Raises UserError when the architecture differs."""
    own = {
        name[len(prefix) + 1 :]: value
        for name, value in tensors.items()
        if name.startswith(f"{prefix}.")
    }
    weights = {name: value for name, value in own.items() if not name.startswith("adam.")}
    try:
        network.load_state_dict(weights, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"The checkpoint's {prefix} has another architecture than these settings: delete the checkpoint or "
            "use the settings that it was started with."
        ) from error
    moments: dict[int, dict] = {}
    for name, value in own.items():
        if name.startswith("adam."):
            _, index, moment = name.split(".")
            moments.setdefault(int(index), {})[moment] = value
    state = optimizer.state_dict()
    state["state"] = moments
    optimizer.load_state_dict(state)
