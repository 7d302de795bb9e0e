"""The one door to the network: one request out, one answer in. No redirects, no retries, no credentials of its own.

The only shipped module that knows the HTTP library (docs/adr/0003-http-library.md). Its pitfalls are met here: nothing
is re-encoded, decompressed, redirected, remembered as a cookie or read from netrc behind our back.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from image_syncer.errors import InsecureConnection, ProtocolError, StoreError, TooLarge, Unauthorized, Unavailable
from image_syncer.registry.options import Limits
from image_syncer.registry.proxy import proxy_for
from image_syncer.registry.tls import TlsContexts, TlsPolicy, certificate_directories
from image_syncer.registry.trouble import (
    ConnectionRefused,
    HandshakeBroken,
    NotTls,
    explain_connecting,
    explain_resolving,
    why,
    words,
)
from image_syncer.registry.upload import Body, Upload, sliced
from image_syncer.registry.urls import origin_of, shown
from image_syncer.store import Chunk

__all__ = ["Body", "ConnectionRefused", "HandshakeBroken", "Headers", "NotTls", "Request", "Response", "Transport"]

_READ_BUFFER_BYTES: Final = 256 * 1024
_HEAD_BYTES: Final = 32 * 1024  # Signed addresses of storage services and challenges outgrow the library's 8 KiB.
_SMALL_BODY_BYTES: Final = 64 * 1024  # Goes out with the head, in one piece.
_KEEP_ALIVE_SECONDS: Final = 30.0
_DNS_SECONDS: Final = 60
_LEFTOVER_BYTES: Final = 64 * 1024  # What is read of an unwanted body to save its connection ...
_LEFTOVER_SECONDS: Final = 1.0  # ... and how long that may take.


class Headers:
    """The headers of an answer; names compare without regard to case."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """Return the first value of *name*, None if it is not there."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of *name*, one per header line, in order."""
        return list(self._values.get(name.lower(), ()))

    def __repr__(self) -> str:
        return f"Headers({', '.join(sorted(self._values))})"  # Names alone: values hold challenges and signed URLs.


