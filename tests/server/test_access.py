"""Who may come in, what browsers must not be made to do, and what is said about it in the log."""

import re
from collections.abc import AsyncGenerator

import pytest
import structlog

from image_syncer.errors import Unavailable, UsageError
from image_syncer.events.signatures import Basic, Bearer, UrlSecret
from image_syncer.server.backend import BackendUnavailable
from image_syncer.server.errors import in_time
from image_syncer.server.server_settings import ForkHook, HookSource, Listen, ServerSettings, check_exposure
from server.memory_backend import Running, basic, filled, running

ADMIN = basic("admin", "päss:word")
LOGINS = (Basic("admin", "päss:word"), Basic("reader", "second"), Bearer("token-1"))
SETTINGS = ServerSettings(logins=LOGINS, fork=ForkHook(Basic("user", "pass")))
OWN = ("/", "/docs", "/openapi.json", "/metrics", "/api/v1/rules", "/api/v1/runs", "/api/v1/jobs", "/api/v1/events")


@pytest.fixture
async def site() -> AsyncGenerator[Running]:
    """A server with logins."""
    async with running(SETTINGS, filled()) as server:
        yield server


@pytest.mark.parametrize("path", OWN)
async def test_own_routes_need_a_login(site: Running, path: str) -> None:
    """401 with the schemes that would do; each of the logins opens."""
    async with site.client.get(path) as response:
        challenge = response.headers["www-authenticate"]
    assert (response.status, challenge.count("realm=")) == (401, 2)
    assert await site.status("GET", path, headers=ADMIN) == 200
    assert await site.status("GET", path, headers=basic("reader", "second")) == 200
    assert await site.status("GET", path, headers={"authorization": "bearer token-1"}) == 200


@pytest.mark.parametrize(
    "value",
    ["", "Basic", "Basic !!!", "Basic YWRtaW4=", "Basic YWRtaW46", "Bearer", "Bearer token-2", "Digest a", "\x80\xff"],
)
async def test_no_other_authorization_opens(site: Running, value: str) -> None:
    """Broken headers are wrong logins, not errors."""
    assert await site.status("GET", "/api/v1/rules", headers={"authorization": value}) == 401


async def test_probes_are_open_and_say_nothing_but_ok(site: Running) -> None:
    """Whoever looks after the process has no login."""
    for path in ("/healthz", "/readyz"):
        async with site.client.get(path) as response:
            assert (response.status, await response.text()) == (200, "ok\n")


@pytest.mark.parametrize("disturb", ["down", "dead_worker"])
async def test_readiness_falls_with_the_backend_and_says_no_more(site: Running, disturb: str) -> None:
    """503 without the reason, which strangers could use; being alive is another question."""
    setattr(site.memory, disturb, True)
    with structlog.testing.capture_logs() as logs:
        async with site.client.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "not ok\n")
    assert [line["problems"] for line in logs if line["event"] == "readiness.missed"]
    assert await site.status("GET", "/healthz") == 200


