"""Scheme discovery, redirects, and the hosts that receive credentials."""

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.cache import MemoryHostFacts
from image_syncer.errors import InsecureConnection, ProtocolError, RateLimited, Side, StoreError, Unavailable
from image_syncer.registry.host import PLAIN_HTTP, Call, HostConnection
from image_syncer.registry.http.messages import released
from image_syncer.registry.http.transport import HandshakeBroken, HandshakeTimeout, Transport
from image_syncer.registry.settings import Credential, Limits, RegistryAccount
from image_syncer.roles import HostFacts

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]
Tunnel = Callable[[int], Awaitable[str]]

LOGIN = Credential("user", "hunter2")


class Server:
    """A registry with Basic authentication that redirects `/v2/go...` to *location* and records requests."""

    def __init__(self, location: str = "", ping: int = 401) -> None:
        self.location = location
        self.ping = ping
        self.seen: list[tuple[str, str]] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Record the request and respond."""
        self.seen.append((request.raw_path, request.headers.get("Authorization", "")))
        await asyncio.sleep(0.01)
        if request.path == "/v2/":
            headers = {"WWW-Authenticate": 'Basic realm="x"', "Retry-After": "5"}
            return web.Response(status=self.ping, headers=headers)
        if request.path.startswith("/v2/go"):
            return web.Response(status=307, headers={"Location": self.location})
        return web.Response(text=request.path)


def host_at(
    transport: Transport, name: str, *, insecure: bool = False, credential: Credential | None = None
) -> HostConnection:
    """Return a client of the registry *name*."""
    return HostConnection(name, RegistryAccount(name, credential, insecure), transport, counter=_ignore)


def _ignore(_: Side) -> None: ...


def _is_remote(_: str) -> bool:
    return False


async def ask(host: HostConnection, target: str = "/v2/a/tags/list", *, follow: bool = False) -> tuple[int, str, str]:
    """Return status, URL and content of one response."""
    async with released(await host.send(Call("GET", target, follow=follow))) as response:
        return response.status, response.url, (await response.read(1000)).decode()


async def test_a_loopback_registry_may_use_plain_http(serve: Serve, open_transport: Open) -> None:
    """localhost:5000 works without configuration; concurrent first requests discover the scheme once."""
    server = Server()
    host = host_at(await open_transport(), f"localhost:{await serve(server)}", credential=LOGIN)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(host)) for _ in range(10)]
    assert {task.result()[0] for task in tasks} == {200}
    assert [header for path, header in server.seen if path == "/v2/"] == [""]


async def test_tls_is_tried_first_even_if_it_is_not_verified(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext
) -> None:
    """Loopback and insecure mean unverified TLS before they mean plain HTTP."""
    _, url, _ = await ask(host_at(await open_transport(), f"127.0.0.1:{await serve(Server(), server_tls)}"))
    assert url.startswith("https://")


async def test_plain_http_of_a_secure_registry_is_refused_with_a_remedy(
    serve: Serve, open_transport: Open, tunnel: Tunnel
) -> None:
    """Nothing is sent unencrypted unless the user allows it; then it works."""
    server = Server()
    proxy = await tunnel(await serve(server))
    transport = await open_transport(environment={"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy})
    with pytest.raises(InsecureConnection, match=r"insecure: true for registry\.example"):
        await ask(host_at(transport, "registry.example", credential=LOGIN))
    assert server.seen == []


async def test_a_secure_registry_is_verified(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """An untrusted certificate is an error; with the CA known, it works."""
    environment = {"HTTPS_PROXY": await tunnel(await serve(Server(), server_tls))}
    with pytest.raises(InsecureConnection, match=r"registry\.example: its certificate is not trusted"):
        await ask(host_at(await open_transport(environment=environment), "registry.example"))
    environment["SSL_CERT_FILE"] = str(authority_file)
    assert (await ask(host_at(await open_transport(environment=environment), "registry.example")))[0] == 200


async def test_docker_hub_requests_go_to_its_api_host(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext
) -> None:
    """References say docker.io; the API is at another host."""
    environment = {"HTTPS_PROXY": await tunnel(await serve(Server(), server_tls))}
    host = host_at(await open_transport(environment=environment), "docker.io", insecure=True)
    assert (await ask(host))[1] == "https://registry-1.docker.io/v2/a/tags/list"
    assert host.name == "docker.io"


@pytest.mark.parametrize("status", [400, 495, 496])
async def test_a_page_of_nginx_that_demands_a_client_certificate_is_explained(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, status: int
) -> None:
    """Nginx accepts the TLS connection and then responds with a page."""

    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(status=status, text="<center>No required SSL certificate was sent</center>")

    name = f"127.0.0.1:{await serve(handler, server_tls)}"
    with pytest.raises(InsecureConnection, match=f"{name}: the server demands a client certificate") as raised:
        await ask(host_at(await open_transport(), name))
    assert raised.value.remedy == f"put client.cert and client.key into /etc/docker/certs.d/{name}"


async def test_a_tls_alert_never_leads_to_plain_http(listen: Serve, open_transport: Open) -> None:
    """A server that sends an alert speaks TLS."""
    connections: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(await reader.read(65536))
        writer.write(bytes.fromhex("15030300020228"))

    host = host_at(await open_transport(), f"127.0.0.1:{await listen(talk)}", insecure=True)
    with pytest.raises(InsecureConnection):
        await ask(host)
    assert len(connections) == 1


async def test_a_successful_handshake_never_leads_to_plain_http(
    listen: Serve, open_transport: Open, server_tls: ssl.SSLContext
) -> None:
    """Errors after the handshake are errors, and never retried unencrypted."""
    connections: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        connections.append(await reader.readuntil(b"\r\n\r\n"))

    host = host_at(await open_transport(), f"127.0.0.1:{await listen(talk, server_tls)}", insecure=True)
    with pytest.raises(Unavailable):
        await ask(host)
    assert {head[:8] for head in connections} == {b"GET /v2/"}


async def test_plain_http_follows_a_server_that_closes_on_tls(listen: Serve, open_transport: Open) -> None:
    """Some plain HTTP servers just close the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if (await reader.read(65536)).startswith(b"GET "):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")

    host = host_at(await open_transport(), f"127.0.0.1:{await listen(talk)}")
    assert (await ask(host))[2] == "ok"


