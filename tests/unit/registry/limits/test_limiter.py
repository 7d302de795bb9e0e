import asyncio
from contextlib import suppress

import pytest

from image_syncer.errors import RegistryDown, Unavailable
from image_syncer.registry.limits.limiter import HostLimiter
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import Limits
from support.clients import FakeTime, Told

ONE = Limits(requests_per_host=1, transfers=1)


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_than_the_limit_go_on_at_once() -> None:
    """The second waits until the first is through."""
    throttle, order = HostLimiter("registry.test", ONE, FakeTime().clock), list[str]()
    leave = asyncio.Event()

    async def work(name: str) -> None:
        async with throttle.request():
            order.append(name)
            await leave.wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(work("first"))
        group.create_task(work("second"))
        await settle()
        assert order == ["first"]
        leave.set()
    assert order == ["first", "second"]


async def test_small_requests_pass_big_blobs() -> None:
    """Uploads, downloads and requests have places of their own, so none of them waits for another kind."""
    throttle = HostLimiter("registry.test", ONE, FakeTime().clock)
    async with asyncio.timeout(1), throttle.upload(), throttle.download(), throttle.request():
        pass


async def test_a_place_is_given_back_after_a_failure() -> None:
    """An exception or a cancelled task does not cost a place for ever."""
    throttle = HostLimiter("registry.test", ONE, FakeTime().clock)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001), throttle.upload():
                await asyncio.Event().wait()
    async with asyncio.timeout(1), throttle.upload():
        pass


async def test_a_pause_holds_everything_back() -> None:
    """After Retry-After nothing begins at this registry, whatever its kind."""
    time = FakeTime()
    throttle = HostLimiter("registry.test", ONE, time.clock)
    throttle.pause(30)
    throttle.pause(10)  # A shorter one does not end it.
    async with throttle.request():
        assert time.waits == [30]


async def test_who_stood_in_the_queue_when_the_pause_began_waits_without_a_place() -> None:
    """The pause holds for them as well, and meanwhile the place is free."""
    over, waiting = asyncio.Event(), list[float]()

    async def sleep(seconds: float) -> None:
        waiting.append(seconds)
        await over.wait()

    throttle, seconds = (
        HostLimiter("registry.test", ONE, Clock(lambda: 100.0 if over.is_set() else 0.0, sleep=sleep)),
        60,
    )
    entered = asyncio.Event()

    async def late() -> None:
        async with throttle.request():
            entered.set()

    async with asyncio.TaskGroup() as group:
        async with throttle.request():
            group.create_task(late())
            await settle()
            throttle.pause(seconds)
        await settle()
        assert waiting == [60]
        assert not entered.is_set()
        over.set()
    assert entered.is_set()


async def test_a_registry_that_is_given_up_keeps_no_places() -> None:
    """Whoever stood in the queue then fails without one, so that a daemon can go on when the registry is back."""
    time = FakeTime()
    throttle, down = HostLimiter("registry.test", ONE, time.clock), Unavailable("no answer")

    async def late() -> None:
        with pytest.raises(RegistryDown):
            async with throttle.request():
                pytest.fail("nobody may ask a registry that is given up")

    async with asyncio.TaskGroup() as group, throttle.request():
        group.create_task(late())
        await settle()
        with suppress(RegistryDown):
            while True:
                async with throttle.download():  # Nobody but a probe, after a while.
                    throttle.note_failure("download", time.seconds, down, congested=True)
                    time.seconds += 0.1
    throttle.note_success("request", time.seconds)
    async with asyncio.timeout(1), throttle.request():
        pass


def test_a_pause_is_told_once() -> None:
    """However many requests were refused; a later pause is another one, and a moment is none."""
    time, told = FakeTime(), Told()
    throttle = HostLimiter("registry.test", ONE, time.clock, observer=told)
    for seconds in (1.5, 14.0, 14.0, 20.0):
        throttle.pause(seconds)
    time.seconds += 21
    throttle.pause(3.0)
    assert [wait.seconds for wait in told.waits] == [14.0, 3.0]


async def test_a_small_blob_holds_no_transfer_s_place() -> None:
    """Nor a request's while it waits: those are for its requests. Their number is bounded all the same."""
    throttle = HostLimiter("registry.test", Limits(requests_per_host=2, transfers=1), FakeTime().clock)
    async with asyncio.timeout(1), throttle.upload(), throttle.upload(1024), throttle.request(), throttle.request():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), throttle.upload(1024):
                pass


async def test_fewer_places_are_given_out_after_refusals() -> None:
    """Of the operation that was refused; the others keep theirs."""
    throttle = HostLimiter("registry.test", Limits(requests_per_host=4, transfers=4), FakeTime().clock)
    throttle.note_congestion("upload", 999.0)
    assert [throttle.concurrency(operation) for operation in ("request", "upload", "download")] == [4, 2, 4]
    async with asyncio.timeout(1), throttle.upload(), throttle.upload():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), throttle.upload():
                pass
