"""The transport over our own HTTP/1.1 client, for requests without a proxy."""

import asyncio
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from math import inf
from ssl import SSLContext
from typing import Final

from image_syncer.concurrency.taskpool import for_each
from image_syncer.errors import StoreError, Unavailable
from image_syncer.registry.http.address_policy import AddressPolicy
from image_syncer.registry.http.connection import Connection, new_scratch_buffer
from image_syncer.registry.http.descriptors import connection_limit, connections_in_use
from image_syncer.registry.http.dial import Dialer
from image_syncer.registry.http.exchange import Exchange, OutgoingRequest, StaleConnection
from image_syncer.registry.http.head import header_fields, request_head
from image_syncer.registry.http.head_pipeline import FAR_SECONDS, HeadPipeline
from image_syncer.registry.http.io_threads import IoThreads
from image_syncer.registry.http.messages import Request, default_headers
from image_syncer.registry.http.pool import BufferPool, Pool, PoolKey
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.response import BodilessResponse, Lease, StreamedResponse
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.urls import Origin
from image_syncer.registry.settings import Limits

_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})  # Idempotent (RFC 9110, 9.2.2).
_MOST_PIPELINES: Final = 1_000
_CACHED_HEADERS: Final = 64
_POLL_SECONDS: Final = 0.02  # At the limit of connections, which few processes ever reach.


