"""A docker-registry started by the tests sends notifications as configured."""

import http.server
import json
from collections.abc import Generator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from image_syncer.testing.images import single
from support.daemons import wait_for
from support.docker_registry import DockerProfile, DockerRegistry, Notifications
from support.registry_http import Peer

pytestmark = pytest.mark.real


class Listener(http.server.ThreadingHTTPServer):
    """Keeps notifications, and refuses the first *refusals* of them."""

    def __init__(self, refusals: int) -> None:
        super().__init__(("127.0.0.1", 0), _Taking)
        self.refusals = refusals
        self.told: list[tuple[str, str, list[dict[str, Any]]]] = []

    def pushed(self) -> list[dict[str, Any]]:
        """The entries about a pushed tag, in order of arrival."""
        entries = [entry for _, _, entries in self.told for entry in entries]
        return [entry for entry in entries if entry["action"] == "push" and entry["target"].get("tag")]


class _Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Receive a notification."""
        listener = self.server
        assert isinstance(listener, Listener)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        listener.told.append((self.path, self.headers["X-Proof"], json.loads(body)["events"]))
        self.send_response(200 if len(listener.told) > listener.refusals else 500)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Log nothing."""


@contextmanager
def listening(refusals: int = 0) -> Generator[Listener]:
    """Run a listener in a thread."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with Listener(refusals) as listener:
        thread = Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield listener
        finally:
            listener.shutdown()
            thread.join()


def telling(listener: Listener) -> DockerProfile:
    """Return the profile of a registry that notifies *listener*."""
    url = f"http://127.0.0.1:{listener.server_port}/hook"
    return DockerProfile(notifications=Notifications(url, {"X-Proof": "word"}, threshold=2, backoff_seconds=0.1))


def test_a_push_is_notified_with_the_header() -> None:
    """At the configured address, with tag and digest."""
    image = single("told")
    with listening() as listener, DockerRegistry(telling(listener)) as registry:
        Peer(registry.host).push("team/app", image, "v1")
        wait_for(lambda: bool(listener.pushed()))
        assert {(path, proof) for path, proof, _ in listener.told} == {("/hook", "word")}
        (entry,) = listener.pushed()
        assert (entry["target"]["repository"], entry["target"]["tag"]) == ("team/app", "v1")
        assert entry["target"]["digest"] == str(image.digest)


def test_a_refused_notification_is_repeated() -> None:
    """Even beyond the threshold, after the backoff; later ones follow in order, and none is lost."""
    with listening(refusals=4) as listener, DockerRegistry(telling(listener)) as registry:
        peer = Peer(registry.host)
        peer.push("team/app", single("told"), "v1")
        peer.push("team/app", single("told"), "v2")
        wait_for(lambda: {entry["target"]["tag"] for entry in listener.pushed()} == {"v1", "v2"})
        again = [entries for _, _, entries in listener.told[:5]]
        assert again.count(again[0]) == 5


def test_the_profile_hides_header_values() -> None:
    """They contain secrets."""
    assert "word" not in repr(DockerProfile(notifications=Notifications("http://127.0.0.1:1/", {"X-Proof": "word"})))
