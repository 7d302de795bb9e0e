"""Homes of test servers: failures to start are reported, and no process or file remains."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import wait_for
from support.server_home import ServerHome, end


@pytest.fixture
def home() -> Iterator[ServerHome]:
    """Return a home that is removed after the test."""
    made = ServerHome("test", "no such user", "nobody")
    yield made
    made.remove()


def test_a_server_that_ends_at_once_is_reported_with_its_output(home: ServerHome) -> None:
    """Without waiting for the timeout."""
    process = home.launch("sh", "-c", "echo the port is taken >&2; exit 3")
    with pytest.raises(RuntimeError, match="the port is taken"):
        home.wait_until(lambda: False, process, 60)
    assert process.returncode == 3


def test_a_server_that_never_responds_is_reported_with_its_output(home: ServerHome) -> None:
    """After the timeout, while it still runs."""
    process = home.launch("sh", "-c", "echo recovering; exec sleep 60")
    with pytest.raises(RuntimeError, match="recovering"):
        home.wait_until(lambda: False, process, 1)
    assert process.poll() is None
    end(process)


def test_ending_a_server_ends_its_child_processes(home: ServerHome) -> None:
    """They belong to its process group."""
    process = home.launch("sh", "-c", "sleep 60 & echo $! > helper; wait")
    helper = home.directory / "helper"
    home.wait_until(lambda: helper.exists() and bool(helper.read_text()), process, 20)
    end(process)
    assert process.returncode == -signal.SIGTERM
    wait_for(lambda: not is_running(int(helper.read_text())))


def test_a_failed_command_is_reported_with_its_output(home: ServerHome) -> None:
    """For instance the command that initializes a server's directory."""
    home.run("true", seconds=20)
    with pytest.raises(RuntimeError, match="no space left"):
        home.run("sh", "-c", "echo no space left; exit 1", seconds=20)


@pytest.mark.skipif(os.getuid() != 0, reason="only root may run programs as another user")
def test_root_runs_a_server_as_another_user(home: ServerHome) -> None:
    """PostgreSQL refuses to run as root; its files belong to that user, and it has none of root's groups."""
    file = home.write("secret", "word")
    home.run("sh", "-c", "cat secret && echo of > mine && id -un && id -Gn", seconds=20)
    said = (home.directory / "output").read_text(encoding="utf-8").split()
    assert said[0] == "wordnobody"
    assert "root" not in said
    assert file.owner() == (home.directory / "mine").owner() == "nobody"


def is_running(pid: int) -> bool:
    """Whether this process exists and has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
