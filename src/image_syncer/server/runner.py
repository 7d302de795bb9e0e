"""Runs the HTTP server in the current event loop: start, change settings while it runs, stop."""

import asyncio
import math
import socket
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from image_syncer.errors import UsageError
from image_syncer.server.metrics import Metrics
from image_syncer.server.server_settings import Listen, ServerSettings, check_exposure
from image_syncer.server.web_app import create_app
from image_syncer.server.web_backend import Backend

_CONNECTIONS: Final = 1000
_BACKLOG: Final = 1024
_IDLE_SECONDS: Final = 15


class Site:
    """The application that an address serves, with its current settings.

    `UsageError` if the settings would open it to other machines without `allow_open`.
    """

    def __init__(
        self,
        listen: Listen,
        settings: ServerSettings,
        backend: Backend,
        *,
        metrics: Metrics,
        clock: Callable[[], float],
    ) -> None:
        self.listen = listen
        self._backend = backend
        self._metrics = metrics
        self._clock = clock
        self._application = self._build(settings)

    def change(self, settings: ServerSettings) -> None:
        """Use other settings for all further requests; after a `UsageError` the old ones stay in force."""
        self._application = self._build(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._application(scope, receive, send)

    def _build(self, settings: ServerSettings) -> ASGIApp:
        check_exposure(self.listen, settings)
        return create_app(settings, self._backend, metrics=self._metrics, clock=self._clock)


async def serve(
    site: Site,
    *,
    stop: asyncio.Event,
    started: Callable[[Listen], None],
    drain_seconds: float = 10.0,
    head_seconds: float = 15.0,
) -> None:
    """Serve *site* until *stop* is set, then finish open requests within *drain_seconds*, and return.

    *started* gets the address once the server accepts requests. A connection that sends no complete request head
    within *head_seconds* is closed. The caller handles signals. `UsageError` if the address cannot be bound.
    """
    with _listener(site.listen) as listener:
        head_timeout = _HeadTimeout(head_seconds)
        server = _Server(_config(site, drain_seconds), lambda: started(_address(listener)), head_timeout)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]), name="http")
                await stop.wait()
                server.should_exit = True
        finally:
            server.close()


class _HeadTimeout:
    """Closes connections that send no complete request head in time: uvicorn waits for it without a limit.

    Otherwise a stranger could open all connections that the server accepts, send nothing, and lock out the others.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._waiting: dict[H11Protocol, tuple[RequestResponseCycle | None, float]] = {}

    def sweep(self, connections: Iterable[object], now: float) -> None:
        """Check all *connections*; *now* is in seconds of any clock."""
        waiting: dict[H11Protocol, tuple[RequestResponseCycle | None, float]] = {}
        for connection in connections:
            if not isinstance(connection, H11Protocol):
                continue
            last = _last_request(connection)
            if last is not None and not last.response_complete:
                continue
            known, since = self._waiting.get(connection, (last, now))
            # A new request since the last check starts a new wait.
            waiting[connection] = (last, since if known is last else now)
        self._waiting = waiting
        for connection, (_, since) in waiting.items():
            if now - since >= self._seconds:
                connection.transport.close()


class _Server(uvicorn.Server):
    """Uvicorn's server without its signal handlers; reports its start and enforces the head timeout."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], head_timeout: _HeadTimeout) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._head_timeout = head_timeout

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no signal handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to accept requests."""
        await super().startup(sockets)
        self._on_start()

    async def on_tick(self, counter: int) -> bool:
        """Run ten times a second."""
        self._head_timeout.sweep(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def close(self) -> None:
        """Stop listening, also after a cancellation, when uvicorn does not get to it."""
        for server in getattr(self, "servers", ()):
            server.close()


def _last_request(connection: H11Protocol) -> RequestResponseCycle | None:
    return cast("RequestResponseCycle | None", connection.cycle)  # None until the first head is complete.


def _config(site: Site, drain_seconds: float) -> uvicorn.Config:
    return uvicorn.Config(
        site,
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # Uvicorn logs prose for single requests; the middleware logs events instead.
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_CONNECTIONS,
        backlog=_BACKLOG,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=math.ceil(drain_seconds),
    )


@contextmanager
def _listener(listen: Listen) -> Generator[socket.socket]:
    try:
        listener = _bind(listen)
    except OSError as error:
        raise UsageError(
            f"{listen}: cannot listen: {error.strerror or error}", remedy="choose another address or port"
        ) from error
    with listener:
        yield listener


def _bind(listen: Listen) -> socket.socket:
    address = (listen.host, listen.port)
    if listen.host:
        [(family, *_), *_] = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return socket.create_server(address, family=family, backlog=_BACKLOG)
    if socket.has_dualstack_ipv6():
        return socket.create_server(address, family=socket.AF_INET6, backlog=_BACKLOG, dualstack_ipv6=True)
    return socket.create_server(address, backlog=_BACKLOG)


def _address(listener: socket.socket) -> Listen:
    host, port, *_ = listener.getsockname()
    return Listen(host, port)
