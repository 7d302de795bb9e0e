"""Whether the bodies of a client's requests move in the event loop or in threads, whatever their sizes."""

import pytest

from image_syncer.registry.http import transport as transport_module
from image_syncer.registry.http.io_threads import IoThreads
from image_syncer.registry.settings import ThreadUse


def use_threads(monkeypatch: pytest.MonkeyPatch, use: ThreadUse) -> None:
    """Let clients that are opened later use threads "always" or "never"."""

    def threads(_: ThreadUse) -> IoThreads:
        return IoThreads(use)

    monkeypatch.setattr(transport_module, "IoThreads", threads)
