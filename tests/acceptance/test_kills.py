"""kill -9 of one-shot runs at random moments, by the tool that does it at full size."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_whoever_pulls_while_runs_are_killed_gets_whole_images() -> None:
    """After the rerun everything is in place, and no tag was listed that could not be pulled."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    figures, broken = stress("crash", "--kills", "6", "--images", "12", "--seed", "7")
    assert broken == []
    assert figures["kills (SIGKILL)"] == 6
    assert figures["tags pulled meanwhile"] > 0
    assert figures["of these incomplete"] == 0
