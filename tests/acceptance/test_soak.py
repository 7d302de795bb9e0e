"""Repeated syncs with faults and broken connections: a short run of `script/stress soak`."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_changing_content_is_mirrored_despite_faults() -> None:
    """The daemon and a program with the Python API both continue, and each target ends with the right content."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    figures, broken = stress("soak", "--seconds", "12", "--faults", "0.05", "--seed", "3")
    assert broken == []
    assert figures["faults"] > 0
    assert figures["daemon copied"] > 0
    assert figures["runs copied"] > 0
    assert figures["not in step"] == 0
