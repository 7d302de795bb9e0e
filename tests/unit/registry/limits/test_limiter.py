import asyncio
from contextlib import suppress

import pytest

from image_syncer.errors import RegistryDown, Unavailable
from image_syncer.registry.limits.limiter import HostLimiter
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import Limits
from support.clients import FakeTime, RecordingObserver

ONE = Limits(requests_per_host=1, transfers=1)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_requests_than_slots_run_at_once() -> None:
    """The second waits until the first is finished."""
    limiter, order = HostLimiter("registry.test", ONE, FakeTime().clock), list[str]()
    leave = asyncio.Event()

    async def work(name: str) -> None:
        async with limiter.request():
            order.append(name)
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(work("first"))
        group.create_task(work("second"))
        await settle()
        assert order == ["first"]
        leave.set()
    assert order == ["first", "second"]


async def test_each_operation_has_slots_of_its_own() -> None:
    """Uploads, downloads and requests do not wait for each other."""
    limiter = HostLimiter("registry.test", ONE, FakeTime().clock)
    async with asyncio.timeout(1), limiter.upload(), limiter.download(), limiter.request():
        pass


async def test_a_slot_is_released_after_a_failure() -> None:
    """An exception or a cancelled task does not lose a slot."""
    limiter = HostLimiter("registry.test", ONE, FakeTime().clock)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001), limiter.upload():
                await asyncio.Event().wait()
    async with asyncio.timeout(1), limiter.upload():
        pass


async def test_a_pause_delays_every_operation() -> None:
    """After Retry-After nothing starts at this registry."""
    time = FakeTime()
    limiter = HostLimiter("registry.test", ONE, time.clock)
    limiter.pause(30)
    limiter.pause(10)  # A shorter one does not end it.
    async with limiter.request():
        assert time.waits == [30]


async def test_a_queued_request_waits_for_a_pause_without_a_slot() -> None:
    """The pause applies to it too, and meanwhile the slot is free."""
    over, waiting = asyncio.Event(), list[float]()

    async def sleep(seconds: float) -> None:
        waiting.append(seconds)
        await over.wait()

    limiter, seconds = (
        HostLimiter("registry.test", ONE, Clock(lambda: 100.0 if over.is_set() else 0.0, sleep=sleep)),
        60,
    )
    entered = asyncio.Event()

    async def late() -> None:
        async with limiter.request():
            entered.set()

    async with asyncio.TaskGroup() as group:
        async with limiter.request():
            group.create_task(late())
            await settle()
            limiter.pause(seconds)
        await settle()
        assert waiting == [60]
        assert not entered.is_set()
        over.set()
    assert entered.is_set()


async def test_a_registry_that_stays_down_holds_no_slots() -> None:
    """Queued requests fail without a slot, so a daemon continues when the registry is back."""
    time = FakeTime()
    limiter, down = HostLimiter("registry.test", ONE, time.clock), Unavailable("no answer")

    async def late() -> None:
        with pytest.raises(RegistryDown):
            async with limiter.request():
                pytest.fail("a request ran although the registry is down")

    async with asyncio.TaskGroup() as group, limiter.request():
        group.create_task(late())
        await settle()
        with suppress(RegistryDown):
            while True:
                async with limiter.download():  # Only a probe, after a while.
                    limiter.note_failure("download", time.seconds, down, congested=True)
                    time.seconds += 0.1
    limiter.note_success("request", time.seconds)
    async with asyncio.timeout(1), limiter.request():
        pass


def test_a_pause_is_announced_once() -> None:
    """However many requests were refused; a later pause is announced again, and a short one never."""
    time, observer = FakeTime(), RecordingObserver()
    limiter = HostLimiter("registry.test", ONE, time.clock, observer=observer)
    for seconds in (1.5, 14.0, 14.0, 20.0):
        limiter.pause(seconds)
    time.seconds += 21
    limiter.pause(3.0)
    assert [wait.seconds for wait in observer.waits] == [14.0, 3.0]


async def test_a_small_blob_takes_no_transfer_or_request_slot() -> None:
    """Those stay free for its requests; small blobs have their own bounded slots."""
    limiter = HostLimiter("registry.test", Limits(requests_per_host=2, transfers=1), FakeTime().clock)
    async with asyncio.timeout(1), limiter.upload(), limiter.upload(1024), limiter.request(), limiter.request():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), limiter.upload(1024):
                pass


async def test_congestion_reduces_the_slots() -> None:
    """Of the refused operation; the others keep theirs."""
    limiter = HostLimiter("registry.test", Limits(requests_per_host=4, transfers=4), FakeTime().clock)
    limiter.note_congestion("upload", 999.0)
    assert [limiter.concurrency(operation) for operation in ("request", "upload", "download")] == [4, 2, 4]
    async with asyncio.timeout(1), limiter.upload(), limiter.upload():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), limiter.upload():
                pass


def test_more_small_requests_run_at_a_far_registry_than_at_a_near_one() -> None:
    """A near one answers so soon that more of them would only queue."""
    time, is_far = FakeTime(), [False]
    limits = Limits(requests_per_host=128, transfers=16)
    limiter = HostLimiter("registry.test", limits, time.clock)
    limiter.is_far = lambda: is_far[0]
    limiter.note_success("request", 0.0)
    assert limiter.concurrency("request") == 40
    is_far[0] = True
    time.seconds += 1.0
    limiter.note_success("request", 0.0)
    assert limiter.concurrency("request") == 128


def test_congestion_at_a_near_registry_halves_what_was_allowed_there() -> None:
    """Not the larger limit that a far registry would have had."""
    limiter = HostLimiter("registry.test", Limits(requests_per_host=128, transfers=16), FakeTime().clock)
    limiter.note_congestion("request", 100.0)
    assert limiter.concurrency("request") == 20