async def plain_http_only(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Respond to HTTP, and stay silent when a TLS handshake begins, as gunicorn does."""
    while received := await reader.read(65536):
        if received.startswith(b"GET "):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.mark.parametrize("sockets", [True, False], ids=["sockets", "aiohttp"])
async def test_plain_http_follows_a_server_that_is_silent_on_tls(
    listen: Serve, open_transport: Open, sockets: bool
) -> None:
    """The TLS handshake has three seconds of its own, once per host, however long a connection may take."""
    transport = await open_transport(Limits(connect_seconds=30.0, stall_seconds=30.0))
    host = host_at(transport, f"127.0.0.1:{await listen(plain_http_only)}")
    async with asyncio.timeout(4.5):
        for _ in range(3):
            assert (await ask(host))[2] == "ok"


async def test_tls_that_is_only_slow_is_still_used(
    open_transport: Open, server_tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If plain HTTP fails too, the handshake gets the whole time of a connection."""
    monkeypatch.setattr("image_syncer.registry.host._HANDSHAKE_SECONDS", 0.1)

    def serve_slowly(listener: socket.socket) -> None:
        # A handshake that times out, plain HTTP on a connection opened ahead and on another one, and a handshake that
        # is waited for.
        for _ in range(4):
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                if connection.recv(4, socket.MSG_PEEK) != b"GET ":
                    time.sleep(0.3)
                    with server_tls.wrap_socket(connection, server_side=True) as wrapped:
                        while wrapped.recv(4096):
                            wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        transport = await open_transport()
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.to_thread(serve_slowly, listener))
            _, url, content = await ask(host_at(transport, f"127.0.0.1:{listener.getsockname()[1]}"))
            await transport.__aexit__(None, None, None)
    assert (url.partition(":")[0], content) == ("https", "ok")


