"""Processes that work side by side, one thread of torch in each."""

import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor

import torch


def worker_pool(jobs: int) -> ProcessPoolExecutor:
    """A pool of so many processes; they end when their parent is killed."""
    # spawned, since torch's threads do not survive a fork
    return ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _start_worker)


def _start_worker() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
