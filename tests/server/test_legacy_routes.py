"""The fork's routes: its statuses in its order."""

import asyncio
from collections.abc import AsyncGenerator
from io import BytesIO

import pytest

from image_syncer.events.signatures import Basic
from image_syncer.server.server_settings import ForkHook, ServerSettings
from image_syncer.state import EventStatus
from server.serving import Running, basic, running

HOOK = "/images/sync/hook"
DO = "/images/sync/do"
GOOD = f"{HOOK}?name=registry.example.com/team/app&tag=1.4.2"
LOGIN = basic("user", "pass")
SETTINGS = ServerSettings(logins=(Basic("admin", "other"),), fork=ForkHook(Basic("user", "pass")), patience_seconds=2.0)


@pytest.fixture
async def site() -> AsyncGenerator[Running]:
    """A server with the fork's routes behind their login."""
    async with running(SETTINGS) as server:
        yield server


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 200),
        ("?tag=1", 200),
        ("?name=&tag=snapshot", 200),
        ("?name=registry.example.com/team/app", 400),
        ("?name=registry.example.com&tag=", 400),
        ("?name=registry.example.com&tag=1", 406),
        ("?name=registry.example.com/team/app&tag=SNAPSHOT-1", 406),
        ("?name=registry.example.com/team/app&tag=1-Snapshot", 406),
        ("?name=registry.example.com/Team/app&tag=1", 406),
        ("?name=registry.example.com/team/app&tag=a%00b", 406),
        ("?name=registry.example.com/../app&tag=1", 406),
        ("?name=registry.example.com/team/app&tag=1", 200),
        ("?name=registry.example.com/team/a/b/c&tag=1", 200),
        ("?name=registry.example.com/app&tag=1", 200),
        ("?name=elsewhere.example.com/team/app&tag=1", 200),
    ],
)
async def test_statuses_are_those_of_the_fork(site: Running, query: str, status: int) -> None:
    """Name, then tag, then form, then snapshot; 200 also if no rule wants the image."""
    assert await site.status("GET", HOOK + query, headers=LOGIN) == status


@pytest.mark.parametrize("auth", [{}, basic("user", "wrong"), basic("admin", "other")])
async def test_the_login_is_checked_before_the_name(site: Running, auth: dict[str, str]) -> None:
    """401 with the fork's text and without a challenge."""
    for path in (HOOK, GOOD, f"{HOOK}?name=a/b", f"{HOOK}?name=a&tag=1", DO):
        async with site.client.get(path, headers=auth) as response:
            assert response.status == 401
            assert await response.text() == "no auth or wrong pasword or wrong username"
            assert "www-authenticate" not in response.headers
    assert not await site.events()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", HOOK, 405),
        ("DELETE", DO, 405),
        ("HEAD", HOOK, 405),
        ("GET", f"{HOOK}/", 404),
        ("GET", "/images/sync", 404),
        ("GET", "/images/sync/hook/more", 404),
    ],
)
async def test_the_route_is_checked_before_the_login(site: Running, method: str, path: str, status: int) -> None:
    """A wrong method or path needs no login to be refused."""
    assert await site.status(method, path) == status


async def test_the_answer_names_the_event_and_its_rules(site: Running) -> None:
    """The event is recorded by then."""
    async with site.client.get(GOOD, headers=LOGIN) as response:
        assert await response.json() == {"status": "accepted", "event": 1, "rules": ["team"]}
    [event] = await site.events()
    assert (event.repository, event.tag, event.source) == ("registry.example.com/team/app", "1.4.2", "images/sync/hook")


async def test_an_unwanted_event_is_recorded_as_unmatched(site: Running) -> None:
    """200 as in the fork, but nothing is dropped silently."""
    async with site.client.get(f"{HOOK}?name=elsewhere.example.com/team/app&tag=1", headers=LOGIN) as response:
        assert await response.json() == {"status": "unmatched", "event": 1, "rules": []}
    assert await site.status("POST", DO, headers=LOGIN) == 200
    assert (await site.events())[0].status is EventStatus.UNMATCHED


@pytest.mark.parametrize(
    "options",
    [
        {"params": {"name": "registry.example.com/team/app", "tag": "2"}},
        {"data": {"name": "registry.example.com/team/app", "tag": "2"}},
        {"json": {"name": "registry.example.com/team/app", "tag": "2"}},
        {"json": {"Name": "registry.example.com/team/app", "Tag": "2"}},
    ],
)
async def test_post_accepts_query_form_and_json(site: Running, options: dict[str, object]) -> None:
    """The three ways in which callers send fields."""
    assert await site.status("POST", HOOK, headers=LOGIN, **options) == 200
    assert [event.tag for event in await site.events()] == ["2"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[" * 100, 400), (b" " * (1024 * 1024 + 1), 413), (b'{"name": "a/b"}', 400), (b"{}", 200)],
    ids=["broken", "deep", "big", "without a tag", "without a name"],
)
async def test_bad_bodies_are_refused(site: Running, body: bytes, status: int) -> None:
    """The body of a POST is bounded like any other."""
    assert await site.status("POST", HOOK, headers=LOGIN, data=BytesIO(body)) == status


async def test_a_body_without_a_login_is_not_read(site: Running) -> None:
    """A stranger cannot make the server read anything."""
    assert await site.status("POST", HOOK, data=BytesIO(b" " * (2 * 1024 * 1024))) == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_do_starts_pending_copies(site: Running, method: str) -> None:
    """A stub in the fork; here it answers the number of copies."""
    await site.status("GET", GOOD, headers=LOGIN)
    async with site.client.request(method, DO, headers=LOGIN) as response:
        assert (response.status, await response.json()) == (200, {"status": "started", "count": 1})
    assert len(await site.databases.jobs.list()) == 1


async def test_nothing_is_accepted_while_the_state_is_down() -> None:
    """503 with Retry-After."""
    async with running(SETTINGS) as site:
        site.databases.is_down = True
        async with site.client.get(GOOD, headers=LOGIN) as response:
            assert (response.status, response.headers["retry-after"]) == (503, "5")


async def test_a_hanging_state_is_503_after_the_patience() -> None:
    """Nothing is recorded."""
    async with running(SETTINGS) as site:
        site.databases.delay = 60
        async with asyncio.timeout(20):
            assert await site.status("GET", GOOD, headers=LOGIN) == 503
        site.databases.delay = 0
        assert not await site.events()


async def test_a_native_configuration_has_no_fork_routes() -> None:
    """They are 404."""
    async with running(ServerSettings()) as site:
        assert await site.status("GET", GOOD) == 404
