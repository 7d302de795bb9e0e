"""The fork's file and command work unchanged: examples/sync.yaml, filled in, and its documented curl."""

import json
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import LINUX_AMD64, LINUX_ARM64, multi
from support.daemons import run_daemon, wait_for
from support.docker_registry import DockerProfile, DockerRegistry
from support.ports import free_port
from support.skopeo import Skopeo, SkopeoFailed

pytestmark = [pytest.mark.real, pytest.mark.slow]

EXAMPLE = Path(__file__).parents[2] / "examples/sync.yaml"
OPERATOR, MIRROR = "password-of-the-hook", "password-of-the-registries"


@pytest.fixture
def hosts() -> Generator[dict[str, str]]:
    """Registries with logins, in place of those in the example."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    profile = DockerProfile(passwords={"mirror": MIRROR})
    with DockerRegistry(profile) as source, DockerRegistry(profile) as backup, DockerRegistry(profile) as mirror:
        yield {
            "registry.example.com": source.host,
            "backup.example.com": backup.host,
            "mirror.example.com": mirror.host,
        }


def test_the_documented_curl_command_copies_to_every_target(
    hosts: dict[str, str], tmp_path: Path, skopeo: Skopeo
) -> None:
    """At the next interval (a minute, the shortest in the fork).

    Byte for byte if the image has only platforms of the filter, trimmed to them otherwise.
    """
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    source, backup, mirror = hosts.values()
    judge, port = Skopeo(skopeo.home, f"mirror:{MIRROR}"), free_port()
    fits, wider = multi("fits", [LINUX_AMD64, LINUX_ARM64]), multi("wider")
    fill_in(tmp_path, port, hosts)
    with FakeRegistry.in_thread() as fake:
        for path, image in (("payments/api", fits), ("team/app", wider)):
            fake.load(path, image, "v1")
            judge.copy(f"{fake.host}/{path}:v1", f"{source}/{path}:v1")
    targets = [f"{backup}/payments/api:v1", f"{mirror}/payments-copy/payments/api:v1", f"{backup}/team/app:v1"]
    with run_daemon(tmp_path, port, OPERATOR_PASSWORD=OPERATOR):
        for path in ("payments/api", "team/app"):
            head, body = curl(port, f"{source}/{path}", "v1", OPERATOR)
            assert head.startswith("HTTP/1.1 200 OK\r\n")
            assert json.loads(body)["status"] == "accepted"
        assert curl(port, f"{source}/team/app", "v1", "wrong")[0].startswith("HTTP/1.1 401 ")
        assert [raw(judge, target) for target in targets] == [None] * 3  # It waits for the tick.
        wait_for(lambda: None not in [raw(judge, target) for target in targets], 80, pause=1)
    assert [raw(judge, target) for target in targets[:2]] == [fits.root.content] * 2
    assert architectures(wider.root.content) > {"amd64", "arm64"} == architectures(judge.raw(targets[2]))
    log = (tmp_path / "app.log").read_text()
    assert "http.answered" in log
    assert OPERATOR not in log
    assert MIRROR not in log


def fill_in(folder: Path, port: int, hosts: dict[str, str]) -> None:
    """Write the example with a free port, *hosts* and an interval of a minute, without the broker; and the logins."""
    text = re.sub(r"(?m)^rabbitmq:\n(?:[ \t].*\n|\n)*", "", EXAMPLE.read_text())
    for old, new in {**hosts, ":8080": f":{port}", "interval: 10": "interval: 1"}.items():
        assert old in text
        text = text.replace(old, new)
    (folder / "configs").mkdir()
    (folder / "configs/sync.yaml").write_text(text)
    logins = {host: {"username": "mirror", "password": MIRROR} for host in hosts.values()}
    (folder / "auth.yaml").write_text(json.dumps(logins))


def curl(port: int, name: str, tag: str, password: str) -> tuple[str, str]:
    """Call the webhook as the fork's documentation shows, and return head and body of the answer."""
    url = f"http://127.0.0.1:{port}/images/sync/hook?name={name}&tag={tag}"
    command = ["curl", "-sS", "-i", url, "-u", f"operator:{password}"]
    done = subprocess.run(command, capture_output=True, check=True, timeout=30)
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    return head, body


def architectures(index: bytes) -> set[str]:
    """Return the architectures of an index."""
    return {entry["platform"]["architecture"] for entry in json.loads(index)["manifests"]}


def raw(judge: Skopeo, reference: str) -> bytes | None:
    """Return the bytes of the manifest; None without one."""
    try:
        return judge.raw(reference)
    except SkopeoFailed:
        return None
