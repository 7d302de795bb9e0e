"""An installation without the extra `daemon`: one-shot commands work, the others say what is missing."""

import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from image_syncer.state.revisions import VERSION_TABLE
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single

LIBRARIES: Final = (
    *("alembic", "cryptography", "fastapi", "jinja2", "jwt", "mako", "procrastinate", "prometheus_client", "psycopg"),
    *("psycopg_binary", "psycopg_pool", "sqlalchemy", "starlette", "uvicorn"),
)
_START: Final = f"""
import sys
sys.modules.update(dict.fromkeys({LIBRARIES!r}))
from image_syncer.__main__ import main
sys.exit(main())
"""
FILE: Final = """
version: 1
rules: [{name: app, source: HOST/team/app, targets: HOST/mirror/app, every: 6h, on: event}]
hooks: {registry: {kind: distribution, registry: HOST, allow_open: true}}
queues: {broker: {kind: redis, urls: ['redis://localhost'], queue: pushes/mirror}}
server: {listen: '127.0.0.1:0', allow_open: true}
"""
MISSING: Final = "needs the libraries of the daemon, which are not installed (install the extra daemon"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run image-syncer in *home* without the libraries of the daemon."""
    environment = {"HOME": str(home), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", _START, *arguments]
    return subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip


def test_an_image_is_copied_with_a_state(source: FakeRegistry, tmp_path: Path) -> None:
    """The state of an older version is left alone, with a warning."""
    source.load("team/app", single("lean"), "v1")
    copy = ("copy", f"{source.host}/team/app:v1", f"{source.host}/mirror/app")
    done = run(tmp_path, *copy)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    [state] = tmp_path.rglob("state.db")
    with sqlite3.connect(state) as database:
        database.execute(f"UPDATE {VERSION_TABLE} SET version_num = '0014'")
    database.close()
    done = run(tmp_path, *copy, "--force")
    assert done.returncode == 0
    assert "it is of an older version" in done.stderr
    assert "install the extra daemon" in done.stderr


def test_a_file_for_the_daemon_runs_once(source: FakeRegistry, tmp_path: Path) -> None:
    """Its rules are run, although its hooks and queues need libraries that are missing."""
    source.load("team/app", single("lean"), "v1")
    (tmp_path / "mirror.yaml").write_text(FILE.replace("HOST", source.host))
    assert run(tmp_path, "sync", "-c", "mirror.yaml").returncode == 0
    assert source.manifest("mirror/app", "v1") is not None


@pytest.mark.parametrize(
    "command",
    [
        ("serve", "-c", "mirror.yaml"),
        ("-c", "mirror.yaml"),
        ("worker", "-c", "mirror.yaml"),
        ("jobs", "list", "-c", "mirror.yaml"),
        ("config", "validate", "-c", "mirror.yaml"),
        ("copy", "--state", "postgresql://user@host/database", "localhost:1/a:v1", "localhost:1/b"),
    ],
    ids=" ".join,
)
def test_a_command_says_what_is_missing(command: Sequence[str], tmp_path: Path) -> None:
    """In one line, with what to install."""
    (tmp_path / "mirror.yaml").write_text(FILE.replace("HOST", "registry.example.com"))
    done = run(tmp_path, *command)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert MISSING in done.stderr
