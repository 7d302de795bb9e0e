"""The daemon of a native file: schedules make copies complete, webhooks make them fast."""

import json
import urllib.request
from pathlib import Path

import pytest

from image_syncer.testing.images import multi, single
from support.daemons import answers, run_daemon, wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.registry_http import Peer

TOKEN = {"Authorization": "Bearer a-token-that-is-long-enough-for-everybody"}

pytestmark = pytest.mark.real


def test_schedules_and_webhooks_copy_and_the_api_lists_them(tmp_path: Path) -> None:
    """A due rule runs; a Distribution notification is copied within seconds."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as one, DockerRegistry() as other:
        source, target = Peer(one.host), Peer(other.host)
        source.push("base/app", single("scheduled"), "v1")
        port = free_port()
        (tmp_path / "native.yaml").write_text(native(port, source, target, tmp_path))
        with run_daemon(tmp_path, port, "serve", "-c", "native.yaml"):
            wait_for(lambda: target.tags("base/app") == ["v1"])
            image = multi("pushed")
            source.push("team/deep/app", image, "v2")
            assert notify(port, "team/deep/app", "v2", str(image.digest)) == 202
            wait_for(lambda: target.tags("mirror/team/deep/app") == ["v2"])
            wait_for(lambda: settled(port))
            assert '"name": "team"' in api(port, "rules")
            base, team = json.loads(api(port, "rules"))
            assert (base["last_run_at"] is None, team["last_run_at"]) == (False, None)
            assert '"trigger": "schedule"' in api(port, "runs")
            start(port, "rules/base/run")
            wait_for(lambda: '"trigger": "request"' in api(port, "runs"))
            assert f'"source": "{source.host}/team/deep/app:v2"' in api(port, "images?rule=team&outcome=copied")
            assert f'"host": "{target.host}", "source": false, "target": true' in api(port, "registries")
            assert '"schedule": "every 10s"' in api(port, "rules")
        assert target.manifest("mirror/team/deep/app", "v2") == image.root.content
        assert not answers(port)


def native(port: int, source: Peer, target: Peer, folder: Path) -> str:
    """Return a native file."""
    return f"""
version: 1
rules:
  - {{name: base, source: '{source.host}/base/app', targets: '{target.host}/base/app', every: 10s}}
  - {{name: team, source: '{source.host}/team/**', targets: '{target.host}/mirror/{{repository}}', on: event}}
hooks:
  registry: {{kind: distribution, registry: '{source.host}', header: {{value: 'Bearer hook-secret'}}}}
server:
  listen: 127.0.0.1:{port}
  auth: {{tokens: ['a-token-that-is-long-enough-for-everybody']}}
state: {{path: '{folder}/state'}}
"""


def notify(port: int, repository: str, tag: str, digest: str) -> int:
    """Send the notification of docker-registry for a push; return the status."""
    media_type = "application/vnd.oci.image.index.v1+json"
    target = {"mediaType": media_type, "repository": repository, "tag": tag, "digest": digest, "size": 3}
    body = json.dumps({"events": [{"id": "1", "action": "push", "target": target}]}).encode()
    kind = "application/vnd.docker.distribution.events.v1+json"
    headers = {"Authorization": "Bearer hook-secret", "Content-Type": kind}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/hooks/registry", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status


def api(port: int, what: str) -> str:
    """Return the JSON of the API."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{what}", headers=TOKEN)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.dumps(json.loads(response.read()))


def start(port: int, what: str) -> None:
    """Send an action to the API."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{what}", b"", TOKEN)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 202


def settled(port: int) -> bool:
    """Whether the event has its outcome."""
    return '"outcome": "copied"' in api(port, "events")
