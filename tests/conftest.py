"""Servers for all tests. Real ones live as long as the session; who uses them takes repositories of his own.

A server whose program is not installed skips the tests that need it, by name.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import trustme

from image_syncer.testing import FakeRegistry
from image_syncer.testing.token_server import TokenServer
from support.docker_registry import DockerProfile, DockerRegistry, TlsFiles
from support.places import ACCOUNTS, PASSWORD, USER
from support.postgres import Postgres
from support.rabbitmq import RabbitMQ
from support.skopeo import Skopeo


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let files with slow tests begin first, and last those whose tests are quick: nobody waits long for the last."""
    longest = defaultdict[Path, float](float)
    for item in items:
        longest[item.path] = max(longest[item.path], _most_seconds(item))
    items.sort(key=lambda item: -longest[item.path])


def _most_seconds(item: pytest.Item) -> float:
    """Return how long a slow test may take; 0 for any other, as that never takes long."""
    if item.get_closest_marker("slow") is None:
        return 0.0
    limit = item.get_closest_marker("timeout")
    return float(item.config.getini("timeout") if limit is None else limit.args[0])


@pytest.fixture
async def fake_registry() -> AsyncGenerator[FakeRegistry]:
    """A registry in this process that wants no login."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture(scope="session")
def docker_registry() -> Generator[DockerRegistry]:
    """A docker-registry that wants no login."""
    yield from _run(DockerProfile())


@pytest.fixture(scope="session")
def docker_htpasswd() -> Generator[DockerRegistry]:
    """A docker-registry that knows one user by Basic authentication."""
    yield from _run(DockerProfile(passwords={USER: PASSWORD}))


@pytest.fixture(scope="session")
def token_server() -> Generator[TokenServer]:
    """A token server that knows the same user."""
    with TokenServer.in_thread(ACCOUNTS) as server:
        yield server


@pytest.fixture(scope="session")
def docker_bearer(token_server: TokenServer) -> Generator[DockerRegistry]:
    """A docker-registry that wants tokens of the token server."""
    yield from _run(DockerProfile(issuer=token_server.issuer))


@pytest.fixture(scope="session")
def private_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the certificate of a private CA, `ca.pem`, and what it issued for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("private-ca")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued.private_key_pem.write_to_path(directory / "server.key")
    (directory / "server.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return directory


@pytest.fixture(scope="session")
def docker_tls(private_ca: Path) -> Generator[DockerRegistry]:
    """A docker-registry that speaks TLS with a certificate of the private CA."""
    yield from _run(DockerProfile(tls=TlsFiles(private_ca / "server.pem", private_ca / "server.key")))


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    """A PostgreSQL server; who uses it takes a database of his own, and may restart it."""
    if not Postgres.is_installed():
        pytest.skip("postgresql is not installed")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(private_ca: Path) -> Generator[RabbitMQ]:
    """A RabbitMQ node; who uses it takes queues of his own, and may restart it."""
    if not RabbitMQ.is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with RabbitMQ(private_ca) as node:
        yield node


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """An independent client with a home of its own."""
    if not Skopeo.is_installed():
        pytest.skip("skopeo is not installed")
    return Skopeo(tmp_path)


def _run(profile: DockerProfile) -> Generator[DockerRegistry]:
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry(profile) as registry:
        yield registry
