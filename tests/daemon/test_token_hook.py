"""A webhook of the native file with signed tokens: from the file to the copy."""

import json
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import pytest

from image_syncer.testing.images import single
from image_syncer.testing.threads import open_in_thread
from support.daemons import run_daemon, wait_for
from support.docker_registry import DockerRegistry
from support.issuers import KEYS, open_issuer
from support.ports import free_port
from support.registry_http import Peer
from unit.events.payloads import pubsub

pytestmark = pytest.mark.real

AUDIENCE, EMAIL = "https://sync.example.com/hooks/gar", "push@my-project.iam.gserviceaccount.com"


def test_a_push_with_a_token_is_copied(tmp_path: Path) -> None:
    """The token of the configured account is accepted; another account's is refused."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as one, DockerRegistry() as other, open_in_thread(open_issuer()) as issuer:
        source, target, port = Peer(one.host), Peer(other.host), free_port()
        (tmp_path / "native.yaml").write_text(native(port, source, target, issuer.url))
        image = single("pushed")
        source.push("project/team/app", image, "v1")
        with run_daemon(tmp_path, port, "serve", "-c", "native.yaml"):
            body = envelope(f"{source.host}/project/team/app", "v1", str(image.digest))
            stranger = issuer.proof(AUDIENCE, email="stranger@example.com", email_verified=True)
            assert notify(port, body, stranger) == 401
            assert notify(port, body, issuer.proof(AUDIENCE, email=EMAIL, email_verified=True)) == 202
            wait_for(lambda: target.tags("mirror/project/team/app") == ["v1"])
        assert target.manifest("mirror/project/team/app", "v1") == image.root.content
        assert issuer.requests[KEYS] == 1


def native(port: int, source: Peer, target: Peer, issuer: str) -> str:
    """Return a native file with one webhook of Pub/Sub."""
    return f"""
version: 1
rules:
  - {{name: all, source: '{source.host}/project/**', targets: '{target.host}/mirror/{{repository}}', on: event}}
hooks:
  gar:
    kind: pubsub
    registry: '{source.host}'
    token: {{audience: '{AUDIENCE}', email: {EMAIL}, issuer: '{issuer}'}}
server: {{listen: '127.0.0.1:{port}'}}
"""


def envelope(name: str, tag: str, digest: str) -> bytes:
    """Return a message of Artifact Registry as Pub/Sub delivers it."""
    return json.dumps(pubsub({"action": "INSERT", "digest": f"{name}@{digest}", "tag": f"{name}:{tag}"})).encode()


def notify(port: int, body: bytes, headers: dict[str, str]) -> int:
    """Return the status of a notification."""
    headers = {"Content-Type": "application/json"} | headers
    request = urllib.request.Request(f"http://127.0.0.1:{port}/hooks/gar", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=15) as response:
            return response.status
    except HTTPError as error:
        error.close()
        return error.code
