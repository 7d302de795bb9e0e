"""Two real registries for each test, empty at its start."""

from collections.abc import Generator

import pytest

from support.docker_registry import DockerRegistry
from support.registry_http import Peer


@pytest.fixture
def source_registry() -> Generator[DockerRegistry]:
    """The registry to copy from."""
    yield from _registry()


@pytest.fixture
def target_registry() -> Generator[DockerRegistry]:
    """The registry to copy to."""
    yield from _registry()


@pytest.fixture
def source(source_registry: DockerRegistry) -> Peer:
    """The registry to copy from, spoken to by plain HTTP."""
    return Peer(source_registry.host)


@pytest.fixture
def target(target_registry: DockerRegistry) -> Peer:
    """The registry to copy to, spoken to by plain HTTP."""
    return Peer(target_registry.host)


def _registry() -> Generator[DockerRegistry]:
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry() as registry:
        yield registry
