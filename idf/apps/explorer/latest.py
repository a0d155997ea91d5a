"""Work in a thread, of which only the latest is done."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


class Latest:
    """A thread that calls work(item) for the latest item; one that still waits is replaced."""

    def __init__(self, work: Callable):
        self._work = work
        self._thread = ThreadPoolExecutor(1)
        self._last = None

    def put(self, item) -> None:
        """Returns at once."""
        if self._last:
            self._last.cancel()  # only what has not begun can be cancelled
        self._last = self._thread.submit(self._work, item)
