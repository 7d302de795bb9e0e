"""The settings of one registry: they reach the registry, and its secrets reach no other host."""

import asyncio
import ssl
from pathlib import Path

import pytest
import trustme
from aiohttp import web

from image_syncer.errors import InsecureConnection, Unavailable
from image_syncer.registry.http.tls import TlsContexts, TlsPolicy
from image_syncer.registry.http.transport import Request, Transport
from image_syncer.registry.settings import Limits
from image_syncer.registry.transport_settings import DIRECT, ClientCertificate, TransportSettings, api_host
from image_syncer.structs import replace
from support.http_exchange import Open, Serve, Tunnel, both_transports, echo, get

NAME = "registry.example"


async def headers(request: web.BaseRequest) -> web.Response:
    """Respond with the header that the settings add, and the name that the client gives itself."""
    return web.Response(text=f"{request.headers.get('X-Key', '-')} {request.headers['User-Agent']}")


async def text(transport: Transport, url: str) -> str:
    """Return the body at *url*."""
    return (await get(transport, url, TlsPolicy(NAME))).decode()


@both_transports
async def test_addresses_replace_the_name_server(serve: Serve, open_transport: Open) -> None:
    """No name server knows the name; other hosts are looked up as before."""
    port = await serve(headers)
    settings = TransportSettings(f"{NAME}:{port}", addresses=("127.0.0.1",))
    transport = (await open_transport()).with_settings(settings)
    assert (await text(transport, f"http://{NAME}:{port}/")).startswith("- image-syncer/")
    assert (await text(transport, f"http://localhost:{port}/")).startswith("- image-syncer/")


@both_transports
async def test_headers_go_to_the_registry_only_and_the_user_agent_everywhere(
    serve: Serve, open_transport: Open
) -> None:
    """A header may be a secret, and a redirect may lead anywhere: another port is another server."""
    own, other = await serve(headers), await serve(headers)
    settings = TransportSettings(f"127.0.0.1:{own}", headers=(("X-Key", "hunter2"),), user_agent="mirror/1")
    base = await open_transport()
    transport = base.with_settings(settings)
    assert await text(transport, f"http://127.0.0.1:{own}/") == "hunter2 mirror/1"
    assert await text(transport, f"http://127.0.0.1:{other}/") == "- mirror/1"
    assert (await text(base, f"http://127.0.0.1:{own}/")).startswith("- image-syncer/")
    assert "hunter2" not in repr(settings)


@both_transports
async def test_the_registry_has_its_own_authorities_and_client_certificate(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, authority: trustme.CA, tmp_path: Path
) -> None:
    """Without the settings, the same registry is not trusted; another host gets no client certificate."""

    async def who(request: web.BaseRequest) -> web.Response:
        has_certificate = request.transport is not None and bool(request.transport.get_extra_info("peercert"))
        return web.Response(text="known" if has_certificate else "unknown")

    server_tls.verify_mode = ssl.CERT_OPTIONAL
    server_tls.load_verify_locations(cadata=authority.cert_pem.bytes().decode())
    port = await serve(who, server_tls)
    identity = authority.issue_cert("client.example")
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    (tmp_path / "client.pem").write_bytes(b"".join(part.bytes() for part in identity.cert_chain_pems))
    (tmp_path / "client.key").write_bytes(identity.private_key_pem.bytes())
    settings = TransportSettings(
        f"127.0.0.1:{port}",
        authorities=(str(tmp_path / "ca.pem"),),
        client_certificate=ClientCertificate(str(tmp_path / "client.pem"), str(tmp_path / "client.key")),
    )
    base = await open_transport()
    url = f"https://127.0.0.1:{port}/"
    assert await get(base.with_settings(settings), url) == b"known"
    with pytest.raises(InsecureConnection, match="is not trusted"):
        await get(base, url)
    assert await get(base.with_settings(replace(settings, host="other.example")), url) == b"unknown"


