"""The transport: TLS and proxies, against servers on loopback."""

import asyncio
import socket
import ssl
import traceback
from contextlib import suppress
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from image_syncer.errors import (
    InsecureConnection,
    StoreError,
    Unauthorized,
    Unavailable,
    UnknownHost,
)
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import (
    HandshakeBroken,
    NotTls,
    Request,
)
from image_syncer.registry.settings import Limits
from support.http_exchange import Open, Serve, Tunnel, both_transports, echo, exchange, get

pytestmark = both_transports


async def test_an_untrusted_certificate_is_refused_with_remedies(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """The message names the host and all three remedies; with the CA in SSL_CERT_FILE it is trusted."""
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
    """This is the meaning of `insecure: true`."""
    url = f"https://127.0.0.1:{await serve(echo, server_tls)}/"
    assert await get(await open_transport(), url, TlsPolicy("127.0.0.1", insecure=True)) == b""


async def test_a_plain_http_port_is_recognised(serve: Serve, open_transport: Open) -> None:
    """The message says that the server does not speak TLS, with a remedy."""
    with pytest.raises(NotTls, match=r"the server does not speak TLS.*insecure: true"):
        await get(await open_transport(), f"https://127.0.0.1:{await serve(echo)}/")


async def test_a_tls_alert_is_no_plain_http(listen: Serve, open_transport: Open) -> None:
    """A server that refuses our TLS does speak TLS, so plain HTTP is not tried."""

    async def serve_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(bytes.fromhex("15030300020228"))  # Alert, fatal, handshake_failure.

    url = f"https://127.0.0.1:{await listen(serve_connection)}/"
    with pytest.raises(InsecureConnection, match="TLS handshake failed") as raised:
        await get(await open_transport(), url, TlsPolicy("127.0.0.1", insecure=True))
    assert not isinstance(raised.value, NotTls)


async def test_a_broken_handshake_may_be_retried(listen: Serve, open_transport: Open) -> None:
    """A reset during the handshake may be a network error."""

    async def serve_connection(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(65536)

    with pytest.raises(HandshakeBroken) as raised:
        await get(await open_transport(), f"https://127.0.0.1:{await listen(serve_connection)}/")
    assert raised.value.retryable


async def test_a_client_certificate_of_certs_d_is_used(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    """A registry that demands one accepts the pair in certs.d."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    port = await serve(echo, server_tls)
    directory, identity = tmp_path / f"127.0.0.1:{port}", authority.issue_cert("client.example")
    directory.mkdir()
    (directory / "ca.crt").write_bytes(authority.cert_pem.bytes())
    (directory / "client.cert").write_bytes(b"".join(part.bytes() for part in identity.cert_chain_pems))
    (directory / "client.key").write_bytes(identity.private_key_pem.bytes())
    known = await open_transport(certificates=(tmp_path,))
    assert await get(known, f"https://127.0.0.1:{port}/", TlsPolicy(directory.name)) == b""


async def test_a_missing_client_certificate_is_no_network_error(
    open_transport: Open, server_tls: ssl.SSLContext, authority: trustme.CA
) -> None:
    """Under TLS 1.3 the refusal comes after the handshake; a retry does not help."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    server_tls.load_verify_locations(cadata=authority.cert_pem.bytes().decode())

    def refuse(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with server_tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as wrapped:
            wrapped.settimeout(5)
            with pytest.raises(ssl.SSLError):
                wrapped.do_handshake()
            with suppress(ConnectionError):
                while socket.socket.recv(
                    wrapped, 4096
                ):  # Closing with unread bytes would reset the connection and lose the alert.
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        url, policy = f"https://127.0.0.1:{listener.getsockname()[1]}/", TlsPolicy("127.0.0.1", insecure=True)
        transport = await open_transport()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(refuse, listener))
            with pytest.raises(InsecureConnection, match="the server demands a client certificate") as raised:
                await exchange(transport, Request("POST", url), policy)
    assert raised.value.remedy == "put client.cert and client.key into /etc/docker/certs.d/127.0.0.1"


async def test_plain_http_uses_a_proxy_with_its_login(serve: Serve, open_transport: Open) -> None:
    """The proxy sees the whole URL, and its own credentials."""
    seen: list[tuple[str, str]] = []

    async def proxy(request: web.BaseRequest) -> web.Response:
        seen.append((str(request.url), request.headers.get("Proxy-Authorization", "")))
        return web.Response(body=b"proxied")

    environment = {"HTTP_PROXY": f"http://user:pass@127.0.0.1:{await serve(proxy)}"}
    transport = await open_transport(environment=environment)
    assert await get(transport, "http://registry.example/v2/") == b"proxied"
    assert seen == [("http://registry.example/v2/", "Basic dXNlcjpwYXNz")]


async def test_https_uses_a_tunnel_through_the_proxy(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """After CONNECT, the certificate is that of the registry."""
    proxy = await tunnel(await serve(echo, server_tls))
    transport = await open_transport(environment={"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(authority_file)})
    assert await get(transport, "https://registry.example/v2/") == b""


async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Accept the connection and stay silent."""
    await reader.read()


async def hang_up(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Close the connection after the request."""
    await reader.readuntil(b"\r\n\r\n")


async def no_proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond in another protocol."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"SSH-2.0\r\n\r\n")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (never, "no connection within 0.5 s|nothing was sent or received for 0.5 s"),
        (hang_up, "the connection broke off before a response"),
        (no_proxy, "the response is not HTTP"),
    ],
)
async def test_a_failing_proxy_is_named(
    listen: Serve, open_transport: Open, scheme: str, handler: object, reason: str
) -> None:
    """The registry is not to blame."""
    port = await listen(handler)
    variable = f"{scheme.upper()}_PROXY"
    transport = await open_transport(
        Limits(connect_seconds=0.5, stall_seconds=0.5), {variable: f"http://user:hunter2@127.0.0.1:{port}"}
    )
    message = rf"^registry.example: through the proxy 127.0.0.1:{port}: ({reason})"
    with pytest.raises(StoreError, match=message) as raised:
        await get(transport, f"{scheme}://registry.example/v2/")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_dead_proxy_is_named(open_transport: Open, unused_tcp_port: int, scheme: str) -> None:
    """A refused connection, and a name that does not exist, which is permanent."""
    for proxy, kind, reason in (
        (f"127.0.0.1:{unused_tcp_port}", Unavailable, "Connection refused"),
        ("no.such.name.invalid:3128", UnknownHost, ""),
    ):
        transport = await open_transport(environment={"ALL_PROXY": f"http://user:hunter2@{proxy}"})
        message = f"^registry.example: the proxy {proxy} cannot be reached: {reason}.*ALL_PROXY"
        with pytest.raises(kind, match=message) as raised:
            await get(transport, f"{scheme}://registry.example/v2/")
        assert "hunter2" not in str(raised.value)


async def test_an_untrusted_certificate_of_a_proxy_is_named(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext
) -> None:
    """The remedy is for the proxy's certificate, not for the registry's."""
    port = await serve(echo, server_tls)
    transport = await open_transport(environment={"HTTPS_PROXY": f"https://127.0.0.1:{port}"})
    message = rf"registry.example: the proxy 127.0.0.1:{port}: its certificate is not trusted"
    with pytest.raises(InsecureConnection, match=message) as raised:
        await get(transport, "https://registry.example/v2/")
    assert f"certs.d/127.0.0.1:{port}/ca.crt" in str(raised.value)


async def test_a_proxy_that_refuses_our_login_is_named(serve: Serve, open_transport: Open) -> None:
    """The message has the proxy's name without its password."""

    async def proxy(_: web.BaseRequest) -> web.Response:
        return web.Response(status=407)

    environment = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{await serve(proxy)}"}
    transport = await open_transport(environment=environment)
    with pytest.raises(Unauthorized, match=r"registry.example: the proxy 127.0.0.1:\d+ does not accept") as raised:
        await get(transport, "https://registry.example/")
    assert "hunter2" not in "".join(traceback.format_exception(raised.value))
