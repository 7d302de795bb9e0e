"""The start of a daemon: while its database is away, and beside another daemon on the same state."""

import json
import os
import signal
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from support import warm_process
from support.daemons import run_daemon, wait_for
from support.ports import free_port
from support.postgres import Postgres

COMMAND = str(Path(sys.executable).parent / "image-syncer")
HOOK = b'{"name": "registry.test/team/app", "tag": "1"}'


def native(port: int, state: str) -> str:
    """Return a file that serves a webhook on loopback."""
    hook = "hooks: {any: {kind: plain, allow_open: true}}"
    return f"version: 1\nrules: []\n{hook}\nserver: {{listen: 127.0.0.1:{port}}}\nstate: {{{state}}}\n"


def status(port: int, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> int:
    """Return the status of a request; 0 if the server does not answer."""
    request = Request(
        f"http://127.0.0.1:{port}{path}", data=body, headers={"Content-Type": "application/json", **(headers or {})}
    )
    try:
        with urlopen(request, timeout=5) as response:
            return response.status
    except HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


@pytest.mark.real
@pytest.mark.slow
def test_a_daemon_waits_for_postgresql_and_goes_on(tmp_path: Path) -> None:
    """Alive but not ready, webhooks get 503; once the database is there, they are recorded."""
    if not Postgres.is_installed():
        pytest.skip("postgresql is not installed")
    with Postgres() as server:
        url, port = server.new_database(), free_port()
        (tmp_path / "sync.yaml").write_text(native(port, f"url: '{url}'"))
        server.stop()
        with run_daemon(tmp_path, port, "serve", "-c", "sync.yaml", "--log", "log") as process:
            wait_for(lambda: status(port, "/healthz") == 200)
            assert (status(port, "/readyz"), status(port, "/hooks/any", HOOK)) == (503, 503)
            server.start()
            wait_for(lambda: status(port, "/readyz") == 200)
            assert status(port, "/hooks/any", HOOK) == 202
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
    assert (tmp_path / "log").read_text().count("daemon.database_unavailable") == 1


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_a_stop_ends_the_wait_for_postgresql(command: str, tmp_path: Path) -> None:
    """With 0, and at once."""
    port = free_port()
    (tmp_path / "sync.yaml").write_text(native(port, f"url: 'postgresql://nobody@127.0.0.1:{free_port()}/gone'"))
    arguments = [COMMAND, command, "-c", "sync.yaml", "--log", "log"]
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        log = tmp_path / "log"
        wait_for(lambda: log.exists() and "daemon.database_unavailable" in log.read_text())
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert time.monotonic() - began < 10


@pytest.mark.real
def test_a_second_daemon_on_the_same_state_is_refused(tmp_path: Path) -> None:
    """It would accept notifications and never copy; the error names the state and the remedies."""
    ports = [free_port(), free_port()]
    for port in ports:
        (tmp_path / f"{port}.yaml").write_text(native(port, f"path: '{tmp_path}/state'"))
    with run_daemon(tmp_path, ports[0], "serve", "-c", f"{ports[0]}.yaml", "--log", "log"):
        second = warm_process.run(["serve", "-c", f"{ports[1]}.yaml"], cwd=tmp_path, env=os.environ)
        assert second.returncode == 2
        assert f"another daemon uses the state in {tmp_path}/state" in second.stderr
        assert "state: path:" in second.stderr
        assert "PostgreSQL" in second.stderr
        assert status(ports[0], "/readyz") == 200
    with run_daemon(tmp_path, ports[1], "serve", "-c", f"{ports[1]}.yaml", "--log", "log"):
        assert status(ports[1], "/readyz") == 200


@pytest.mark.real
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is not there")
def test_a_full_disk_under_the_forks_log_fails_no_request(tmp_path: Path) -> None:
    """Its lines are dropped and counted; the webhook is answered and recorded."""
    port = free_port()
    (tmp_path / "configs").mkdir()
    (tmp_path / "auth.yaml").write_text("{}")
    route = {"sourceName": "registry.test", "namespace": "team", "destinationName": "mirror.test"}
    file = {
        "app": {"port": f"127.0.0.1:{port}"},
        "registry": {"reg": [route]},
        "auth": {"username": "u", "password": "p"},
        "sync": {"interval": 1, "filePosition": {"log": "/dev/full"}},
    }
    (tmp_path / "configs/sync.yaml").write_text(json.dumps(file))
    login = {"Authorization": "Basic " + b64encode(b"u:p").decode()}
    with run_daemon(tmp_path, port) as process:
        for tag in range(20):
            assert status(port, f"/images/sync/hook?name=registry.test/team/app&tag={tag}", headers=login) == 200
        assert status(port, "/readyz") == 200
        assert process.poll() is None
