"""A blob over lines that cut every connection, by the tool that does it at full size."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_a_blob_that_no_connection_carries_whole_arrives_and_little_is_sent_twice() -> None:
    """To a registry that keeps uploads and to one that loses them; and it arrives after a kill -9 in its middle.

    What a kill costs is for the large size: here it may come before the first chunk is complete.
    """
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    _, broken = stress("cut", "--profile-size", "96", "--cut", "32", "--kills", "1", "--only", "oci", "--seed", "1")
    assert [promise for promise in broken if ", killed: " not in promise or "at most" not in promise] == []
