"""Access control of the FakeRegistry: Basic, Bearer with its own token server, TLS."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest

from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, FakeRegistry, Profile
from image_syncer.testing.accounts import PULL
from image_syncer.testing.fake.access import SERVICE
from image_syncer.testing.images import single
from support.answers import code_of, copy_by_skopeo
from support.skopeo import Skopeo, SkopeoFailed

ACCOUNTS = Accounts(
    {"alice": Account("pa:ss", refresh_token="refresh-me"), "bob": Account("word", {"public/*": PULL})},
    anonymous={"public/*": PULL},
)


async def test_basic_requires_a_password_and_enforces_rights() -> None:
    """401 with a challenge, 403 without the right."""
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


@pytest.fixture
async def bearer() -> AsyncGenerator[FakeRegistry]:
    """A registry with token authentication and the image `app:v1`."""
    async with FakeRegistry(Profile("bearer", ACCOUNTS)) as registry:
        registry.load("app", single("app"), "v1")
        yield registry


async def _token(registry: FakeRegistry, *scopes: str, user: str = "", password: str = "") -> str:
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)} if user else {}
    asked = [("service", SERVICE), *(("scope", scope) for scope in scopes)]
    async with (
        aiohttp.ClientSession(registry.url, raise_for_status=True) as http,
        http.get("/token", params=asked, headers=headers) as response,
    ):
        return (await response.json())["token"]


async def _ask(registry: FakeRegistry, token: str, path: str, method: str = "GET") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with (
        aiohttp.ClientSession(registry.url) as http,
        http.request(method, path, headers=headers) as response,
    ):
        return response.status, response.headers.get("WWW-Authenticate", "")


async def test_the_challenge_names_the_token_server_and_the_scope(bearer: FakeRegistry) -> None:
    """Everything that a client needs to continue."""
    challenge = f'Bearer realm="{bearer.url}/token",service="{SERVICE}",scope="repository:app:pull"'
    assert await _ask(bearer, "", "/v2/app/tags/list") == (401, challenge)


async def test_a_token_allows_what_it_grants(bearer: FakeRegistry) -> None:
    """Users get the part of the request that they may have; anonymous callers get nothing here."""
    alice = await _token(bearer, "repository:app:pull", user="alice", password="pa:ss")
    bob = await _token(bearer, "repository:app:pull", user="bob", password="word")
    stranger = await _token(bearer, "repository:app:pull")
    statuses = [(await _ask(bearer, token, "/v2/app/tags/list"))[0] for token in (alice, bob, stranger)]
    assert statuses == [200, 401, 401]
    status, challenge = await _ask(bearer, alice, "/v2/app/blobs/uploads/", "POST")
    assert (status, 'error="insufficient_scope"' in challenge) == (401, True)
    assert bearer.requests.count(kind="token") == 3


async def test_a_mount_requires_pull_at_its_origin(bearer: FakeRegistry) -> None:
    """As in distribution (`handlers/app.go`)."""
    path = f"/v2/other/blobs/uploads/?mount={next(iter(single('app').blobs))}&from=app"
    scopes = ["repository:other:pull,push", "repository:app:pull"]
    statuses: list[int] = []
    for asked in (scopes[:1], scopes):
        token = await _token(bearer, *asked, user="alice", password="pa:ss")
        statuses.append((await _ask(bearer, token, path, "POST"))[0])
    assert statuses == [401, 201]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "alice", "password": "pa:ss"}, 200),
        ({"grant_type": "password", "username": "alice", "password": "wrong"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "refresh-me"}, 200),
        ({"grant_type": "refresh_token", "refresh_token": ""}, 401),
        ({"grant_type": "other"}, 401),
    ],
)
async def test_post_issues_tokens_too(bearer: FakeRegistry, form: dict[str, str], status: int) -> None:
    """The OAuth2 flow, with a password or a refresh token."""
    asked = {"service": SERVICE, "scope": "repository:app:pull", "client_id": "test"}
    async with aiohttp.ClientSession(bearer.url) as http, http.post("/token", data=asked | form) as response:
        assert response.status == status
        if status == 200:
            token = (await response.json())["access_token"]
            assert (await _ask(bearer, token, "/v2/app/tags/list"))[0] == 200


async def test_a_wrong_password_gets_no_token(bearer: FakeRegistry) -> None:
    """Not even an anonymous one."""
    with pytest.raises(aiohttp.ClientResponseError, match="401"):
        await _token(bearer, user="alice", password="wrong")


@pytest.mark.real
@pytest.mark.parametrize("profile", [Profile("basic", ACCOUNTS), Profile("bearer", ACCOUNTS)])
async def test_skopeo_logs_in(skopeo: Skopeo, profile: Profile) -> None:
    """With the password of a user; without it skopeo reads nothing."""
    async with FakeRegistry(profile) as registry:
        await copy_by_skopeo(replace(skopeo, credentials="alice:pa:ss"), registry, "oci-index")
        with pytest.raises(SkopeoFailed, match=r"unauthorized|authentication required"):
            await asyncio.to_thread(skopeo.raw, f"{registry.host}/to:oci-index")


async def test_it_speaks_tls_with_the_given_certificate(private_ca: Path) -> None:
    """To clients that trust its CA."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(private_ca / "server.pem", private_ca / "server.key")
    trusting = ssl.create_default_context(cafile=private_ca / "ca.pem")
    async with FakeRegistry(Profile(tls=context)) as registry, aiohttp.ClientSession(registry.url) as http:
        async with http.get("/v2/", ssl=trusting) as response:
            assert (response.status, registry.url[:5]) == (200, "https")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get("/v2/")


async def test_a_token_expires() -> None:
    """With a challenge that gives the reason."""
    async with FakeRegistry(Profile("bearer", ACCOUNTS, token_seconds=-1)) as registry:
        status, challenge = await _ask(registry, await _token(registry), "/v2/")
    assert (status, 'error="invalid_token"' in challenge) == (401, True)


async def test_all_tokens_can_be_invalidated(bearer: FakeRegistry) -> None:
    """As when a registry restarts with another key."""
    token = await _token(bearer)
    before = await _ask(bearer, token, "/v2/")
    bearer.expire_tokens()
    assert [before[0], (await _ask(bearer, token, "/v2/"))[0]] == [200, 401]
