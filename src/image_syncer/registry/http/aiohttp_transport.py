"""The transport over aiohttp, for proxies and for bodies of unknown length. Imported for the first such request.

The only shipped module that uses the HTTP library (docs/adr/0003-http-library.md). It turns off what the library does
by itself: re-encoding URLs, decompression, redirects, cookies, netrc.
"""

import asyncio
import socket
import ssl
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
    PROXY_REMEDY,
    explain_break,
    explain_connecting,
    explain_overdue,
    explain_proxy,
    explain_resolving,
    explain_silent_handshake,
)
from image_syncer.registry.http.connection import Inspect
from image_syncer.registry.http.descriptors import connection_limit, no_free_descriptor, out_of_descriptors
from image_syncer.registry.http.dial import Resolver
from image_syncer.registry.http.head import FIELDS_LIMIT, HEAD_BYTES
from image_syncer.registry.http.messages import Headers, Request, Response, StallTimer, default_headers
from image_syncer.registry.http.request_body import BodyReader, RequestBody, in_pieces
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.urls import origin_of
from image_syncer.registry.settings import Limits
from image_syncer.roles import Chunk

_READ_BUFFER_BYTES: Final = 256 * 1024
_SMALL_BODY_BYTES: Final = 64 * 1024  # Sent together with the head.
_KEEP_ALIVE_SECONDS: Final = 30.0
_DNS_SECONDS: Final = 60
_LEFTOVER_BYTES: Final = 64 * 1024  # An unread rest up to this size is read so that the connection can be reused.
_LEFTOVER_SECONDS: Final = 1.0


class _AiohttpResponse(Response):
    """A response that aiohttp reads."""

    def __init__(
        self, raw: aiohttp.ClientResponse, request: Request, body: BodyReader | None, stall_seconds: float
    ) -> None:
        super().__init__(request, raw.status, Headers(raw.headers.items()), raw.content_length)
        self._raw = raw
        self._body = body
        self._stall_seconds = stall_seconds

    async def chunks(self, inspect: Inspect | None = None) -> AsyncGenerator[Chunk]:
        """Yield the body as it arrives, not decoded; raises `Unavailable` if it breaks off or stalls."""
        stall_timer, loop = StallTimer(self._stall_seconds), asyncio.get_running_loop()
        try:
            while True:
                began = loop.time()
                async with asyncio.timeout(stall_timer.remaining_seconds):
                    chunk = await self._raw.content.readany()
                if not chunk:
                    break
                stall_timer.record(len(chunk), loop.time() - began)
                if inspect is not None:
                    inspect(chunk)
                yield chunk
        except TimeoutError:
            reason = f"the response stalled for {self._stall_seconds:g} s"
        except (aiohttp.ClientError, OSError):
            reason = "the response broke off"
        else:
            return
        # Raised outside the handlers: the library's error holds the whole URL, which may have secrets in its query.
        raise Unavailable(f"{self._request}: {reason}", status=self.status)

    async def release(self, *, failed: bool) -> None:
        """Keep the connection if the rest of the body is small, otherwise close it."""
        try:
            if not failed:
                await _read_leftovers(self._raw)
        finally:
            self._raw.close()
            if self._body is not None:
                await self._body.close()


