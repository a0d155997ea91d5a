"""Files written in one step, so that an old one survives a full disk: JSON and safetensors."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from idf.config import UserError


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Call write(temporary path), then move it to `path` in one step.

    Raises UserError when the disk is full: then the old file stays.
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
            f"The disk is full: {path} was not saved, the file saved before it is untouched; "
            "free some space and run the same command again to go on."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], half: bool = False) -> None:
    """Save named tensors as safetensors; half: floating-point ones as float16, to ship them."""
    stored = {}
    for name, tensor in tensors.items():
        dtype = torch.float16 if half and tensor.is_floating_point() else None
        stored[name] = tensor.detach().to("cpu", dtype).contiguous().clone()
    write_atomically(path, lambda temporary: save_file(stored, temporary))


def save_json(path: Path, content: Any) -> None:
    """Save as JSON, indented by one space a level."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text))


def read_json_rows(path: Path) -> list[dict]:
    """The rows of a results file, none if it does not exist yet."""
    return json.loads(path.read_text()) if path.is_file() else []
