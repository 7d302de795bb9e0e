"""From names to connections."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from image_syncer.errors import InsecureConnection, Unavailable, UnknownHost
from image_syncer.registry.lean.dial import Dialer
from image_syncer.registry.options import Limits
from image_syncer.registry.tls import TlsPolicy
from image_syncer.registry.transport import Request, Transport
from image_syncer.registry.urls import Origin

Serve = Callable[..., Awaitable[int]]

VERIFY = TlsPolicy("registry.example")
QUICK = Limits(connect_seconds=1.0, stall_seconds=1.0)


async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Talk about nothing until the client goes."""
    await reader.read()
    writer.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name mean *addresses* from now on; the names that were looked up are in what is returned."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:  # noqa: A002 - the library's names
        if not host.endswith(".example"):
            return real(host, port, family, type, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no digits")
        asked.append(host)
        return [entry for one in addresses for entry in real(one, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


@pytest.mark.parametrize("name", ["no.such.name.invalid", "a" * 64 + ".example", "a..example"])
async def test_a_name_that_is_none_is_unknown(name: str) -> None:
    """Trying again does not help, and the message names it."""
    with pytest.raises(UnknownHost, match="there is no such registry"):
        await Dialer(5.0).dial(Origin("http", name, 80), VERIFY, None)


async def test_every_address_is_tried(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that refuses does not hide the other."""
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    dialer, port = Dialer(5.0), await listen(hold)
    connection = await dialer.dial(Origin("http", "registry.example", port), VERIFY, None)
    assert not connection.is_closed
    dialer.close()
    assert connection.is_closed


async def test_an_address_that_is_silent_delays_the_next_by_little(
    listen: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken route to the first address is no reason to wait for all of the time."""
    port = await listen(hold)
    with socket.create_server(("127.0.0.2", port), backlog=0), socket.socket() as first, socket.socket() as second:
        for filler in (first, second):  # A full backlog takes no further connection, and says nothing.
            filler.setblocking(False)  # noqa: FBT003 - the library's name
            filler.connect_ex(("127.0.0.2", port))
        resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
        dialer = Dialer(5.0)
        async with asyncio.timeout(2):
            await dialer.dial(Origin("http", "registry.example", port), VERIFY, None)
        dialer.close()


async def test_a_name_is_looked_up_once_a_minute(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten connections at once need one answer."""
    asked = resolving(monkeypatch, "127.0.0.1")
    dialer, origin = Dialer(5.0), Origin("http", "registry.example", await listen(hold))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(dialer.dial(origin, VERIFY, None))
    await dialer.dial(origin, VERIFY, None)
    dialer.close()
    assert asked == ["registry.example"]


async def test_an_address_can_be_forbidden(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is judged as digits, after the name was looked up and before anything is sent there."""
    resolving(monkeypatch, "127.0.0.1")
    connections: list[int] = []

    async def talk(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        connections.append(1)

    def refuse(address: str) -> None:
        raise InsecureConnection(f"{address} is refused")

    url = f"http://registry.example:{await listen(talk)}/"
    async with Transport(QUICK, {}, certificates=(), check=refuse) as transport:
        for method in ("GET", "HEAD"):
            with pytest.raises(InsecureConnection, match=r"127\.0\.0\.1 is refused"):
                async with transport.send(Request(method, url), tls=VERIFY):
                    pass
    assert not connections


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_handshake_has_its_bound(listen: Serve, method: str) -> None:
    """A server that takes a connection and does not speak TLS is not available."""
    async with Transport(QUICK, {}, certificates=()) as transport, asyncio.timeout(5):
        with pytest.raises(Unavailable, match="no connection within 1 s"):
            async with transport.send(Request(method, f"https://127.0.0.1:{await listen(hold)}/"), tls=VERIFY):
                pass