async def test_a_server_that_is_silent_to_everything_is_given_up_early(
    listen: Serve, open_transport: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One TLS handshake and one plain request, each within the time of a connection."""
    monkeypatch.setattr("image_syncer.registry.host._HANDSHAKE_SECONDS", 0.1)
    received: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            received.append(content[:4])

    name = f"127.0.0.1:{await listen(handler)}"
    transport = await open_transport(Limits(connect_seconds=0.3, stall_seconds=5.0))
    async with asyncio.timeout(3):
        with pytest.raises(Unavailable, match=rf"{name}: no response to TLS or plain HTTP within 0\.3 s"):
            await ask(host_at(transport, name))
    assert [content[:1] for content in received] == [b"\x16", b"G"]


async def test_a_secure_registry_that_is_silent_on_tls_gets_a_remedy(
    listen: Serve, open_transport: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent unencrypted, and the handshake has the whole time of a connection."""
    monkeypatch.setattr("image_syncer.registry.host.is_loopback", _is_remote)
    monkeypatch.setattr("image_syncer.registry.host._HANDSHAKE_SECONDS", 0.1)
    received: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while content := await reader.read(65536):
            received.append(content)

    transport = await open_transport(Limits(connect_seconds=0.5, stall_seconds=5.0))
    name = f"127.0.0.1:{await listen(handler)}"
    with pytest.raises(HandshakeTimeout, match=rf"no TLS handshake within 0\.5 s .*plain_http: true.* for {name}"):
        await ask(host_at(transport, name))
    assert [content[:1] for content in received] == [b"\x16"]  # One TLS handshake, and no HTTP.


async def test_plain_http_of_a_configured_registry_is_used_at_once(serve: Serve, open_transport: Open) -> None:
    """With `plain_http: true` there is no TLS handshake, whatever the host."""
    seen: list[str] = []

    async def proxy(request: web.BaseRequest) -> web.Response:
        seen.append(str(request.url))
        return web.Response(text="ok")

    environment = {name: f"http://127.0.0.1:{await serve(proxy)}" for name in ("HTTP_PROXY", "HTTPS_PROXY")}
    account = RegistryAccount("registry.example", plain_http=True)
    host = HostConnection("registry.example", account, await open_transport(environment=environment), counter=_ignore)
    assert (await ask(host))[2] == "ok"
    assert seen == ["http://registry.example/v2/", "http://registry.example/v2/a/tags/list"]


async def test_plain_http_at_a_tls_port_is_explained(listen: Serve, open_transport: Open) -> None:
    """Servers respond with a page: Go's and nginx's have the word HTTPS."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = b"Client sent an HTTP request to an HTTPS server.\n"
        writer.write(b"HTTP/1.0 400 Bad Request\r\n\r\n" + page)

    name = f"127.0.0.1:{await listen(handler)}"
    host = HostConnection(name, RegistryAccount(name, plain_http=True), await open_transport(), counter=_ignore)
    with pytest.raises(InsecureConnection, match=f"{name}: the server speaks TLS, and not plain HTTP"):
        await ask(host)


@pytest.mark.parametrize(("method", "body"), [("POST", None), ("PUT", b"manifest"), ("POST", b"")])
@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_of_a_write_is_followed(
    serve: Serve, open_transport: Open, status: int, method: str, body: bytes | None
) -> None:
    """It keeps method and body, and the login goes only to the registry's own origin."""
    seen: list[tuple[str, str, bytes, str]] = []

    async def handler(request: web.BaseRequest) -> web.Response:
        if request.path == "/v2/":
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        authorization = request.headers.get("Authorization", "")
        seen.append((request.method, request.path, await request.content.read(), authorization))
        location = {"/v2/a": "/v2/b", "/v2/b": elsewhere}.get(request.path)
        return web.Response(status=status, headers={"Location": location}) if location else web.Response(status=202)

    elsewhere = f"http://localhost:{await serve(handler)}/v2/c"
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(handler)}", credential=LOGIN)
    async with released(await host.send(Call(method, "/v2/a", body=body))) as response:
        assert (response.status, response.url) == (202, elsewhere)
    assert [(entry[:3], bool(entry[3])) for entry in seen] == [
        ((method, "/v2/a", body or b""), True),
        ((method, "/v2/b", body or b""), True),
        ((method, "/v2/c", body or b""), False),
    ]


@pytest.mark.parametrize(("status", "method"), [(301, "POST"), (302, "PUT"), (303, "POST"), (307, "DELETE")])
async def test_other_redirects_of_writes_are_returned(
    serve: Serve, open_transport: Open, status: int, method: str
) -> None:
    """301 to 303 may turn a write into a GET, and nothing is deleted at another place."""

    async def handler(request: web.BaseRequest) -> web.Response:
        return web.Response() if request.path == "/v2/" else web.Response(status=status, headers={"Location": "/v2/b"})

    host = host_at(await open_transport(), f"127.0.0.1:{await serve(handler)}")
    async with released(await host.send(Call(method, "/v2/a", body=b""))) as response:
        assert response.status == status


async def test_a_refused_explicit_port_is_not_replaced(open_transport: Open, unused_tcp_port: int) -> None:
    """A named port is the only one that is tried."""
    with pytest.raises(Unavailable, match=rf"127.0.0.1:{unused_tcp_port}: the connection is refused"):
        await ask(host_at(await open_transport(), f"127.0.0.1:{unused_tcp_port}"))


