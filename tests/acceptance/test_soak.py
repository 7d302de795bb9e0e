"""Repeated syncs over faults and cut lines, by the tool that does it for a quarter of an hour."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_content_that_changes_under_faults_is_in_step_in_the_end() -> None:
    """For the daemon and for a program that uses the Python API: both go on, and nothing wrong is left at a target."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    figures, broken = stress("soak", "--seconds", "12", "--faults", "0.05", "--seed", "3")
    assert broken == []
    assert figures["faults"] > 0
    assert figures["daemon copied"] > 0
    assert figures["runs copied"] > 0
    assert figures["not in step"] == 0
