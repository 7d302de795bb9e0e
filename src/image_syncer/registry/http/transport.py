"""The one door to the network: one request out, one answer in. No redirects, no retries, no credentials of its own.

Two paths lead from it, and nobody outside can tell which served: the lean one (`lean`) takes every request that needs
no proxy and whose length is known; aiohttp takes the rest, and is imported when the first of these comes
(docs/adr/0003-http-library.md).
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import Final, Protocol, Self

from image_syncer.registry.http.address_policy import ANYWHERE, AddressPolicy, Zone, zone_of_host
from image_syncer.registry.http.connect_errors import ConnectionRefused, HandshakeBroken, NotTls
from image_syncer.registry.http.dial import Dialer, Resolver
from image_syncer.registry.http.messages import Headers, Request, Response, released
from image_syncer.registry.http.proxy import proxy_for
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.socket_transport import SocketTransport
from image_syncer.registry.http.tls import TlsContexts, TlsPolicy, certificate_directories
from image_syncer.registry.http.urls import Origin, origin_of
from image_syncer.registry.settings import Limits

__all__ = [
    "ConnectionRefused",
    "HandshakeBroken",
    "Headers",
    "NotTls",
    "Request",
    "RequestBody",
    "Response",
    "Transport",
]

_ORIGINS: Final = 512  # Whose proxies are remembered.


class AnyTransport(Protocol):
    """The path by an HTTP library."""

    async def send(
        self, request: Request, *, tls: TlsPolicy, context: SSLContext | None, proxy: str | None, reach: AddressPolicy
    ) -> Response:
        """Send *request*, through *proxy* unless that is None, to an address within *reach*."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Transport:
    """Every connection of the process, as an async context manager. Proxies come from *environment*.

    *certificates* are the directories with a directory per host (certs.d); None means those of docker and containers.
    *lean* False takes the library's path for everything.
    """

    def __init__(
        self,
        limits: Limits,
        environment: Mapping[str, str],
        *,
        certificates: Sequence[Path] | None = None,
        lean: bool = True,
    ) -> None:
        self.limits = limits
        self._environment = environment
        directories = certificate_directories(environment) if certificates is None else certificates
        self._contexts = TlsContexts(environment, directories)
        self._resolver = Resolver()
        self._dialer = Dialer(limits.connect_seconds, self._resolver)
        self._use_sockets = lean
        self._proxies: dict[Origin, str | None] = {}
        self._sockets: SocketTransport | None = None
        self._library: AnyTransport | None = None

    async def __aenter__(self) -> Self:
        self._sockets = SocketTransport(self.limits, self._dialer)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lean, library = self._sockets, self._library
        self._sockets = self._library = None
        if lean is not None:
            lean.close()
        if library is not None:
            await library.close()

    async def send(self, request: Request, *, tls: TlsPolicy, reach: AddressPolicy = ANYWHERE) -> Response:
        """Send *request* and return its answer, whatever its status; it may come while the body still goes out.

        Every address is within *reach*, or `ProtocolError`; where a proxy looks the name up, that is the proxy's
        affair, and only what stands in the URL is judged. Raises `Unavailable` for network trouble and stalls,
        `InsecureConnection` for TLS that can not be trusted, `ProtocolError` for what can not be sent or is no answer,
        and exactly what the request's body raised, where that was the trouble.
        """
        if self._sockets is None:
            raise RuntimeError("the transport is not open")
        origin = origin_of(request.url)
        context = self._contexts.context(tls) if origin.scheme == "https" else None
        proxy = self._proxy(origin, request.url)
        if proxy is not None and reach is not ANYWHERE:
            reach.check_host(origin.host)
        streams = isinstance(request.body, RequestBody) and request.body.length is None
        if self._use_sockets and proxy is None and not streams:
            return await self._sockets.send(request, origin, tls, context, reach)
        return await self._aiohttp().send(request, tls=tls, context=context, proxy=proxy, reach=reach)

    @asynccontextmanager
    async def request(
        self, request: Request, *, tls: TlsPolicy, reach: AddressPolicy = ANYWHERE
    ) -> AsyncGenerator[Response]:
        """Give the answer to *request* as a context; otherwise as `ask` does."""
        async with released(await self.send(request, tls=tls, reach=reach)) as response:
            yield response

    async def zone(self, url: str) -> Zone:
        """Return where the host of *url* lies: by its addresses, or by its text alone where a proxy looks it up.

        Raises as `ask` does.
        """
        origin = origin_of(url)
        named = zone_of_host(origin.host)
        if named is not None:
            return named
        return Zone.PUBLIC if self._proxy(origin, url) is not None else await self._dialer.zone(origin)

    def _proxy(self, origin: Origin, url: str) -> str | None:
        if origin not in self._proxies:
            if len(self._proxies) >= _ORIGINS:
                self._proxies.clear()
            self._proxies[origin] = proxy_for(url, self._environment)
        return self._proxies[origin]

    def _aiohttp(self) -> AnyTransport:
        if self._library is None:
            # It costs 0.2 s of CPU, and few need it.
            from image_syncer.registry.http.aiohttp_transport import AiohttpTransport  # noqa: PLC0415 - see above

            self._library = AiohttpTransport(self.limits, self._resolver)
        return self._library
