"""Two daemons over one PostgreSQL, one of which is killed, with the tool of `script/stress`."""

import pytest

from support.docker_registry import DockerRegistry
from support.postgres import Postgres
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_the_other_daemon_takes_over_the_copies_of_a_killed_one_within_30_s() -> None:
    """Both receive webhooks; nothing that either acknowledged is lost."""
    if not (DockerRegistry.is_installed() and Postgres.is_installed()):
        pytest.skip("docker-registry or postgresql is not installed")
    figures, broken = stress("fleet", "--hooks", "100")
    assert broken == []
    assert (figures["acknowledged"], figures["lost"]) == (100, 0)
    assert 0 < figures["jobs running at the kill"] == figures["of these started by the other"]
    assert 0 < figures["takeover, last job, seconds"] <= 30
