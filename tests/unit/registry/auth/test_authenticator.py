"""Answers to challenges: tokens, logins, and secrets that are never sent."""

import asyncio
import base64
import ssl
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import parse_qs, parse_qsl

import pytest
from aiohttp import web

from image_syncer.errors import Denied, ProtocolError, RateLimited, Side, StoreError, Unauthorized, Unavailable
from image_syncer.registry.auth.authenticator import Authorization, lifetime
from image_syncer.registry.host import Call, HostConnection
from image_syncer.registry.http.messages import released
from image_syncer.registry.http.transport import Transport
from image_syncer.registry.limits.retry import Clock
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.structs import replace

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]

PULL = "repository:a/b:pull"
PUSH = "repository:a/b:pull,push"
LOGIN = Credential("robot$x", "hunter2")
BASIC = "Basic " + base64.b64encode(b"robot$x:hunter2").decode()


@dataclass
class Registry:
    """A registry with a token server at `/token`, which issues numbered tokens; all else needs a token.

    *valid* lists the accepted tokens; None accepts all. The first *refusals* requests with a token get 401 anyway.
    """

    challenge: str = 'Bearer realm="/token",service="registry.example"'
    ping_challenge: str | None = None
    inner_challenge: str | None = None
    ping_status: int = 401
    token_status: int = 200
    valid: set[str] | None = None
    refusals: int = 0
    document: dict[str, object] = field(default_factory=dict[str, object])
    post_status: int = 404
    seen: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    forms: list[str] = field(default_factory=list[str])

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Respond as the fields say."""
        header = request.headers.get("Authorization", "")
        self.seen.append((request.method, request.raw_path, header))
        await asyncio.sleep(0.01)
        if request.path == "/token":
            return await self._token(request)
        if request.path == "/v2/":
            return self._refuse(self.ping_status, self.ping_challenge)
        if header.startswith("Bearer ") and self.refusals:
            self.refusals -= 1
            return self._refuse(401, self.inner_challenge)
        if header and (self.valid is None or header.removeprefix("Bearer ") in self.valid):
            return web.Response(text="ok")
        return self._refuse(401, self.inner_challenge)

    async def _token(self, request: web.BaseRequest) -> web.Response:
        if request.method == "POST":
            self.forms.append((await request.content.read()).decode())
        status = self.post_status if request.method == "POST" else self.token_status
        document = {"token": f"t{len(self.tokens)}"} | self.document
        return web.json_response(document, status=status, headers={"Retry-After": "7"})

    def _refuse(self, status: int, challenge: str | None) -> web.Response:
        value = self.challenge if challenge is None else challenge
        return web.Response(status=status, headers={"WWW-Authenticate": value} if value else {})

    @property
    def tokens(self) -> list[str]:
        """The token requests."""
        return [path for _, path, _ in self.seen if path.startswith("/token")]

    @property
    def pings(self) -> list[str]:
        """The Authorization headers of the pings."""
        return [header for _, path, header in self.seen if path == "/v2/"]

    @property
    def authorizations(self) -> list[str]:
        """The Authorization headers of the tag list requests."""
        return [header for _, path, header in self.seen if path == "/v2/a/b/tags/list"]


class Time:
    """A clock that a test moves by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.slept: list[float] = []

    def clock(self) -> Clock:
        """Return a clock with that time; its sleep takes no time."""
        return Clock(monotonic=lambda: self.seconds, now=lambda: datetime.now(UTC), sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def time() -> Time:
    """The time that decides when tokens expire."""
    return Time()


@pytest.fixture
def counted() -> list[Side]:
    """The sides of the counted requests."""
    return []


@pytest.fixture
def connect(
    serve: Serve, open_transport: Open, time: Time, counted: list[Side]
) -> Callable[..., Awaitable[HostConnection]]:
    """A client on demand for a registry and a credential."""

    async def start(registry: Registry, credential: Credential | None = None) -> HostConnection:
        name = f"127.0.0.1:{await serve(registry)}"
        access = RegistryAccount(name, credential, origin="auth.yaml:3")
        return HostConnection(name, access, await open_transport(), counter=counted.append, clock=time.clock())

    return start


Connect = Callable[..., Awaitable[HostConnection]]


async def status_of(host: HostConnection, *scopes: str, side: Side = "source", body: bytes | None = None) -> int:
    """Send a request and return the status."""
    call = Call("PUT" if body else "GET", "/v2/a/b/tags/list", side, scopes, body=body)
    async with released(await host.send(call)) as response:
        return response.status


async def test_a_token_request_has_service_scopes_client_and_login(connect: Connect) -> None:
    """auth/token.md: service, each scope in a parameter of its own, our client id, and the login by Basic."""
    registry = Registry()
    host = await connect(registry, LOGIN)
    assert await status_of(host, PUSH, "repository:c:pull") == 200
    (token,) = registry.tokens
    assert sorted(parse_qsl(token.partition("?")[2])) == [
        ("account", "robot$x"),
        ("client_id", "image-syncer"),
        ("scope", PUSH),
        ("scope", "repository:c:pull"),
        ("service", "registry.example"),
    ]
    assert [header for _, _, header in registry.seen] == ["", BASIC, "Bearer t1"]


async def test_a_token_request_without_a_login_is_anonymous(connect: Connect) -> None:
    """Public images need a token too."""
    registry = Registry(document={"token": "", "access_token": "other-name"})
    assert await status_of(await connect(registry), PULL) == 200
    assert [header for _, _, header in registry.seen] == ["", "", "Bearer other-name"]
    assert "account" not in registry.tokens[0]


async def test_many_callers_share_one_ping_and_one_token(connect: Connect, counted: list[Side]) -> None:
    """A thousand tags cost one ping and one token; each request is counted for its side."""
    registry = Registry()
    host = await connect(registry, LOGIN)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(status_of(host, PULL, side="target")) for _ in range(20)]
    assert {task.result() for task in tasks} == {200}
    assert (len(registry.pings), len(registry.tokens), len(registry.seen)) == (1, 1, 22)
    assert counted == ["target"] * 22


