"""FakeRegistry lets those in who may: Basic, Bearer with its own token server, TLS."""

import asyncio
import ssl
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from image_syncer.testing import Account, Accounts, FakeRegistry, Profile
from image_syncer.testing.accounts import PULL
from image_syncer.testing.images import single
from image_syncer.testing.skopeo import Skopeo, SkopeoFailed
from support.answers import code_of, copy_by_skopeo

ACCOUNTS = Accounts(
    {"alice": Account("pa:ss", refresh_token="refresh-me"), "bob": Account("word", {"public/*": PULL})},
    anonymous={"public/*": PULL},
)


async def test_basic_asks_for_a_password_and_minds_rights() -> None:
    """401 with a challenge, 403 for what the user may not do."""
    async with FakeRegistry(Profile(auth="basic", accounts=ACCOUNTS)) as registry:
        registry.load("public/app", single("app"), "v1")
        async with aiohttp.ClientSession(registry.url) as http:
            async with http.get("/v2/") as response:
                assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Basic realm="fake registry"')
            bob = aiohttp.encode_basic_auth("bob", "word")
            async with http.get("/v2/public/app/tags/list", headers={"Authorization": bob}) as response:
                assert response.status == 200
            async with http.post("/v2/public/app/blobs/uploads/", headers={"Authorization": bob}) as response:
                assert await code_of(response) == (403, "DENIED")
    assert [request.authorization for request in registry.requests] == ["", "basic", "basic"]
    assert "authorization" not in registry.requests[1].headers


async def test_bearer_names_its_token_server_and_minds_scopes() -> None:
    """The challenge leads to a token, by GET and by POST; it is good for what it was granted for."""
    async with (
        FakeRegistry(Profile(auth="bearer", accounts=ACCOUNTS)) as registry,
        aiohttp.ClientSession() as http,
    ):
        registry.load("app", single("app"), "v1")
        url = f"{registry.url}/v2/app/tags/list"
        async with http.get(url) as response:
            challenge = response.headers["WWW-Authenticate"]
        realm = f"{registry.url}/token"
        scope = "repository:app:pull"
        assert challenge == f'Bearer realm="{realm}",service="fake-registry",scope="{scope}"'
        asked = {"service": "fake-registry", "scope": scope}
        basic = {"Authorization": aiohttp.encode_basic_auth("alice", "pa:ss")}
        async with http.get(realm, params=asked, headers=basic) as response:
            tokens = [(await response.json())["token"]]
        form = {"grant_type": "refresh_token", "refresh_token": "refresh-me", "client_id": "test"}
        async with http.post(realm, data=asked | form) as response:
            tokens.append((await response.json())["access_token"])
        async with http.get(realm, params=asked) as response:
            anonymous = (await response.json())["token"]
        statuses: list[int] = []
        for token in (*tokens, anonymous):
            async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                statuses.append(response.status)
        assert statuses == [200, 200, 401]
    assert registry.requests.count(kind="token") == 3


@pytest.mark.real
@pytest.mark.parametrize("profile", [Profile("basic", ACCOUNTS), Profile("bearer", ACCOUNTS)])
async def test_skopeo_logs_in(skopeo: Skopeo, profile: Profile) -> None:
    """With the password of a user; without it nothing is read."""
    async with FakeRegistry(profile) as registry:
        await copy_by_skopeo(replace(skopeo, credentials="alice:pa:ss"), registry, "oci-index")
        with pytest.raises(SkopeoFailed, match=r"unauthorized|authentication required"):
            await asyncio.to_thread(skopeo.raw, f"{registry.host}/to:oci-index")


async def test_it_speaks_tls_where_it_is_given_a_certificate(private_ca: Path) -> None:
    """To who trusts its CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(private_ca / "server.pem", private_ca / "server.key")
    trusting = ssl.create_default_context(cafile=private_ca / "ca.pem")
    async with FakeRegistry(Profile(tls=context)) as registry, aiohttp.ClientSession(registry.url) as http:
        async with http.get("/v2/", ssl=trusting) as response:
            assert (response.status, registry.url[:5]) == (200, "https")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get("/v2/")


async def test_tokens_end() -> None:
    """With a challenge that says why."""
    async with FakeRegistry(Profile("bearer", ACCOUNTS)) as registry, aiohttp.ClientSession(registry.url) as http:
        headers = {"Authorization": aiohttp.encode_basic_auth("alice", "pa:ss")}
        async with http.get("/token", params={"service": "fake-registry"}, headers=headers) as response:
            token = (await response.json())["token"]
        registry.expire_tokens()
        async with http.get("/v2/", headers={"Authorization": f"Bearer {token}"}) as response:
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
