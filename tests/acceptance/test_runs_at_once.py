"""Two one-shot runs at once on one state share the uploads."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from asyncio.subprocess import Process
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import closing
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single

pytestmark = pytest.mark.slow

IMAGES = 12


LEASE_SECONDS = 30


class Site:
    """A source with images, an empty target, and a state that does not exist yet.

    Each upload takes *upload_seconds*. The target holds those after the first *passing* ones, None: none, until
    *released* is set.
    """

    def __init__(self, source: FakeRegistry, target: FakeRegistry, folder: Path) -> None:
        self.source = source
        self.target = target
        self.folder = folder
        self.upload_seconds = 0.1
        self.passing: int | None = None
        self.released = asyncio.Event()
        names = [f"app{number:02}" for number in range(IMAGES)]
        for name in names:
            source.load(name, single(name, layers=(300_000, 2_000_000)), "v1")
        rules = {f"{source.host}/{name}:v1": f"{target.host}/{name}" for name in names}
        (folder / "images.json").write_text(json.dumps(rules))
        target.intercept.append(self._delay)

    async def _delay(self, request: web.Request) -> None:
        if "digest" not in request.query or "/blobs/uploads/" not in request.path:
            return
        await asyncio.sleep(self.upload_seconds)
        if self.passing == 0:
            await self.released.wait()
        elif self.passing is not None:
            self.passing -= 1

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

    async def wait_until_shared(self) -> None:
        """Wait until two processes know about each other, and one of them has claims in the state."""
        async with asyncio.timeout(60):
            while self.query("SELECT count(*) FROM image_syncer_claimers WHERE shares") < 2:  # noqa: ASYNC110 - as below
                await asyncio.sleep(0.05)
            while not self.query("SELECT count(*) FROM image_syncer_blob_claims"):  # noqa: ASYNC110 - other processes
                await asyncio.sleep(0.05)

    def query(self, statement: str, *values: object, timeout: float = 30.0) -> int:
        """Execute *statement* on the state; return its only value, 0 if it returns none."""
        with closing(sqlite3.connect(self.folder / "state.db", timeout=timeout)) as database, database:
            row = database.execute(statement, values).fetchone()
        return row[0] if row else 0

    def move_lease(self, process: Process, seconds: int) -> None:
        """Let the lease of *process* end later, as if it had announced itself *seconds* later."""
        change = "UPDATE image_syncer_claimers SET seen_at = seen_at + ? WHERE holder LIKE ?"
        self.query(change, seconds * 1_000_000, f"% {process.pid} %")

    async def freeze(self, process: Process) -> None:
        """Stop *process* at a moment when it does not write to the state: it would lock it."""
        for _ in range(100):
            process.send_signal(signal.SIGSTOP)
            try:
                self.query("BEGIN IMMEDIATE", timeout=0.2)
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
                await asyncio.sleep(0.05)
            else:
                return
        pytest.fail("the state was always locked")

    @property
    def blobs(self) -> set[str]:
        """The digests of all blobs at the source."""
        names = [f"app{number:02}" for number in range(IMAGES)]
        return {str(digest) for name in names for digest in self.source.content(name).blobs}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncGenerator[Site]:
    """A site whose target takes a moment for each upload."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        yield Site(source, target, tmp_path)


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


async def test_the_claims_of_a_killed_run_are_taken_over(site: Site) -> None:
    """At once, long before its lease ends."""
    site.passing = 3
    first = await site.start()
    await site.wait_for_uploads(3)
    second = await site.start()
    await site.wait_until_shared()
    first.kill()
    await first.communicate()
    site.move_lease(first, LEASE_SECONDS)
    site.released.set()
    async with asyncio.timeout(LEASE_SECONDS + 15):
        await ended(second)
    assert set(site.uploads()) == site.blobs


async def test_the_claims_of_a_frozen_run_are_taken_over_after_its_lease(site: Site) -> None:
    """It lasts for 30 seconds, and until then the other one waits."""
    site.passing = 3
    first = await site.start()
    try:
        await site.wait_for_uploads(3)
        second = await site.start()
        await site.wait_until_shared()
        await site.freeze(first)
        site.released.set()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(second.wait(), 5)
        assert len(site.uploads()) < len(site.blobs)
        site.move_lease(first, -LEASE_SECONDS)
        await ended(second)
    finally:
        first.kill()
        await first.communicate()
    assert set(site.uploads()) == site.blobs
