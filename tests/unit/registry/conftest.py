"""Small servers on loopback, transports and clients; all are closed after the test."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
from aiohttp import web

from image_syncer.registry.http.transport import Transport
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.registry.settings import Limits
from image_syncer.testing import FakeRegistry
from support.clients import client
from support.tunnels import relay

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Serve = Callable[..., Awaitable[int]]
ConnectionHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]

LIMITS = Limits(connect_seconds=5.0, stall_seconds=5.0)


@pytest.fixture
async def stack() -> AsyncGenerator[AsyncExitStack]:
    """Closes everything that a test opens."""
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A private CA."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """The TLS context of a server for 127.0.0.1, localhost and registry.example."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    identity = authority.issue_cert("127.0.0.1", "localhost", "registry.example")
    with identity.private_key_and_cert_chain_pem.tempfile() as file:
        context.load_cert_chain(file)
    return context


@pytest.fixture
def authority_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """The certificate of the private CA."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def serve(stack: AsyncExitStack) -> Serve:
    """Start an HTTP server; awaiting it with a handler (and a TLS context) gives the port."""

    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> int:
        runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.5)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        return runner.addresses[0][1]

    return start


@pytest.fixture
def listen(stack: AsyncExitStack) -> Listen:
    """Start a TCP server; awaiting it with a connection handler gives the port. A connection ends with its handler."""

    async def start(handler: ConnectionHandler, tls: ssl.SSLContext | None = None) -> int:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # The client closed the connection, as in many tests.
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        stack.callback(server.close)
        return server.sockets[0].getsockname()[1]

    return start


@pytest.fixture
def sockets() -> bool:
    """Whether our own HTTP client is used; tests of both transports override it with both values."""
    return True


@pytest.fixture
def open_transport(stack: AsyncExitStack, sockets: bool) -> Open:
    """Open a transport; awaiting it takes limits and an environment."""

    async def start(
        limits: Limits = LIMITS, environment: Mapping[str, str] | None = None, certificates: tuple[Path, ...] = ()
    ) -> Transport:
        transport = Transport(limits, environment or {}, certificates=certificates, sockets=sockets)
        return await stack.enter_async_context(transport)

    return start


@pytest.fixture
def tunnel(listen: Listen) -> Callable[[int], Awaitable[str]]:
    """Start a proxy that connects every CONNECT to one port; awaiting it gives its URL.

    Through it a test reaches hosts by names that are not this machine.
    """

    async def start(port: int) -> str:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await relay(reader, writer, inner_reader, inner_writer)

        return f"http://127.0.0.1:{await listen(handler)}"

    return start


@pytest.fixture
async def source(fake: FakeRegistry) -> AsyncGenerator[RegistrySource]:
    """The repository `app` of the module's registry `fake` as a source."""
    async with client() as registries:
        yield registries.source(fake.repository("app"))


@pytest.fixture
async def target(request: pytest.FixtureRequest, fake: FakeRegistry) -> AsyncGenerator[RegistryTarget]:
    """The repository `app` of the module's registry `fake` as a target, or that of the module's `TARGET_PATH`."""
    async with client() as registries:
        path: str = getattr(cast("Any", request).module, "TARGET_PATH", "app")
        yield registries.target(fake.repository(path))