async def test_different_scopes_get_different_tokens(connect: Connect) -> None:
    """Each request asks only for the rights it needs; their order makes no difference."""
    registry = Registry()
    host = await connect(registry)
    for scopes in [(PULL,), (PUSH,), (PULL, "repository:c:pull"), ("repository:c:pull", PULL)]:
        assert await status_of(host, *scopes) == 200
    assert len(registry.tokens) == 3


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(None, 60), (10, 60), (0, 60), (-5, 60), (300, 300), ("300", 60), (True, 60), (1e400, 60), (10**400, 86400)],
)
def test_a_token_lifetime_is_bounded(expires_in: object, seconds: float) -> None:
    """auth/token.md: a missing or shorter lifetime is 60 s, as is an invalid one; the longest is a day."""
    assert lifetime(expires_in) == seconds


async def test_a_token_is_renewed_before_it_expires(connect: Connect, time: Time) -> None:
    """It must not expire while a request is in flight."""
    registry = Registry(document={"expires_in": 300})
    host = await connect(registry)
    for seconds, tokens in [(0, 1), (280, 1), (11, 2), (280, 2)]:
        time.seconds += seconds
        assert await status_of(host, PULL) == 200
        assert len(registry.tokens) == tokens


async def test_a_refused_old_token_is_replaced_once(connect: Connect) -> None:
    """Concurrent callers share the new one."""
    registry = Registry()
    host = await connect(registry)
    assert await status_of(host, PULL) == 200
    registry.valid = {"t2"}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(status_of(host, PULL)) for _ in range(10)]
    assert {task.result() for task in tasks} == {200}
    assert (len(registry.tokens), len(registry.pings)) == (2, 1)


async def test_a_new_token_is_sent_again_a_second_later(connect: Connect, time: Time) -> None:
    """The registry's clock may be behind that of the token server, so the token is not valid yet."""
    registry = Registry(refusals=1)
    host = await connect(registry)
    assert await status_of(host, PULL) == 200
    assert (registry.tokens, registry.authorizations) == (registry.tokens[:1], ["Bearer t1"] * 2)
    assert time.slept == [1.0]
    registry.refusals = 2  # A cached token is replaced first; then the same holds for the new one.
    assert await status_of(host, PULL, body=b"manifest") == 200
    assert registry.authorizations[2:] == ["Bearer t1", "Bearer t2", "Bearer t2"]


async def test_a_new_token_that_is_refused_twice_is_final(connect: Connect, time: Time) -> None:
    """Another token would be refused as well, and for a minute no other request waits for a second."""
    registry = Registry(valid=set())
    host = await connect(registry)
    assert await status_of(host, PULL) == 401
    assert (len(registry.tokens), len(registry.authorizations)) == (1, 2)
    assert await status_of(host, PUSH) == 401
    assert (len(registry.tokens), len(registry.authorizations)) == (2, 3)
    time.seconds += 61
    assert await status_of(host, "repository:c:pull") == 401
    assert (len(registry.authorizations), time.slept) == (5, [1.0, 1.0])


async def test_a_body_is_sent_again_with_the_new_token(connect: Connect) -> None:
    """A push does not fail because a token expired."""
    registry = Registry()
    host = await connect(registry)
    await status_of(host, PUSH)
    registry.valid = {"t2"}
    assert await status_of(host, PUSH, body=b"manifest") == 200


