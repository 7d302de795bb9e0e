"""Permanent connection failures are detected a few times, not once for each image."""

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.errors import InsecureConnection, StoreError, UnknownHost
from image_syncer.oci import Repository
from image_syncer.registry.limits.circuit_breaker import NegativeCache
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry, faults
from image_syncer.testing.images import single
from support.clients import FakeTime, client
from support.names import as_text
from support.runs import rule

NOWHERE, STRANGER = "nowhere.example", "stranger.example"
IMAGES = 200


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names that are looked up; one does not exist until it is taken from the test's hands."""
    real, names = socket.getaddrinfo, list[str]()

    def resolve(name: bytes, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:  # noqa: A002 - the library's names
        host = as_text(name)
        if flags & socket.AI_NUMERICHOST or host not in {NOWHERE, STRANGER}:
            return real(host, port, family, type, proto, flags)
        names.append(host)
        if host == NOWHERE:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return real("127.0.0.1", port, type=socket.SOCK_STREAM)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return names


async def mirrored(fake: FakeRegistry, target: str) -> list[CopyResult]:
    """Copy 200 images of *fake* to as many repositories of the registry *target* in one run."""
    fake.load("app", single("seed"), *(f"v{number}" for number in range(IMAGES)))
    source = fake.repository("app")
    rules = [rule(f"v{number}", Repository(target, f"copy/{number}"), source=source) for number in range(IMAGES)]
    async with client(FakeTime(), limits=Options().limits) as registries:
        syncer = Syncer(registries, Options(retries=1), in_memory(), rng=Random(1))
        return list((await syncer.sync(rules)).results)


@asynccontextmanager
async def untrusted(context: ssl.SSLContext, connections: list[None]) -> AsyncGenerator[int]:
    """Listen with an untrusted certificate, and count *connections*; yield the port."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        connections.append(None)
        try:
            await writer.start_tls(context)
        except OSError:
            pass  # It is refused, which is what the test is about.
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_an_unknown_host_is_looked_up_twice_for_200_images(looked_up: list[str]) -> None:
    """All images get the same error and the same remedy."""
    async with FakeRegistry() as fake:
        results = await mirrored(fake, NOWHERE)
    assert len(looked_up) == 2
    assert {result.outcome for result in results} == {Outcome.FAILED}
    assert len(results) == IMAGES
    ((reason, remedy),) = {(result.reason, result.remedy) for result in results}
    assert reason is not None
    assert reason.startswith(f"{NOWHERE}: there is no such registry")
    assert remedy is not None
    assert remedy.startswith("check its spelling")


async def test_an_untrusted_certificate_is_checked_twice_for_200_images(
    looked_up: list[str], server_tls: ssl.SSLContext
) -> None:
    """Every image has the remedy."""
    connections = list[None]()
    async with FakeRegistry() as fake, untrusted(server_tls, connections) as port:
        results = await mirrored(fake, f"{STRANGER}:{port}")
    assert len(connections) == 2
    assert len(looked_up) <= 2
    assert {result.outcome for result in results} == {Outcome.FAILED}
    ((reason, remedy),) = {(result.reason, result.remedy) for result in results}
    assert "its certificate is not trusted" in (reason or "")
    assert f"set insecure: true for {STRANGER}:{port}" in (remedy or "")


async def test_an_unknown_token_server_is_looked_up_a_few_times_for_200_scopes(looked_up: list[str]) -> None:
    """Each repository needs a token of its own, and the token server's host does not exist."""
    challenge = {"WWW-Authenticate": f'Bearer realm="https://{NOWHERE}/token",service="s"'}
    async with FakeRegistry() as fake, FakeRegistry() as target:
        target.faults.add(faults.answer(401, headers=challenge))
        results = await mirrored(fake, target.host)
    assert 1 <= len(looked_up) <= 5  # Those that began before the second failure was known, some of them together.
    assert {result.outcome for result in results} == {Outcome.FAILED}
    ((reason, remedy),) = {(result.reason, result.remedy) for result in results}
    assert reason is not None
    assert reason.startswith(f"{NOWHERE}: there is no such registry")
    assert remedy is not None


async def test_a_cached_unknown_host_is_looked_up_again_later(looked_up: list[str], fake_time: FakeTime) -> None:
    """The cache entry expires, since a daemon runs for years."""
    async with client(fake_time) as registries:
        source = registries.source(Repository(NOWHERE, "app"))
        for _ in range(5):
            with pytest.raises(UnknownHost):
                await source.resolve("v1")
        assert len(looked_up) == 2
        fake_time.seconds += 4
        with pytest.raises(UnknownHost):
            await source.resolve("v1")
        assert len(looked_up) == 3


@pytest.fixture
def fake_time() -> FakeTime:
    """Return a clock that the test moves."""
    return FakeTime()


def test_a_single_failure_is_not_cached() -> None:
    """From the second one on it is cached, each time twice as long, up to a minute."""
    cache, durations = NegativeCache(), list[float]()
    for number in range(8):
        cache = cache.after_failure(UnknownHost("r.io: no", remedy="look"), 100.0 * number, 100.0 * number)
        durations.append(cache.until - 100.0 * number)
    assert durations == [float("-inf"), 4, 8, 16, 32, 60, 60, 60]


def test_concurrent_permanent_failures_count_as_one() -> None:
    """However many requests tried at the same time."""
    cache = NegativeCache()
    for _ in range(30):
        cache = cache.after_failure(UnknownHost("r.io: no"), 1.0, 2.0)
    assert (cache.failures, cache.cached_failure(2.0)) == (1, None)
    assert cache.after_failure(UnknownHost("r.io: no"), 2.0, 3.0).cached_failure(3.0) is not None


@pytest.mark.parametrize("failure", [UnknownHost("r.io: no", remedy="look"), InsecureConnection("r.io: bad", code="X")])
def test_each_request_gets_its_own_error_object(failure: UnknownHost | InsecureConnection) -> None:
    """An exception raised in many tasks would collect the tracebacks of all."""
    cause = OSError("why")
    failure.__cause__ = cause
    cache = NegativeCache().after_failure(failure, 0.0, 0.0).after_failure(failure, 1.0, 1.0)
    cached = cache.cached_failure(2.0)
    assert isinstance(cached, StoreError)
    assert cached is not failure
    assert (type(cached), cached.message, cached.remedy, cached.code, cached.__cause__) == (
        type(failure),
        failure.message,
        failure.remedy,
        failure.code,
        cause,
    )
    assert cache.cached_failure(5.0) is None