async def test_without_a_port_plain_http_uses_port_80(open_transport: Open) -> None:
    """After port 443 refused the connection."""
    address = "127.77.66.55"

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    try:
        server = await asyncio.start_server(talk, address, 80)
    except OSError as error:
        pytest.skip(f"port 80 is not to be had here: {error}")
    async with server:
        assert await ask(host_at(await open_transport(), address)) == (200, f"http://{address}/v2/a/tags/list", "ok")


async def test_a_broken_handshake_of_a_secure_registry_is_retryable(
    listen: Serve, open_transport: Open, tunnel: Tunnel
) -> None:
    """A reset is worth a retry, and no reason to call the registry insecure."""

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(65536)

    transport = await open_transport(environment={"HTTPS_PROXY": await tunnel(await listen(talk))})
    with pytest.raises(HandshakeBroken):
        await ask(host_at(transport, "registry.example"))


@pytest.mark.parametrize(
    ("status", "kind"), [(404, ProtocolError), (400, ProtocolError), (429, RateLimited), (500, Unavailable)]
)
async def test_a_failed_ping_names_the_host_and_is_not_remembered(
    serve: Serve, open_transport: Open, status: int, kind: type[StoreError]
) -> None:
    """A wrong host name is distinguished from a registry outage."""
    server = Server(ping=status)
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(server)}")
    with pytest.raises(kind, match=host.name) as raised:
        await ask(host)
    assert raised.value.status == status
    server.ping = 200
    assert (await ask(host))[0] == 200


async def test_a_404_to_the_ping_means_no_registry(serve: Serve, open_transport: Open) -> None:
    """The message says that there is no /v2/."""
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(Server(ping=404))}")
    with pytest.raises(ProtocolError, match=r"not a registry \(no /v2/ there\)"):
        await ask(host)


async def test_redirects_to_another_host_carry_no_credentials(serve: Serve, open_transport: Open) -> None:
    """The storage service receives the request with its signed query and no login."""
    storage, server = Server(), Server()
    server.location = f"http://127.0.0.1:{await serve(storage)}/blob?sig=a%2Fb"
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(server)}", credential=LOGIN)
    status, url, content = await ask(host, "/v2/go", follow=True)
    assert (status, url, content) == (200, server.location, "/blob")
    assert storage.seen == [("/blob?sig=a%2Fb", "")]
    assert server.seen[-1][1].startswith("Basic ")


async def test_a_redirect_within_the_registry_keeps_the_login(serve: Serve, open_transport: Open) -> None:
    """The same scheme, host and port is the same registry."""
    server = Server("/v2/a?x=1")
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(server)}", credential=LOGIN)
    assert (await ask(host, "/v2/go", follow=True))[2] == "/v2/a"
    assert server.seen[-1][1].startswith("Basic ")


async def test_a_redirect_is_returned_unless_the_call_follows_redirects(serve: Serve, open_transport: Open) -> None:
    """Uploads decide themselves where they go."""
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(Server('/v2/a'))}")
    assert (await ask(host, "/v2/go"))[0] == 307


async def test_redirects_are_bounded(serve: Serve, open_transport: Open) -> None:
    """A registry cannot cause an endless loop."""
    server = Server("/v2/go")
    host = host_at(await open_transport(Limits(redirects=3)), f"127.0.0.1:{await serve(server)}")
    with pytest.raises(ProtocolError, match="more than 3 redirects"):
        await ask(host, "/v2/go", follow=True)
    assert len(server.seen) == 1 + 4


@pytest.mark.parametrize("location", ["http://other.example/x", "https://127.0.0.1/x", "https://169.254.169.254/x"])
async def test_a_redirect_to_a_less_secure_address_is_refused(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, location: str
) -> None:
    """Neither from https to plain http, nor from outside to this machine or a metadata service."""
    transport = await open_transport(
        environment={"HTTPS_PROXY": await tunnel(await serve(Server(location), server_tls))}
    )
    with pytest.raises(ProtocolError, match=r"registry\.example"):
        await ask(host_at(transport, "registry.example", insecure=True), "/v2/go", follow=True)


