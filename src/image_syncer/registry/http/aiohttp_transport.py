"""The path by aiohttp: through proxies, and for bodies of unknown length. Imported when the first of these comes.

The only shipped module that knows the HTTP library (docs/adr/0003-http-library.md). Its pitfalls are met here: nothing
is re-encoded, decompressed, redirected, remembered as a cookie or read from netrc behind our back.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from http import HTTPStatus
from ssl import SSLContext
from typing import Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from image_syncer.errors import ProtocolError, StoreError, Unauthorized, Unavailable
from image_syncer.registry.http.address_policy import ANYWHERE, AddressPolicy
from image_syncer.registry.http.connect_errors import (
    explain_break,
    explain_connecting,
    explain_overdue,
    explain_resolving,
    os_reason,
)
from image_syncer.registry.http.dial import Resolver
from image_syncer.registry.http.head import FIELDS_LIMIT, HEAD_BYTES
from image_syncer.registry.http.messages import Headers, Request, Response, StallTimer, default_headers
from image_syncer.registry.http.request_body import BodyReader, RequestBody, in_pieces
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.urls import origin_of
from image_syncer.registry.settings import Limits
from image_syncer.roles import Chunk

_READ_BUFFER_BYTES: Final = 256 * 1024
_SMALL_BODY_BYTES: Final = 64 * 1024  # Goes out with the head, in one piece.
_KEEP_ALIVE_SECONDS: Final = 30.0
_DNS_SECONDS: Final = 60
_LEFTOVER_BYTES: Final = 64 * 1024  # What is read of an unwanted body to save its connection ...
_LEFTOVER_SECONDS: Final = 1.0  # ... and how long that may take.


class _AiohttpResponse(Response):
    """An answer that aiohttp reads."""

    def __init__(
        self, raw: aiohttp.ClientResponse, request: Request, upload: BodyReader | None, stall_seconds: float
    ) -> None:
        super().__init__(request, raw.status, Headers(raw.headers.items()), raw.content_length)
        self._raw = raw
        self._upload = upload
        self._stall_seconds = stall_seconds

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the body as it comes, undecoded; `Unavailable` where it breaks off, or stalls for too long."""
        flow, loop = StallTimer(self._stall_seconds), asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                async with asyncio.timeout(flow.remaining_seconds):
                    chunk = await self._raw.content.readany()
                if not chunk:
                    break
                flow.record(len(chunk), loop.time() - began)
                yield chunk
        except TimeoutError:
            reason = f"the answer stalled for {self._stall_seconds:g} s"
        except (aiohttp.ClientError, OSError):
            reason = "the answer broke off"
        else:
            return
        # Outside of the handlers, so that the library's error, which holds the whole URL, is no part of the story.
        raise Unavailable(f"{self._request}: {reason}", status=self.status)

    async def release(self, *, failed: bool) -> None:
        """Save the connection where the rest of the body is small, otherwise close it."""
        try:
            if not failed:
                await _read_leftovers(self._raw)
        finally:
            self._raw.close()
            if self._upload is not None:
                await self._upload.close()


