"""Addresses that a registry may redirect to, by account settings; no test connects: one address is always refused."""

import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from image_syncer.errors import ProtocolError
from image_syncer.registry.host import Call, HostConnection
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.settings import RegistryAccount
from support.names import as_text

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]
Tunnel = Callable[[int], Awaitable[str]]

PRIVATE, LOOPBACK = "10.0.0.1", "127.0.0.1"


@pytest.fixture
def inward(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve a name to a private address and to this machine."""
    real = socket.getaddrinfo

    def resolve(name: bytes, port: int, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0) -> list[Any]:  # noqa: A002 - the library's names
        host = as_text(name)
        if host != "inward.example":
            return real(host, port, family, type, proto, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no digits")
        return [entry for one in (PRIVATE, LOOPBACK) for entry in real(one, port, type=socket.SOCK_STREAM)]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.fixture
async def transport(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, authority_file: Path
) -> Transport:
    """A transport that reaches `registry.example` through a proxy, so that it counts as public."""

    async def registry(request: web.BaseRequest) -> web.Response:
        if request.path == "/v2/":
            return web.Response()
        return web.Response(status=307, headers={"Location": "https://inward.example/blob"})

    environment = {
        "HTTPS_PROXY": await tunnel(await serve(registry, server_tls)),
        "NO_PROXY": "inward.example",
        "SSL_CERT_FILE": str(authority_file),
    }
    return await open_transport(environment=environment)


@pytest.mark.usefixtures("inward")
@pytest.mark.parametrize(
    ("insecure", "private", "refused"),
    [
        (False, None, LOOPBACK),  # By name, over verified TLS: the private address passes.
        (False, True, LOOPBACK),
        (False, False, PRIVATE),
        (True, None, PRIVATE),  # Without verified TLS, the other end is unauthenticated.
        (True, True, LOOPBACK),
        (True, False, PRIVATE),
    ],
)
async def test_a_public_registry_redirects_to_private_addresses_as_configured(
    transport: Transport, insecure: bool, private: bool | None, refused: str
) -> None:
    """The redirect's host has one private address and one of this machine."""
    access = RegistryAccount("registry.example", insecure=insecure, private_network=private)
    host = HostConnection("registry.example", access, transport, counter=lambda _: None)
    with pytest.raises(ProtocolError, match=rf"inward\.example \({refused}\)"):
        await host.send(Call("GET", "/v2/a/blobs/x", follow=True))
