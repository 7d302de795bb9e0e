"""Whole runs against a registry that is down: few requests to it, bounded waits, no effect on other registries."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from aiohttp import web

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.errors import Interrupted, RegistryDown, Unavailable
from image_syncer.oci import Repository
from image_syncer.registry.http import dial
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.registries import Registries
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single
from support.clients import RecordingObserver, client, fast_time
from support.runs import rule

UNREACHABLE = "127.0.0.1:1"


class Outage:
    """Breaks every connection to a registry while it is on (an interceptor); *requests* counts them."""

    def __init__(self, status: int | None = None) -> None:
        self.on = True
        self.requests = 0
        self.status = status

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Break the connection, or respond with the status."""
        if not self.on:
            return None
        self.requests += 1
        if self.status is None and request.transport is not None:
            request.transport.abort()
        return web.Response(status=self.status or 500)


@asynccontextmanager
async def syncer_at(
    *, factor: float = 50.0, retries: int = 1, observer: RecordingObserver | None = None
) -> AsyncGenerator[tuple[Syncer, Registries]]:
    """A syncer whose clock runs faster."""
    async with client(fast_time(factor), limits=Options().limits, policy=RetryPolicy()) as registries:
        registries.observer = observer or RecordingObserver()
        yield Syncer(registries, Options(retries=retries), in_memory(), rng=Random(1)), registries


async def mirror(
    syncer: Syncer, fake: FakeRegistry, count: int, *targets: str, stop: Shutdown | None = None
) -> list[CopyResult]:
    """Copy *count* tags of *fake* to the repository `copy` at each of the hosts *targets*."""
    for number in range(count):
        fake.load("app", single(f"seed {number}", layers=(700, 900)), f"v{number}")
    ends = [Repository(host, "copy") for host in targets]
    rules = [rule(f"v{number}", *ends, source=fake.repository("app")) for number in range(count)]
    return list((await syncer.sync(rules, stop=stop)).results)


@pytest.mark.parametrize("status", [None, 503, 500])
async def test_a_dead_target_gets_few_requests_and_other_targets_complete(status: int | None) -> None:
    """No layer is read in vain, and the other target of the same images is complete."""
    async with FakeRegistry() as fake, FakeRegistry() as dead, FakeRegistry() as fine, syncer_at() as (syncer, _):
        dead.intercept.append(outage := Outage(status))
        results = await mirror(syncer, fake, 40, dead.host, fine.host)
        reads = fake.requests.count(method="GET", kind="blob")
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    assert (len(failed), len(results)) == (40, 80)
    assert outage.requests <= 60  # What was on its way at first, and then a probe now and then.
    assert {(result.side, result.step) for result in failed} == {("target", "resolve")}
    assert reads == 3 * 40  # For the target that is fine.
    assert all(f"{dead.host}: down since " in (result.reason or "") for result in failed)


@pytest.mark.slow
async def test_a_thousand_images_to_a_dead_target_cost_a_few_dozen_requests() -> None:
    """The number of images and retries does not matter."""
    async with FakeRegistry() as fake, FakeRegistry() as dead, syncer_at(retries=2) as (syncer, _):
        dead.intercept.append(outage := Outage())
        began = time.monotonic()
        results = await mirror(syncer, fake, 1000, dead.host)
        print(f"{outage.requests} requests to the dead target, {time.monotonic() - began:.1f} s")  # noqa: T201 - the figure that the test is about
    assert [result.outcome for result in results] == [Outcome.FAILED] * 1000
    assert outage.requests <= 60
    assert fake.requests.count(method="GET", kind="blob") == 0


async def test_no_source_content_is_read_when_the_only_target_is_down() -> None:
    """Every image fails with the same reason."""
    async with FakeRegistry() as fake, syncer_at() as (syncer, _):
        results = await mirror(syncer, fake, 100, UNREACHABLE)
        assert fake.requests.count(method="GET") == 1  # The ping.
    assert {result.outcome for result in results} == {Outcome.FAILED}
    (reason,) = {result.reason for result in results}
    assert reason is not None
    assert reason.startswith(f"{UNREACHABLE}: down since ")
    assert reason.endswith("; nothing listens there")
    assert results[0].remedy == f"check the address and the port of {UNREACHABLE}, and that it is running"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
