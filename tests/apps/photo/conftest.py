import socket

import pytest


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, and no way out of the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("IDF_DEBUG", raising=False)

    def refuse(*_):
        raise AssertionError("a photo must not leave the machine")

    monkeypatch.setattr(socket.socket, "connect", refuse)
