"""Authentication, protection against cross-site requests, and the log."""

import asyncio
import re
import resource
from collections.abc import AsyncGenerator, Generator
from contextlib import contextmanager

import pytest
import structlog

from image_syncer.errors import Unavailable, UsageError
from image_syncer.events.signatures import Basic, Bearer, UrlSecret
from image_syncer.server.errors import in_time
from image_syncer.server.server_settings import (
    ForkHook,
    HookSource,
    Listen,
    ServerSettings,
    allowed_hosts,
    check_exposure,
)
from image_syncer.server.web_backend import BackendUnavailable
from server.serving import Running, basic, fill, running

ADMIN = basic("admin", "päss:word")
LOGINS = (Basic("admin", "päss:word"), Basic("reader", "second"), Bearer("token-1"))
SETTINGS = ServerSettings(logins=LOGINS, fork=ForkHook(Basic("user", "pass")))
OWN = ("/", "/docs", "/openapi.json", "/metrics", "/api/v1/rules", "/api/v1/runs", "/api/v1/jobs", "/api/v1/events")


@pytest.fixture
async def site() -> AsyncGenerator[Running]:
    """A server with logins."""
    async with running(SETTINGS, fill) as server:
        yield server


@pytest.mark.parametrize("path", OWN)
async def test_the_api_and_the_pages_need_a_login(site: Running, path: str) -> None:
    """401 names both schemes; each configured login works."""
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
async def test_malformed_and_wrong_authorization_is_401(site: Running, value: str) -> None:
    """A broken header counts as a wrong login, not as an error."""
    assert await site.status("GET", "/api/v1/rules", headers={"authorization": value}) == 401


async def test_probes_need_no_login_and_answer_ok(site: Running) -> None:
    """An orchestrator has no login."""
    for path in ("/healthz", "/readyz"):
        async with site.client.get(path) as response:
            assert (response.status, await response.text()) == (200, "ok\n")


@pytest.mark.parametrize("failure", ["databases", "worker"])
async def test_readiness_falls_with_the_backend_and_hides_the_reason(site: Running, failure: str) -> None:
    """503 without the reason, which strangers could use; liveness is another question."""
    site.databases.is_down = failure == "databases"
    site.databases.set_worker(alive=failure != "worker")
    with structlog.testing.capture_logs() as logs:
        async with site.client.get("/readyz") as response:
            assert (response.status, await response.text()) == (503, "not ok\n")
    assert [line["problems"] for line in logs if line["event"] == "readiness.missed"]
    assert await site.status("GET", "/healthz") == 200


async def test_readiness_falls_when_the_disk_is_full() -> None:
    """Reads still work then, but no event can be recorded."""
    async with running() as site:
        assert await site.status("GET", "/readyz") == 200
        await asyncio.sleep(1.1)  # Readiness is checked at most once a second.
        with no_space(), structlog.testing.capture_logs() as logs:
            assert await site.status("GET", "/readyz") == 503
            assert await site.status("GET", "/api/v1/events") == 200
        [missed] = [line for line in logs if line["event"] == "readiness.missed"]
        assert "state.db" in missed["problems"][0]


@contextmanager
def no_space() -> Generator[None]:
    """Let no file of this process grow, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_without_logins_every_route_is_open() -> None:
    """The configuration decides that."""
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
        {"sec-fetch-site": "same-site"},
        {"referer": "http://evil.example.com/page"},
        {"referer": "http://127.0.0.1:1/"},
    ],
)
async def test_actions_from_other_sites_are_403(site: Running, headers: dict[str, str]) -> None:
    """With the right login, too, which browsers add by themselves; the fork's GET routes included."""
    user = basic("user", "pass")
    hook = "/images/sync/hook?name=registry.example.com/team/app&tag=1"
    assert await site.status("GET", hook, headers=user | headers) == 403
    assert await site.status("POST", "/images/sync/do", headers=user | headers) == 403
    for path in ("/api/v1/rules/team/run", "/api/v1/jobs/1/retry", "/api/v1/jobs/2/cancel"):
        assert await site.status("POST", path, headers=ADMIN | headers) == 403
    assert (len(await site.events()), len(await site.databases.jobs.list())) == (2, 3)


async def test_actions_from_own_pages_and_programs_are_accepted(site: Running) -> None:
    """The requested origin, a configured one, an address bar, and no browser at all."""
    own = {"origin": site.url, "sec-fetch-site": "same-origin"}
    for headers in (own, {"sec-fetch-site": "none"}, {}):
        assert await site.status("POST", "/api/v1/rules/docker.io/library/nginx/run", headers=ADMIN | headers) == 202
    site.site.change(ServerSettings(origins=("https://sync.example.com",)))
    proxied = {"origin": "https://sync.example.com", "sec-fetch-site": "same-origin"}
    assert await site.status("POST", "/api/v1/rules/docker.io/library/nginx/run", headers=proxied) == 202


