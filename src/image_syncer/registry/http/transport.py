"""The HTTP transport: sends one request, returns one response. It follows no redirects, retries nothing, adds no login.

It hands requests without an HTTP proxy and with a known length to our own client (`SocketTransport`), all others to
aiohttp, which is imported for the first of them (docs/adr/0003-http-library.md). Callers cannot tell the two apart.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

from image_syncer.registry.http.address_policy import ANYWHERE, AddressPolicy, Zone, zone_of_host
from image_syncer.registry.http.connect_errors import ConnectionRefused, HandshakeBroken, HandshakeTimeout, NotTls
from image_syncer.registry.http.descriptors import out_of_descriptors
from image_syncer.registry.http.dial import ConnectionCount, Dialer, Resolver
from image_syncer.registry.http.io_threads import IoThreads
from image_syncer.registry.http.messages import Headers, Request, Response, released
from image_syncer.registry.http.proxy import proxy_for
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.socket_transport import SocketTransport
from image_syncer.registry.http.socks import SocksProxy
from image_syncer.registry.http.throttle import Throttle, ThrottledResponse, throttled_request
from image_syncer.registry.http.tls import TlsContexts, TlsPolicy, certificate_directories
from image_syncer.registry.http.urls import Origin, host_of, origin_of
from image_syncer.registry.settings import Limits
from image_syncer.registry.transport_settings import DIRECT, Bandwidth, TransportSettings
from image_syncer.structs import replace

if TYPE_CHECKING:
    from image_syncer.registry.http.certificate import ServerCertificate

__all__ = [
    "ConnectionRefused",
    "HandshakeBroken",
    "HandshakeTimeout",
    "Headers",
    "NotTls",
    "Request",
    "RequestBody",
    "Response",
    "Transport",
]

_CACHED_PROXIES: Final = 512  # By origin.


class AnyTransport(Protocol):
    """A transport that takes every kind of request."""

    async def send(
        self, request: Request, *, tls: TlsPolicy, context: SSLContext | None, proxy: str | None, reach: AddressPolicy
    ) -> Response:
        """Send *request* to an address that *reach* allows, through *proxy* unless that is None."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Transport:
    """Owns every connection of the process, as an async context manager. *environment* names proxies.

    *certificates* are directories with one directory per host (certs.d), by default those of docker and containers.
    *sockets* False uses aiohttp for everything but SOCKS proxies. *settings* are those of one registry; `with_settings`
    makes such transports.
    """

    def __init__(
        self,
        limits: Limits,
        environment: Mapping[str, str],
        *,
        certificates: Sequence[Path] | None = None,
        sockets: bool = True,
        settings: TransportSettings = DIRECT,
        shared: "_Shared | None" = None,
    ) -> None:
        directories = certificate_directories(environment) if certificates is None else certificates
        self.limits = limits
        self._shared = shared or _Shared(TlsContexts(environment, directories), IoThreads(limits.threads))
        self._use_sockets = sockets
        self._settings = settings
        self._environment = _with_proxy(environment, settings)
        self._own_names = frozenset(settings.host.removesuffix(port) for port in ("", ":443", ":80"))
        host = host_of(settings.host).lower()
        self._resolver = Resolver({host: settings.addresses} if settings.addresses else None)
        self._dialer = Dialer(limits.connect_seconds, self._resolver, self._shared.connections, self._socks_proxy)
        self._throttle = None if settings.bandwidth is None else Throttle(settings.bandwidth)
        self._proxies: dict[Origin, str | None] = {}
        self._sockets: SocketTransport | None = None
        self._library: AnyTransport | None = None
        self._others: dict[TransportSettings, Transport] = {}

    def limit_bandwidth(self, bandwidth: Bandwidth | None) -> None:
        """Limit all requests, those of `with_settings` included, to *bandwidth* together."""
        self._shared.throttle = None if bandwidth is None else Throttle(bandwidth)

    def with_settings(self, settings: TransportSettings) -> "Transport":
        """Return the transport for *settings*; the same one each time. It is open as long as this one.

        Both share certificates, threads and the limit of connections, but no connection.
        """
        if settings == DIRECT:
            return self
        if settings not in self._others:
            connect, stall = settings.connect_seconds, settings.stall_seconds
            limits = replace(
                self.limits,
                connect_seconds=self.limits.connect_seconds if connect is None else connect,
                stall_seconds=self.limits.stall_seconds if stall is None else stall,
            )
            other = Transport(
                limits, self._environment, sockets=self._use_sockets, settings=settings, shared=self._shared
            )
            if self._sockets is not None:
                other.open()
            self._others[settings] = other
        return self._others[settings]

    async def __aenter__(self) -> Self:
        for transport in (self, *self._others.values()):
            transport.open()
        return self

    def open(self) -> None:
        """Allow requests from now on; the event loop runs."""
        self._sockets = SocketTransport(self.limits, self._dialer, self._shared.threads)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for other in self._others.values():
            await other.__aexit__(kind, error, trace)
        sockets, library = self._sockets, self._library
        self._sockets = self._library = None
        if sockets is not None:
            sockets.close()
        if library is not None:
            await library.close()

    async def send(self, request: Request, *, tls: TlsPolicy, reach: AddressPolicy = ANYWHERE) -> Response:
        """Send *request* and return the response, whatever its status; it may arrive before the body is sent.

        Raises `Unavailable` for network errors and stalls, `InsecureConnection` for untrusted TLS, `ProtocolError` for
        invalid requests and responses and for addresses that *reach* forbids, and any error of the request's body
        unchanged. A proxy resolves names itself; then *reach* judges only an IP address in the URL.
        """
        if self._sockets is None:
            raise RuntimeError("the transport is not open")
        origin = origin_of(request.url)
        if self._settings is not DIRECT:
            request, tls = self._adapted(request, origin), self._policy(tls, origin)
        context = self._shared.contexts.context(tls) if origin.scheme == "https" else None
        proxy = self._proxy(origin, request.url)
        if proxy is not None and reach is not ANYWHERE:
            reach.check_host(origin.host)
        if proxy is None:
            streams = isinstance(request.body, RequestBody) and request.body.length is None
            uses_sockets = self._use_sockets and not streams
        else:
            uses_sockets = self._socks_proxy(origin) is not None
        throttles = self._throttles()
        if throttles:
            request = await throttled_request(request, throttles)
        if uses_sockets:
            response: Response = await self._sockets.send(request, origin, tls, context, reach)
        else:
            response = await self._aiohttp().send(request, tls=tls, context=context, proxy=proxy, reach=reach)
        return ThrottledResponse(response, request, throttles) if throttles else response

    async def open_ahead(
        self, origin: Origin, tls: TlsPolicy, reach: AddressPolicy, *, connections: int, only_far: bool = True
    ) -> None:
        """Open connections to *origin* for requests that follow, until there are *connections*; ignores failures.

        With *only_far* it does so only if round trips are long: otherwise connecting costs less than what is not used.
        """
        if self._sockets is None or not self._use_sockets:
            return
        if self._proxy(origin, f"{origin.scheme}://{origin}/") is None:
            tls = self._policy(tls, origin)
            context = self._shared.contexts.context(tls) if origin.scheme == "https" else None
            await self._sockets.open_ahead((origin, context, reach), tls, connections, only_far=only_far)

    def is_far(self, origin: Origin, tls: TlsPolicy, reach: AddressPolicy) -> bool:
        """Whether the shortest round trip to *origin* was long; False before the first, and through a proxy."""
        if self._sockets is None:
            return False
        tls = self._policy(tls, origin)
        context = self._shared.contexts.context(tls) if origin.scheme == "https" else None
        return self._sockets.is_far((origin, context, reach))

    @asynccontextmanager
    async def request(
        self, request: Request, *, tls: TlsPolicy, reach: AddressPolicy = ANYWHERE
    ) -> AsyncGenerator[Response]:
        """Send *request* as `send` does, and release the response at the end of the context."""
        async with released(await self.send(request, tls=tls, reach=reach)) as response:
            yield response

    async def zone(self, url: str) -> Zone:
        """Return the network zone of the host of *url*, by its addresses; `PUBLIC` for names that a proxy resolves.

        Raises as `send` does.
        """
        origin = origin_of(url)
        literal = zone_of_host(origin.host)
        if literal is not None:
            return literal
        return Zone.PUBLIC if self._proxy(origin, url) is not None else await self._dialer.zone(origin)

    def _throttles(self) -> tuple[Throttle, ...]:
        total = self._shared.throttle
        if total is None and self._throttle is None:
            return ()
        return tuple(throttle for throttle in (self._throttle, total) if throttle is not None)

    def _is_own(self, origin: Origin) -> bool:
        """Whether *origin* is the registry of the settings, which alone gets its secrets."""
        return str(origin) in self._own_names

    def _policy(self, tls: TlsPolicy, origin: Origin) -> TlsPolicy:
        settings = self._settings
        certificate = settings.client_certificate if self._is_own(origin) else None
        if not settings.authorities and certificate is None:
            return tls
        return replace(tls, authorities=settings.authorities, client_certificate=certificate)

    def _adapted(self, request: Request, origin: Origin) -> Request:
        """Return *request* with the headers of the settings."""
        added = dict(self._settings.headers) if self._is_own(origin) else {}
        if self._settings.user_agent:
            added["User-Agent"] = self._settings.user_agent
        return replace(request, headers={**added, **request.headers}) if added else request

    def _socks_proxy(self, origin: Origin) -> SocksProxy | None:
        proxy = self._proxy(origin, f"{origin.scheme}://{origin}/")
        return None if proxy is None else SocksProxy.of(proxy)

    def proxy(self, url: str) -> str | None:
        """Return the URL of the proxy for *url*, which may hold credentials; None without one. Raises as `send`."""
        return self._proxy(origin_of(url), url)

    async def addresses(self, url: str) -> Sequence[str]:
        """Return the IP addresses of the host of *url*, as this machine resolves them; raises as `send` does."""
        return await self._dialer.ip_addresses(origin_of(url))

    async def certificate(self, origin: Origin, tls: TlsPolicy) -> "ServerCertificate | None":
        """Return the certificate of *origin*, verified, by a connection of its own; None through an HTTP proxy.

        Raises as `send` does.
        """
        if self._proxy(origin, f"{origin.scheme}://{origin}/") is not None and self._socks_proxy(origin) is None:
            return None
        tls = self._policy(tls, origin)
        connection = await self._dialer.dial(origin, tls, self._shared.contexts.context(tls), ANYWHERE)
        try:
            return connection.certificate
        finally:
            connection.close()

    def _proxy(self, origin: Origin, url: str) -> str | None:
        if origin not in self._proxies:
            if len(self._proxies) >= _CACHED_PROXIES:
                self._proxies.clear()
            self._proxies[origin] = proxy_for(url, self._environment)
        return self._proxies[origin]

    def _aiohttp(self) -> AnyTransport:
        if self._library is None:
            try:
                # The import costs 0.2 s of CPU, and few runs need it.
                from image_syncer.registry.http.aiohttp_transport import AiohttpTransport  # noqa: PLC0415 - see above
            except OSError as error:
                raise out_of_descriptors(error, "proxy") or error from None

            self._library = AiohttpTransport(self.limits, self._resolver)
        return self._library


class _Shared:
    """What the transports of one process share."""

    def __init__(self, contexts: TlsContexts, threads: IoThreads) -> None:
        self.contexts = contexts
        self.threads = threads
        self.connections = ConnectionCount()
        self.throttle: Throttle | None = None


def _with_proxy(environment: Mapping[str, str], settings: TransportSettings) -> Mapping[str, str]:
    """Return the variables that select a proxy: those of *settings* before those of *environment*."""
    if settings.proxy is None and not settings.no_proxy:
        return environment
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD")
    found = {key: value for name in names for key in (name, name.lower()) if (value := environment.get(key))}
    if settings.proxy is not None:
        found = {"ALL_PROXY": settings.proxy}
    if settings.no_proxy:
        found.pop("no_proxy", None)
        found["NO_PROXY"] = settings.no_proxy
    return found
