"""Where notebooks run: a kernel that is this very interpreter, and the memory it takes."""

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from ipykernel.kernelspec import write_kernel_spec


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Environment variables for the kernels, and a kernel `python3` that is this interpreter.

    Whatever kernel of that name the user has registered is not used.
    """
    before = dict(os.environ)
    # interrupted in the middle of a message, they print how its socket closed
    for name in ("asyncio", "tornado"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        kernel = Path(folder) / "kernels" / "python3"
        write_kernel_spec(kernel, extra_arguments=["--log-level=CRITICAL"])
        os.environ.update(variables)
        os.environ["JUPYTER_PATH"] = os.pathsep.join([folder, before.get("JUPYTER_PATH", "")])
        os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


class PeakMemory:
    """`with PeakMemory() as peak`: peak.bytes is the most that this process's children took."""

    def __init__(self, every: float = 0.2):
        self.bytes = 0
        self.every = every
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.done.set()
        self.thread.join()

    def _watch(self) -> None:
        while not self.done.wait(self.every):
            children = psutil.Process().children(recursive=True)
            self.bytes = max(self.bytes, sum(map(_resident, children)))


def _resident(process: psutil.Process) -> int:
    """Its memory in bytes; 0 if it has just ended."""
    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0
