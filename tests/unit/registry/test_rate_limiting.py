"""Whole runs against a rate-limiting registry, with the real client and a faster clock."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from random import Random

import pytest
from aiohttp import web

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.errors import RateLimited
from image_syncer.registry.limits.limiter import NEAR_REQUESTS
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.observer import Wait
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import HostLimits, Limits
from image_syncer.roles import Chunk
from image_syncer.structs import replace
from image_syncer.sync.result import Outcome
from image_syncer.testing import Blob, FakeRegistry
from image_syncer.testing.images import single
from support.clients import QUICK, Crowded, FakeTime, Fault, RecordingObserver, client, fast_time
from support.runs import rule

BIG = Blob.generated("big", 1_500_000)
LIMITS = replace(Options().limits, connect_seconds=5.0, stall_seconds=5.0)


@asynccontextmanager
async def registries_at(limits: Limits = LIMITS) -> AsyncGenerator[Registries]:
    """A client that never retries whole images, so that a refused request would fail one."""
    async with client(fast_time(), limits=limits) as registries:
        yield registries


async def mirror(registries: Registries, fake: FakeRegistry, count: int) -> list[Outcome]:
    """Copy *count* repositories inside *fake* and return the outcomes."""
    for number in range(count):
        fake.load(f"app{number}", single(f"seed {number}", layers=(700, 900, 1100)), "v1")
    rules = [
        rule("v1", fake.repository(f"copy{number}"), source=fake.repository(f"app{number}")) for number in range(count)
    ]
    result = await Syncer(registries, Options(retries=0), in_memory(), rng=Random(1)).sync(rules)
    return [image.outcome for image in result.results]


@pytest.mark.parametrize(("limit", "refusals"), [(4, 60), (12, 60)])
async def test_concurrency_adapts_to_a_registry_with_a_low_limit(limit: int, refusals: int) -> None:
    """Every image arrives, the slots settle near the registry's limit, and few requests are refused."""
    async with FakeRegistry() as fake, registries_at() as registries:
        fake.intercept.append(crowd := Crowded(limit))
        outcomes = await mirror(registries, fake, 40)
        slots = registries.limiter(fake.host).concurrency("request")
    print(f"limit {limit}: {crowd.seen.total()} requests, {crowd.seen[429]} of them refused, slots {slots}")  # noqa: T201 - the figure that the test is about
    assert outcomes == [Outcome.COPIED] * 40
    assert slots <= 2 * limit  # It probes beyond now and then.
    assert crowd.seen[429] <= refusals


async def test_a_burst_of_503_reduces_concurrency_and_fails_no_image() -> None:
    """Three concurrent failures in the middle of a run are retried, and the slots recover."""
    async with FakeRegistry() as fake, registries_at() as registries:
        fake.intercept.append(Fault(503, "HEAD", "blob", times=3))
        fake.intercept.append(Fault(503, "PUT", "upload", times=3))
        assert await mirror(registries, fake, 10) == [Outcome.COPIED] * 10
        assert registries.limiter(fake.host).concurrency("request") >= LIMITS.requests_per_host // 4


async def test_a_busy_client_does_not_reduce_concurrency() -> None:
    """Many requests on few cores are slow for reasons of the client."""
    async with FakeRegistry() as fake, registries_at() as registries:
        fake.intercept.append(Crowded(1000, seconds=0.05))
        assert await mirror(registries, fake, 20) == [Outcome.COPIED] * 20
        assert registries.limiter(fake.host).concurrency("request") >= NEAR_REQUESTS  # More if it seems far.


@pytest.mark.parametrize("slots", [1, 2])
async def test_more_pushes_than_slots_never_deadlock(slots: int) -> None:
    """One registry is source and target at once; small and large blobs go at the same time."""
    blobs = [Blob.generated(f"small {number}", 1000 + number) for number in range(12)]
    blobs += [Blob.generated(f"big {number}", 1_100_000 + number) for number in range(6)]
    limits = replace(QUICK, transfers=slots, requests_per_host=slots)
    async with FakeRegistry() as fake, client(limits=limits) as registries:
        fake.load("app", single("all", layers=blobs))
        source, target = registries.source(fake.repository("app")), registries.target(fake.repository("copy"))

        async def push(blob: Blob) -> None:
            await target.push_blob(blob.descriptor, partial(source.open, blob.descriptor))

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for blob in blobs:
                group.create_task(push(blob))
        assert {blob.digest for blob in blobs} <= set(fake.content("copy").blobs)


async def test_rate_limits_without_retry_after_back_off_exponentially() -> None:
    """Ten in a row, far more than attempts: pauses of 1, 2, 4 ... s, shared by all requests to the registry."""
    time = FakeTime()
    async with FakeRegistry() as fake, client(time) as registries:
        fake.load("app", single("image"), "v1")
        fake.intercept.append(fault := Fault(429, "HEAD", times=10))
        await registries.source(fake.repository("app")).resolve("v1")
    assert fault.seen == 10
    assert time.waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]


