"""Whole bodies of the API, over a real state and a real queue: scripts and dashboards of users rely on them.

`api_bodies.json` has one entry for each request. `RECORD_API_BODIES=1 pytest tests/daemon/test_api_bodies.py` records
a deliberate change, which is reviewed like code.
"""

import asyncio
import json
import os
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from daemon.filled_databases import COPY_LIMITS, NOW, OPTIONS, RULES, Databases, filled_databases
from image_syncer.daemon.dispatcher import Dispatcher
from image_syncer.daemon.event_recorder import EventRecorder
from image_syncer.daemon.reload import LiveConfig
from image_syncer.server.metrics import Metrics
from image_syncer.server.registry_health import RegistryHealth
from image_syncer.server.runner import Site, serve
from image_syncer.server.server_settings import Listen, ServerSettings
from image_syncer.server.web_app import create_app
from image_syncer.server.web_backend import Backend

GOLDEN = Path(__file__).with_name("api_bodies.json")
REQUESTS = (
    "GET /api/v1/rules",
    "GET /api/v1/registries",
    "GET /api/v1/runs",
    "GET /api/v1/runs?rule=team&limit=1",
    "GET /api/v1/runs?before=3&limit=1",
    "GET /api/v1/runs/1",
    "GET /api/v1/runs/2",
    "GET /api/v1/runs/99",
    "GET /api/v1/runs/1/images",
    "GET /api/v1/runs/1/images?outcome=failed",
    "GET /api/v1/runs/1/images?limit=2",
    "GET /api/v1/runs/1/images?limit=2&before=2",
    "GET /api/v1/runs/99/images",
    "GET /api/v1/images",
    "GET /api/v1/images?outcome=copied&repository=docker.io/library/nginx&rule=hub/nginx",
    "GET /api/v1/images?limit=1",
    "GET /api/v1/images?limit=1&before=3",
    "GET /api/v1/jobs",
    "GET /api/v1/jobs?status=failed",
    "GET /api/v1/jobs?status=cancelled",
    "GET /api/v1/jobs?status=superseded",
    "GET /api/v1/jobs?kind=rule",
    "GET /api/v1/jobs?rule=nightly",
    "GET /api/v1/jobs?target=mirror.test/team/app:5",
    "GET /api/v1/jobs?limit=3&before=7",
    "GET /api/v1/jobs?status=aborted",
    "GET /api/v1/jobs/2",
    "GET /api/v1/jobs/3",
    "GET /api/v1/jobs/5",
    "GET /api/v1/jobs/7",
    "GET /api/v1/jobs/99",
    "GET /api/v1/jobs/0",
    "GET /api/v1/events",
    "GET /api/v1/events?status=received",
    "GET /api/v1/events?source=harbor&repository=registry.test/team/app&limit=2",
    "GET /api/v1/events/1",
    "GET /api/v1/events/2",
    "GET /api/v1/events/99",
    "POST /api/v1/rules/hub/nginx/run",
    "POST /api/v1/rules/nightly/run",
    "POST /api/v1/rules/nowhere/run",
    "POST /api/v1/jobs/3/retry",
    "POST /api/v1/jobs/5/retry",
    "POST /api/v1/jobs/6/retry",
    "POST /api/v1/jobs/99/retry",
    "POST /api/v1/jobs/8/cancel",
    "POST /api/v1/jobs/6/cancel",
    "POST /api/v1/jobs/99/cancel",
)


def backend_over(databases: Databases) -> Backend:
    """Return the server's backend as the daemon builds it."""
    state, jobs = databases.state, databases.jobs
    config, arrived = LiveConfig(RULES, OPTIONS, COPY_LIMITS), asyncio.Event()
    dispatcher = Dispatcher(state, jobs, config, arrived, lambda: NOW, tick_seconds=None)
    recorder = EventRecorder(state.events, config, arrived, lambda: NOW)
    return Backend(recorder, config, dispatcher.dispatch, state, jobs, RegistryHealth(lambda: NOW))


@asynccontextmanager
async def serving(databases: Databases) -> AsyncGenerator[aiohttp.ClientSession]:
    """Serve *databases* on a free port, and yield a client of it."""
    metrics = Metrics(CollectorRegistry())
    settings = ServerSettings()
    site = Site(Listen("127.0.0.1", 0), settings, backend_over(databases), metrics=metrics, clock=NOW.timestamp)
    address: asyncio.Future[Listen] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        server = group.create_task(serve(site, stop=asyncio.Event(), started=address.set_result))
        async with aiohttp.ClientSession(f"http://{await address}") as session:
            yield session
        server.cancel()


@pytest.fixture
async def client(tmp_path: Path) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of the API over filled databases."""
    async with filled_databases(tmp_path) as databases, serving(databases) as session:
        yield session


async def test_the_bodies_of_the_api_stay_as_they_are(client: aiohttp.ClientSession) -> None:
    """Keys and values of every route; the order of keys is free."""
    found: dict[str, Any] = {}
    for request in REQUESTS:
        method, path = request.split()
        async with client.request(method, path) as response:
            found[request] = {"status": response.status, "body": _without_clock(request, await response.json())}
    if os.environ.get("RECORD_API_BODIES"):
        GOLDEN.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    assert found == json.loads(GOLDEN.read_text())


async def test_every_route_of_the_api_is_frozen(tmp_path: Path) -> None:
    """A route that is added gets a request here."""
    async with filled_databases(tmp_path) as databases:
        application = create_app(
            ServerSettings(), backend_over(databases), metrics=Metrics(CollectorRegistry()), clock=NOW.timestamp
        )
    frozen = {(request.split()[0].lower(), request.split()[1].partition("?")[0]) for request in REQUESTS}
    routes = [
        (method, path)
        for path, operations in application.openapi()["paths"].items()
        for method in operations
        if path.startswith("/api/v1/")
    ]
    missing = [
        route
        for route in routes
        if not any(method == route[0] and re.fullmatch(_pattern(route[1]), path) for method, path in frozen)
    ]
    assert (len(routes) >= 13, missing) == (True, [])


def _pattern(template: str) -> str:
    """Return the regular expression of a route's path."""
    return re.sub(r"\{name\}", ".+", re.sub(r"\{(?!name)[a-z]+\}", "[0-9]+", template))


def _without_clock(request: str, body: Any) -> Any:
    """Return *body* without the one time that the database's own clock gives: that of a change by this request."""
    if request == "POST /api/v1/jobs/8/cancel":
        assert body["finished_at"].endswith("Z")
        body["finished_at"] = "now"
    if request == "POST /api/v1/jobs/3/retry":
        assert body["next_at"] is None or body["next_at"].endswith("Z")
    return body