async def test_a_basic_challenge_to_a_token_causes_another_ping(connect: Connect) -> None:
    """Harbor challenges an expired token with Basic, and with Bearer only a request without Authorization."""
    registry = Registry()
    host = await connect(registry)
    await status_of(host, PULL)
    registry.valid, registry.inner_challenge = {"t2"}, 'Basic realm="harbor"'
    assert await status_of(host, PULL) == 200
    assert registry.pings == ["", ""]


async def test_a_401_without_a_challenge_causes_another_ping(connect: Connect) -> None:
    """gcr.io sometimes sends no challenge."""
    registry = Registry()
    host = await connect(registry)
    await status_of(host, PULL)
    registry.valid, registry.inner_challenge = {"t2"}, ""
    assert await status_of(host, PULL) == 200


async def test_a_missing_scope_is_added_for_later_requests_too(connect: Connect) -> None:
    """The challenge names the scope that was missing."""
    registry = Registry(valid={"t2"})
    registry.inner_challenge = f'{registry.challenge},scope="repository:x:pull",error="insufficient_scope"'
    host = await connect(registry)
    assert await status_of(host, PULL) == 200
    assert parse_qs(registry.tokens[1].partition("?")[2])["scope"] == [PULL, "repository:x:pull"]
    assert await status_of(host, PULL) == 200
    assert (len(registry.tokens), len(registry.authorizations)) == (2, 3)


async def test_an_insufficient_scope_is_retried_once(connect: Connect) -> None:
    """A registry cannot cause an endless loop."""
    registry = Registry(valid=set())
    registry.inner_challenge = f'{registry.challenge},scope="repository:x:pull",error="insufficient_scope"'
    assert await status_of(await connect(registry), PULL) == 401
    assert len(registry.authorizations) == 2


async def test_a_token_without_the_rights_is_not_sent_again(connect: Connect, time: Time) -> None:
    """The registry says so: time does not help."""
    registry = Registry(valid=set())
    registry.inner_challenge = f'{registry.challenge},scope="{PULL}",error="insufficient_scope"'
    assert await status_of(await connect(registry), PULL) == 401
    assert (len(registry.authorizations), time.slept) == (1, [])


async def test_a_challenge_may_come_after_a_successful_ping(connect: Connect) -> None:
    """A ping with status 200 says nothing about other paths."""
    registry = Registry(ping_status=200, ping_challenge="", valid={"t1"})
    host = await connect(registry)
    assert await status_of(host, PULL) == 200
    assert await status_of(host, PULL) == 200
    assert registry.authorizations == ["", "Bearer t1", "Bearer t1"]


async def test_basic_is_sent_with_the_first_request(connect: Connect) -> None:
    """The ping has already shown that the registry wants it."""
    registry = Registry(challenge='Basic realm="x"', valid={BASIC})
    host = await connect(registry, LOGIN)
    assert await status_of(host, PULL) == 200
    assert registry.authorizations == [BASIC]
    assert registry.pings == [""]


async def test_a_wrong_password_is_not_sent_twice(connect: Connect) -> None:
    """Repetition locks accounts."""
    registry = Registry(challenge='Basic realm="x"', valid=set())
    assert await status_of(await connect(registry, LOGIN), PULL) == 401
    assert registry.authorizations == [BASIC]


async def test_basic_without_a_login_sends_no_authorization(connect: Connect) -> None:
    """There is one request, without Authorization."""
    registry = Registry(challenge='Basic realm="x"', valid=set())
    assert await status_of(await connect(registry), PULL) == 401
    assert registry.authorizations == [""]


async def test_an_identity_token_is_exchanged_by_a_form(connect: Connect) -> None:
    """auth/oauth.md: all scopes in one field, nothing in the query."""
    registry = Registry(post_status=200)
    host = await connect(registry, Credential(identity_token="refresh"))
    assert await status_of(host, PULL, "repository:c:pull") == 200
    assert dict(parse_qsl(registry.forms[0])) == {
        "grant_type": "refresh_token",
        "service": "registry.example",
        "client_id": "image-syncer",
        "scope": f"{PULL} repository:c:pull",
        "refresh_token": "refresh",
    }
    assert registry.tokens == ["/token"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 415, 501])
async def test_a_token_server_without_oauth_gets_a_get_request(connect: Connect, status: int) -> None:
    """After a refused form the token comes by GET with Basic, and the next one at once."""
    registry = Registry(post_status=status)
    host = await connect(registry, Credential(identity_token="refresh"))
    assert await status_of(host, PULL) == 200
    assert await status_of(host, PUSH) == 200
    assert len(registry.forms) == 1
    basic = "Basic " + base64.b64encode(b"<token>:refresh").decode()
    assert [header for _, path, header in registry.seen if path.startswith("/token?")] == [basic] * 2