class _PolicyResolver(AbstractResolver):
    """Resolves names for one session, and refuses addresses that *reach* forbids."""

    def __init__(self, resolver: Resolver, reach: AddressPolicy) -> None:
        self._resolver = resolver
        self._reach = reach

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of *host*; raises `ProtocolError` if the policy forbids one of them."""
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
        """Do nothing: the resolver belongs to the transport."""


class AiohttpTransport:
    """Owns one aiohttp session, and so one connection pool, per address policy; to be closed."""

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
        """Send *request*, through *proxy* unless that is None, and return the response as `Transport.send` promises.

        *context* is None for plain HTTP.
        """
        body = _streaming(request.body, self._limits.stall_seconds)
        try:
            raw = await self._send(request, _Route(tls, context, proxy, reach), body)
        except BaseException:
            if body is not None:
                await body.close()
            raise
        return _AiohttpResponse(raw, request, body, self._limits.stall_seconds)

    async def _send(self, request: Request, route: "_Route", body: BodyReader | None) -> aiohttp.ClientResponse:
        headers = dict(request.headers)
        if body is not None and body.length is not None:
            headers["Content-Length"] = str(body.length)
        session = self._session(request.url, route)
        limit = asyncio.timeout(None if body else self._limits.patience_seconds)
        try:
            async with limit:
                if body is not None:
                    body.watch(limit)
                return await session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=headers,
                    data=body or request.body,
                    skip_auto_headers=("Content-Type",) if request.body is None else (),
                    allow_redirects=False,
                    proxy=route.proxy,
                    ssl=route.context or True,
                    timeout=self._timeout(route),
                )
        except (aiohttp.ClientError, OSError) as error:
            host = str(origin_of(request.url))
            failure = (body.failure if body else None) or _explain(error, host, route, self._limits)
            if body is None and limit.expired():
                failure = explain_overdue(_through(route, host), self._limits.patience_seconds)
        finally:
            if body is not None:
                body.watch(None)
        raise failure  # Raised outside the handler: the library's error holds the whole URL and even our credentials.

    def _timeout(self, route: "_Route") -> aiohttp.ClientTimeout:
        connect = self._limits.connect_seconds
        if route.context is not None and route.tls.handshake_seconds is not None:
            connect = min(connect, route.tls.handshake_seconds)
        return aiohttp.ClientTimeout(
            total=None,
            connect=connect,
            sock_connect=connect,
            sock_read=self._limits.stall_seconds,
            ceil_threshold=max(connect, self._limits.stall_seconds),  # Keeps the library from rounding timeouts.
        )

    def _session(self, url: str, route: "_Route") -> aiohttp.ClientSession:
        """Return the session for *route*. A proxy may have any address; an IP address in *url* is checked here."""
        reach = ANYWHERE if route.proxy is not None else route.reach
        reach.check_host(origin_of(url).host)
        if reach not in self._sessions:
            self._sessions[reach] = _open_session(_PolicyResolver(self._resolver, reach))
        return self._sessions[reach]


@dataclass(frozen=True, slots=True)
class _Route:
    """How a request travels: *context* None means plain HTTP, *proxy* None a direct connection."""

    tls: TlsPolicy
    context: SSLContext | None
    proxy: str | None
    reach: AddressPolicy


def _open_session(resolver: AbstractResolver) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=connection_limit(),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
            ttl_dns_cache=_DNS_SECONDS,
            resolver=resolver,
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=default_headers(),
        auto_decompress=False,
        requote_redirect_url=False,
        trust_env=False,
        read_bufsize=_READ_BUFFER_BYTES,
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=FIELDS_LIMIT,
    )


def _streaming(body: bytes | RequestBody | None, stall_seconds: float) -> BodyReader | None:
    """Return the reader of a streaming *body*, None for one that is sent together with the head."""
    if body is None or (isinstance(body, bytes) and len(body) <= _SMALL_BODY_BYTES):
        return None
    return BodyReader(in_pieces(body) if isinstance(body, bytes) else body, stall_seconds)


async def _read_leftovers(raw: aiohttp.ClientResponse) -> None:
    """Read the unread rest of a small body: only then can its connection be reused."""
    if raw.connection is None or (raw.content_length or 0) > _LEFTOVER_BYTES:
        return
    try:
        async with asyncio.timeout(_LEFTOVER_SECONDS):
            size_bytes = 0
            while size_bytes <= _LEFTOVER_BYTES and (chunk := await raw.content.readany()):
                size_bytes += len(chunk)
    except (aiohttp.ClientError, OSError):
        return  # Only the connection is lost; the caller has what it needs.


def _explain(error: Exception, host: str, route: _Route, limits: Limits) -> StoreError:
    """Return our error for *error*, without its text, which may hold secrets."""
    if (shortage := _shortage(error, host)) is not None:
        return shortage
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return _explain_connecting(error, host, route)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _proxy_refuses(error.status, host, route.proxy)
    where = _through(route, host)
    match error:
        case aiohttp.ConnectionTimeoutError() if route.tls.handshake_seconds is not None:
            return explain_silent_handshake(where, route.tls, route.tls.handshake_seconds)
        case aiohttp.ConnectionTimeoutError():
            return Unavailable(f"{where}: no connection within {limits.connect_seconds:g} s", remedy=_remedy(route))
        case TimeoutError():
            return Unavailable(f"{where}: nothing was sent or received for {limits.stall_seconds:g} s")
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return ProtocolError(f"{where}: the response is not HTTP", remedy=_remedy(route))
        case _:
            return explain_break((error.__cause__, error.__context__), where, route.tls)


def _shortage(error: Exception, host: str) -> StoreError | None:
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return no_free_descriptor(host)
    return out_of_descriptors(cause, host)


def _explain_connecting(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, host: str, route: _Route
) -> StoreError:
    cause = error.certificate_error if isinstance(error, aiohttp.ClientConnectorCertificateError) else error.os_error
    if not isinstance(cause, OSError):
        return ProtocolError(f"{host}: its certificate cannot be checked")
    proxy = _proxy_host(route.proxy)
    is_proxy = route.proxy is not None and f"{error.host}:{error.port}" in {proxy, f"{proxy}:{error.port}"}
    if is_proxy and isinstance(cause, ssl.SSLError):
        return explain_connecting(cause, f"{host}: the proxy {proxy}", TlsPolicy(proxy))
    if is_proxy or isinstance(error, aiohttp.ClientProxyConnectionError):
        return explain_proxy(cause, host, proxy)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return explain_resolving(cause, host)
    return explain_connecting(cause, host, route.tls)


def _through(route: _Route, host: str) -> str:
    """Return *host* for a message, with the proxy, which may be the one at fault."""
    return host if route.proxy is None else f"{host}: through the proxy {_proxy_host(route.proxy)}"


def _remedy(route: _Route) -> str | None:
    return None if route.proxy is None else PROXY_REMEDY


def _proxy_refuses(status: int, host: str, proxy: str | None) -> StoreError:
    if status == HTTPStatus.PROXY_AUTHENTICATION_REQUIRED:
        return Unauthorized(
            f"{host}: the proxy {_proxy_host(proxy)} does not accept our credentials",
            status=status,
            remedy="write user and password into the proxy's variable: HTTPS_PROXY=http://user:password@proxy:port",
        )
    return Unavailable(f"{host}: the proxy {_proxy_host(proxy)} answers {status} to CONNECT", status=status)


def _proxy_host(proxy: str | None) -> str:
    return urlsplit(proxy or "").netloc.rpartition("@")[2]