async def test_open_settings_open_everything() -> None:
    """Without logins, which is a decision of the configuration."""
    async with running(ServerSettings()) as site:
        assert [await site.status("GET", path) for path in OWN] == [200] * len(OWN)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example.com"},
        {"origin": "null"},
        {"origin": "http://[broken"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
async def test_other_sites_pages_have_no_effects(site: Running, headers: dict[str, str]) -> None:
    """403 also with the right login, which browsers add by themselves; the fork's GETs included."""
    user = basic("user", "pass")
    hook = "/images/sync/hook?name=registry.example.com/team/app&tag=1"
    assert await site.status("GET", hook, headers=user | headers) == 403
    assert await site.status("POST", "/images/sync/do", headers=user | headers) == 403
    for path in ("/api/v1/rules/team/run", "/api/v1/jobs/1/retry", "/api/v1/jobs/2/cancel"):
        assert await site.status("POST", path, headers=ADMIN | headers) == 403
    assert (len(site.memory.event_rows), len(site.memory.job_rows), site.memory.started) == (2, 3, 0)


async def test_own_pages_and_programs_have_effects(site: Running) -> None:
    """The origin that was asked, one that is configured, an address bar, and no browser at all."""
    own = {"origin": site.url, "sec-fetch-site": "same-origin"}
    for headers in (own, {"sec-fetch-site": "none"}, {}):
        assert await site.status("POST", "/api/v1/rules/team/run", headers=ADMIN | headers) == 202
    site.site.change(ServerSettings(origins=("https://sync.example.com",)))
    proxied = {"origin": "https://sync.example.com", "sec-fetch-site": "same-origin"}
    assert await site.status("POST", "/api/v1/rules/team/run", headers=proxied) == 202


async def test_pages_of_other_sites_may_link_to_ours(site: Running) -> None:
    """Reading has no effects: a link from a wiki works."""
    assert await site.status("GET", "/", headers=ADMIN | {"sec-fetch-site": "cross-site"}) == 200


async def test_no_secret_reaches_the_log() -> None:
    """The line names the route as it is declared; path, query, login and body stay out of it."""
    hooks = {"quay": HookSource("quay", "quay.io", (UrlSecret("s3cret-in-path"),))}
    settings = ServerSettings(logins=LOGINS, hooks=hooks, fork=ForkHook(Basic("user", "pass")))
    with structlog.testing.capture_logs() as logs:
        async with running(settings) as site:
            await site.status("POST", "/hooks/quay/s3cret-in-path", data=b"{}")
            await site.status("POST", "/hooks/quay?secret=s3cret-in-path", data=b"{}")
            await site.status("POST", "/hooks/quay/s3cret-wrong", data=b"{}")
            await site.status("GET", "/api/v1/rules?token=s3cret", headers={"authorization": "Bearer s3cret"})
            await site.status("GET", "/s3cret")
    assert not re.search("s3cret", repr(logs))
    assert [line["route"] for line in logs] == [
        "/hooks/{source}/{secret}",
        "/hooks/{source}",
        "/hooks/{source}/{secret}",
        "/api/v1/rules",
        "-",
    ]


async def test_log_line_tells_the_story(site: Running) -> None:
    """Route, status, time and the events that the request brought."""
    path = "/images/sync/hook?name=registry.example.com/team/app&tag=1"
    with structlog.testing.capture_logs() as logs:
        await site.status("GET", path, headers=basic("user", "pass"))
    [line] = logs
    assert (line["event"], line["status"], line["outcome"], line["events"]) == ("http.answered", 200, "accepted", [3])
    assert line["ms"] >= 0


async def test_an_unforeseen_error_is_logged_and_answered() -> None:
    """500 without a word about the inside, which is in the log."""
    async with running(memory=filled()) as site:
        site.memory.job_rows.append(None)  # pyright: ignore[reportArgumentType] - breaks the answer on purpose
        with structlog.testing.capture_logs() as logs:
            async with site.client.get("/api/v1/jobs?status=failed") as response:
                assert (response.status, await response.json()) == (
                    500,
                    {"error": "an error of ours; the log tells more"},
                )
    assert [line["event"] for line in logs] == ["http.failed", "http.answered"]


async def test_any_error_that_may_pass_is_503() -> None:
    """What lies below need not know our errors, and its text reaches who may see it."""

    async def fail() -> None:
        raise Unavailable("the database restarts")

    with pytest.raises(BackendUnavailable, match="the database restarts"):
        await in_time(1, fail())


async def test_an_error_that_does_not_pass_stays_what_it_is() -> None:
    """Nobody is told to come again for what will not help."""

    async def fail() -> None:
        raise UsageError("never")

    with pytest.raises(UsageError, match="never"):
        await in_time(1, fail())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_open_settings_may_be_served_to_this_machine(host: str) -> None:
    """Loopback addresses are nobody else's."""
    check_exposure(Listen(host, 8080), ServerSettings())


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "192.0.2.1", "sync.example.com", "localhost.example.com"])
@pytest.mark.parametrize(
    ("settings", "door"),
    [
        (ServerSettings(), "the API"),
        (ServerSettings(logins=LOGINS, fork=ForkHook(None)), "/images/sync/hook"),
        (ServerSettings(logins=LOGINS, hooks={"quay": HookSource("quay", "quay.io")}), "/hooks/quay"),
    ],
)
def test_open_settings_are_refused_elsewhere(host: str, settings: ServerSettings, door: str) -> None:
    """The refusal names what would be open and the ways out."""
    with pytest.raises(UsageError, match=door) as error:
        check_exposure(Listen(host, 8080), settings)
    assert "login" in (error.value.remedy or "")


def test_open_settings_may_be_wanted() -> None:
    """Who says so is believed, and guarded settings need no word."""
    check_exposure(Listen("", 8080), ServerSettings(allow_open=True))
    check_exposure(Listen("", 8080), SETTINGS)


def test_settings_show_no_secrets() -> None:
    """Neither in a message nor in a debugger."""
    assert "päss" not in repr(SETTINGS)
    assert "token-1" not in repr(SETTINGS)
