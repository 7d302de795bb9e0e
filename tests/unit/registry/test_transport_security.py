"""The transport: TLS and proxies, against servers on loopback."""

import asyncio
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from image_syncer.errors import (
    InsecureConnection,
    Unauthorized,
)
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import (
    HandshakeBroken,
    Headers,
    NotTls,
    Request,
    Transport,
)
from image_syncer.registry.settings import Limits

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]
Tunnel = Callable[[int], Awaitable[str]]

pytestmark = pytest.mark.parametrize(
    "sockets", [True, False], ids=["sockets", "aiohttp"]
)  # Nobody can tell which served.

VERIFY = TlsPolicy("127.0.0.1")
IMPATIENT = Limits(connect_seconds=2.0, stall_seconds=0.3)


async def ask(transport: Transport, request: Request, tls: TlsPolicy = VERIFY) -> tuple[int, Headers, bytes]:
    """Send and read everything."""
    async with transport.request(request, tls=tls) as response:
        return response.status, response.headers, await response.read(64 * 1024 * 1024)


async def get(transport: Transport, url: str, tls: TlsPolicy = VERIFY) -> bytes:
    """Return the content at *url*."""
    return (await ask(transport, Request("GET", url), tls))[2]


async def echo(request: web.BaseRequest) -> web.Response:
    """Give back what came."""
    return web.Response(
        status=201, body=await request.content.read(), headers={"X-Length": str(request.content_length)}
    )


async def test_an_unknown_certificate_is_refused_with_the_way_out(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """The message names the host and all three remedies; the CA in SSL_CERT_FILE makes it work."""
    url = f"https://127.0.0.1:{await serve(echo, server_tls)}/"
    with pytest.raises(InsecureConnection, match=r"127.0.0.1:\d+: its certificate is not trusted") as raised:
        await get(await open_transport(), url)
    assert raised.value.remedy is not None
    assert all(way in raised.value.remedy for way in ("certs.d/127.0.0.1/ca.crt", "SSL_CERT_FILE", "insecure: true"))
    trusting = await open_transport(environment={"SSL_CERT_FILE": str(authority_file)})
    assert await get(trusting, url) == b""


async def test_an_insecure_policy_trusts_every_certificate(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext
) -> None:
    """That is what `insecure: true` asks for."""
    url = f"https://127.0.0.1:{await serve(echo, server_tls)}/"
    assert await get(await open_transport(), url, TlsPolicy("127.0.0.1", insecure=True)) == b""


async def test_a_plain_port_is_not_tls(serve: Serve, open_transport: Open) -> None:
    """Plain HTTP is recognised as such, and named with its remedy."""
    with pytest.raises(NotTls, match=r"the server does not speak TLS.*insecure: true"):
        await get(await open_transport(), f"https://127.0.0.1:{await serve(echo)}/")


async def test_an_alert_is_tls(listen: Serve, open_transport: Open) -> None:
    """A server that refuses our TLS speaks it: no reason to go on without."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(bytes.fromhex("15030300020228"))  # Alert, fatal, handshake_failure.

    url = f"https://127.0.0.1:{await listen(talk)}/"
    with pytest.raises(InsecureConnection, match="TLS handshake failed") as raised:
        await get(await open_transport(), url, TlsPolicy("127.0.0.1", insecure=True))
    assert not isinstance(raised.value, NotTls)


async def test_a_handshake_that_is_cut_may_heal(listen: Serve, open_transport: Open) -> None:
    """A reset in the handshake is trouble on the way until proven otherwise."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(65536)

    with pytest.raises(HandshakeBroken) as raised:
        await get(await open_transport(), f"https://127.0.0.1:{await listen(talk)}/")
    assert raised.value.retryable


async def test_a_client_certificate_is_shown(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    """A pair in certs.d opens a registry that asks for one."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    port = await serve(echo, server_tls)
    own, identity = tmp_path / f"127.0.0.1:{port}", authority.issue_cert("client.example")
    own.mkdir()
    (own / "ca.crt").write_bytes(authority.cert_pem.bytes())
    (own / "client.cert").write_bytes(b"".join(part.bytes() for part in identity.cert_chain_pems))
    (own / "client.key").write_bytes(identity.private_key_pem.bytes())
    known = await open_transport(certificates=(tmp_path,))
    assert await get(known, f"https://127.0.0.1:{port}/", TlsPolicy(own.name)) == b""


async def test_a_missing_client_certificate_is_no_network_trouble(
    open_transport: Open, server_tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    """Under TLS 1.3 the refusal comes after the handshake; trying again does not help."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(cadata=authority.cert_pem.bytes().decode())

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with server_tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as wrapped:
            wrapped.settimeout(5)
            with pytest.raises(ssl.SSLError):
                wrapped.do_handshake()
            with suppress(ConnectionError):
                while socket.socket.recv(wrapped, 4096):  # To close over unread bytes would reset, and lose the alert.
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        url, policy = f"https://127.0.0.1:{listener.getsockname()[1]}/", TlsPolicy("127.0.0.1", insecure=True)
        transport = await open_transport()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(refuse, listener))
            with pytest.raises(InsecureConnection, match="certificate required"):
                await ask(transport, Request("POST", url), policy)


async def test_plain_requests_go_through_a_proxy_with_its_login(serve: Serve, open_transport: Open) -> None:
    """The proxy sees the whole address, and credentials of its own."""
    seen: list[tuple[str, str]] = []

    async def proxy(request: web.BaseRequest) -> web.Response:
        seen.append((str(request.url), request.headers.get("Proxy-Authorization", "")))
        return web.Response(body=b"proxied")

    environment = {"HTTP_PROXY": f"http://user:pass@127.0.0.1:{await serve(proxy)}"}
    transport = await open_transport(environment=environment)
    assert await get(transport, "http://registry.example/v2/") == b"proxied"
    assert seen == [("http://registry.example/v2/", "Basic dXNlcjpwYXNz")]


async def test_tls_goes_through_a_tunnel(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """CONNECT first, and the certificate is that of the registry."""
    proxy = await tunnel(await serve(echo, server_tls))
    transport = await open_transport(environment={"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(authority_file)})
    assert await get(transport, "https://registry.example/v2/") == b""


async def test_a_proxy_that_refuses_us_is_named(serve: Serve, open_transport: Open) -> None:
    """The proxy's name is told, its password is not."""

    async def proxy(_: web.BaseRequest) -> web.Response:
        return web.Response(status=407)

    environment = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{await serve(proxy)}"}
    transport = await open_transport(environment=environment)
    with pytest.raises(Unauthorized, match=r"registry.example: the proxy 127.0.0.1:\d+ does not accept") as raised:
        await get(transport, "https://registry.example/")
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
