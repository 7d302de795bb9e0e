"""kill -9 of the daemon at random moments of a stream of hooks, by the tool that does it at full size."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_what_was_acknowledged_arrives_however_often_the_daemon_is_killed() -> None:
    """The daemon of a fork's file, over SQLite: nothing is lost, and no job dies of its worker's deaths."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    figures, broken = stress("kill", "--hooks", "100", "--kills", "5", "--life", "0.8", "--seed", "7")
    assert broken == []
    assert (figures["acknowledged"], figures["kills (SIGKILL)"]) == (100, 5)
    assert (figures["lost"], figures["dead letters"]) == (0, 0)
