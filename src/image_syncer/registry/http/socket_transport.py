"""The lean path: every request that needs no proxy, over connections of our own."""

import asyncio
from ssl import SSLContext
from typing import Final

from image_syncer.errors import StoreError, Unavailable
from image_syncer.registry.http.address_policy import AddressPolicy
from image_syncer.registry.http.connection import Connection, new_scratch_buffer
from image_syncer.registry.http.dial import Dialer
from image_syncer.registry.http.exchange import Exchange, OutgoingRequest, StaleConnection
from image_syncer.registry.http.head import header_fields, request_head
from image_syncer.registry.http.head_pipeline import HeadPipeline
from image_syncer.registry.http.messages import Request, default_headers
from image_syncer.registry.http.pool import BufferPool, Pool, PoolKey
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.response import BodilessResponse, Lease, StreamedResponse
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.urls import Origin
from image_syncer.registry.settings import Limits

_REPEATABLE: Final = frozenset({"GET", "HEAD", "PUT", "DELETE"})  # Twice is as good as once (RFC 9110, 9.2.2).
_PIPELINES: Final = 1_000  # Origins that are remembered.
_FIELDS: Final = 64


class SocketTransport:
    """Every connection of ours; to be closed."""

    def __init__(self, limits: Limits, dialer: Dialer) -> None:
        self._limits = limits
        self._dialer = dialer
        self._pool = Pool()
        self._buffers = BufferPool()
        self._scratch = new_scratch_buffer()
        self._pipelines: dict[PoolKey, HeadPipeline] = {}
        self._headers = {**default_headers(), "Accept": "*/*"}
        self._body_headers = {**self._headers, "Content-Type": "application/octet-stream"}
        self._fields: dict[tuple[object, ...], bytes] = {}  # Most requests say the same as the one before.
        self._loop = asyncio.get_running_loop()

    def close(self) -> None:
        """Close every connection."""
        for pipeline in self._pipelines.values():
            pipeline.close()
        self._pool.close()
        self._dialer.close()

    async def send(
        self, request: Request, origin: Origin, tls: TlsPolicy, context: SSLContext | None, reach: AddressPolicy
    ) -> BodilessResponse:
        """Send *request* to *origin* and return its answer, to be released; *context* is None for plain HTTP.

        Raises as `Transport.ask` does.
        """
        head = self._head(request, origin)
        key = (origin, context, reach)
        if request.method == "HEAD" and request.body is None:
            answer = await self._pipeline(key).send(head, lambda: self._connect(key, tls))
            if answer is not None:
                return BodilessResponse(request, answer)
        message = OutgoingRequest(head, request.body, str(origin), self._loop.time() + self._limits.patience_seconds)
        connection = self._pool.take(key)
        if connection is not None:
            try:
                return await self._exchange(connection, key, request, message)
            except StaleConnection:
                if request.method not in _REPEATABLE or isinstance(request.body, RequestBody):
                    raise self._broke_off(origin) from None
        connection = await self._dialer.dial(origin, tls, context, reach)
        return await self._exchange(connection, key, request, message)

    async def _exchange(
        self, connection: Connection, key: PoolKey, request: Request, message: OutgoingRequest
    ) -> BodilessResponse:
        try:
            head, sent = await Exchange(connection, message, self._scratch, self._limits).run()
        except BaseException:
            connection.close()
            raise
        held = Lease(connection, key, self._pool, self._buffers, lasting=head.keep_alive and sent)
        return StreamedResponse(request, head, held, self._limits.stall_seconds)

    def _head(self, request: Request, origin: Origin) -> bytes:
        body = request.body
        length = None if body is None else len(body) if isinstance(body, bytes) else body.length
        own = self._headers if body is None else self._body_headers
        key = origin, body is None, *request.headers.items()
        fields = self._fields.get(key)
        if fields is None:
            given = {name.lower() for name in request.headers}
            headers = {name: value for name, value in own.items() if name.lower() not in given}
            if len(self._fields) >= _FIELDS:
                self._fields.clear()
            fields = self._fields[key] = header_fields(origin, {**headers, **request.headers})
        return request_head(request.method, request.url, origin, fields, length)

    def _pipeline(self, key: PoolKey) -> HeadPipeline:
        pipeline = self._pipelines.get(key)
        if pipeline is None:
            if len(self._pipelines) >= _PIPELINES:
                self._pipelines.pop(next(iter(self._pipelines))).close()
            pipeline = self._pipelines[key] = HeadPipeline(str(key[0]), self._limits, self._scratch)
        return pipeline

    async def _connect(self, key: PoolKey, tls: TlsPolicy) -> Connection:
        return self._pool.take(key) or await self._dialer.dial(key[0], tls, key[1], key[2])

    @staticmethod
    def _broke_off(origin: Origin) -> StoreError:
        return Unavailable(f"{origin}: the connection broke off before an answer")
