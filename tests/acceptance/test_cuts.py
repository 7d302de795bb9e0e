"""A blob over a network that breaks every connection: a short run of `script/stress cut`."""

import pytest

from support.docker_registry import DockerRegistry
from support.stress import stress

pytestmark = [pytest.mark.real, pytest.mark.slow]


def test_a_blob_arrives_over_broken_connections_with_few_bytes_sent_twice() -> None:
    """One registry keeps broken uploads, the other loses them; a kill -9 in the middle is survived, too.

    The cost of a kill is measured at full size only: here the kill may come before the first chunk is complete.
    """
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    _, broken = stress("cut", "--profile-size", "96", "--cut", "32", "--kills", "1", "--only", "oci", "--seed", "1")
    assert [promise for promise in broken if ", killed: " not in promise or "at most" not in promise] == []