async def test_other_sites_may_link_to_the_dashboard(site: Running) -> None:
    """Reading is no action: a link from a wiki works."""
    assert await site.status("GET", "/", headers=ADMIN | {"sec-fetch-site": "cross-site"}) == 200


async def test_no_secret_reaches_the_log() -> None:
    """The line names the declared route; path, query, login and body stay out of it."""
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


async def test_the_log_line_has_route_status_time_and_events(site: Running) -> None:
    """One line per request."""
    path = "/images/sync/hook?name=registry.example.com/team/app&tag=1"
    with structlog.testing.capture_logs() as logs:
        await site.status("GET", path, headers=basic("user", "pass"))
    [line] = logs
    recorded = [(await site.events())[-1].id]
    assert (line["event"], line["status"], line["outcome"]) == ("http.answered", 200, "accepted")
    assert line["events"] == recorded
    assert line["ms"] >= 0


async def test_an_unexpected_error_is_logged_and_answered_500() -> None:
    """The answer has no detail; the log has it."""
    async with running(fill=fill) as site:
        site.databases.config.copy_limits = None  # pyright: ignore[reportAttributeAccessIssue] - breaks the answer
        with structlog.testing.capture_logs() as logs:
            async with site.client.get("/api/v1/registries") as response:
                assert (response.status, await response.json()) == (
                    500,
                    {"error": "internal error; see the log of image-syncer"},
                )
    assert [line["event"] for line in logs] == ["http.failed", "http.answered"]


async def test_a_retryable_error_is_503() -> None:
    """The text of the error reaches the authenticated caller."""

    async def fail() -> None:
        raise Unavailable("the database restarts")

    with pytest.raises(BackendUnavailable, match="the database restarts"):
        await in_time(1, fail())


async def test_a_permanent_error_is_not_503() -> None:
    """Repeating the request would not help."""

    async def fail() -> None:
        raise UsageError("never")

    with pytest.raises(UsageError, match="never"):
        await in_time(1, fail())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_open_settings_are_served_on_loopback(host: str) -> None:
    """Only this machine reaches a loopback address."""
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
def test_open_settings_are_refused_on_other_addresses(host: str, settings: ServerSettings, door: str) -> None:
    """The error names the open routes and the remedies."""
    with pytest.raises(UsageError, match=door) as error:
        check_exposure(Listen(host, 8080), settings)
    assert "login" in (error.value.remedy or "")


def test_allow_open_serves_open_settings_everywhere() -> None:
    """Settings with authentication need no such permission."""
    check_exposure(Listen("", 8080), ServerSettings(allow_open=True))
    check_exposure(Listen("", 8080), SETTINGS)


@pytest.mark.parametrize("host", ["evil.example.com", "evil.example.com:80", "127.0.0.1.evil.test", "[broken", "x"])
@pytest.mark.parametrize("path", ["/", "/api/v1/rules", "/openapi.json", "/hooks/open", "/images/sync/do"])
async def test_an_open_server_on_loopback_refuses_other_host_names(host: str, path: str) -> None:
    """A page can give its own name the address of this machine (DNS rebinding), and then it is of the same origin."""
    settings = ServerSettings(hooks={"open": HookSource("distribution", "r.example.com")}, fork=ForkHook(None))
    async with running(settings) as site, site.client.post(path, headers={"host": host}) as response:
        assert response.status == 421
        assert "server: hosts:" in (await response.json())["remedy"]


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "127.0.0.1:1", "[::1]:80", "app.localhost", "LOCALHOST."]
)
async def test_an_open_server_on_loopback_answers_loopback_names(host: str) -> None:
    """They lead nowhere else."""
    async with running() as site:
        assert await site.status("GET", "/api/v1/rules", headers={"host": host}) == 200


async def test_configured_hosts_are_enforced_everywhere_but_at_probes() -> None:
    """With logins, too; an orchestrator asks by the address of the process."""
    settings = ServerSettings(logins=LOGINS, hosts=("sync.example.com",))
    async with running(settings) as site:
        for host, status in (("sync.example.com", 200), ("SYNC.example.com:443", 200), ("other.example.com", 421)):
            assert await site.status("GET", "/api/v1/rules", headers=ADMIN | {"host": host}) == status
        assert await site.status("GET", "/readyz", headers={"host": "10.0.0.1:8080"}) == 200


@pytest.mark.parametrize(
    ("listen", "settings"),
    [
        (Listen("127.0.0.1", 80), ServerSettings(logins=LOGINS)),
        (Listen("127.0.0.1", 80), ServerSettings(allow_open=True)),
        (Listen("", 80), ServerSettings(allow_open=True)),
    ],
)
def test_other_servers_answer_any_host_name(listen: Listen, settings: ServerSettings) -> None:
    """A login protects them, or the operator opened them."""
    assert allowed_hosts(listen, settings) == ()


def test_settings_show_no_secrets() -> None:
    """Neither in a message nor in a debugger."""
    assert "päss" not in repr(SETTINGS)
    assert "token-1" not in repr(SETTINGS)
