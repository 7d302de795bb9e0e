"""Name resolution and new connections: one time limit for both, and every address of a name is tried."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from ssl import SSLCertVerificationError, SSLContext
from typing import Final

from image_syncer.concurrency.single_flight import SingleFlight
from image_syncer.errors import OutOfResources, StoreError, Unavailable
from image_syncer.registry.http.address_policy import AddressPolicy, Zone, most_public, parse_ip, zone_of
from image_syncer.registry.http.connect_errors import (
    explain_connecting,
    explain_proxy,
    explain_resolving,
    explain_silent_handshake,
)
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.descriptors import no_free_descriptor, out_of_descriptors, out_of_threads
from image_syncer.registry.http.socks import SocksProxy, open_tunnel
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.urls import Origin

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
Address = tuple[int, SocketAddress]
"""The address family, and the argument of `connect`."""

_HEAD_START_SECONDS: Final = 0.25  # Of each address before the next (RFC 8305, "Happy Eyeballs").
_CACHE_SECONDS: Final = 60.0
_CACHED_NAMES: Final = 512
_MOST_ADDRESSES: Final = 16


class Resolver:
    """A DNS cache over the system's resolver: each name is looked up at most once a minute.

    *fixed* are IP addresses by host, which replace those of the name server.
    """

    def __init__(self, fixed: Mapping[str, Sequence[str]] | None = None) -> None:
        self._fixed = fixed or {}
        self._cache: OrderedDict[tuple[str, int], tuple[float, Sequence[Address]]] = OrderedDict()
        self._lookups: SingleFlight[tuple[str, int], Sequence[Address]] = SingleFlight()

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses of *host*, 16 at most; raises `socket.gaierror`."""
        key = (host, port)
        now = asyncio.get_running_loop().time()
        expires, addresses = self._cache.get(key, (0.0, ()))
        if expires > now:
            return addresses
        addresses = await self._lookups.do(key, lambda: self._look_up(host, port))
        self._cache[key] = (now + _CACHE_SECONDS, addresses)
        self._cache.move_to_end(key)
        if len(self._cache) > _CACHED_NAMES:
            self._cache.popitem(last=False)
        return addresses

    async def _look_up(self, host: str, port: int) -> Sequence[Address]:
        fixed = self._fixed.get(host.lower())
        if fixed is None:
            return await _look_up(host, port)
        return [address for name in fixed for address in await _look_up(name, port)]

    def forget(self, host: str, port: int) -> None:
        """Drop *host* from the cache."""
        self._cache.pop((host, port), None)


class ConnectionCount:
    """The connections of one process that are open or being opened; *closers* close an idle one, if they have any."""

    def __init__(self) -> None:
        self.count = 0
        self.closers: list[Callable[[], bool]] = []

    def close_idle(self) -> bool:
        """Close an idle connection; return False if there is none."""
        return any(close() for close in self.closers)


