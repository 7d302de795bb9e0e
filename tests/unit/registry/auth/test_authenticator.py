"""Challenges answered: tokens, logins, and what is never sent."""

import asyncio
import base64
import ssl
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
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

Serve = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]

PULL = "repository:a/b:pull"
PUSH = "repository:a/b:pull,push"
LOGIN = Credential("robot$x", "hunter2")
BASIC = "Basic " + base64.b64encode(b"robot$x:hunter2").decode()


@dataclass
class Registry:
    """A registry with its token server: `GET /token`, which gives numbered tokens, and anything else under a token.

    *valid* are the tokens that open it; None: all.
    """

    challenge: str = 'Bearer realm="/token",service="registry.example"'
    ping_challenge: str | None = None
    inner_challenge: str | None = None
    ping_status: int = 401
    token_status: int = 200
    valid: set[str] | None = None
    document: dict[str, object] = field(default_factory=dict[str, object])
    post_status: int = 404
    seen: list[tuple[str, str, str]] = field(default_factory=list[tuple[str, str, str]])
    forms: list[str] = field(default_factory=list[str])

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Answer as the script says."""
        header = request.headers.get("Authorization", "")
        self.seen.append((request.method, request.raw_path, header))
        await asyncio.sleep(0.01)
        if request.path == "/token":
            return await self._token(request)
        if request.path == "/v2/":
            return self._refuse(self.ping_status, self.ping_challenge)
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
        """The requests for tokens."""
        return [path for _, path, _ in self.seen if path.startswith("/token")]

    @property
    def pings(self) -> list[str]:
        """What the pings were sent with."""
        return [header for _, path, header in self.seen if path == "/v2/"]

    @property
    def asked(self) -> list[str]:
        """What the real requests were sent with."""
        return [header for _, path, header in self.seen if path == "/v2/a/b/tags/list"]


class Time:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def clock(self) -> Clock:
        """Return the clock that shows it."""
        return Clock(monotonic=lambda: self.seconds, now=lambda: datetime.now(UTC))


@pytest.fixture
def time() -> Time:
    """The time that tokens live by."""
    return Time()


@pytest.fixture
def counted() -> list[Side]:
    """The requests that were counted."""
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


async def ask(host: HostConnection, *scopes: str, side: Side = "source", body: bytes | None = None) -> int:
    """Return the status of one exchange."""
    call = Call("PUT" if body else "GET", "/v2/a/b/tags/list", side, scopes, body=body)
    async with released(await host.send(call)) as response:
        return response.status


async def test_a_token_is_asked_for_with_all_that_the_server_wants(connect: Connect) -> None:
    """auth/token.md: service, each scope by itself, who we are, and the login by Basic."""
    registry = Registry()
    host = await connect(registry, LOGIN)
    assert await ask(host, PUSH, "repository:c:pull") == 200
    (token,) = registry.tokens
    assert sorted(parse_qsl(token.partition("?")[2])) == [
        ("account", "robot$x"),
        ("client_id", "image-syncer"),
        ("scope", PUSH),
        ("scope", "repository:c:pull"),
        ("service", "registry.example"),
    ]
    assert [header for _, _, header in registry.seen] == ["", BASIC, "Bearer t1"]


async def test_without_a_login_the_token_is_anonymous(connect: Connect) -> None:
    """Public images need a token all the same."""
    registry = Registry(document={"token": "", "access_token": "other-name"})
    assert await ask(await connect(registry), PULL) == 200
    assert [header for _, _, header in registry.seen] == ["", "", "Bearer other-name"]
    assert "account" not in registry.tokens[0]


async def test_many_callers_share_one_ping_and_one_token(connect: Connect, counted: list[Side]) -> None:
    """A thousand tags cost one ping and one token; every request is counted for its side."""
    registry = Registry()
    host = await connect(registry, LOGIN)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(host, PULL, side="target")) for _ in range(20)]
    assert {task.result() for task in tasks} == {200}
    assert (len(registry.pings), len(registry.tokens), len(registry.seen)) == (1, 1, 22)
    assert counted == ["target"] * 22


async def test_other_scopes_are_other_tokens(connect: Connect) -> None:
    """Rights are asked for as they are needed, in whatever order they are named."""
    registry = Registry()
    host = await connect(registry)
    for scopes in [(PULL,), (PUSH,), (PULL, "repository:c:pull"), ("repository:c:pull", PULL)]:
        assert await ask(host, *scopes) == 200
    assert len(registry.tokens) == 3


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(None, 60), (10, 60), (0, 60), (-5, 60), (300, 300), ("300", 60), (True, 60), (1e400, 60), (10**400, 86400)],
)
def test_a_life_is_read_with_suspicion(expires_in: object, seconds: float) -> None:
    """auth/token.md: nothing, or less than 60, is 60; nonsense too, and nothing lasts for ever."""
    assert lifetime(expires_in) == seconds


async def test_a_token_is_renewed_before_its_end(connect: Connect, time: Time) -> None:
    """A request that begins with it must still be answered with it."""
    registry = Registry(document={"expires_in": 300})
    host = await connect(registry)
    for seconds, tokens in [(0, 1), (280, 1), (11, 2), (280, 2)]:
        time.seconds += seconds
        assert await ask(host, PULL) == 200
        assert len(registry.tokens) == tokens


async def test_a_token_that_is_refused_later_is_replaced_once(connect: Connect) -> None:
    """Whoever held it gets a new one, together."""
    registry = Registry()
    host = await connect(registry)
    assert await ask(host, PULL) == 200
    registry.valid = {"t2"}
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ask(host, PULL)) for _ in range(10)]
    assert {task.result() for task in tasks} == {200}
    assert (len(registry.tokens), len(registry.pings)) == (2, 1)


async def test_a_fresh_token_that_is_refused_is_the_answer(connect: Connect) -> None:
    """Another one would be no better."""
    registry = Registry(valid=set())
    assert await ask(await connect(registry), PULL) == 401
    assert (len(registry.tokens), len(registry.asked)) == (1, 1)


async def test_a_body_is_sent_again_with_the_new_token(connect: Connect) -> None:
    """A push does not fail because a token ended under way."""
    registry = Registry()
    host = await connect(registry)
    await ask(host, PUSH)
    registry.valid = {"t2"}
    assert await ask(host, PUSH, body=b"manifest") == 200


async def test_harbor_is_pinged_again(connect: Connect) -> None:
    """It answers an expired token with Basic; the Bearer challenge comes only without Authorization."""
    registry = Registry()
    host = await connect(registry)
    await ask(host, PULL)
    registry.valid, registry.inner_challenge = {"t2"}, 'Basic realm="harbor"'
    assert await ask(host, PULL) == 200
    assert registry.pings == ["", ""]


async def test_a_401_without_a_challenge_is_pinged_again(connect: Connect) -> None:
    """gcr.io has been seen to forget its challenge."""
    registry = Registry()
    host = await connect(registry)
    await ask(host, PULL)
    registry.valid, registry.inner_challenge = {"t2"}, ""
    assert await ask(host, PULL) == 200


async def test_a_missing_scope_is_added_and_remembered(connect: Connect) -> None:
    """The challenge may name what we did not know of; the next call knows it."""
    registry = Registry(valid={"t2"})
    registry.inner_challenge = f'{registry.challenge},scope="repository:x:pull",error="insufficient_scope"'
    host = await connect(registry)
    assert await ask(host, PULL) == 200
    assert parse_qs(registry.tokens[1].partition("?")[2])["scope"] == [PULL, "repository:x:pull"]
    assert await ask(host, PULL) == 200
    assert (len(registry.tokens), len(registry.asked)) == (2, 3)


async def test_a_scope_that_never_suffices_is_asked_for_once(connect: Connect) -> None:
    """No registry keeps us running in a circle."""
    registry = Registry(valid=set())
    registry.inner_challenge = f'{registry.challenge},scope="repository:x:pull",error="insufficient_scope"'
    assert await ask(await connect(registry), PULL) == 401
    assert len(registry.asked) == 2


async def test_a_challenge_may_come_after_an_open_door(connect: Connect) -> None:
    """A ping that is 200 proves nothing about the rest."""
    registry = Registry(ping_status=200, ping_challenge="", valid={"t1"})
    host = await connect(registry)
    assert await ask(host, PULL) == 200
    assert await ask(host, PULL) == 200
    assert registry.asked == ["", "Bearer t1", "Bearer t1"]


async def test_basic_is_sent_at_once(connect: Connect) -> None:
    """After the ping nobody is asked twice for user and password."""
    registry = Registry(challenge='Basic realm="x"', valid={BASIC})
    host = await connect(registry, LOGIN)
    assert await ask(host, PULL) == 200
    assert registry.asked == [BASIC]
    assert registry.pings == [""]


async def test_a_wrong_password_is_the_answer(connect: Connect) -> None:
    """Repeating it locks accounts."""
    registry = Registry(challenge='Basic realm="x"', valid=set())
    assert await ask(await connect(registry, LOGIN), PULL) == 401
    assert registry.asked == [BASIC]


async def test_nobody_is_sent_without_a_login(connect: Connect) -> None:
    """Basic without credentials is asked once, bare."""
    registry = Registry(challenge='Basic realm="x"', valid=set())
    assert await ask(await connect(registry), PULL) == 401
    assert registry.asked == [""]


async def test_an_identity_token_is_exchanged(connect: Connect) -> None:
    """auth/oauth.md: a form, scopes in one value, nothing in the query."""
    registry = Registry(post_status=200)
    host = await connect(registry, Credential(identity_token="refresh"))
    assert await ask(host, PULL, "repository:c:pull") == 200
    assert dict(parse_qsl(registry.forms[0])) == {
        "grant_type": "refresh_token",
        "service": "registry.example",
        "client_id": "image-syncer",
        "scope": f"{PULL} repository:c:pull",
        "refresh_token": "refresh",
    }
    assert registry.tokens == ["/token"]


async def test_a_server_without_oauth_is_asked_the_old_way(connect: Connect) -> None:
    """404 or 405 to the form leads to GET with Basic."""
    registry = Registry(post_status=405)
    assert await ask(await connect(registry, Credential(identity_token="refresh")), PULL) == 200
    basic = "Basic " + base64.b64encode(b"<token>:refresh").decode()
    assert [header for _, path, header in registry.seen if path.startswith("/token?")] == [basic]


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
async def test_a_token_server_that_refuses_is_named(connect: Connect, status: int, kind: type[StoreError]) -> None:
    """Whose fault it is decides whether trying again helps."""
    host = await connect(Registry(token_status=status), LOGIN)
    with pytest.raises(kind, match=rf"{host.name}: its token server 127.0.0.1") as raised:
        await ask(host, PULL)
    assert raised.value.status == status
    if isinstance(raised.value, RateLimited | Unavailable):
        assert raised.value.retry_after == 7


async def test_a_refused_login_points_to_where_it_stands_and_is_not_repeated(connect: Connect, time: Time) -> None:
    """A thousand tags with a wrong password must not be a thousand attempts; after a minute it may be put right."""
    registry = Registry(token_status=401)
    host = await connect(registry, LOGIN)
    for seconds in (0, 59, 2):
        time.seconds += seconds
        with pytest.raises(Unauthorized, match=r"check user name and password of .* in auth.yaml:3") as raised:
            await ask(host, PULL)
        assert "hunter2" not in str(raised.value)
    assert len(registry.tokens) == 2


async def test_an_anonymous_refusal_asks_for_a_login(connect: Connect) -> None:
    """There is no password to check."""
    with pytest.raises(Unauthorized, match="give user name and password for"):
        await ask(await connect(Registry(token_status=401)), PULL)


@pytest.mark.parametrize("token", ["a\nb", "", "a b", 7, None, "x" * 70_000, "é"])
async def test_a_token_that_is_none_is_refused(connect: Connect, token: object) -> None:
    """A line break in it would be a header of its own."""
    with pytest.raises(ProtocolError, match="no usable token"):
        await ask(await connect(Registry(document={"token": token})), PULL)


async def test_a_huge_token_answer_is_not_read(connect: Connect) -> None:
    """A token server is a stranger like all others."""
    with pytest.raises(StoreError, match="more than 1048576 bytes"):
        await ask(await connect(Registry(document={"padding": "x" * 2_000_000})), PULL)


@pytest.mark.parametrize("realm", ["ftp://auth.example/", "https://u:p@auth.example/", "https://[/", "https://a b/"])
async def test_a_realm_that_is_no_address_is_refused(connect: Connect, realm: str) -> None:
    """Before anything is sent to it."""
    with pytest.raises(ProtocolError):
        await ask(await connect(Registry(f'Bearer realm="{realm}"'), LOGIN), PULL)


async def test_a_plain_realm_of_a_tls_registry_is_refused(
    serve: Serve, open_transport: Open, server_tls: ssl.SSLContext, counted: list[Side]
) -> None:
    """Nobody's password goes over the wire in the clear because a challenge says so."""
    tokens = Registry()
    registry = Registry(f'Bearer realm="http://127.0.0.1:{await serve(tokens)}/token"')
    name = f"127.0.0.1:{await serve(registry, server_tls)}"
    host = HostConnection(name, RegistryAccount(name, LOGIN), await open_transport(), counter=counted.append)
    with pytest.raises(ProtocolError, match="is not asked over plain http"):
        await ask(host, PULL)
    assert tokens.seen == []


async def test_secrets_stay_out_of_sight(connect: Connect) -> None:
    """No repr, no message and no traceback holds a login or a token."""
    registry = Registry(token_status=401)
    host = await connect(registry, LOGIN)
    with pytest.raises(Unauthorized) as raised:
        await ask(host, PULL)
    told = [*traceback.format_exception(raised.value), repr(host), repr(host.__dict__), repr(LOGIN)]
    told.append(repr(replace(Authorization("Bearer hunter2"), fresh=True)))
    assert not any(secret in "".join(told) for secret in ("hunter2", BASIC))