@dataclass(frozen=True, slots=True)
class Request:
    """One request. *url* is absolute and encoded already: it is sent untouched."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | Body | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {shown(self.url)}"


class Response:
    """One answer; valid until its context ends. *url* is what was asked."""

    def __init__(self, raw: aiohttp.ClientResponse, request: Request, stall_seconds: float) -> None:
        self.status = raw.status
        self.headers = Headers(raw.headers.items())
        self.url = request.url
        self._raw = raw
        self._request = request
        self._stall_seconds = stall_seconds

    def __repr__(self) -> str:
        return f"Response({self.status}, {self._request})"

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body; `TooLarge` where it has more than *limit_bytes*, `Unavailable` where it breaks off."""
        content = bytearray()
        if (self._raw.content_length or 0) <= limit_bytes:
            async for chunk in self.chunks():
                content += chunk
                if len(content) > limit_bytes:
                    break
            else:
                return bytes(content)
        elif self._request.method == "HEAD":
            return b""
        raise TooLarge(f"{self._request}: the answer has more than {limit_bytes} bytes", status=self.status)

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the body as it comes, undecoded; `Unavailable` where it breaks off, or stalls for too long."""
        try:
            async for chunk in self._raw.content.iter_any():
                yield chunk
        except TimeoutError:
            reason = f"the answer stalled for {self._stall_seconds:g} s"
        except (aiohttp.ClientError, OSError):
            reason = "the answer broke off"
        else:
            return
        # Outside of the handlers, so that the library's error, which holds the whole URL, is no part of the story.
        raise Unavailable(f"{self._request}: {reason}", status=self.status)


class Transport:
    """Every connection of the process, as an async context manager. Proxies come from *environment*.

    *certificates* are the directories with a directory per host (certs.d); None means those of docker and containers.
    """

    def __init__(
        self, limits: Limits, environment: Mapping[str, str], *, certificates: Sequence[Path] | None = None
    ) -> None:
        self.limits = limits
        self._environment = environment
        directories = certificate_directories(environment) if certificates is None else certificates
        self._contexts = TlsContexts(environment, directories)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = _open_session(self.limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    @asynccontextmanager
    async def send(self, request: Request, *, tls: TlsPolicy) -> AsyncGenerator[Response]:
        """Send *request* and give its answer, whatever its status; it may come while the body still goes out.

        Raises `Unavailable` for network trouble and stalls, `InsecureConnection` for TLS that can not be trusted, and
        exactly what the request's body raised, where that was the trouble.
        """
        upload = _upload(request.body, self.limits.stall_seconds)
        try:
            raw = await self._ask(request, tls, upload)
            try:
                yield Response(raw, request, self.limits.stall_seconds)
                await _read_leftovers(raw)
            finally:
                raw.close()
        finally:
            if upload is not None:
                await upload.close()

    async def _ask(self, request: Request, tls: TlsPolicy, upload: Upload | None) -> aiohttp.ClientResponse:
        if self._session is None:
            raise RuntimeError("the transport is not open")
        origin = origin_of(request.url)
        proxy = proxy_for(request.url, self._environment)
        headers = dict(request.headers)
        if upload is not None and upload.length is not None:
            headers["Content-Length"] = str(upload.length)
        try:
            async with asyncio.timeout(None if upload else self._patience_seconds) as watch:
                if upload is not None:
                    upload.watch(watch)
                return await self._session.request(
                    request.method,
                    URL(request.url, encoded=True),
                    headers=headers,
                    data=upload or request.body,
                    skip_auto_headers=("Content-Type",) if request.body is None else (),
                    allow_redirects=False,
                    proxy=proxy,
                    ssl=self._contexts.context(tls) if origin.scheme == "https" else True,
                )
        except (aiohttp.ClientError, OSError) as error:
            trouble = (upload.failure if upload else None) or _explain(error, str(origin), tls, proxy, self.limits)
        finally:
            if upload is not None:
                upload.watch(None)
        raise trouble  # Outside of the handler: the library's error holds the whole URL and even our credentials.

    @property
    def _patience_seconds(self) -> float:
        """The longest that a request without a streaming body may take to its answer, beside the finer time-outs."""
        return 2 * (self.limits.connect_seconds + self.limits.stall_seconds)


def _open_session(limits: Limits) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ttl_dns_cache=_DNS_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"image-syncer/{version('image-syncer')}", "Accept-Encoding": "identity"},
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
        max_line_size=_HEAD_BYTES,
        max_field_size=_HEAD_BYTES,
    )


def _upload(body: bytes | Body | None, stall_seconds: float) -> Upload | None:
    """Return how *body* streams; None for one that goes out with its head."""
    if body is None or (isinstance(body, bytes) and len(body) <= _SMALL_BODY_BYTES):
        return None
    return Upload(sliced(body) if isinstance(body, bytes) else body, stall_seconds)


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


def _explain(error: Exception, host: str, tls: TlsPolicy, proxy: str | None, limits: Limits) -> StoreError:
    """Return what *error* means for our reader; nothing of its text, which may hold secrets, is taken over."""
    match error:
        case aiohttp.ClientProxyConnectionError():
            return Unavailable(f"{host}: the proxy {_proxy_host(proxy)} can not be reached: {why(error.os_error)}")
        case aiohttp.ClientHttpProxyError():
            return _proxy_refuses(error.status, host, proxy)
        case aiohttp.ClientConnectorDNSError():
            return explain_resolving(error.os_error, host)
        case aiohttp.ClientConnectorError():
            return explain_connecting(error.os_error, host, tls)
        case aiohttp.ConnectionTimeoutError():
            return Unavailable(f"{host}: no connection within {limits.connect_seconds:g} s")
        case TimeoutError():
            return Unavailable(f"{host}: nothing was sent or received for {limits.stall_seconds:g} s")
        case aiohttp.ClientResponseError() | aiohttp.InvalidURL():
            return ProtocolError(f"{host}: the answer is not HTTP")
        case _:
            return _explain_break(error, host)


def _explain_break(error: Exception, host: str) -> StoreError:
    """Return what a break after the handshake means: under TLS 1.3 an alert may come as late as that."""
    causes = (error.__cause__, error.__context__)
    alert = next(
        (cause for cause in causes if isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or "")), None
    )
    if alert is not None:
        return InsecureConnection(
            f"{host}: the TLS connection was refused: {words(alert.reason or '')}",
            remedy="a client certificate may be missing in certs.d",
        )
    return Unavailable(f"{host}: the connection broke off before an answer")


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
