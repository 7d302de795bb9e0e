"""The fork's routes: its statuses in its order, whatever else the server can do."""

import asyncio
from collections.abc import AsyncGenerator
from io import BytesIO

import pytest

from image_syncer.events.signatures import Basic
from image_syncer.server.server_settings import ForkHook, ServerSettings
from image_syncer.state import EventStatus
from server.memory_backend import MemoryBackend, Running, basic, running

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
    """Name before tag before form before snapshot, and 200 also where nobody wants it."""
    assert await site.status("GET", HOOK + query, headers=LOGIN) == status


@pytest.mark.parametrize("auth", [{}, basic("user", "wrong"), basic("admin", "other")])
async def test_login_comes_before_everything_about_the_name(site: Running, auth: dict[str, str]) -> None:
    """401 with the fork's text and without a challenge, also where the name would be 200, 400 or 406."""
    for path in (HOOK, GOOD, f"{HOOK}?name=a/b", f"{HOOK}?name=a&tag=1", DO):
        async with site.client.get(path, headers=auth) as response:
            assert response.status == 401
            assert await response.text() == "no auth or wrong pasword or wrong username"
            assert "www-authenticate" not in response.headers
    assert not site.memory.event_rows


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
async def test_route_comes_before_the_login(site: Running, method: str, path: str, status: int) -> None:
    """Another method or path is refused to everybody."""
    assert await site.status(method, path) == status


async def test_answer_says_what_happened(site: Running) -> None:
    """The body names the event and the rules that want it, and the event is recorded when it comes."""
    async with site.client.get(GOOD, headers=LOGIN) as response:
        assert await response.json() == {"status": "accepted", "event": 1, "rules": ["team"]}
    [event] = site.memory.event_rows
    assert (event.repository, event.tag, event.source) == ("registry.example.com/team/app", "1.4.2", "images/sync/hook")


async def test_unwanted_event_is_recorded_as_unmatched(site: Running) -> None:
    """200 as the fork answers, and yet nothing is dropped in silence."""
    async with site.client.get(f"{HOOK}?name=elsewhere.example.com/team/app&tag=1", headers=LOGIN) as response:
        assert await response.json() == {"status": "unmatched", "event": 1, "rules": []}
    assert site.memory.event_rows[0].status is EventStatus.UNMATCHED


@pytest.mark.parametrize(
    "options",
    [
        {"params": {"name": "registry.example.com/team/app", "tag": "2"}},
        {"data": {"name": "registry.example.com/team/app", "tag": "2"}},
        {"json": {"name": "registry.example.com/team/app", "tag": "2"}},
        {"json": {"Name": "registry.example.com/team/app", "Tag": "2"}},
    ],
)
async def test_post_takes_query_form_and_json(site: Running, options: dict[str, object]) -> None:
    """The three ways in which callers send fields."""
    assert await site.status("POST", HOOK, headers=LOGIN, **options) == 200
    assert [event.tag for event in site.memory.event_rows] == ["2"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"[" * 100, 400), (b" " * (1024 * 1024 + 1), 413), (b'{"name": "a/b"}', 400), (b"{}", 200)],
    ids=["broken", "deep", "big", "without a tag", "without a name"],
)
async def test_bad_bodies_are_refused(site: Running, body: bytes, status: int) -> None:
    """A posted body is bounded like any other."""
    assert await site.status("POST", HOOK, headers=LOGIN, data=BytesIO(body)) == status


async def test_body_is_not_read_for_strangers(site: Running) -> None:
    """Who does not log in can not make us read anything."""
    assert await site.status("POST", HOOK, data=BytesIO(b" " * (2 * 1024 * 1024))) == 401


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_do_runs_what_waits(site: Running, method: str) -> None:
    """What was a stub in the fork does its work, and says how much that was."""
    await site.status("GET", GOOD, headers=LOGIN)
    async with site.client.request(method, DO, headers=LOGIN) as response:
        assert (response.status, await response.json()) == (200, {"status": "started", "count": 1})
    assert site.memory.started == 1


async def test_nothing_is_accepted_while_the_store_is_down() -> None:
    """503 with the time to come again, instead of a promise."""
    async with running(SETTINGS, MemoryBackend(down=True)) as site, site.client.get(GOOD, headers=LOGIN) as response:
        assert (response.status, response.headers["retry-after"]) == (503, "7")


async def test_a_hanging_store_is_given_up() -> None:
    """The wait for a durable row has an end, and the end is not a 200."""
    async with running(SETTINGS, MemoryBackend(slow=60)) as site:
        async with asyncio.timeout(5):
            assert await site.status("GET", GOOD, headers=LOGIN) == 503
        assert not site.memory.event_rows


async def test_without_the_fork_its_routes_are_unknown() -> None:
    """A native configuration does not open them."""
    async with running(ServerSettings()) as site:
        assert await site.status("GET", GOOD) == 404
