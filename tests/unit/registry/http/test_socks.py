"""SOCKS5 proxies: the messages, and requests through a proxy on loopback."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.errors import ImageSyncerError, ProtocolError, StoreError, Unauthorized, Unavailable, UnknownHost
from image_syncer.registry.http.address_policy import ANYWHERE, AddressPolicy, Zone, policy_for_redirects
from image_syncer.registry.http.connect_errors import ConnectionRefused
from image_syncer.registry.http.socks import SocksProxy, connect_request, greeting, login
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.http.transport import Request, RequestBody, Transport
from image_syncer.registry.http.urls import Origin
from support.http_exchange import Open, Serve, echo, exchange, get
from support.tunnels import relay

NAME = "registry.example"


class SocksServer:
    """A SOCKS5 proxy that connects every request to *port*; with *user*, it demands that login."""

    def __init__(self, port: int, user: tuple[bytes, bytes] | None = None) -> None:
        self.port = port
        self.user = user
        self.requested: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        version, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 0 if self.user is None else 2
        if version != 5 or method not in methods:
            writer.write(b"\x05\xff")
            return
        writer.write(bytes((5, method)))
        if self.user is not None:
            _, length = await reader.readexactly(2)
            name = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            is_right = (name, password) == self.user
            writer.write(bytes((1, 0 if is_right else 1)))
            if not is_right:
                return
        request = await reader.readexactly(4)
        length = {1: 4, 4: 16}.get(request[3]) or (await reader.readexactly(1))[0]
        self.requested.append(request[3:] + await reader.readexactly(length + 2))
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"\x05\x00\x00\x03\x04test\x00\x50")  # The bound address, as a name.
        await relay(reader, writer, inner_reader, inner_writer)


def test_messages_are_those_of_the_rfc() -> None:
    """RFC 1928 and RFC 1929, byte for byte."""
    assert greeting(has_login=False) == b"\x05\x01\x00"
    assert greeting(has_login=True) == b"\x05\x02\x00\x02"
    assert login(SocksProxy("p", 1, "user", "pass"), "p") == b"\x01\x04user\x04pass"
    assert connect_request(Origin("https", NAME, 443)) == b"\x05\x01\x00\x03\x10registry.example\x01\xbb"
    assert connect_request(Origin("http", "10.1.2.3", 80)) == b"\x05\x01\x00\x01\x0a\x01\x02\x03\x00\x50"
    assert connect_request(Origin("http", "fd00::1", 80)) == (b"\x05\x01\x00\x04\xfd\x00" + bytes(13) + b"\x01\x00\x50")


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("socks5://proxy.example", SocksProxy("proxy.example", 1080)),
        ("socks5h://proxy.example:9", SocksProxy("proxy.example", 9)),
        ("socks5://us%40er:p%3Aw@[fd00::1]:9", SocksProxy("fd00::1", 9, "us@er", "p:w")),
        ("http://proxy.example:3128", None),
    ],
)
def test_a_url_names_the_proxy(url: str, proxy: SocksProxy | None) -> None:
    """With a percent-encoded login, which no text of it shows."""
    found = SocksProxy.of(url)
    assert found == proxy
    assert "p:w" not in f"{found} {found!r}"


def test_what_one_length_byte_cannot_count_is_refused() -> None:
    """A longer name would be read as something else."""
    with pytest.raises(ProtocolError, match="at most 255 bytes"):
        login(SocksProxy("p", 1, "u" * 256, "p"), "p")
    with pytest.raises(ProtocolError, match="at most 255 bytes"):
        connect_request(Origin("http", "n" * 256, 80))


async def test_the_proxy_resolves_names_and_tls_ends_at_the_registry(
    serve: Serve, listen: Serve, open_transport: Open, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """The name is not looked up here, and the certificate is that of the registry. The connection is used again."""
    proxy = SocksServer(await serve(echo, server_tls), (b"us@er", b"pa:ss"))
    url = f"socks5://us%40er:pa%3Ass@127.0.0.1:{await listen(proxy.serve)}"
    transport = await open_transport(environment={"ALL_PROXY": url, "SSL_CERT_FILE": str(authority_file)})
    for _ in range(2):
        assert await get(transport, f"https://{NAME}/v2/") == b""
    assert proxy.requested == [b"\x03registry.example\x01\xbb"]


async def test_a_body_of_unknown_length_goes_through_the_proxy(
    serve: Serve, listen: Serve, open_transport: Open
) -> None:
    """It is sent in the chunked transfer coding."""
    proxy = SocksServer(await serve(echo))
    transport = await open_transport(environment={"ALL_PROXY": f"socks5://127.0.0.1:{await listen(proxy.serve)}"})

    async def chunks() -> AsyncGenerator[bytes]:
        for part in (b"one ", b"", b"two " * 100_000, b"three"):
            yield part

    request = Request("POST", f"http://{NAME}/", body=RequestBody(chunks, None))
    async with transport.request(request, tls=TlsPolicy(NAME)) as response:
        assert await response.read(1_000_000) == b"one " + b"two " * 100_000 + b"three"


async def test_an_address_that_a_registry_may_not_send_us_to_is_refused(listen: Serve, open_transport: Open) -> None:
    """The proxy would connect to it from inside of the network."""
    proxy = SocksServer(1)
    transport = await open_transport(environment={"ALL_PROXY": f"socks5://127.0.0.1:{await listen(proxy.serve)}"})
    reach: AddressPolicy = policy_for_redirects(Zone.PUBLIC, verified=True, private=None)
    assert reach is not ANYWHERE
    with pytest.raises(ProtocolError):
        await transport.send(Request("GET", "http://169.254.169.254/"), tls=TlsPolicy(NAME), reach=reach)
    assert proxy.requested == []


@pytest.mark.parametrize(
    ("answers", "kind", "message"),
    [
        ([b"\x05\xff"], Unauthorized, "does not accept our credentials"),
        ([b"\x05\x02", b"\x01\x01"], Unauthorized, "does not accept our credentials"),
        ([b"\x05\x00", b"\x05\x05\x00\x01"], ConnectionRefused, "nothing listens there"),
        ([b"\x05\x00", b"\x05\x02\x00\x01"], Unavailable, "its rules do not allow the connection"),
        ([b"\x05\x00", b"\x05\x63\x00\x01"], Unavailable, "reply 99"),
        ([b"\x05\x00", b"\x04\x00\x00\x01"], ProtocolError, "does not speak SOCKS5"),
        ([b"HTTP/1.1 400 Bad Request\r\n\r\n"], ProtocolError, "does not speak SOCKS5"),
        ([], Unavailable, "closed the connection|cannot be reached"),
    ],
)
async def test_a_failing_proxy_is_named(
    listen: Serve, open_transport: Open, answers: list[bytes], kind: type[StoreError], message: str
) -> None:
    """The registry is not to blame, and the password is not shown."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.read(65536)
            writer.write(answer)
        await reader.read(65536)

    port = await listen(handler)
    transport = await open_transport(environment={"ALL_PROXY": f"socks5://user:hunter2@127.0.0.1:{port}"})
    with pytest.raises(kind, match=rf"^registry.example: the proxy 127.0.0.1:{port} .*({message})") as raised:
        await exchange(transport, Request("GET", f"http://{NAME}/"), TlsPolicy(NAME))
    assert "hunter2" not in str(raised.value)


async def test_a_dead_proxy_is_named(open_transport: Open, unused_tcp_port: int) -> None:
    """A refused connection, and a name that does not exist, which is permanent."""
    cases: tuple[tuple[str, type[ImageSyncerError]], ...] = (
        (f"127.0.0.1:{unused_tcp_port}", Unavailable),
        ("no.such.name.invalid:1080", UnknownHost),
    )
    for proxy, kind in cases:
        transport: Transport = await open_transport(environment={"ALL_PROXY": f"socks5://{proxy}"})
        with pytest.raises(kind, match=rf"the proxy {proxy} cannot be reached.*ALL_PROXY"):
            await get(transport, f"http://{NAME}/v2/")
