"""kill -9 of one-shot runs at random moments: a short run of `script/stress crash`."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_pullers_get_whole_images_while_runs_are_killed() -> None:
    """Every listed tag can be pulled, and the last run completes all images."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    figures, broken = stress("crash", "--kills", "6", "--images", "12", "--seed", "7")
    assert broken == []
    assert figures["kills (SIGKILL)"] == 6
    assert figures["tags pulled meanwhile"] > 0
    assert figures["of these incomplete"] == 0
