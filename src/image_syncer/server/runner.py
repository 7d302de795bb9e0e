"""Runs the HTTP server in the current event loop: start, change settings while it runs, stop."""

import asyncio
import math
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final

import uvicorn
from fastapi import Response
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from image_syncer.errors import UsageError
from image_syncer.server.errors import failure
from image_syncer.server.http_protocol import HEAD_LIMIT, StrictProtocol, close_silent_connections
from image_syncer.server.metrics import Metrics
from image_syncer.server.server_settings import Listen, ServerSettings, allowed_hosts, check_exposure
from image_syncer.server.web_app import create_app
from image_syncer.server.web_backend import Backend

_BUSY_RESERVE: Final = 64
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
        hosts = allowed_hosts(self.listen, settings)
        return create_app(settings, self._backend, metrics=self._metrics, clock=self._clock, hosts=hosts)


class UnavailableSite:
    """What an address serves until the database answers: alive, not ready, and 503 for everything else."""

    def __init__(self, listen: Listen) -> None:
        self.listen = listen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        match scope["path"]:
            case "/healthz":
                response: Response = PlainTextResponse("ok\n")
            case "/readyz":
                response = PlainTextResponse("not ok\n", 503)
            case _:
                response = failure(503, "the database does not answer", headers={"retry-after": "5"})
        await response(scope, receive, send)


async def serve(
    site: Site | UnavailableSite,
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
        server = _Server(_config(site, drain_seconds), lambda: started(_address(listener)), head_seconds)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(server.serve(sockets=[listener]), name="http")
                await stop.wait()
                server.should_exit = True
        finally:
            server.close()


class _Server(uvicorn.Server):
    """Uvicorn's server without its signal handlers; reports its start and enforces the head timeout."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None], head_seconds: float) -> None:
        super().__init__(config)
        self._on_start = on_start
        self._head_seconds = head_seconds

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
        now = asyncio.get_running_loop().time()
        close_silent_connections(self.server_state.connections, now, seconds=self._head_seconds)
        return await super().on_tick(counter)

    def close(self) -> None:
        """Stop listening, also after a cancellation, when uvicorn does not get to it."""
        for server in getattr(self, "servers", ()):
            server.close()


def _config(site: Site | UnavailableSite, drain_seconds: float) -> uvicorn.Config:
    return uvicorn.Config(
        site,
        http=StrictProtocol,
        h11_max_incomplete_event_size=HEAD_LIMIT,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # Uvicorn logs prose for single requests; the middleware logs events instead.
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # All of them busy: then one more is answered 503. Idle ones make room before.
        limit_concurrency=StrictProtocol.most_connections + _BUSY_RESERVE,
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
