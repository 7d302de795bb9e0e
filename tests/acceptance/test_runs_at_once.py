"""Two one-shot runs at once on one state share the uploads."""

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single

pytestmark = pytest.mark.slow

IMAGES = 12


class Site:
    """A source with images, an empty target, and a state that does not exist yet."""

    def __init__(self, source: FakeRegistry, target: FakeRegistry, folder: Path) -> None:
        self.source = source
        self.target = target
        self.folder = folder
        self.upload_seconds = 0.1
        names = [f"app{number:02}" for number in range(IMAGES)]
        for name in names:
            source.load(name, single(name, layers=(300_000, 2_000_000)), "v1")
        rules = {f"{source.host}/{name}:v1": f"{target.host}/{name}" for name in names}
        (folder / "images.json").write_text(json.dumps(rules))

    async def start(self, state: str = "state.db") -> Process:
        """Start a run."""
        arguments = ("sync", "--images", "images.json", "--state", state, "--output", "json")
        environment = {**os.environ, "HOME": str(self.folder)}
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "image_syncer",
            *arguments,
            cwd=self.folder,
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def uploads(self) -> Counter[str]:
        """Return how often the target got each blob."""
        uploads = [request for request in self.target.requests.only(kind="upload") if request.status == 201]
        return Counter(dict(request.query)["digest"] for request in uploads if "digest" in dict(request.query))

    async def wait_for_uploads(self, count: int) -> None:
        """Wait until the target got *count* blobs."""
        while self.uploads().total() < count:  # noqa: ASYNC110 - the registry sets no event
            await asyncio.sleep(0.02)

    @property
    def blobs(self) -> set[str]:
        """The digests of all blobs at the source."""
        names = [f"app{number:02}" for number in range(IMAGES)]
        return {str(digest) for name in names for digest in self.source.content(name).blobs}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    """A site whose target takes a moment for each upload."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        site = Site(source, target, tmp_path)

        async def delay(request: web.Request) -> None:
            if "digest" in request.query and "/blobs/uploads/" in request.path:
                await asyncio.sleep(site.upload_seconds)

        target.intercept.append(delay)
        yield site


async def ended(process: Process) -> dict[str, int]:
    """Return the summary of a run that has to succeed."""
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    assert "state" not in err.decode()
    return json.loads(out)["summary"]


async def test_two_runs_at_once_send_each_blob_once(site: Site) -> None:
    """Each blob is uploaded by one of them; the other waits for it."""
    first, second = await asyncio.gather(*map(ended, await asyncio.gather(site.start(), site.start())))
    uploads = site.uploads()
    assert set(uploads) == site.blobs
    assert uploads.total() == len(site.blobs), uploads
    assert first["failed"] == second["failed"] == 0


async def test_a_run_that_starts_later_joins(site: Site) -> None:
    """The first one was alone, and writes its claims when the second one appears."""
    first = await site.start()
    await site.wait_for_uploads(3)
    await asyncio.gather(ended(first), ended(await site.start()))
    assert site.uploads().total() <= len(site.blobs) + 2


@pytest.mark.parametrize("kill", [signal.SIGKILL, signal.SIGSTOP])
async def test_the_claims_of_a_run_that_ends_are_taken_over(site: Site, kill: signal.Signals) -> None:
    """At once if it is killed, after the lease of 30 seconds if it is frozen."""
    site.upload_seconds = 3
    first = await site.start()
    await site.wait_for_uploads(3)
    second = await site.start()
    await asyncio.sleep(3.5)  # It finds the first one, and waits for the claims of that one.
    assert site.uploads().total() < len(site.blobs)
    first.send_signal(kill)
    began = time.monotonic()
    try:
        await ended(second)
    finally:
        if first.returncode is None:
            first.kill()
        await first.communicate()
    seconds = time.monotonic() - began
    assert (seconds > 15) is (kill == signal.SIGSTOP)
    assert seconds < 70
    assert set(site.uploads()) == site.blobs