async def test_another_host_is_verified_by_its_own_name(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """A certificate for the registry is not valid for its storage."""
    server = Server("https://storage.example/blob")
    environment = {"HTTPS_PROXY": await tunnel(await serve(server, server_tls)), "SSL_CERT_FILE": str(authority_file)}
    host = host_at(await open_transport(environment=environment), "registry.example")
    with pytest.raises(InsecureConnection, match=r"storage.example: its certificate is not trusted"):
        await ask(host, "/v2/go", follow=True)


async def test_an_upload_url_at_another_host_gets_no_login(serve: Serve, open_transport: Open) -> None:
    """A Location may name another host; the login stays with the registry."""
    other, server = Server(), Server()
    host = host_at(await open_transport(), f"127.0.0.1:{await serve(server)}", credential=LOGIN)
    await ask(host, f"http://127.0.0.1:{await serve(other)}/upload?_state=1")
    assert other.seen == [("/upload?_state=1", "")]


async def test_a_location_is_resolved_against_the_request_url(open_transport: Open) -> None:
    """Relative, absolute, and with the scheme that a proxy in front of the registry forgot."""
    host = host_at(await open_transport(), "registry.example")
    base = "https://registry.example/v2/a/blobs/uploads/"
    assert await host.resolve(base, "7?_state=a%2Fb") == f"{base}7?_state=a%2Fb"
    assert await host.resolve(base, "http://registry.example/x?y") == "https://registry.example/x?y"


def test_a_call_shows_no_query() -> None:
    """An upload's state and a signature are secrets."""
    call = Call("PUT", "/v2/a?_state=SECRET", headers={"Authorization": "SECRET"}, body=b"SECRET")
    assert "SECRET" not in repr(call) + str(call)


def _connecting(transport: Transport, name: str, facts: HostFacts, *, insecure: bool = True) -> HostConnection:
    return HostConnection(name, RegistryAccount(name, None, insecure), transport, counter=_ignore, facts=facts)


@pytest.mark.parametrize("sockets", [True, False], ids=["sockets", "aiohttp"])
async def test_a_later_run_knows_that_a_registry_speaks_plain_http(
    listen: Serve, open_transport: Open, sockets: bool
) -> None:
    """It does not wait three seconds for the TLS handshake again."""
    facts, name = MemoryHostFacts(), f"127.0.0.1:{await listen(plain_http_only)}"
    assert (await ask(_connecting(await open_transport(), name, facts)))[2] == "ok"
    assert await facts.get(name, PLAIN_HTTP) is not None
    async with asyncio.timeout(2):
        assert (await ask(_connecting(await open_transport(), name, facts)))[2] == "ok"


async def test_a_registry_that_speaks_tls_again_is_asked_by_tls(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext
) -> None:
    """What an earlier run found does not lead to plain HTTP."""
    facts, name = MemoryHostFacts(), f"127.0.0.1:{await serve(Server(), server_tls)}"
    facts.remember(name, PLAIN_HTTP, "yes", seconds=3600)
    assert (await ask(_connecting(await open_transport(), name, facts)))[1].startswith("https://")


@pytest.mark.parametrize(
    "response", [b"HTTP/1.1 400 Bad Request\r\n", b"HTTP/1.1 301 Moved\r\nLocation: https://a/\r\n"]
)
async def test_a_wrong_memory_of_plain_http_is_forgotten(
    listen: Serve, open_transport: Open, monkeypatch: pytest.MonkeyPatch, response: bytes
) -> None:
    """The registry refuses plain HTTP by now, or redirects it to TLS."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(65536):
            if received.startswith(b"GET "):
                writer.write(response + b"Content-Length: 0\r\n\r\n")

    monkeypatch.setattr("image_syncer.registry.host._HANDSHAKE_SECONDS", 0.8)
    facts, name = MemoryHostFacts(), f"127.0.0.1:{await listen(handler)}"
    facts.remember(name, PLAIN_HTTP, "yes", seconds=3600)
    transport = await open_transport(Limits(connect_seconds=1.5, stall_seconds=5.0))
    with suppress(StoreError):
        await ask(_connecting(transport, name, facts))
    assert await facts.get(name, PLAIN_HTTP) is None


async def test_a_secure_registry_is_never_asked_in_plain_http(
    listen: Serve, open_transport: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the state says about its host."""
    monkeypatch.setattr("image_syncer.registry.host.is_loopback", _is_remote)
    seen: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while received := await reader.read(65536):
            seen.append(received[:1])
            if received.startswith(b"GET "):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    facts, name = MemoryHostFacts(), f"127.0.0.1:{await listen(handler)}"
    facts.remember(name, PLAIN_HTTP, "yes", seconds=3600)
    transport = await open_transport(Limits(connect_seconds=1.0, stall_seconds=5.0))
    with pytest.raises(StoreError):
        await ask(_connecting(transport, name, facts, insecure=False))
    assert set(seen) == {b"\x16"}
