"""A script in two processes on the CPU, as `torchrun --nproc_per_node 2` starts it."""

import os
import subprocess
import sys
from pathlib import Path

from idf.config import ROOT


def run_two(script: str, folder: Path) -> None:
    """Runs the script, kept in folder, with folder as its argument; fails with what it said."""
    (folder / "script.py").write_text(script)
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(folder / "script.py"),
        str(folder),
    ]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