def test_a_replaced_client_certificate_is_used_without_a_restart(authority: trustme.CA, tmp_path: Path) -> None:
    """Short-lived certificates are renewed while the daemon runs."""
    pair = ClientCertificate(str(tmp_path / "client.pem"), str(tmp_path / "client.key"))
    policy = TlsPolicy(NAME, client_certificate=pair)
    kept, contexts = _Contexts({}, ()), list[ssl.SSLContext]()
    for _ in range(2):
        identity = authority.issue_cert("client.example")
        (tmp_path / "new.pem").write_bytes(b"".join(part.bytes() for part in identity.cert_chain_pems))
        (tmp_path / "new.pem").replace(pair.certificate)
        (tmp_path / "new.key").write_bytes(identity.private_key_pem.bytes())
        (tmp_path / "new.key").replace(pair.key)
        contexts.append(kept.refreshed(policy))
    assert contexts[0] is not contexts[1]
    assert kept.refreshed(policy) is contexts[1]


class _Contexts(TlsContexts):
    """Contexts that look at the files each time."""

    def refreshed(self, policy: TlsPolicy) -> ssl.SSLContext:
        """Return the context for *policy* as of now."""
        self._by_policy.clear()
        return self.context(policy)


@pytest.mark.parametrize("missing", ["ca", "pair"])
def test_a_file_that_cannot_be_used_is_named(missing: str, tmp_path: Path) -> None:
    """With the registry that it is for."""
    file = str(tmp_path / "absent.pem")
    policy = (
        TlsPolicy(NAME, authorities=(file,))
        if missing == "ca"
        else TlsPolicy(NAME, client_certificate=ClientCertificate(file, file))
    )
    with pytest.raises(InsecureConnection, match=rf"^{NAME}: .*absent\.pem.*: No such file"):
        TlsContexts({}, ()).context(policy)


@both_transports
async def test_a_proxy_of_one_registry_is_not_that_of_others(
    serve: Serve, open_transport: Open, tunnel: Tunnel, server_tls: ssl.SSLContext, authority_file: Path
) -> None:
    """It comes before the environment's; `none` connects directly, and no_proxy has exceptions."""
    port = await serve(echo, server_tls)
    proxy = await tunnel(port)
    dead = {"HTTPS_PROXY": "http://127.0.0.1:9", "SSL_CERT_FILE": str(authority_file)}
    base = await open_transport(environment=dead)
    with_proxy = TransportSettings(NAME, proxy=proxy)
    assert await get(base.with_settings(with_proxy), f"https://{NAME}/") == b""
    with pytest.raises(Unavailable, match=r"the proxy 127.0.0.1:9 cannot be reached"):
        await get(base, f"https://{NAME}/")
    direct = TransportSettings(f"{NAME}:{port}", proxy="", addresses=("127.0.0.1",))
    assert await get(base.with_settings(direct), f"https://{NAME}:{port}/") == b""
    excepted = replace(direct, proxy=None, no_proxy=f"other.example,{NAME}")
    assert await get(base.with_settings(excepted), f"https://{NAME}:{port}/") == b""


@both_transports
async def test_timeouts_of_one_registry_replace_the_general_ones(listen: Serve, open_transport: Open) -> None:
    """The registry that is known to be quick is given up sooner."""

    async def never(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    port = await listen(never)
    base = await open_transport(Limits(connect_seconds=30.0, stall_seconds=30.0))
    transport = base.with_settings(TransportSettings(f"127.0.0.1:{port}", stall_seconds=0.2))
    with pytest.raises(Unavailable, match=r"nothing was sent or received for 0\.2 s"):
        await transport.send(Request("GET", f"http://127.0.0.1:{port}/"), tls=TlsPolicy(NAME))
    assert (transport.limits.connect_seconds, base.limits.stall_seconds) == (30.0, 30.0)


async def test_equal_settings_share_connections(open_transport: Open) -> None:
    """Without settings, all registries share one transport."""
    base = await open_transport()
    assert base.with_settings(DIRECT) is base
    one, same = TransportSettings("a.example", user_agent="a"), TransportSettings("a.example", user_agent="a")
    assert base.with_settings(one) is base.with_settings(same)
    assert base.with_settings(one) is not base.with_settings(replace(one, host="b.example"))


def test_docker_hub_is_requested_at_another_host() -> None:
    """So its settings are those of that host."""
    assert api_host("docker.io") == "registry-1.docker.io"
    assert api_host("a.example:5000") == "a.example:5000"
