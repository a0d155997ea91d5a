"""`make explore`: the explorer as a page of its own, by Voila, for this machine alone.

Whoever opens it needs the token of its address.
"""

import os
import threading
import webbrowser

from nbformat import NotebookNode
from traitlets.config import Config
from voila.app import Voila

from idf.config import ROOT

NOTEBOOK = ROOT / "notebooks" / "10_explore.ipynb"
PAGE = "page"  # the tag of the notebook's cells that belong to the page
# the browser asks no other machine for anything: Voila's template would, for its icons
POLICY = (
    "default-src 'self' ws://127.0.0.1:* data: blob: 'unsafe-inline' 'unsafe-eval'; "
    "frame-ancestors 'self'"
)


class Server(Voila):
    """Voila, whose own browser would open the page without the token."""

    def launch_browser(self) -> None:
        threading.Thread(target=webbrowser.open, args=[self.display_url], daemon=True).start()


def only_the_page(request, notebook: NotebookNode, cwd: str) -> NotebookNode:
    """The notebook without its text, figures and exercises, whose code is not shown here."""
    notebook.cells = [cell for cell in notebook.cells if PAGE in cell.metadata.get("tags", [])]
    return notebook


def settings() -> Config:
    """For this machine alone, by a token; a kernel ends ten minutes after its page is closed."""
    config = Config()
    config.Voila.ip = "127.0.0.1"
    config.Voila.auto_token = True
    config.Voila.tornado_settings = {"headers": {"Content-Security-Policy": POLICY}}
    config.VoilaConfiguration = Config(
        strip_sources=True,
        show_tracebacks=False,
        progressive_rendering=True,
        prelaunch_hook=only_the_page,
        file_allowlist=[r"(?!)"],
    )
    # else each kernel warns that its ports are not encrypted
    config.KernelManager.transport_encryption = "auto"
    config.MappingKernelManager = Config(cull_idle_timeout=600, cull_interval=60)
    return config


def serve(arguments: list[str]) -> None:
    """Runs the server until it is interrupted. arguments: as Voila's, like --no-browser."""
    # the kernels' threads share what the GNU library keeps of memory
    os.environ.setdefault("MALLOC_ARENA_MAX", "1")
    Server.launch_instance(argv=[str(NOTEBOOK), *arguments], config=settings())
