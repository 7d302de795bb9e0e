"""Bandwidth limits: what they let through, and what they let wait."""

import time
from collections.abc import AsyncGenerator

import pytest

from image_syncer.registry.http.throttle import Throttle, throttled_request
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Request, RequestBody
from image_syncer.registry.transport_settings import Bandwidth, BandwidthHours, TransportSettings
from support.clocks import ManualClock
from support.http_exchange import Open, Serve, both_transports, echo, get

KIB = 1024
MIB = 1024 * KIB
WORK = BandwidthHours(8 * 60, 18 * 60, up=1, down=2)
NIGHT = BandwidthHours(22 * 60, 6 * 60)


class Sleeps:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.clock = ManualClock(100.0)
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        """Move the clock."""
        self.slept.append(seconds)
        self.clock.now += seconds

    def throttle(self, bandwidth: Bandwidth) -> Throttle:
        """Return a throttle with this clock, at noon."""
        return Throttle(bandwidth, monotonic=self.clock, minute=lambda: 12 * 60, sleep=self.sleep)


@pytest.mark.parametrize(
    ("minute", "up", "down"),
    [
        (8 * 60 - 1, 10, 20),
        (8 * 60, 1, 2),
        (18 * 60 - 1, 1, 2),
        (18 * 60, 10, 20),
        (22 * 60, None, None),
        (0, None, None),
        (6 * 60 - 1, None, None),
        (6 * 60, 10, 20),
    ],
)
def test_hours_come_before_the_limits_of_the_day(minute: int, up: int | None, down: int | None) -> None:
    """They begin with their first minute, end before their last one, and may go over midnight."""
    bandwidth = Bandwidth(10, 20, (WORK, NIGHT))
    assert (bandwidth.rate("up", minute), bandwidth.rate("down", minute)) == (up, down)


def test_hours_until_the_end_of_the_day() -> None:
    """24:00 is the first minute of no day."""
    assert BandwidthHours(23 * 60, 24 * 60).contains(24 * 60 - 1)
    assert not BandwidthHours(23 * 60, 24 * 60).contains(0)


async def test_bytes_take_the_time_that_the_rate_says() -> None:
    """After a quarter of a second without bytes, no more is made up for."""
    sleeps = Sleeps()
    throttle = sleeps.throttle(Bandwidth(down=1000))
    for _ in range(10):
        await throttle.wait("down", 500)
    assert sleeps.clock.now == pytest.approx(100.0 + 5.0 - 0.25)
    sleeps.clock.now += 60.0
    await throttle.wait("down", 500)
    assert sleeps.slept[-1] == pytest.approx(0.25)


async def test_a_direction_without_a_limit_never_waits() -> None:
    """The directions are counted apart."""
    sleeps = Sleeps()
    throttle = sleeps.throttle(Bandwidth(down=1))
    await throttle.wait("up", 10**9)
    assert sleeps.slept == []


async def test_a_streamed_body_is_sent_in_small_pieces() -> None:
    """A large piece would leave the connection idle for its whole time. The content stays the same."""
    sleeps = Sleeps()
    content = bytes(range(256)) * 4 * KIB

    async def chunks() -> AsyncGenerator[bytes]:
        yield content

    request = Request("PUT", "http://a.example/", body=RequestBody(chunks, len(content)))
    throttled = await throttled_request(request, [sleeps.throttle(Bandwidth(up=256 * KIB))])
    assert isinstance(throttled.body, RequestBody)
    assert throttled.body.length == len(content)
    assert sleeps.slept == []
    pieces = [bytes(piece) async for piece in throttled.body.chunks()]
    assert b"".join(pieces) == content
    assert {len(piece) for piece in pieces} == {64 * KIB}
    assert sum(sleeps.slept) == pytest.approx(4.0 - 0.25)


async def test_a_body_in_memory_waits_before_it_is_sent() -> None:
    """It goes out together with the head."""
    sleeps = Sleeps()
    request = Request("PUT", "http://a.example/", body=bytes(1000))
    assert await throttled_request(request, [sleeps.throttle(Bandwidth(up=1000))]) is request
    assert sleeps.slept == [pytest.approx(0.75)]


@both_transports
async def test_requests_are_as_slow_as_the_limits(serve: Serve, open_transport: Open) -> None:
    """Of one registry, and of all together. They may be slower on a busy machine, never quicker."""
    url = f"http://127.0.0.1:{await serve(echo)}/"
    base = await open_transport()
    own = base.with_settings(TransportSettings("a.example", bandwidth=Bandwidth(down=2 * MIB)))
    content = bytes(900 * KIB)

    async def seconds() -> float:
        began = time.monotonic()
        async with own.request(Request("PUT", url, body=content), tls=TlsPolicy("a.example")) as response:
            assert await response.read(MIB) == content
        return time.monotonic() - began

    assert await seconds() > 0.15
    base.limit_bandwidth(Bandwidth(up=2 * MIB))
    assert await seconds() > 0.3
    assert await get(base, url) == b""
