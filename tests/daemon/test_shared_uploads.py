"""Daemons and runs with one state share the uploads of blobs that their images have in common."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.app import Options, Syncer, open_app
from image_syncer.cache import blob_claims
from image_syncer.cache.backend import LazyBackend
from image_syncer.cache.persistent import for_daemon
from image_syncer.state import StateCacheBackend, open_state
from image_syncer.sync.result import Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single
from support.stores import KINDS, migrate_state, new_url

IMAGES = 8
LAYERS = (300_000, 2_000_000)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a newcomer wait for the claims of others as long as a busy machine needs."""
    monkeypatch.setattr(blob_claims, "SETTLE_SECONDS", 60.0)


@pytest.fixture(params=KINDS)
def state_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    return new_url(request, tmp_path / "state.db", migrate_state)


@pytest.fixture
async def source() -> AsyncGenerator[FakeRegistry]:
    """A registry with eight repositories that hold the same images."""
    async with FakeRegistry() as fake:
        for number in range(IMAGES):
            fake.load(f"app{number}", single(f"image{number % 4}", layers=LAYERS), "v1")
        yield fake


@pytest.fixture
async def target() -> AsyncGenerator[FakeRegistry]:
    """An empty registry that takes a moment for each upload."""

    async def delay(request: web.Request) -> None:
        if "digest" in request.query and "/blobs/uploads/" in request.path:
            await asyncio.sleep(0.2)

    async with FakeRegistry() as fake:
        fake.intercept.append(delay)
        yield fake


@asynccontextmanager
async def worker(url: str, name: str) -> AsyncGenerator[Syncer]:
    """Yield the syncer of a daemon process *name*, with caches as such a process has them."""
    async with open_state(url) as state:
        backend = StateCacheBackend(state.database, keep=timedelta(days=30), holder=name)
        lazy = LazyBackend(lambda: nullcontext(backend), lambda: False)
        async with (
            for_daemon(lazy, pytest.fail, rest_seconds=60) as caches,
            open_app(Options(retries=0, environment={}, home=Path("/nonexistent")), caches) as syncer,
        ):
            yield syncer


def uploads(target: FakeRegistry) -> Counter[str]:
    """Return how often *target* got each blob."""
    stored = [request for request in target.requests.only(kind="upload") if request.status == 201]
    return Counter(dict(request.query)["digest"] for request in stored if "digest" in dict(request.query))


def blobs(source: FakeRegistry) -> set[str]:
    """Return the digests of all blobs at *source*."""
    return {str(digest) for number in range(IMAGES) for digest in source.content(f"app{number}").blobs}


async def copy_all(syncer: Syncer, source: FakeRegistry, target: FakeRegistry, numbers: range) -> None:
    """Copy the images with *numbers* at the same time, each as a job of its own."""
    results = await asyncio.gather(
        *(
            syncer.copy(source.repository(f"app{number}").tag("v1"), [target.repository(f"to{number}").tag("v1")])
            for number in numbers
        )
    )
    assert {one.outcome for result in results for one in result.results} == {Outcome.COPIED}


async def test_a_fleet_of_two_workers_sends_each_blob_once(
    state_url: str, source: FakeRegistry, target: FakeRegistry
) -> None:
    """Both copy images that share blobs to one registry; one uploads, the other waits and mounts."""
    async with worker(state_url, "one") as one, worker(state_url, "two") as two:
        await asyncio.gather(copy_all(one, source, target, range(4)), copy_all(two, source, target, range(4, IMAGES)))
    assert set(uploads(target)) == blobs(source)
    assert uploads(target).total() == len(blobs(source))


async def test_a_run_beside_a_daemon_sends_no_blob_twice(
    source: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    """They have the file of the state in common."""
    state = tmp_path / "state.db"
    async with worker(str(state), "daemon") as daemon:
        arguments = ("copy", f"{source.host}/app5:v1", f"{target.host}/to5:v1", "--state", str(state))
        copying = asyncio.create_task(copy_all(daemon, source, target, range(4)))
        run = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "image_syncer", *arguments, env={**os.environ, "HOME": str(tmp_path)}
        )
        assert await run.wait() == 0
        await copying
    assert uploads(target).total() == len(blobs(source))