class SocketTransport:
    """Owns the connection pool and the pipelines; to be closed. *threads* may be shared with other transports."""

    def __init__(self, limits: Limits, dialer: Dialer, threads: IoThreads) -> None:
        self._limits = limits
        self._dialer = dialer
        self._pool = Pool()
        self._buffers = BufferPool()
        self._threads = threads
        self._scratch = new_scratch_buffer()
        self._pipelines: dict[PoolKey, HeadPipeline] = {}
        self._connections: Counter[PoolKey] = Counter()  # Open or being opened.
        self._opening: dict[PoolKey, deque[asyncio.Future[None]]] = {}  # Ahead, and not waited for yet.
        self._round_trips: dict[PoolKey, float] = {}
        self._headers = {**default_headers(), "Accept": "*/*"}
        self._body_headers = {**self._headers, "Content-Type": "application/octet-stream"}
        self._fields: dict[
            tuple[object, ...], bytes
        ] = {}  # Encoded headers: most requests repeat those of an earlier one.
        self._most_connections = connection_limit()
        self._loop = asyncio.get_running_loop()
        dialer.connections.closers.append(self._close_idle)

    def close(self) -> None:
        """Close every connection."""
        self._dialer.connections.closers.remove(self._close_idle)
        for pipeline in self._pipelines.values():
            pipeline.close()
        self._pool.close()
        self._dialer.close()
        self._threads.close()

    async def send(
        self, request: Request, origin: Origin, tls: TlsPolicy, context: SSLContext | None, reach: AddressPolicy
    ) -> BodilessResponse:
        """Send *request* to *origin* and return the response, to be released; *context* is None for plain HTTP.

        Raises as `Transport.send` does.
        """
        head = self._head(request, origin)
        key = (origin, context, reach)
        if request.method == "HEAD" and request.body is None:
            response_head = await self._pipeline(key).send(head, lambda: self._connect(key, tls))
            if response_head is not None:
                return BodilessResponse(request, response_head)
        until = self._loop.time() + self._limits.patience_seconds
        outgoing = OutgoingRequest(head, request.body, str(origin), tls, until)
        connection = self._take(key)
        while True:
            if connection is None:
                connection = await self._connect(key, tls)
            began = self._loop.time()
            try:
                head, sent = await Exchange(connection, outgoing, self._scratch, self._limits, self._threads).run()
                break
            except StaleConnection:  # Only a pooled connection can be stale, so the next attempt is the last.
                connection.close()
                connection = None
                if request.method not in _IDEMPOTENT or isinstance(request.body, RequestBody):
                    raise _broken(origin) from None
            except BaseException:
                connection.close()
                raise
        if request.body is None:
            self._round_trips[key] = min(self._round_trips.get(key, inf), self._loop.time() - began)
        lease = Lease(connection, key, self._pool, self._buffers, self._threads, keep_alive=head.keep_alive and sent)
        return StreamedResponse(request, head, lease, self._limits.stall_seconds)

    async def open_ahead(self, key: PoolKey, tls: TlsPolicy, count: int, *, only_far: bool) -> None:
        """Open idle connections until there are *count*, in use or not; with *only_far* only to a far origin.

        Requests that follow save the round trips of connecting. A failure is left to them. Near the limit of
        connections none is opened.
        """
        origin, context, reach = key
        if only_far and not self.is_far(key):
            return
        room = self._most_connections // 2 - self._dialer.count
        missing = min(count - self._connections[key], room)

        async def open_one(_: int) -> None:
            opening = self._loop.create_future()
            waiting = self._opening.setdefault(key, deque())
            waiting.append(opening)
            connection = None
            try:
                with suppress(StoreError), self._counted(key):
                    connection = await self._dialer.dial(origin, tls, context, reach)
                    self._count_until_closed(key, connection)
            finally:
                if opening in waiting:
                    waiting.remove(opening)
                if connection is not None:
                    self._pool.put(key, connection)
                if not opening.done():
                    opening.set_result(None)

        await for_each(range(missing), open_one, width=missing)

    def is_far(self, key: PoolKey) -> bool:
        """Whether the shortest round trip that was measured is long; False before the first."""
        pipeline = self._pipelines.get(key)
        by_head = inf if pipeline is None or pipeline.round_trip is None else pipeline.round_trip
        return FAR_SECONDS < min(by_head, self._round_trips.get(key, inf)) < inf

    @contextmanager
    def _counted(self, key: PoolKey) -> Generator[None]:
        """Count a connection that is being opened."""
        self._connections[key] += 1
        try:
            yield
        finally:
            self._connections[key] -= 1

    def _count_until_closed(self, key: PoolKey, connection: Connection) -> None:
        on_close = connection.on_close

        def closed(connection: Connection) -> None:
            self._connections[key] -= 1
            on_close(connection)

        self._connections[key] += 1
        connection.on_close = closed

    def _head(self, request: Request, origin: Origin) -> bytes:
        body = request.body
        length = None if body is None else len(body) if isinstance(body, bytes) else body.length
        is_chunked = body is not None and length is None
        defaults = self._headers if body is None else self._body_headers
        key = origin, body is None, is_chunked, *request.headers.items()
        fields = self._fields.get(key)
        if fields is None:
            given = {name.lower() for name in request.headers}
            headers = {name: value for name, value in defaults.items() if name.lower() not in given}
            if len(self._fields) >= _CACHED_HEADERS:
                self._fields.clear()
            coding = {"Transfer-Encoding": "chunked"} if is_chunked else {}
            fields = self._fields[key] = header_fields(origin, {**headers, **request.headers, **coding})
        return request_head(request.method, request.url, origin, fields, length, is_chunked=is_chunked)

    def _pipeline(self, key: PoolKey) -> HeadPipeline:
        pipeline = self._pipelines.get(key)
        if pipeline is None:
            if len(self._pipelines) >= _MOST_PIPELINES:
                self._pipelines.pop(next(iter(self._pipelines))).close()
            pipeline = self._pipelines[key] = HeadPipeline(str(key[0]), self._limits, self._scratch)
        return pipeline

    def _take(self, key: PoolKey) -> Connection | None:
        """Return an idle connection, if need be one that carried HEADs: a new one costs round trips."""
        connection = self._pool.take(key)
        if connection is None and (pipeline := self._pipelines.get(key)) is not None:
            connection = pipeline.take_idle()
        return connection

    async def _connect(self, key: PoolKey, tls: TlsPolicy) -> Connection:
        """Return an idle connection, one that is being opened ahead, or else a new one."""
        connection = self._pool.take(key)
        if connection is None and (opening := self._opening.get(key)):
            await opening.popleft()
            connection = self._pool.take(key)
        return connection or await self._dial(key, tls)

    async def _dial(self, key: PoolKey, tls: TlsPolicy) -> Connection:
        """Open a connection. At the limit of this process, close an idle one first, or wait until one ends.

        The wait has an end, since tasks may wait for each other here: one that reads a blob holds a connection while it
        waits for the one of its upload. The error is retried, and a copy that fails in the end releases what it holds.
        """
        origin, context, reach = key
        until = self._loop.time() + self._limits.connect_seconds
        while self._dialer.count >= self._most_connections and not self._dialer.connections.close_idle():
            if self._loop.time() >= until:
                raise connections_in_use(str(origin), self._limits.connect_seconds)
            await asyncio.sleep(_POLL_SECONDS)
        with self._counted(key):
            connection = await self._dialer.dial(origin, tls, context, reach)
        self._count_until_closed(key, connection)
        return connection

    def _close_idle(self) -> bool:
        return self._pool.close_oldest() or any(pipeline.close_idle() for pipeline in self._pipelines.values())


def _broken(origin: Origin) -> StoreError:
    return Unavailable(f"{origin}: the connection broke off before a response")
