"""Where servers of the tests' own live: what goes wrong at their start is told, and nothing of them stays."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.daemons import wait_for
from support.server_home import ServerHome, end


@pytest.fixture
def home() -> Iterator[ServerHome]:
    """Return a home, which goes with the test."""
    made = ServerHome("test", "no such user", "nobody")
    yield made
    made.remove()


def test_a_server_that_ends_at_its_start_is_told_with_what_it_said(home: ServerHome) -> None:
    """Nobody waits for it until the time is up."""
    process = home.launch("sh", "-c", "echo the port is taken >&2; exit 3")
    with pytest.raises(RuntimeError, match="the port is taken"):
        home.wait_until(lambda: False, process, 60)
    assert process.returncode == 3


def test_a_server_that_never_answers_is_not_waited_for_for_ever(home: ServerHome) -> None:
    """It runs, and says why it does not answer."""
    process = home.launch("sh", "-c", "echo recovering; exec sleep 60")
    with pytest.raises(RuntimeError, match="recovering"):
        home.wait_until(lambda: False, process, 1)
    assert process.poll() is None
    end(process)


def test_the_end_of_a_server_is_that_of_its_helpers(home: ServerHome) -> None:
    """They are of its group."""
    process = home.launch("sh", "-c", "sleep 60 & echo $! > helper; wait")
    helper = home.directory / "helper"
    home.wait_until(lambda: helper.exists() and bool(helper.read_text()), process, 20)
    end(process)
    assert process.returncode == -signal.SIGTERM
    wait_for(lambda: not is_running(int(helper.read_text())), 20)


def test_a_command_that_fails_is_told_with_what_it_said(home: ServerHome) -> None:
    """As that which makes a server's directory may."""
    home.run("true", seconds=20)
    with pytest.raises(RuntimeError, match="no space left"):
        home.run("sh", "-c", "echo no space left; exit 1", seconds=20)


@pytest.mark.skipif(os.getuid() != 0, reason="nobody but root runs programs as others")
def test_a_server_of_roots_is_run_by_somebody_else(home: ServerHome) -> None:
    """PostgreSQL refuses to be root; files that it is given are its own, and it has no group of root's."""
    file = home.write("secret", "word")
    home.run("sh", "-c", "cat secret && echo of > mine && id -un && id -Gn", seconds=20)
    said = (home.directory / "output").read_text(encoding="utf-8").split()
    assert said[0] == "wordnobody"
    assert "root" not in said
    assert file.owner() == (home.directory / "mine").owner() == "nobody"


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
        return stat.rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
