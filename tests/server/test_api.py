"""The API, the pages and the metrics over databases with some history."""

import base64
import hashlib
import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from yarl import URL

from image_syncer.app import Options
from image_syncer.errors import CopyFailed, RegistryDown
from image_syncer.server.pages import moment, shape, size
from image_syncer.server.server_settings import HookSource, ServerSettings
from image_syncer.state import NewEvent, NewRun, Trigger
from image_syncer.sync.result import CopyResult, Outcome, Transferred
from server.serving import NGINX_RULE, NOW, Running, fill, image, request_copy, running

HOUR = timedelta(hours=1)


@pytest.fixture
async def site() -> AsyncGenerator[Running]:
    """An open server."""
    async with running(fill=fill) as server:
        yield server


async def get(site: Running, path: str) -> Any:
    """Return the JSON of a 200 response."""
    async with site.client.get(path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_rules_are_listed(site: Running) -> None:
    """In the order of the configuration, with their schedules."""
    first, second = await get(site, "/api/v1/rules")
    assert (first["name"], first["events"], first["schedule"]) == ("team", True, None)
    assert (second["schedule"], second["next_at"]) == ("every 10m", "2026-05-04T09:16:33Z")


async def test_a_rule_is_run_on_request(site: Running) -> None:
    """Its name may contain slashes; a waiting job is joined; an unknown rule is 404."""
    path = "/api/v1/rules/docker.io/library/nginx/run"
    async with site.client.post(path) as response:
        assert (response.status, await response.json()) == (202, {"job": 4})
    async with site.client.post(path) as response:
        assert (response.status, await response.json()) == (202, {"job": None})
    assert await site.status("POST", "/api/v1/rules/nowhere/run") == 404


async def test_a_rule_that_only_events_trigger_cannot_be_run(site: Running) -> None:
    """Its source is a pattern and it lists nothing, so a run would do nothing: 409 says what to write."""
    async with site.client.post("/api/v1/rules/team/run") as response:
        assert response.status == 409
        assert "list: true makes it list the repositories" in await response.text()


async def test_runs_and_their_images_are_shown(site: Running) -> None:
    """Newest first; runs by rule, images by outcome."""
    assert [run["id"] for run in (await get(site, "/api/v1/runs"))["items"]] == [2, 1]
    assert [run["id"] for run in (await get(site, "/api/v1/runs?rule=team"))["items"]] == [2]
    assert (await get(site, "/api/v1/runs/1"))["copied"] == 3
    failed = await get(site, "/api/v1/runs/1/images?outcome=failed")
    assert [image["source"] for image in failed["items"]] == ["docker.io/library/nginx:1.9"]


async def test_images_are_found_over_all_runs(site: Running) -> None:
    """By rule, outcome and repository, in pages."""
    page = await get(site, "/api/v1/images?limit=1&rule=nginx")
    assert ([image["source"] for image in page["items"]], page["next"]) == (["docker.io/library/nginx:1.9"], 2)
    found = await get(site, "/api/v1/images?outcome=copied&repository=mirror.example.com/hub/nginx")
    assert [image["source"] for image in found["items"]] == ["docker.io/library/nginx:1.27"]
    assert (await get(site, "/api/v1/images?repository=docker.io/library/ngin"))["items"] == []


async def test_registries_are_listed_without_their_logins(site: Running) -> None:
    """Their use, whether a login is known, and their limits."""
    _, hub, mirror, _ = await get(site, "/api/v1/registries")
    assert (hub["host"], hub["source"], hub["target"], hub["logins"]) == ("docker.io", True, False, [])
    assert mirror["logins"] == ["mirror.example.com"]
    assert set(hub) == {
        "host",
        "source",
        "target",
        "logins",
        "insecure",
        "requests",
        "transfers",
        "copies",
        "down_since",
        "error",
    }


async def test_jobs_are_listed_in_pages_and_by_filter(site: Running) -> None:
    """`next` is null on the last page."""
    page = await get(site, "/api/v1/jobs?limit=2")
    assert ([job["id"] for job in page["items"]], page["next"]) == ([3, 2], 2)
    page = await get(site, "/api/v1/jobs?limit=2&before=2")
    assert ([job["id"] for job in page["items"]], page["next"]) == ([1], None)
    [failed] = (await get(site, "/api/v1/jobs?status=failed&kind=copy"))["items"]
    assert "507" in failed["error"]


async def test_a_failed_job_is_retried_and_a_waiting_one_cancelled(site: Running) -> None:
    """409 for a job whose status does not allow it."""
    assert await site.status("POST", "/api/v1/jobs/2/retry") == 409
    assert await site.status("POST", "/api/v1/jobs/1/cancel") == 409
    assert await site.status("POST", "/api/v1/jobs/1/retry") == 200
    assert await site.status("POST", "/api/v1/jobs/3/cancel") == 200
    assert [(await get(site, f"/api/v1/jobs/{job}"))["status"] for job in (1, 3)] == ["waiting", "cancelled"]


async def test_events_are_listed_and_shown(site: Running) -> None:
    """With the copies that they caused."""
    [unmatched] = (await get(site, "/api/v1/events?status=unmatched"))["items"]
    assert unmatched["repository"] == "registry.example.com/other/app"
    assert (await get(site, "/api/v1/events/1"))["copies"][0]["outcome"] == "copied"


@pytest.mark.parametrize("path", ["jobs/99", "runs/99", "runs/99/images", "events/99"])
async def test_an_unknown_id_is_404(site: Running, path: str) -> None:
    """With an error in JSON."""
    async with site.client.get(f"/api/v1/{path}") as response:
        assert (response.status, await response.json()) == (404, {"error": f"there is no {path.partition('s/')[0]} 99"})


@pytest.mark.parametrize(
    "path", ["jobs?limit=0", "jobs?limit=501", "jobs?status=odd", "jobs/x", "jobs/0", "jobs/9223372036854775808"]
)
async def test_bad_parameters_are_422(site: Running, path: str) -> None:
    """They never reach the backend, and the error names the parameter."""
    async with site.client.get(f"/api/v1/{path}") as response:
        assert response.status == 422
        assert re.search("limit|status|job", (await response.json())["error"])


async def test_the_api_is_503_while_the_databases_are_down(site: Running) -> None:
    """With Retry-After, never an empty list."""
    site.databases.is_down = True
    for path in ("rules", "runs", "jobs", "events", "jobs/1", "images"):
        async with site.client.get(f"/api/v1/{path}") as response:
            assert (response.status, response.headers["retry-after"]) == (503, "5")


async def test_the_dashboard_shows_everything_on_one_page(site: Running) -> None:
    """Rules, runs, jobs, events and registries; it loads nothing else and runs only its own script."""
    async with site.client.get("/") as response:
        text, policy = await response.text(), response.headers["content-security-policy"]
    assert response.status == 200
    for shown in ("registry.example.com/team/**", "507 no space left", "700.0 MiB", "unmatched", "backup.example.com"):
        assert shown in text
    assert not re.search(r"<script [a-z]|https?://|<link|<img|style=| on[a-z]+=", text)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    fingerprint = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert f"script-src 'sha256-{fingerprint}';" in policy


async def test_failures_come_first_with_their_remedy(site: Running) -> None:
    """The failed copy, the command that retries its job, and the number of failures in the header."""
    failed = image("1.9", Outcome.FAILED, reason="tag is immutable", remedy="allow it at the target")
    await site.databases.state.runs.add(1, [failed])
    site.databases.config.file = "/etc/mirror.yaml"
    async with site.client.get("/") as response:
        text = await response.text()
    assert "2 need attention" in text
    assert "all is well" not in text
    places = [
        text.index(word)
        for word in ("tag is immutable", "allow it at the target", "jobs retry -c /etc/mirror.yaml 1", 'id="queue"')
    ]
    assert places == sorted(places)


async def test_the_bar_of_a_run_shows_its_outcomes(site: Running) -> None:
    """A part for each outcome, its length by the size of the run; images without a webhook event are counted."""
    databases = site.databases
    await databases.set_run(1, unannounced=3)
    larger = await databases.state.runs.begin(NewRun(Trigger.SCHEDULE, [NGINX_RULE.name], NOW))
    await databases.set_run(larger, unchanged=90)
    async with site.client.get("/") as response:
        text = await response.text()
    widths = re.findall(r'<rect class="(failed|copied|skipped|unchanged)" x="[0-9.]+" width="([0-9.]+)"', text)
    assert widths[:3] == [("unchanged", "100.00"), ("failed", "1.11"), ("copied", "3.33")]
    assert "3 images had no webhook event" in text


async def test_text_from_strangers_is_escaped(site: Running) -> None:
    """An error text of a registry cannot become a part of the page."""
    assert await request_copy(site.databases, "broken") == 4
    await site.databases.set_job(4, "failed", 1, "<script>alert(1)</script>")
    async with site.client.get("/") as response:
        text = await response.text()
    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert(1)" not in text


async def test_an_empty_dashboard_says_so() -> None:
    """Without rules and history the page is still complete."""
    async with running() as site:
        site.databases.config.apply((), Options(), {})
        async with site.client.get("/") as response:
            text = await response.text()
    for empty in ("There are no rules.", "No runs yet.", "No events yet.", "The queue is empty."):
        assert empty in text


async def test_the_dashboard_is_503_while_the_databases_are_down(site: Running) -> None:
    """The page shows the reason."""
    site.databases.is_down = True
    async with site.client.get("/") as response:
        assert response.status == 503
        assert "disk I/O error" in await response.text()


@pytest.mark.parametrize("path", ["/", "/sync/"])
async def test_pages_work_behind_a_path_prefix(path: str) -> None:
    """Whether the proxy strips its prefix or not; links contain it."""
    async with running(ServerSettings(base_path="/sync"), fill) as site, site.client.get(path) as response:
        assert response.status == 200
        assert set(re.findall(r'href="(/[a-z]*)', await response.text())) == {"/sync"}


async def test_the_description_names_every_route(site: Running) -> None:
    """The page and the document agree."""
    document = await get(site, "/openapi.json")
    assert {"/api/v1/jobs/{job}/retry", "/hooks/{source}", "/healthz", "/metrics"} <= set(document["paths"])
    async with site.client.get("/docs") as response:
        text = await response.text()
    assert all(path in text for path in document["paths"])
    assert not re.search(r"<script|https?://", text)


async def test_metrics_count_requests_events_and_jobs(site: Running) -> None:
    """By route, source and status; every name starts with image_syncer_."""
    await site.status("BREW", "/healthz")
    await site.status("GET", "/api/v1/jobs/1")
    await site.status("POST", "/api/v1/jobs/99/retry")
    async with site.client.get("/metrics") as response:
        text = await response.text()
    assert 'image_syncer_http_requests_total{method="GET",route="/api/v1/jobs/{job}",status="200"} 1.0' in text
    assert 'image_syncer_http_requests_total{method="POST",route="/api/v1/jobs/{job}/retry",status="404"} 1.0' in text
    assert 'image_syncer_http_requests_total{method="other",route="/healthz",status="405"} 1.0' in text
    assert 'image_syncer_jobs{status="failed"} 1.0' in text
    assert 'image_syncer_jobs{status="superseded"} 0.0' in text
    assert 'image_syncer_remembered_events{source="images/sync/hook",status="unmatched"} 1.0' in text
    assert "image_syncer_ready 1.0" in text
    assert not [line for line in text.splitlines() if not line.startswith(("#", "image_syncer_"))]


async def test_metrics_show_no_stale_numbers(site: Running) -> None:
    """While the queue does not answer, the gauges are absent."""
    await site.status("GET", "/metrics")
    site.databases.is_down = True
    async with site.client.get("/metrics") as response:
        text = await response.text()
    assert "image_syncer_backend_up 0.0" in text
    assert "image_syncer_ready 0.0" in text
    assert "image_syncer_oldest_waiting_event_seconds NaN" in text
    assert not re.search("image_syncer_(jobs|remembered_events){", text)


async def test_metrics_show_the_age_of_the_oldest_pending_event(site: Running) -> None:
    """0 without one. A growing age reveals a dispatcher that hangs."""
    assert "image_syncer_oldest_waiting_event_seconds 0.0" in await metrics(site)
    waiting = NewEvent("harbor", "registry.example.com/team/app", "2")
    await site.databases.state.events.record([waiting], now=datetime.now(UTC) - HOUR)
    found = re.search(r"(?m)^image_syncer_oldest_waiting_event_seconds (\S+)", await metrics(site))
    assert found is not None
    assert 3600 <= float(found[1]) < 3660


async def test_metrics_show_that_the_worker_is_dead(site: Running) -> None:
    """The databases answer, but nothing is copied."""
    site.databases.set_worker(alive=False)
    text = await metrics(site)
    assert "image_syncer_ready 0.0" in text
    assert "image_syncer_backend_up 1.0" in text


async def test_metrics_count_copies_by_their_outcome(site: Running) -> None:
    """And the bytes that they transferred."""
    for outcome, moved in ((Outcome.COPIED, 700), (Outcome.COPIED, 20), (Outcome.FAILED, 3)):
        site.metrics.copied(CopyResult("r", "a.test/a:1", "b.test/a:1", outcome, transferred=Transferred(moved)))
    text = await metrics(site)
    assert 'image_syncer_copies_total{outcome="copied"} 2.0' in text
    assert 'image_syncer_copies_total{outcome="failed"} 1.0' in text
    assert "image_syncer_copied_bytes_total 723.0" in text


async def test_the_time_to_answer_a_hook_is_measured() -> None:
    """One histogram for all webhooks, whatever path strangers request, with a bucket at the promised 200 ms."""
    hooks = {"r": HookSource("distribution", "registry.example.com")}
    async with running(ServerSettings(hooks=hooks)) as site:
        for name in ("r", "unknown", "other"):
            await site.status("POST", f"/hooks/{name}", data=b"{}")
        text = await metrics(site)
    assert 'image_syncer_http_request_seconds_count{route="/hooks/{source}"} 3.0' in text
    assert 'image_syncer_http_request_seconds_bucket{le="0.2",route="/hooks/{source}"} 3.0' in text


async def metrics(site: Running) -> str:
    """Return the text of `/metrics`."""
    async with site.client.get("/metrics") as response:
        return await response.text()


def test_numbers_are_formatted_for_people() -> None:
    """Sizes in binary units, times relative to now."""
    assert [size(n) for n in (0, 1023, 1024, 734_003_200, 2**50)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "700.0 MiB",
        "1024.0 TiB",
    ]
    assert [moment(None, NOW), moment(NOW, NOW), moment(NOW.replace(hour=10), NOW)] == ["\N{EN DASH}", "now", "in 1 h"]
    assert moment(NOW.replace(day=1), NOW) == "3 d ago"


def test_schemas_are_summarised_in_a_few_words() -> None:
    """Optional, list, reference and the rest."""
    assert shape({"anyOf": [{"type": "array", "items": {"$ref": "#/components/schemas/Job"}}, {"type": "null"}]}) == (
        "list of Job or null"
    )
    assert shape({}) == "any"


async def test_a_dead_registry_is_one_row_that_needs_attention(site: Running) -> None:
    """On the page and in the API, with the time and the last failure, until a copy works again."""
    down = RegistryDown("mirror.example.com: down since 09:12:33 UTC, last: 503", retry_after=None)
    health, ends = site.databases.health, ("registry.example.com", "mirror.example.com")
    for _ in range(3):
        health.record(*ends, CopyFailed(down, side="target", step="push blob"))
    async with site.client.get("/") as response:
        text = await response.text()
    assert text.count("down since 09:12:33 UTC, last: 503") == 1
    assert "3 need attention" in text
    [mirror] = [view for view in await get(site, "/api/v1/registries") if view["host"] == "mirror.example.com"]
    assert (mirror["error"], mirror["down_since"] is None) == ("down since 09:12:33 UTC, last: 503", False)
    health.record(*ends, None)
    [mirror] = [view for view in await get(site, "/api/v1/registries") if view["host"] == "mirror.example.com"]
    assert (mirror["error"], mirror["down_since"]) == (None, None)


@pytest.mark.parametrize(
    "path",
    [
        "events?repository=a%00b",
        "events?source=%00",
        "runs?rule=team%00",
        "images?rule=%00",
        "images?repository=a%00",
        "jobs?kind=%00",
        "jobs?rule=%00",
        "jobs?target=a%00",
    ],
)
async def test_a_nul_character_in_a_filter_is_400(site: Running, path: str) -> None:
    """PostgreSQL takes no such text, so it must not reach the database."""
    async with site.client.get(URL(f"/api/v1/{path}", encoded=True)) as response:
        assert response.status == 400
        assert "NUL" in (await response.json())["error"]
    assert await site.status("POST", "/api/v1/rules/a%00b/run") in {400, 404}


async def test_unmatched_events_are_counted_and_not_listed(site: Running) -> None:
    """A registry may send thousands for images that no rule wants."""
    log = site.databases.state.events
    unwanted = await log.record(
        [NewEvent("harbor", "registry.example.com/noise/app", str(n)) for n in range(40)], now=NOW
    )
    await log.mark_unmatched(unwanted, now=NOW)
    async with site.client.get("/") as response:
        text = await response.text()
    assert "noise/app" not in text
    assert "40 unmatched" in text
    assert "registry.example.com/team/app:1.4.2" in text


async def test_a_refused_reload_is_on_the_page_in_the_metrics_and_at_readiness(site: Running) -> None:
    """The daemon is ready with its previous configuration, and says so."""
    assert "image_syncer_configuration_refused 0.0" in await metrics(site)
    site.databases.config.refused = "sync.yaml:4: rules[1]: unknown key 'sauce'"
    async with site.client.get("/") as response:
        text = await response.text()
    assert "unknown key &#39;sauce&#39;" in text
    assert "3 need attention" in text
    assert "image_syncer_configuration_refused 1.0" in await metrics(site)
    async with site.client.get("/readyz") as response:
        assert response.status == 200
        assert "reload of the configuration was refused" in await response.text()