@pytest.mark.parametrize(("status", "kind"), [(408, Unavailable), (429, RateLimited), (503, Unavailable)])
async def test_a_busy_token_server_is_no_server_without_oauth(
    connect: Connect, status: int, kind: type[StoreError]
) -> None:
    """There is no second request to a server that asks for a slower pace."""
    registry = Registry(post_status=status)
    with pytest.raises(kind):
        await status_of(await connect(registry, Credential(identity_token="refresh")), PULL)
    assert len(registry.tokens) == 1


async def test_a_password_may_hold_any_bytes(connect: Connect) -> None:
    """Bytes that are not UTF-8 are sent unchanged."""
    password = b"\xff\xfe".decode(errors="surrogateescape")
    registry = Registry(challenge='Basic realm="x"')
    assert await status_of(await connect(registry, Credential("u", password)), PULL) == 200
    assert registry.authorizations == ["Basic " + base64.b64encode(b"u:\xff\xfe").decode()]


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Unauthorized),
        (401, Unauthorized),
        (403, Denied),
        (404, ProtocolError),
        (302, ProtocolError),
        (429, RateLimited),
        (408, Unavailable),
        (503, Unavailable),
    ],
)
async def test_a_refusing_token_server_is_named(connect: Connect, status: int, kind: type[StoreError]) -> None:
    """The status decides the kind of error, and so whether a retry helps."""
    host = await connect(Registry(token_status=status), LOGIN)
    with pytest.raises(kind, match=rf"{host.name}: its token server 127.0.0.1") as raised:
        await status_of(host, PULL)
    assert raised.value.status == status
    if isinstance(raised.value, RateLimited | Unavailable):
        assert raised.value.retry_after == 7


async def test_a_refused_login_names_its_file_and_is_not_repeated(connect: Connect, time: Time) -> None:
    """A thousand tags with a wrong password are not a thousand attempts; after a minute it may be corrected."""
    registry = Registry(token_status=401)
    host = await connect(registry, LOGIN)
    for seconds in (0, 59, 2):
        time.seconds += seconds
        with pytest.raises(Unauthorized, match=r"check user name and password of .* in auth.yaml:3") as raised:
            await status_of(host, PULL)
        assert "hunter2" not in str(raised.value)
    assert len(registry.tokens) == 2


async def test_an_anonymous_refusal_asks_for_a_login(connect: Connect) -> None:
    """The remedy is a login, not a check of the password."""
    with pytest.raises(Unauthorized, match="set user name and password for"):
        await status_of(await connect(Registry(token_status=401)), PULL)


@pytest.mark.parametrize("token", ["a\nb", "", "a b", 7, None, "x" * 70_000, "é"])
async def test_an_invalid_token_is_refused(connect: Connect, token: object) -> None:
    """A line break in it would start another header."""
    with pytest.raises(ProtocolError, match="no usable token"):
        await status_of(await connect(Registry(document={"token": token})), PULL)


async def test_a_huge_token_response_is_refused(connect: Connect) -> None:
    """Token servers are untrusted."""
    with pytest.raises(StoreError, match="more than 1048576 bytes"):
        await status_of(await connect(Registry(document={"padding": "x" * 2_000_000})), PULL)


@pytest.mark.parametrize("realm", ["ftp://auth.example/", "https://u:p@auth.example/", "https://[/", "https://a b/"])
async def test_an_invalid_realm_is_refused(connect: Connect, realm: str) -> None:
    """Nothing is sent to it."""
    with pytest.raises(ProtocolError):
        await status_of(await connect(Registry(f'Bearer realm="{realm}"'), LOGIN), PULL)


async def test_a_plain_http_realm_of_a_tls_registry_is_refused(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, counted: list[Side]
) -> None:
    """A challenge cannot make us send a password in clear text."""
    tokens = Registry()
    registry = Registry(f'Bearer realm="http://127.0.0.1:{await serve(tokens)}/token"')
    name = f"127.0.0.1:{await serve(registry, server_tls)}"
    host = HostConnection(name, RegistryAccount(name, LOGIN), await open_transport(), counter=counted.append)
    with pytest.raises(ProtocolError, match="is not asked over plain http"):
        await status_of(host, PULL)
    assert tokens.seen == []


async def test_no_secret_is_shown(connect: Connect) -> None:
    """No repr, no message and no traceback holds a login or a token."""
    registry = Registry(token_status=401)
    host = await connect(registry, LOGIN)
    with pytest.raises(Unauthorized) as raised:
        await status_of(host, PULL)
    shown = [*traceback.format_exception(raised.value), repr(host), repr(host.__dict__), repr(LOGIN)]
    shown.append(repr(replace(Authorization("Bearer hunter2"), fresh=True)))
    assert not any(secret in "".join(shown) for secret in ("hunter2", BASIC))
