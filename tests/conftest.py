"""Servers for all tests. A real one lives as long as the session, so each test uses repositories of its own.

A server whose program is not installed skips the tests that need it, by name.
"""

import gc
import os
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from pathlib import Path

import pytest
import trustme
from hypothesis import settings

from image_syncer.registry.settings import ThreadUse
from image_syncer.testing import FakeRegistry
from image_syncer.testing.token_server import TokenServer
from support.docker_registry import DockerProfile, DockerRegistry, TlsFiles
from support.places import ACCOUNTS, PASSWORD, USER
from support.postgres import Postgres
from support.rabbitmq import RabbitMQ
from support.skopeo import Skopeo
from support.thread_use import use_threads

settings.register_profile("tests", deadline=None, max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "50")))
settings.load_profile("tests")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that have the longest slow tests, so that no worker begins a long file at the very end."""
    longest = defaultdict[Path, float](float)
    for item in items:
        longest[item.path] = max(longest[item.path], _most_seconds(item))
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Exempt modules and collected tests from garbage collection: scanning them took a tenth of the CPU time."""
    gc.collect()
    gc.freeze()


def _most_seconds(item: pytest.Item) -> float:
    """Return the time limit of a slow test in seconds, 0 for any other."""
    if item.get_closest_marker("slow") is None:
        return 0.0
    limit = item.get_closest_marker("timeout")
    return float(item.config.getini("timeout") if limit is None else limit.args[0])


@pytest.fixture(params=["never", "always"], ids=["loop", "threads"])
def io_threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test twice: all bodies move in the event loop, or all that can move in threads do."""
    use: ThreadUse = request.param
    use_threads(monkeypatch, use)
    return use


@pytest.fixture
async def fake_registry() -> AsyncGenerator[FakeRegistry]:
    """A fake registry in this process, without logins."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture(scope="session")
def docker_registry() -> Generator[DockerRegistry]:
    """A docker-registry without logins."""
    yield from _run(DockerProfile())


@pytest.fixture(scope="session")
def docker_htpasswd() -> Generator[DockerRegistry]:
    """A docker-registry with Basic authentication and one user."""
    yield from _run(DockerProfile(passwords={USER: PASSWORD}))


@pytest.fixture(scope="session")
def token_server() -> Generator[TokenServer]:
    """A token server with the same user."""
    with TokenServer.in_thread(ACCOUNTS) as server:
        yield server


@pytest.fixture(scope="session")
def docker_bearer(token_server: TokenServer) -> Generator[DockerRegistry]:
    """A docker-registry that accepts tokens of the token server."""
    yield from _run(DockerProfile(issuer=token_server.issuer))


@pytest.fixture(scope="session")
def private_ca(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the certificate of a private CA (`ca.pem`), and a server's key and certificate for 127.0.0.1."""
    directory = tmp_path_factory.mktemp("private-ca")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    issued.private_key_pem.write_to_path(directory / "server.key")
    (directory / "server.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    return directory


@pytest.fixture(scope="session")
def docker_tls(private_ca: Path) -> Generator[DockerRegistry]:
    """A docker-registry behind TLS, with a certificate of the private CA."""
    yield from _run(DockerProfile(tls=TlsFiles(private_ca / "server.pem", private_ca / "server.key")))


@pytest.fixture(scope="session")
def postgres() -> Generator[Postgres]:
    """A PostgreSQL server. A test uses a database of its own, and may restart the server."""
    if not Postgres.is_installed():
        pytest.skip("postgresql is not installed")
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def rabbitmq(private_ca: Path) -> Generator[RabbitMQ]:
    """A RabbitMQ node. A test uses queues of its own, and may restart the node."""
    if not RabbitMQ.is_installed():
        pytest.skip("rabbitmq-server is not installed")
    with RabbitMQ(private_ca) as node:
        yield node


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    """skopeo, an independent client, with its own home directory."""
    if not Skopeo.is_installed():
        pytest.skip("skopeo is not installed")
    return Skopeo(tmp_path)


def _run(profile: DockerProfile) -> Generator[DockerRegistry]:
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry(profile) as registry:
        yield registry