class _PolicyResolver(AbstractResolver):
    """Looks names up for one session, and lets nothing pass that is out of *reach*."""

    def __init__(self, resolver: Resolver, reach: AddressPolicy) -> None:
        self._resolver = resolver
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host*; `ProtocolError` where one of them is out of reach."""
        found: list[ResolveResult] = []
        for kind, address in await self._resolver.addresses(host, port):
            self._reach.check(str(address[0]), host)
            if family in {socket.AF_UNSPEC, kind}:
                found.append(
                    ResolveResult(
                        hostname=host, host=str(address[0]), port=port, family=kind, proto=socket.IPPROTO_TCP, flags=0
                    )
                )
        return found

    async def close(self) -> None:
        """Leave the resolver to its owner."""


class AiohttpTransport:
    """Every connection that aiohttp holds; to be closed. Sessions, and so connections, are kept by reach."""

    def __init__(self, limits: Limits, resolver: Resolver) -> None:
        self._limits = limits
        self._resolver = resolver
        self._sessions: dict[AddressPolicy, aiohttp.ClientSession] = {}

    async def close(self) -> None:
        """Close every connection."""
        for session in self._sessions.values():
            await session.close()

    async def send(
        self, request: Request, *, tls: TlsPolicy, context: SSLContext | None, proxy: str | None, reach: AddressPolicy
    ) -> Response:
        """Send *request* and return its answer, as `Transport.ask` promises; through *proxy* unless that is None.

        *context* is None for plain HTTP.
        """
        upload = _upload(request.body, self._limits.stall_seconds)
        try:
            raw = await self._ask(request, _Route(tls, context, proxy, reach), upload)
        except BaseException:
            if upload is not None:
                await upload.close()
            raise
        return _AiohttpResponse(raw, request, upload, self._limits.stall_seconds)

    async def _ask(self, request: Request, way: "_Route", upload: BodyReader | None) -> aiohttp.ClientResponse:
        headers = dict(request.headers)
        if upload is not None and upload.length is not None:
            headers["Content-Length"] = str(upload.length)
        session = self._session(request.url, way)
        watch = asyncio.timeout(None if upload else self._limits.patience_seconds)
        try:
            async with watch:
                if upload is not None:
                    upload.watch(watch)
                return await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=headers,
                    data=upload or request.body,
                    skip_auto_headers=("Content-Type",) if request.body is None else (),
                    allow_redirects=False,
                    proxy=way.proxy,
                    ssl=way.context or True,
                )
        except (aiohttp.ClientError, OSError) as error:
            host = str(origin_of(request.url))
            trouble = (upload.failure if upload else None) or _explain(error, host, way, self._limits)
            if upload is None and watch.expired():
                trouble = explain_overdue(host, self._limits.patience_seconds)
        finally:
            if upload is not None:
                upload.watch(None)
        raise trouble  # Outside of the handler: the library's error holds the whole URL and even our credentials.

    def _session(self, url: str, way: "_Route") -> aiohttp.ClientSession:
        """Return the session for *way*; a proxy may be anywhere, and digits are never looked up."""
        reach = ANYWHERE if way.proxy is not None else way.reach
        reach.check_host(origin_of(url).host)
        if reach not in self._sessions:
            self._sessions[reach] = _open_session(self._limits, _PolicyResolver(self._resolver, reach))
        return self._sessions[reach]


@dataclass(frozen=True, slots=True)
class _Route:
    """How a request goes: what its TLS must show (*context* None: none), and by which *proxy* (None: directly)."""

    tls: TlsPolicy
    context: SSLContext | None
    proxy: str | None
    reach: AddressPolicy


def _open_session(limits: Limits, resolver: AbstractResolver) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ttl_dns_cache=_DNS_SECONDS, resolver=resolver
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=default_headers(),
        timeout=aiohttp.ClientTimeout(
            total=None,
            connect=limits.connect_seconds,
            sock_connect=limits.connect_seconds,
            sock_read=limits.stall_seconds,
            ceil_threshold=max(limits.connect_seconds, limits.stall_seconds),  # Time-outs are not rounded.
        ),
        auto_decompress=False,
        requote_redirect_url=False,
        trust_env=False,
        read_bufsize=_READ_BUFFER_BYTES,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=FIELDS_LIMIT,
    )


def _upload(body: bytes | RequestBody | None, stall_seconds: float) -> BodyReader | None:
    """Return how *body* streams; None for one that goes out with its head."""
    if body is None or (isinstance(body, bytes) and len(body) <= _SMALL_BODY_BYTES):
        return None
    return BodyReader(in_pieces(body) if isinstance(body, bytes) else body, stall_seconds)


async def _read_leftovers(raw: aiohttp.ClientResponse) -> None:
    """Read the rest of a small body that nobody wanted, since only then its connection can serve again."""
    if raw.connection is None or (raw.content_length or 0) > _LEFTOVER_BYTES:
        return
    try:
        async with asyncio.timeout(_LEFTOVER_SECONDS):
            size_bytes = 0
            while size_bytes <= _LEFTOVER_BYTES and (chunk := await raw.content.readany()):
                size_bytes += len(chunk)
    except (aiohttp.ClientError, OSError):
        return  # The answer is known already; all that is lost is the connection.


def _explain(error: Exception, host: str, way: _Route, limits: Limits) -> StoreError:
    """Return what *error* means for our reader; nothing of its text, which may hold secrets, is taken over."""
    proxy = way.proxy
    match error:
        case aiohttp.ClientProxyConnectionError():
            return Unavailable(
                f"{host}: the proxy {_proxy_host(proxy)} can not be reached: {os_reason(error.os_error)}"
            )
        case aiohttp.ClientHttpProxyError():
            return _proxy_refuses(error.status, host, proxy)
        case aiohttp.ClientConnectorDNSError():
            return explain_resolving(error.os_error, host)
        case aiohttp.ClientConnectorError():
            return explain_connecting(error.os_error, host, way.tls)
        case aiohttp.ConnectionTimeoutError():
            return Unavailable(f"{host}: no connection within {limits.connect_seconds:g} s")
        case TimeoutError():
            return Unavailable(f"{host}: nothing was sent or received for {limits.stall_seconds:g} s")
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return ProtocolError(f"{host}: the answer is not HTTP")
        case _:
            return explain_break((error.__cause__, error.__context__), host)


def _proxy_refuses(status: int, host: str, proxy: str | None) -> StoreError:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Unauthorized(
            f"{host}: the proxy {_proxy_host(proxy)} does not accept our credentials",
            status=status,
            remedy="write user and password into HTTPS_PROXY: http://user:password@proxy:port",
        )
    return Unavailable(f"{host}: the proxy {_proxy_host(proxy)} answers {status} to CONNECT", status=status)


def _proxy_host(proxy: str | None) -> str:
    return urlsplit(proxy or "").netloc.rpartition("@")[2]
