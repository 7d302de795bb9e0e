"""Names to addresses, addresses to connections: within one bound of time, every address tried."""

import asyncio
import socket
from collections.abc import Sequence
from ssl import SSLContext
from typing import Final

from image_syncer.errors import Unavailable
from image_syncer.registry.http.address_policy import AddressPolicy, Zone, literal, most_public, zone_of
from image_syncer.registry.http.connect_errors import explain_connecting, explain_resolving
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.resolve import Address, Resolver, SocketAddress
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.urls import Origin

_HEAD_START_SECONDS: Final = 0.25  # Of each address before the next (RFC 8305, "Happy Eyeballs").


class Dialer:
    """Opens connections; each takes *connect_seconds* at most, from the name to the end of the TLS handshake."""

    def __init__(self, connect_seconds: float, resolver: Resolver) -> None:
        self._connect_seconds = connect_seconds
        self._resolver = resolver
        self._open: set[Connection] = set()

    def close(self) -> None:
        """Close every connection that is still open."""
        for connection in tuple(self._open):
            connection.close()

    async def dial(
        self, origin: Origin, tls: TlsPolicy, context: SSLContext | None, reach: AddressPolicy
    ) -> Connection:
        """Return a new connection to *origin*, with TLS if there is a *context*.

        Raises `UnknownHost`, `Unavailable` and `InsecureConnection`, and `ProtocolError` where one of the addresses is
        out of *reach*: what was judged is what is connected to, whatever a name server says a moment later.
        """
        try:
            async with asyncio.timeout(self._connect_seconds) as watch:
                addresses = await self._resolver.addresses(origin.host, origin.port)
                for _, address in addresses:
                    reach.check(str(address[0]), origin.host)
                connected = await _connect(addresses)
                until = watch.when() or 0.0
                return await self._secured(connected, origin, context, until)
        except TimeoutError as error:
            if error.errno is not None:
                raise explain_connecting(error, str(origin), tls) from error
            raise Unavailable(f"{origin}: no connection within {self._connect_seconds:g} s") from None
        except socket.gaierror as error:
            raise explain_resolving(error, str(origin)) from error
        except OSError as error:
            self._resolver.forget(origin.host, origin.port)  # The name may have moved.
            raise explain_connecting(error, str(origin), tls) from error

    async def _secured(
        self, connected: socket.socket, origin: Origin, context: SSLContext | None, until: float
    ) -> Connection:
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                connected = context.wrap_socket(
                    connected, do_handshake_on_connect=False, suppress_ragged_eofs=False, server_hostname=origin.host
                )
        except BaseException:
            connected.close()
            raise
        connection = Connection(connected, self._open.discard)
        self._open.add(connection)
        try:
            await connection.shake_hands(until)
        except BaseException:
            connection.close()
            raise
        return connection

    async def zone(self, origin: Origin) -> Zone:
        """Return where *origin* lies; raises as `dial` does."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                addresses = await self._resolver.addresses(origin.host, origin.port)
        except TimeoutError:
            raise Unavailable(f"{origin}: its name was not resolved within {self._connect_seconds:g} s") from None
        except socket.gaierror as error:
            raise explain_resolving(error, str(origin)) from error
        found = [literal(str(address[0])) for _, address in addresses]
        return most_public({zone_of(address) for address in found if address is not None})


async def _connect(addresses: Sequence[Address]) -> socket.socket:
    """Return a socket that is connected to one of *addresses*: the first that answers, each with a head start."""
    if len(addresses) == 1:
        return await _attempt(*addresses[0])
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
    """Attempts at several addresses; the first that succeeds calls the others off."""

    def __init__(self) -> None:
        self.runners: list[asyncio.Task[None]] = []
        self.winner: socket.socket | None = None
        self._failure: OSError | None = None

    async def run(self, address: Address) -> None:
        """Try *address*; a failure is only noted."""
        try:
            connected = await _attempt(*address)
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
        """Close the winner, where there is one."""
        if self.winner is not None:
            self.winner.close()

    def result(self) -> socket.socket:
        """Return the winner; the first failure is raised where there is none."""
        if self.winner is None:
            raise self._failure or OSError("no address")
        return self.winner


async def _attempt(family: int, address: SocketAddress) -> socket.socket:
    connected = socket.socket(family, socket.SOCK_STREAM)
    try:
        connected.setblocking(False)  # noqa: FBT003 - the name is the library's
        await asyncio.get_running_loop().sock_connect(connected, address)
    except BaseException:
        connected.close()
        raise
    return connected
