"""Additional workers of a fleet, which receive no notifications."""

import os
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from image_syncer.testing.images import single
from support import warm_process
from support.daemons import run_daemon, running, wait_for
from support.docker_registry import DockerRegistry
from support.ports import free_port
from support.postgres import Postgres
from support.registry_http import Peer

IMAGES = 40


@pytest.mark.real
def test_a_worker_shares_the_copies_of_a_rule(tmp_path: Path, postgres: Postgres) -> None:
    """One process plans a rule; any free worker makes its copies."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as here, DockerRegistry() as there:
        source, target, port = Peer(here.host), Peer(there.host), free_port()
        for number in range(IMAGES):
            source.push("app", single(f"image-{number}"), f"v{number}")
        (tmp_path / "fleet.yaml").write_text(fleet(port, source, target, postgres.new_database()))
        with (
            run_daemon(tmp_path, port, "serve", "-c", "fleet.yaml", "--log", "serve.log"),
            running(tmp_path, "worker", "-c", "fleet.yaml", "--log", "worker.log"),
        ):
            wait_for(lambda: "worker.started" in logs(tmp_path))
            request = Request(f"http://127.0.0.1:{port}/api/v1/rules/app/run", method="POST")
            urlopen(request, timeout=10).close()
            wait_for(lambda: len(target.tags("app")) == IMAGES)
            wait_for(lambda: "run.finished" in logs(tmp_path))
        assert [(tmp_path / f"{name}.log").read_text().count("job.finished") > 0 for name in ("serve", "worker")] == [
            True,
            True,
        ]
        assert logs(tmp_path).count("run.planned") == 1


def test_a_worker_needs_postgresql(tmp_path: Path) -> None:
    """SQLite allows one worker, which the daemon has itself: one line says so, and nothing is created."""
    file = tmp_path / "alone.yaml"
    file.write_text(f"version: 1\nrules: []\nstate: {{path: {tmp_path}/state}}\n")
    done = warm_process.run(["worker", "-c", str(file)], cwd=tmp_path, env=os.environ)
    assert done.returncode == 2
    assert "a worker shares the jobs of other processes, which needs PostgreSQL" in done.stderr
    assert not (tmp_path / "state").exists()


def logs(folder: Path) -> str:
    """Return the logs of both."""
    return "".join(file.read_text() for file in folder.glob("*.log"))


def fleet(port: int, source: Peer, target: Peer, database: str) -> str:
    """Return a file for both."""
    return f"""
version: 1
registries:
  '{target.host}': {{limits: {{copies: 8}}}}
rules:
  - {{name: app, source: '{source.host}/app', targets: '{target.host}/app'}}
server: {{listen: 127.0.0.1:{port}}}
state: {{url: '{database}'}}
"""
