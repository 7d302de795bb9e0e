"""The registry client against test registries, with a fake clock and faults on demand."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from aiohttp import web

from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.limits.retry import Clock, RetryPolicy
from image_syncer.registry.observer import SilentObserver, Wait
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Limits, RegistryAccount
from image_syncer.roles import Chunk, Opener
from image_syncer.testing import FakeRegistry
from image_syncer.testing.fake_registry import Interceptor
from image_syncer.testing.request_log import Kind, kind_of

QUICK = Limits(connect_seconds=5.0, stall_seconds=5.0)
NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@dataclass(slots=True)
class FakeTime:
    """A clock that advances only by its own sleeps; *waits* lists them, in seconds."""

    waits: list[float] = field(default_factory=list[float])
    seconds: float = 1000.0

    @property
    def clock(self) -> Clock:
        """Return the current time, for use as a clock."""
        return Clock(lambda: self.seconds, lambda: NOON + timedelta(seconds=self.seconds), self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Advance by *seconds* at once."""
        self.waits.append(seconds)
        self.seconds += seconds
        await asyncio.sleep(0)


@dataclass(slots=True)
class RecordingObserver(SilentObserver):
    """An observer that records its events."""

    waits: list[Wait] = field(default_factory=list[Wait])
    resumed: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    logins: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def on_wait(self, wait: Wait) -> None:
        """Keep the event."""
        self.waits.append(wait)

    def on_resume(self, registry: str) -> None:
        """Keep the event."""
        self.resumed.append(registry)

    def on_warning(self, text: str) -> None:
        """Keep the event."""
        self.warnings.append(text)

    def on_login(self, registry: str, user: str) -> None:
        """Keep the event."""
        self.logins.append((registry, user))


@asynccontextmanager
async def client(
    time: FakeTime | Clock | None = None,
    *,
    limits: Limits = QUICK,
    policy: RetryPolicy | None = None,
    access: Sequence[RegistryAccount] = (),
) -> AsyncGenerator[Registries]:
    """Open a client with no logins but *access*, and with waits that take no time."""
    keychain = Keychain(access, environment={}, home=Path("/nonexistent"))
    clock = time if isinstance(time, Clock) else (time or FakeTime()).clock
    async with Registries(
        keychain, environment={}, limits=limits, policy=policy, rng=Random(1), clock=clock
    ) as registries:
        yield registries


@dataclass(slots=True)
class Fault:
    """Answers the first *times* matching requests instead of the registry; *seen* counts them."""

    status: int
    method: str | None = None
    kind: Kind | None = None
    code: str = ""
    times: int = 1
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    seen: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Respond to *request*, or leave it to the registry."""
        fits = self.method in {None, request.method} and self.kind in {None, kind_of(request.path)}
        if not fits or request.path == "/v2/" or self.seen >= self.times:
            return None
        self.seen += 1
        await request.read()
        body = self.body
        if self.code:
            body = json.dumps({"errors": [{"code": self.code, "message": self.code.lower()}]}).encode()
        return web.Response(status=self.status, headers=dict(self.headers), body=body)


def instead(
    method: str, handler: Callable[[web.Request], web.StreamResponse], *, kind: Kind | None = None
) -> Interceptor:
    """Return an interceptor that handles every request of *method* (and *kind*) with *handler*."""

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        fits = request.method == method and kind in {None, kind_of(request.path)}
        return handler(request) if fits else None

    return intercept


def lose_answer(fake: FakeRegistry, method: str, kind: Kind, times: int = 1) -> None:
    """Let *fake* process the next *times* requests of *method*, and reset the connection instead of responding."""
    losing = times

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        nonlocal losing
        if request.method != method or kind_of(request.path) != kind or not losing:
            return None
        losing -= 1
        await request.match_info.handler(request)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    fake.intercept.append(intercept)


def failing(failure: Exception, *, after: Sequence[bytes] = ()) -> Opener:
    """Return content that yields *after* and then raises *failure*."""

    async def chunks() -> AsyncGenerator[Chunk]:
        for chunk in after:
            yield chunk
        raise failure

    @asynccontextmanager
    async def opener(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        assert start == 0
        yield chunks()

    return opener


def one_after_another(*contents: Opener) -> tuple[Opener, list[int]]:
    """Return an opener that opens *contents* in turn, the last one repeatedly, and the list of what was opened."""
    opened: list[int] = []

    @asynccontextmanager
    async def opener(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        number = min(len(opened), len(contents) - 1)
        opened.append(number)
        async with contents[number](start) as chunks:
            yield chunks

    return opener, opened


def fast_time(factor: float = 20.0) -> Clock:
    """Return a real clock that runs *factor* times as fast."""
    return Clock(lambda: time.monotonic() * factor, sleep=lambda seconds: asyncio.sleep(seconds / factor))


@dataclass(slots=True)
class Crowded:
    """Admits *limit* requests at once, each for *seconds*, and refuses the others with *status*.

    *seen* counts responses by status, *most* is the highest number of concurrent requests.
    """

    limit: int
    status: int = 429
    seconds: float = 0.005
    seen: Counter[int] = field(default_factory=Counter[int])
    inside: int = 0
    most: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Respond to *request* as the registry would, or refuse it."""
        if request.path == "/v2/":
            return None
        if self.inside >= self.limit:
            await request.read()
            self.seen[self.status] += 1
            return web.Response(status=self.status)
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(self.seconds)
            response = await request.match_info.handler(request)
        finally:
            self.inside -= 1
        self.seen[response.status] += 1
        return response
