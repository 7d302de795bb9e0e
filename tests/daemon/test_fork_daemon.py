"""The fork's file, webhook and interval work unchanged, over two real registries."""

import json
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Generator
from pathlib import Path

import pytest

from image_syncer.testing.images import multi, single
from support.daemons import run_daemon, running, wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.registry_http import Peer

pytestmark = pytest.mark.real

LOGIN = "Basic " + b64encode(b"operator:secret").decode()


@pytest.fixture
def registries() -> Generator[tuple[Peer, Peer, Peer]]:
    """A source and two targets."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as source, DockerRegistry() as first, DockerRegistry() as second:
        yield Peer(source.host), Peer(first.host), Peer(second.host)


def write_files(folder: Path, port: int, source: Peer, targets: list[str]) -> None:
    """Write the fork's files into *folder*."""
    (folder / "configs").mkdir()
    (folder / "auth.yaml").write_text("{}")
    (folder / "configs/sync.yaml").write_text(
        f"""
app: {{port: ':{port}'}}
registry:
  reg:
    - {{sourceName: '{source.host}', namespace: team, destinationName: '{",".join(targets)}'}}
auth: {{Username: operator, Password: secret}}
sync: {{routineNum: 2, retryCount: 1, interval: 10, filePosition: {{log: '{folder}/app.log'}}}}
"""
    )


def ask(port: int, path: str, authorization: str = LOGIN) -> tuple[int, bytes]:
    """Return status and body of a GET."""
    headers = {"Authorization": authorization} if authorization else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def hook(source: Peer, path: str, tag: str) -> str:
    """Return the path of the fork's webhook for an image."""
    return f"/images/sync/hook?name={source.host}/{path}&tag={tag}"


def test_do_copies_a_pushed_image_to_every_target(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """The webhook records, `/images/sync/do` copies; comma-separated targets, one with a path."""
    source, first, second = registries
    image = multi("daemon")
    source.push("team/app", image, "v1")
    port = free_port()
    write_files(tmp_path, port, source, [first.host, f"{second.host}/mirror"])
    with run_daemon(tmp_path, port):
        status, body = ask(port, hook(source, "team/app", "v1"))
        assert (status, json.loads(body)["status"]) == (200, "accepted")
        assert first.tags("team/app") == []  # It waits for the tick.
        assert json.loads(ask(port, "/images/sync/do")[1])["count"] == 2
        wait_for(lambda: first.tags("team/app") == second.tags("mirror/team/app") == ["v1"])
    assert first.manifest("team/app", "v1") == image.root.content
    assert second.manifest("mirror/team/app", "v1") == image.root.content


def test_the_status_codes_are_the_forks(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """In its order: login, empty name, empty tag, format, unmatched."""
    source, first, _ = registries
    port = free_port()
    write_files(tmp_path, port, source, [first.host])
    with run_daemon(tmp_path, port):
        assert ask(port, hook(source, "team/app", "v1"), "")[0] == 401
        assert ask(port, "/images/sync/hook?tag=v1")[0] == 200
        assert ask(port, f"/images/sync/hook?name={source.host}/team/app")[0] == 400
        assert ask(port, "/images/sync/hook?name=only&tag=v1")[0] == 406
        assert ask(port, hook(source, "team/app", "1.0-SNAPSHOT"))[0] == 406
        for unwanted in ("a%1B%5B31mred", "a%0Ab", "a%00b", "a" * 129, "%E2%80%AE"):
            assert ask(port, hook(source, "team/app", unwanted))[0] == 406
        assert ask(port, hook(source, "team/..", "v1"))[0] == 406
        status, body = ask(port, hook(source, "elsewhere/app", "v1"))
        assert (status, json.loads(body)["status"]) == (200, "unmatched")
        assert ask(port, "/nothing")[0] == 404


def test_an_accepted_event_survives_kill_9(registries: tuple[Peer, Peer, Peer], tmp_path: Path) -> None:
    """After a 200 the next start copies it."""
    source, first, _ = registries
    for number in range(5):
        source.push("team/app", single(f"kill/{number}"), f"v{number}")
    port = free_port()
    write_files(tmp_path, port, source, [first.host])
    with run_daemon(tmp_path, port) as process:
        for number in range(5):
            assert ask(port, hook(source, "team/app", f"v{number}"))[0] == 200
        process.kill()
        process.wait(10)
    with run_daemon(tmp_path, port):
        ask(port, "/images/sync/do")
        wait_for(lambda: len(first.tags("team/app")) == 5)


def test_the_log_file_is_appended_after_a_restart(tmp_path: Path) -> None:
    """As in the fork, in lines of JSON."""
    port = free_port()
    write_files(tmp_path, port, Peer("127.0.0.1:1"), ["127.0.0.1:2"])
    for _ in range(2):
        with run_daemon(tmp_path, port):
            pass
    lines = [json.loads(line) for line in (tmp_path / "app.log").read_text().splitlines()]
    assert [line["event"] for line in lines].count("daemon.started") == 2
    assert all(line["time"] and line["level"] for line in lines)


def test_a_file_without_a_login_needs_allow_open(tmp_path: Path) -> None:
    """The fork accepts an empty login on every address."""
    port = free_port()
    write_files(tmp_path, port, Peer("127.0.0.1:1"), ["127.0.0.1:2"])
    file = tmp_path / "configs/sync.yaml"
    file.write_text(file.read_text().replace("auth: {Username: operator, Password: secret}", ""))
    with running(tmp_path) as process:
        assert process.wait(30) == 2
        assert process.stdout is not None
        assert "--allow-open" in process.stdout.read().decode()
    with run_daemon(tmp_path, port, "serve", "-c", str(file), "--allow-open"):
        status, body = ask(port, hook(Peer("127.0.0.1:1"), "team/app", "v1"), "")
    assert (status, json.loads(body)["status"]) == (200, "accepted")
