"""A registry whose password changes while we use it."""

import base64
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from aiohttp import web

from image_syncer.oci import Repository
from image_syncer.registry.auth.credential_sources import IssuedCredential, IssuedCredentialSource
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.host import Call, HostConnection
from image_syncer.registry.http.messages import released
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.settings import Credential, RegistryAccount

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]


class Registry:
    """Accepts the login `u` with one *password*, directly or by tokens; its tokens are valid once."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.password = "old"
        self.tokens = 0
        self.exchanged: list[str] = []
        self.refused = 0

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Respond like a registry with its token server."""
        header = request.headers.get("Authorization", "")
        form = dict(parse_qsl((await request.read()).decode()))
        if request.path == "/oauth2/exchange":
            self.exchanged.append(form["access_token"])
            return self._answer({"refresh_token": f"refresh-{form['access_token']}"}, form["access_token"])
        if request.path == "/token" and form:
            return self._answer(self._token(), form["refresh_token"].removeprefix("refresh-"))
        is_login = header == f"Basic {base64.b64encode(f'u:{self.password}'.encode()).decode()}"
        if request.path == "/token":
            return self._answer(self._token(), self.password if is_login else "")
        is_valid = header == f"Bearer t{self.tokens}" if self.scheme == "Bearer" else is_login
        if is_valid and request.path != "/v2/":
            return web.Response(text="ok")
        realm = 'realm="/token",service="registry.example"' if self.scheme == "Bearer" else 'realm="x"'
        return web.Response(status=401, headers={"WWW-Authenticate": f"{self.scheme} {realm}"})

    def _token(self) -> dict[str, str]:
        self.tokens += 1
        return {"access_token": f"t{self.tokens}"}

    def _answer(self, document: dict[str, str], password: str) -> web.Response:
        if password == self.password:
            return web.json_response(document)
        self.refused += 1
        return web.json_response({}, status=401)


async def status_of(host: HostConnection) -> int:
    """Send a request and return the status."""
    call = Call("GET", "/v2/a/b/tags/list", "source", ("repository:a/b:pull",))
    async with released(await host.send(call)) as response:
        return response.status


def write(home: Path, name: str, password: str) -> None:
    """Write docker's file with a login."""
    file = home / ".docker/config.json"
    file.parent.mkdir(exist_ok=True)
    auth = base64.b64encode(f"u:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {name: {"auth": auth}}}))


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
async def test_a_login_that_rotates_in_its_file_is_used_at_once(
    serve: Serve, open_transport: Open, tmp_path: Path, scheme: str
) -> None:
    """The registry refuses the old one; the file has the new one; the request succeeds without an error."""
    registry = Registry(scheme)
    name = f"127.0.0.1:{await serve(registry)}"
    write(tmp_path, name, "old")
    keychain = Keychain((), environment={}, home=tmp_path)
    account = await keychain.account_for(Repository.parse(f"{name}/a/b"))
    host = HostConnection(name, account, await open_transport(), counter=lambda _: None)
    assert await status_of(host) == 200
    registry.password = "brand-new"
    registry.tokens += 1  # Which makes the token that we have invalid.
    write(tmp_path, name, "brand-new")
    assert await status_of(host) == 200


async def test_a_login_that_appears_in_a_file_ends_anonymous_access(
    serve: Serve, open_transport: Open, tmp_path: Path
) -> None:
    """Someone logs in while the daemon runs."""
    registry = Registry("Basic")
    name = f"127.0.0.1:{await serve(registry)}"
    keychain = Keychain((), environment={}, home=tmp_path)
    account = await keychain.account_for(Repository.parse(f"{name}/a/b"))
    assert account.credential is None
    host = HostConnection(name, account, await open_transport(), counter=lambda _: None)
    write(tmp_path, name, "old")
    assert await status_of(host) == 200


class Issuer:
    """Issues *credentials*, one after the other."""

    def __init__(self, *credentials: Credential) -> None:
        self.credentials = list(credentials)

    async def credential(self, registry: str) -> IssuedCredential:
        """Return the next credential."""
        del registry
        return IssuedCredential(self.credentials.pop(0))


async def connect(registry: Registry, issuer: Issuer, serve: Serve, open_transport: Open) -> HostConnection:
    """Return a connection to *registry* with the logins of *issuer*."""
    name = f"127.0.0.1:{await serve(registry)}"
    source = IssuedCredentialSource(issuer, name)
    account = RegistryAccount(name, await source.current(), source=source)
    return HostConnection(name, account, await open_transport(), counter=lambda _: None)


async def test_a_token_of_azure_is_exchanged_once_and_again_when_it_is_refused(
    serve: Serve, open_transport: Open
) -> None:
    """`/oauth2/exchange` gives a refresh token, which each token request then needs."""
    registry = Registry("Bearer")
    issuer = Issuer(Credential(exchange_token="old"), Credential(exchange_token="brand-new"))
    host = await connect(registry, issuer, serve, open_transport)
    assert await status_of(host) == 200
    registry.tokens += 1
    assert await status_of(host) == 200
    assert registry.exchanged == ["old"]
    registry.password = "brand-new"
    registry.tokens += 1
    assert await status_of(host) == 200
    assert registry.exchanged == ["old", "brand-new"]


async def test_a_login_that_stays_refused_is_replaced_once(serve: Serve, open_transport: Open) -> None:
    """Repetition can lock the account."""
    registry = Registry("Basic")
    registry.password = "never"
    issuer = Issuer(*(Credential("u", password) for password in "123"))
    host = await connect(registry, issuer, serve, open_transport)
    assert [await status_of(host) for _ in range(3)] == [401, 401, 401]
    assert issuer.credentials == [Credential("u", "3")]
