"""kill -9 of the daemon at random moments of a stream of webhooks, with the tool of `script/stress`."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_acknowledged_events_survive_every_kill() -> None:
    """The daemon of a fork file, over SQLite: nothing is lost, and no job fails because its workers died."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    figures, broken = stress("kill", "--hooks", "100", "--kills", "5", "--life", "0.8", "--seed", "7")
    assert broken == []
    assert (figures["acknowledged"], figures["kills (SIGKILL)"]) == (100, 5)
    assert (figures["lost"], figures["dead letters"]) == (0, 0)
