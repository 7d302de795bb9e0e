"""Mounts of registries that do not do what they say."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.oci import Digest
from image_syncer.sync.result import Outcome
from image_syncer.testing import Blob, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.clients import FakeTime, Fault, client
from support.syncs import sync_files

BLOBS = [Blob.of(str(number).encode()) for number in range(8)]


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry whose repository `app` holds the blobs."""
    async with FakeRegistry() as registry:
        registry.load("app", single("image", layers=BLOBS))
        yield registry


@pytest.mark.parametrize("status", [500, 501, 502, 503])
async def test_a_mount_that_fails_says_nothing_about_the_registry(fake: FakeRegistry, status: int) -> None:
    """One request each, no wait, and no circuit breaker: the next request goes out at once."""
    time = FakeTime()
    fake.intercept.append(fault := Fault(status, "POST", times=99))
    async with client(time) as registries:
        target = registries.target(fake.repository("copy"))
        for blob in BLOBS:
            assert not await target.mount(blob.descriptor, fake.repository("app"))
        assert fault.seen == len(BLOBS)
        fake.intercept.clear()
        for blob in BLOBS:
            await target.push_blob(blob.descriptor, blob.open)
    assert not time.waits


async def test_a_rate_limited_mount_is_retried(fake: FakeRegistry) -> None:
    """A 429 is about the pace, not about mounts."""
    fake.intercept.append(Fault(429, "POST", times=1))
    async with client(FakeTime()) as registries:
        assert await registries.target(fake.repository("copy")).mount(BLOBS[0].descriptor, fake.repository("app"))


async def test_after_a_mount_that_lied_blobs_are_looked_up_and_uploaded(fake: FakeRegistry, tmp_path: Path) -> None:
    """201 for a blob that is not there: the manifest is refused, and the second look never mounts."""

    async def lie(request: web.Request) -> web.Response | None:
        mounted = request.query.get("mount")
        if request.method != "POST" or mounted is None:
            return None
        location = f"{request.path}{Digest.parse(mounted)}"
        return web.Response(status=201, headers={"Location": location, "Docker-Content-Digest": mounted})

    async with FakeRegistry(Profile(single_post=False)) as target:
        target.intercept.append(lie)
        names = ["one", "two", "three"]
        for name in names:
            fake.load(name, single("image", layers=BLOBS), "latest")
        rules = {f"{fake.host}/{name}:latest": f"{target.host}/{name}" for name in names}
        result = await sync_files(tmp_path, rules, proc=1)
        assert [entry.outcome for entry in result.results] == [Outcome.COPIED] * 3, result.results
        assert all(set(target.content(name).blobs) == set(fake.content(name).blobs) for name in names)
        uploads = target.requests.only(kind="upload")
        blobs = len(BLOBS) + 1
        assert uploads.count(method="PUT") == 3 * blobs
        assert sum("mount" in dict(request.query) for request in uploads) <= 2 * blobs
