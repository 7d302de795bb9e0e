"""Name resolution and new connections."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from image_syncer.errors import OutOfResources, ProtocolError, Unavailable, UnknownHost
from image_syncer.registry.http.address_policy import ANYWHERE, Zone, policy_for_redirects
from image_syncer.registry.http.dial import Dialer, Resolver
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Request, Transport
from image_syncer.registry.http.urls import Origin
from image_syncer.registry.settings import Limits
from support.names import as_text

Serve = Callable[..., Awaitable[int]]

VERIFY = TlsPolicy("registry.example")
QUICK = Limits(connect_seconds=1.0, stall_seconds=1.0)


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stay silent until the client closes."""
    await reader.read()
    writer.close()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Resolve every name to *addresses* from now on; return the list of looked-up names."""
    lookups: list[str] = []
    real = socket.getaddrinfo

    def resolve(name: bytes, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:  # noqa: A002 - the library's names
        host = as_text(name)
        if not host.endswith(".example"):
            return real(host, port, family, type, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an IP address")
        lookups.append(host)
        return [entry for one in addresses for entry in real(one, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return lookups


@pytest.mark.parametrize("name", ["no.such.name.invalid", "a" * 64 + ".example", "a..example"])
async def test_a_name_that_does_not_exist_is_an_unknown_host(name: str) -> None:
    """That is permanent, and the message says so."""
    with pytest.raises(UnknownHost, match="there is no such registry"):
        await Dialer(5.0, Resolver()).dial(Origin("http", name, 80), VERIFY, None, ANYWHERE)


@pytest.mark.parametrize(
    ("message", "kind", "shown"),
    [
        ("can't start new thread", OutOfResources, r"refuses another thread.*ulimit -u"),
        ("something else", RuntimeError, "something else"),
    ],
)
async def test_a_refused_thread_is_no_error_of_the_registry(
    monkeypatch: pytest.MonkeyPatch, message: str, kind: type[Exception], shown: str
) -> None:
    """Names are resolved in a thread; other errors of Python come out unchanged."""

    def refuse(*_: object) -> None:
        raise RuntimeError(message)

    dialer, origin = Dialer(5.0, Resolver()), Origin("http", "registry.example", 80)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(kind, match=shown):
            await dialer.dial(origin, VERIFY, None, ANYWHERE)


async def test_every_address_is_tried(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that refuses does not hide the next."""
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    dialer, port = Dialer(5.0, Resolver()), await listen(stay_silent)
    connection = await dialer.dial(Origin("http", "registry.example", port), VERIFY, None, ANYWHERE)
    assert not connection.is_closed
    dialer.close()
    assert connection.is_closed


async def test_a_silent_address_delays_the_next_only_briefly(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken route to the first address does not use up the time limit."""
    port = await listen(stay_silent)
    with socket.create_server(("127.0.0.2", port), backlog=0), socket.socket() as first, socket.socket() as second:
        for filler in (first, second):  # With a full backlog the system ignores further connections.
            filler.setblocking(False)  # noqa: FBT003 - the library's name
            filler.connect_ex(("127.0.0.2", port))
        resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
        dialer = Dialer(5.0, Resolver())
        async with asyncio.timeout(2):
            await dialer.dial(Origin("http", "registry.example", port), VERIFY, None, ANYWHERE)
        dialer.close()


async def test_a_name_is_looked_up_once_a_minute(listen: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten concurrent connections share one lookup."""
    lookups = resolving(monkeypatch, "127.0.0.1")
    dialer, origin = Dialer(5.0, Resolver()), Origin("http", "registry.example", await listen(stay_silent))
    async with asyncio.TaskGroup() as group:
        for _ in range(10):
            group.create_task(dialer.dial(origin, VERIFY, None, ANYWHERE))
    await dialer.dial(origin, VERIFY, None, ANYWHERE)
    dialer.close()
    assert lookups == ["registry.example"]


@pytest.mark.parametrize("sockets", [True, False], ids=["sockets", "aiohttp"])
async def test_the_policy_checks_every_resolved_address(
    listen: Serve, monkeypatch: pytest.MonkeyPatch, sockets: bool
) -> None:
    """The addresses count, not the name, and one forbidden address is enough."""
    resolving(monkeypatch, "192.0.2.1", "127.0.0.1")
    connections: list[int] = []

    async def serve_connection(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        connections.append(1)

    url = f"http://storage.example:{await listen(serve_connection)}/"
    reach = policy_for_redirects(Zone.PUBLIC, verified=False, private=None)
    async with Transport(QUICK, {}, certificates=(), sockets=sockets) as transport:
        for method in ("GET", "HEAD"):
            with pytest.raises(ProtocolError, match=r"storage.example \(127\.0\.0\.1\): an address of this machine"):
                async with transport.request(Request(method, url), tls=VERIFY, reach=reach):
                    pass
    assert not connections


async def test_a_pooled_connection_is_not_shared_across_policies(
    listen: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool must not bypass the address check."""
    resolving(monkeypatch, "127.0.0.1")

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    request = Request("GET", f"http://registry.example:{await listen(serve_connection)}/")
    async with Transport(QUICK, {}, certificates=()) as transport:
        async with transport.request(request, tls=VERIFY) as response:
            assert await response.read(10) == b""
        with pytest.raises(ProtocolError, match="an address of this machine"):
            async with transport.request(
                request, tls=VERIFY, reach=policy_for_redirects(Zone.PRIVATE, verified=True, private=True)
            ):
                pass


async def test_a_name_is_in_the_zone_of_its_most_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a public and a private address gets the rights of a public one."""
    resolving(monkeypatch, "10.0.0.1", "192.0.2.1")
    async with Transport(QUICK, {}, certificates=()) as transport:
        assert await transport.zone("https://registry.example/v2/") is Zone.PUBLIC
        assert await transport.zone("https://10.1.1.1/v2/") is Zone.PRIVATE
        with pytest.raises(UnknownHost):
            await transport.zone("https://no.such.name.invalid/")


async def test_only_ip_addresses_are_checked_behind_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy resolves names; IP addresses need no lookup."""
    lookups = resolving(monkeypatch, "10.0.0.1")
    reach = policy_for_redirects(Zone.PUBLIC, verified=True, private=None)
    async with Transport(QUICK, {"HTTPS_PROXY": "http://127.0.0.1:9"}, certificates=()) as transport:
        assert await transport.zone("https://registry.example/") is Zone.PUBLIC
        for host in ("169.254.169.254", "2130706434", "10.0.0.1", "[::ffff:10.0.0.1]", "x.localhost"):
            with pytest.raises(ProtocolError, match="where this registry may not lead us"):
                async with transport.request(Request("GET", f"https://{host}/"), tls=VERIFY, reach=reach):
                    pass
    assert not lookups


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_handshake_has_a_time_limit(listen: Serve, method: str) -> None:
    """A server that accepts a connection and stays silent is unavailable."""
    async with Transport(QUICK, {}, certificates=()) as transport, asyncio.timeout(5):
        with pytest.raises(Unavailable, match=r"no TLS handshake within 1 s.*plain_http: true"):
            async with transport.request(
                Request(method, f"https://127.0.0.1:{await listen(stay_silent)}/"), tls=VERIFY
            ):
                pass