async def test_a_shortage_of_file_descriptors_is_no_outage(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The breaker stays closed, so images succeed as soon as there are descriptors again."""
    attempt, failures = dial.open_socket, 10**6

    async def fail(*arguments: Any) -> socket.socket:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise OSError(number, os.strerror(number))
        return await attempt(*arguments)

    monkeypatch.setattr(dial, "open_socket", fail)
    observer = RecordingObserver()
    async with FakeRegistry() as fake, FakeRegistry() as target, syncer_at(observer=observer) as (syncer, _):
        failed = await mirror(syncer, fake, 20, target.host)
        failures = 30  # Every image meets some of them.
        copied = await mirror(syncer, fake, 20, target.host)
    assert {result.outcome for result in failed} == {Outcome.FAILED}
    assert all("no free file descriptor (limit " in (result.reason or "") for result in failed)
    assert all("ulimit -n" in (result.remedy or "") for result in failed)
    assert {result.outcome for result in copied} == {Outcome.COPIED}
    assert observer.waits == []


async def test_a_registry_that_recovers_within_the_patience_fails_no_image() -> None:
    """Without any retry of images; the observer receives the wait and the recovery."""
    observer = RecordingObserver()
    async with FakeRegistry() as fake, FakeRegistry() as target, syncer_at(retries=0, observer=observer) as (syncer, _):
        await mirror(syncer, fake, 1, target.host)  # It has answered before.
        target.intercept.append(outage := Outage())

        async def come_back() -> None:
            await asyncio.sleep(0.5)  # Of the client's time: 25 s.
            outage.on = False

        async with asyncio.TaskGroup() as group:
            group.create_task(come_back())
            results = await mirror(syncer, fake, 50, target.host)
    assert {result.outcome for result in results} == {Outcome.COPIED, Outcome.UNCHANGED}
    assert outage.requests <= 80
    assert observer.waits
    assert all("down since" in wait.reason for wait in observer.waits)
    assert observer.resumed == [target.host]


async def test_a_shutdown_ends_the_wait_for_a_registry() -> None:
    """At once; waiting images are skipped, since nothing is known to be wrong with them."""
    stop, observer = Shutdown(drain_seconds=60), RecordingObserver()
    async with FakeRegistry() as fake, FakeRegistry() as target, syncer_at(factor=1, observer=observer) as (syncer, _):
        await mirror(syncer, fake, 1, target.host)
        target.intercept.append(Outage())

        async def stop_when_waiting() -> None:
            while not observer.waits:  # noqa: ASYNC110 - what is waited for is a note
                await asyncio.sleep(0.01)
            stop.requested.set()

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(stop_when_waiting())
            results = await mirror(syncer, fake, 20, target.host, stop=stop)
    assert len(results) == 20
    assert {(result.outcome, result.reason) for result in results} == {(Outcome.SKIPPED, "interrupted")}


async def test_after_the_patience_requests_fail_at_once_until_a_probe_succeeds() -> None:
    """A registry that is up again serves the next request."""
    async with FakeRegistry() as fake, syncer_at() as (_, registries):
        fake.load("app", single("image"), "v1")
        fake.intercept.append(outage := Outage())
        source = registries.source(fake.repository("app"))
        for _ in range(2):
            with pytest.raises(Unavailable):
                await source.resolve("v1")
        requests_before = outage.requests
        with pytest.raises(RegistryDown):
            await source.resolve("v1")
        assert outage.requests <= requests_before + 1
        outage.on = False
        await asyncio.sleep(8 / 50)
        assert (await source.resolve("v1")).digest == single("image").digest


async def test_a_cancelled_probe_lets_another_request_probe() -> None:
    """No request waits for a probe that was cancelled."""
    async with FakeRegistry() as fake, syncer_at() as (_, registries):
        fake.load("app", single("image"), "v1")
        limiter = registries.limiter(fake.host)
        for moment in range(5):
            limiter.note_failure("request", float(moment), Unavailable("gone"), congested=False)
        await asyncio.sleep(0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), limiter.request():
                await asyncio.Event().wait()
        async with asyncio.timeout(1):
            await registries.source(fake.repository("app")).resolve("v1")


async def test_a_stopped_wait_raises_interrupted() -> None:
    """Later requests need no wait or are interrupted too, until waits are allowed again."""
    async with FakeRegistry() as fake, client(fast_time()) as registries:
        fake.load("app", single("image"), "v1")
        source = registries.source(fake.repository("app"))
        await source.resolve("v1")
        registries.limiter(fake.host).pause(50)
        registries.end_waits()
        with pytest.raises(Interrupted):
            await source.resolve("v1")
        registries.resume_waits()
        async with asyncio.timeout(30):
            await source.resolve("v1")