class Dialer:
    """Opens connections, each within *connect_seconds* from the lookup of the name to the end of the TLS handshake.

    *connections* counts those that are open or being opened. *socks_proxy* returns the SOCKS proxy for an origin.
    """

    def __init__(
        self,
        connect_seconds: float,
        resolver: Resolver,
        connections: ConnectionCount | None = None,
        socks_proxy: Callable[[Origin], SocksProxy | None] = lambda _: None,
    ) -> None:
        self._connect_seconds = connect_seconds
        self._resolver = resolver
        self._open: set[Connection] = set()
        self.connections = connections or ConnectionCount()
        self._socks_proxy = socks_proxy

    @property
    def count(self) -> int:
        """The number of connections that are open or being opened."""
        return self.connections.count

    def close(self) -> None:
        """Close every connection that is still open."""
        for connection in tuple(self._open):
            connection.close()

    async def dial(
        self, origin: Origin, tls: TlsPolicy, context: SSLContext | None, reach: AddressPolicy
    ) -> Connection:
        """Return a new connection to *origin*, with TLS if there is a *context*.

        Raises `UnknownHost`, `Unavailable`, `InsecureConnection`, `OutOfResources`, and `ProtocolError` if *reach*
        forbids one of the addresses. The connection goes to an address that was checked: a second answer of the name
        server cannot get around the check (DNS rebinding).
        """
        self.connections.count += 1
        try:
            return await self._dial(origin, tls, context, reach)
        except BaseException as error:
            self.connections.count -= 1
            if (shortage := _shortage(error, str(origin))) is not None:
                raise shortage from error
            raise

    async def _dial(
        self, origin: Origin, tls: TlsPolicy, context: SSLContext | None, reach: AddressPolicy
    ) -> Connection:
        loop = asyncio.get_running_loop()
        seconds = self._connect_seconds
        connected: socket.socket | None = None
        try:
            async with asyncio.timeout(seconds) as limit:
                proxy = self._socks_proxy(origin)
                connected = await (self._direct(origin, reach) if proxy is None else self._tunnel(origin, proxy))
                if context is not None and tls.handshake_seconds is not None:
                    seconds = min(seconds, tls.handshake_seconds)
                    limit.reschedule(min(limit.when() or 0.0, loop.time() + seconds))
                return await self._start_tls(connected, origin, context, limit.when() or 0.0)
        except TimeoutError as error:
            if error.errno is not None:
                raise explain_connecting(error, str(origin), tls) from error
            if connected is not None:
                raise explain_silent_handshake(str(origin), tls, seconds) from None
            raise Unavailable(f"{origin}: no connection within {seconds:g} s") from None
        except socket.gaierror as error:
            raise no_free_descriptor(str(origin)) or explain_resolving(error, str(origin)) from error
        except OSError as error:
            self._resolver.forget(origin.host, origin.port)  # The name may have got another address.
            raise explain_connecting(error, str(origin), tls) from error

    async def _direct(self, origin: Origin, reach: AddressPolicy) -> socket.socket:
        addresses = await self._resolver.addresses(origin.host, origin.port)
        for _, address in addresses:
            reach.check(str(address[0]), origin.host)
        return await _connect(addresses)

    async def _tunnel(self, origin: Origin, proxy: SocksProxy) -> socket.socket:
        """Return a connection to *origin* through *proxy*, which may have any address."""
        try:
            connected = await _connect(await self._resolver.addresses(proxy.host, proxy.port))
        except OSError as error:
            self._resolver.forget(proxy.host, proxy.port)
            shortage = no_free_descriptor(str(origin))
            raise shortage or explain_proxy(error, str(origin), str(proxy)) from error
        try:
            await open_tunnel(connected, proxy, origin)
        except OSError as error:
            connected.close()
            raise explain_proxy(error, str(origin), str(proxy)) from error
        except BaseException:
            connected.close()
            raise
        return connected

    async def _start_tls(
        self, connected: socket.socket, origin: Origin, context: SSLContext | None, until: float
    ) -> Connection:
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connected = context.wrap_socket(
                    connected,
                    do_handshake_on_connect=False,
                    suppress_ragged_eofs=False,
                    server_hostname=_encoded(origin.host),
                )
        except BaseException:
            connected.close()
            raise
        connection = Connection(connected, self._open.discard)
        self._open.add(connection)
        try:
            await connection.handshake(until)
        except SSLCertVerificationError as error:
            shortage = no_free_descriptor(str(origin))  # Before the close below, which frees a descriptor.
            connection.close()
            raise shortage or error from None
        except BaseException:
            connection.close()
            raise
        connection.on_close = self._forget
        return connection

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.connections.count -= 1

    async def zone(self, origin: Origin) -> Zone:
        """Return the most public zone among the addresses of *origin*; raises as `dial` does."""
        found = [parse_ip(address) for address in await self.ip_addresses(origin)]
        return most_public({zone_of(address) for address in found if address is not None})

    async def ip_addresses(self, origin: Origin) -> Sequence[str]:
        """Return the IP addresses of *origin*; raises as `dial` does."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                addresses = await self._resolver.addresses(origin.host, origin.port)
        except TimeoutError:
            raise Unavailable(f"{origin}: its name was not resolved within {self._connect_seconds:g} s") from None
        except socket.gaierror as error:
            raise no_free_descriptor(str(origin)) or explain_resolving(error, str(origin)) from error
        return [str(address[0]) for _, address in addresses]


def _shortage(error: BaseException, where: str) -> OutOfResources | None:
    cause = error.__cause__ if isinstance(error, StoreError) else error
    return None if cause is None else out_of_descriptors(cause, where)


async def _look_up(host: str, port: int) -> Sequence[Address]:
    """Return the addresses of *host*. IP addresses need no lookup; names are looked up in a thread."""
    loop = asyncio.get_running_loop()
    name = _encoded(host)
    try:
        with suppress(socket.gaierror):
            return _distinct(socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except RuntimeError as error:
        raise out_of_threads(error, host) or error from None
    except UnicodeError as error:  # An empty label, or one that is too long.
        raise socket.gaierror(socket.EAI_NONAME, "not a valid host name") from error
    return _distinct(found)


def _encoded(host: str) -> str | bytes:
    """Return *host* such that the codec for international names, which loads a table of all characters, is spared."""
    return host.encode() if host.isascii() else host


def _distinct(found: Sequence[tuple[int, int, int, str, SocketAddress]]) -> list[Address]:
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))[:_MOST_ADDRESSES]


async def _connect(addresses: Sequence[Address]) -> socket.socket:
    """Return a socket connected to the first of *addresses* that accepts; each gets a head start before the next."""
    if len(addresses) == 1:
        return await open_socket(*addresses[0])
    race = _Race()
    try:
        async with asyncio.TaskGroup() as group:
            for address in addresses:
                runner = group.create_task(race.run(address))
                race.runners.append(runner)
                await asyncio.wait([runner], timeout=_HEAD_START_SECONDS)
                if race.winner is not None:
                    break
    except BaseException:
        race.close()
        raise
    return race.result()


class _Race:
    """Parallel connection attempts; the first success cancels the others."""

    def __init__(self) -> None:
        self.runners: list[asyncio.Task[None]] = []
        self.winner: socket.socket | None = None
        self._failure: OSError | None = None

    async def run(self, address: Address) -> None:
        """Try *address*; a failure is only recorded."""
        try:
            connected = await open_socket(*address)
        except OSError as error:
            self._failure = self._failure or error
            return
        if self.winner is not None:
            connected.close()
            return
        self.winner = connected
        for runner in self.runners:
            if runner is not asyncio.current_task():
                runner.cancel()

    def close(self) -> None:
        """Close the winner, if there is one."""
        if self.winner is not None:
            self.winner.close()

    def result(self) -> socket.socket:
        """Return the winner, or raise the first failure."""
        if self.winner is None:
            raise self._failure or OSError("no address")
        return self.winner


async def open_socket(family: int, address: SocketAddress) -> socket.socket:
    """Return a socket that is connected to *address*."""
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)  # noqa: FBT003 - the name is the library's
        await asyncio.get_running_loop().sock_connect(connected, address)
    except BaseException:
        connected.close()
        raise
    return connected