async def test_the_patience_with_a_rate_limiting_registry_ends() -> None:
    """For all requests together: the next one fails at once, with the registry's own message."""
    time = FakeTime()
    async with FakeRegistry() as fake, client(time, policy=RetryPolicy(attempts=1)) as registries:
        fake.intercept.append(Fault(429, "GET", times=999, code="TOOMANYREQUESTS"))
        source = registries.source(fake.repository("app"))
        with pytest.raises(RateLimited, match=r"too many requests; .* 429: TOOMANYREQUESTS"):
            await source.manifest("v1")
        assert 540 <= sum(time.waits) <= 660
        waits = len(time.waits)
        with pytest.raises(RateLimited):
            await source.manifest("v2")
        assert len(time.waits) <= waits + 1


async def test_retry_after_zero_backs_off_as_if_it_were_absent() -> None:
    """It must not loop without a wait."""
    time = FakeTime()
    async with FakeRegistry() as fake, client(time) as registries:
        fake.load("app", single("image"), "v1")
        fake.intercept.append(Fault(429, "HEAD", times=5, headers={"Retry-After": "0"}))
        await registries.source(fake.repository("app")).resolve("v1")
    assert time.waits == [1, 2, 4, 8, 16]


async def test_the_observer_receives_long_waits() -> None:
    """With registry and seconds; short waits are not announced."""
    observer, time = RecordingObserver(), FakeTime()
    async with FakeRegistry() as fake, client(time) as registries:
        registries.observer = observer
        fake.load("app", single("image"), "v1")
        fake.intercept.append(Fault(429, "HEAD", headers={"Retry-After": "14"}))
        fake.intercept.append(Fault(429, "GET", times=1))
        source = registries.source(fake.repository("app"))
        await source.resolve("v1")
        await source.manifest("v1")
    assert observer.waits == [Wait(fake.host, 14.0, "asked to wait")]


async def test_a_slow_source_holds_no_slot_at_the_target() -> None:
    """While one content cannot be opened, other blobs use the only slot; then the first one goes, too."""
    ready, began = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def slow(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        began.set()
        await ready.wait()
        async with BIG.open(start) as chunks:
            yield chunks

    others = [Blob.generated(f"other {number}", 1_200_000) for number in range(2)]
    limits = replace(QUICK, transfers=1, opening_seconds=0.05)
    async with FakeRegistry() as fake, client(limits=limits) as registries, asyncio.timeout(10):
        target = registries.target(fake.repository("copy"))
        async with asyncio.TaskGroup() as group:
            group.create_task(target.push_blob(BIG.descriptor, slow))
            await began.wait()
            for other in others:
                await target.push_blob(other.descriptor, other.open)
                await asyncio.sleep(6 * limits.opening_seconds)
            assert set(fake.content("copy").blobs) == {other.digest for other in others}
            ready.set()
        assert BIG.digest in fake.content("copy").blobs
        assert fake.unfinished_uploads == 0


async def test_a_rate_limited_source_does_not_slow_the_target_down() -> None:
    """Content that breaks off with a requested delay pauses its own registry only."""

    @asynccontextmanager
    async def tired(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        assert start == 0

        async def chunks() -> AsyncGenerator[Chunk]:
            yield b"some"
            raise RateLimited("the source is tired", retry_after=500, status=429)

        yield chunks()

    time = FakeTime()
    async with FakeRegistry() as fake, client(time, policy=RetryPolicy(patience=100)) as registries:
        with pytest.raises(RateLimited, match="tired"):
            await registries.target(fake.repository("copy")).push_blob(BIG.descriptor, tired)
        assert registries.limiter(fake.host).concurrency("upload") == QUICK.transfers
    assert time.waits == []


async def test_host_limits_apply_to_their_host_only() -> None:
    """Every other host has the general limits."""
    limits = replace(QUICK, host_limits={"a.example": HostLimits(transfers=2), "b.example": HostLimits(2, 3)})
    async with client(limits=limits) as registries:
        limits_seen = [
            (registries.limiter(host).concurrency("upload"), registries.limiter(host).concurrency("request"))
            for host in ("a.example", "b.example", "c.example")
        ]
    assert limits_seen == [(2, 32), (2, 3), (5, 32)]


async def test_a_transfer_limit_of_one_sends_one_blob_at_a_time() -> None:
    """As the registry sees it, however many blobs wait."""
    busy = [0, 0]

    async def watch(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PUT":
            return None
        busy[0] += 1
        busy[1] = max(busy)
        try:
            return await request.match_info.handler(request)
        finally:
            busy[0] -= 1

    async with FakeRegistry() as fake:
        fake.intercept.append(watch)
        async with client(limits=replace(QUICK, host_limits={fake.host: HostLimits(transfers=1)})) as registries:
            target = registries.target(fake.repository("copy"))
            async with asyncio.TaskGroup() as group:
                for blob in (Blob.generated(f"big {number}", 1_200_000) for number in range(4)):
                    group.create_task(target.push_blob(blob.descriptor, blob.open))
    assert busy == [0, 1]
