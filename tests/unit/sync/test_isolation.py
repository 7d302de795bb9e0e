"""A failure of one image does not affect the others."""

import asyncio
from random import Random

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.concurrency.taskpool import Shutdown, background
from image_syncer.errors import Unexpected
from image_syncer.oci import Repository
from image_syncer.registry.settings import Timeouts
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.run import RunOptions
from image_syncer.testing import FakeRegistry, faults
from image_syncer.testing.images import single
from image_syncer.testing.memory_store import MemorySource, MemoryStores, MemoryTarget
from support.clients import client
from support.runs import rule, runner

FINE, BROKEN = Repository("source.test", "fine"), Repository("source.test", "broken")


class BuggyStores(MemoryStores):
    """Stores with a bug that one repository triggers: on the source side or on the target side."""

    def __init__(self, side: str) -> None:
        super().__init__()
        self._side = side

    def source(self, repository: Repository) -> MemorySource:
        """Return a source, or raise the bug."""
        if (self._side, repository) == ("source", BROKEN):
            raise KeyError("https://storage.test/?signature=hunter2")
        return super().source(repository)

    def target(self, repository: Repository) -> MemoryTarget:
        """Return a target, or raise the bug."""
        if (self._side, repository.path) == ("target", "broken"):
            raise KeyError("https://storage.test/?signature=hunter2")
        return super().target(repository)


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_bug_fails_one_image(side: str) -> None:
    """The others are copied; the exception's text is hidden, since it may contain secrets."""
    stores = BuggyStores(side)
    for repository in (FINE, BROKEN):
        stores.store(repository).load(single(repository.path), "v1")
    rules = [rule("v1", Repository("target.test", repository.path), source=repository) for repository in (BROKEN, FINE)]
    results = await runner(stores)(*rules, options=RunOptions(width=1, retries=1))
    assert results["target.test/fine:v1"].outcome is Outcome.COPIED
    failed = results["target.test/broken:v1"]
    assert (failed.outcome, failed.reason) == (Outcome.FAILED, "an unexpected KeyError")
    assert failed.remedy == "please report it, with what --debug shows"
    assert failed.attempts == 1  # A retry would hit the same bug.
    assert failed.failure is not None
    assert isinstance(failed.failure.cause, Unexpected)


async def test_an_image_beyond_its_time_limit_fails_alone() -> None:
    """The reason names the limit; the other images continue."""
    options = Options(retries=0, timeouts=Timeouts(image=1.0))
    async with FakeRegistry() as source, FakeRegistry() as target, client(limits=options.limits) as registries:
        for number in range(3):
            source.load("app", single(f"seed {number}"), f"v{number}")
        target.faults.add(faults.silence(30), method="PUT", kind="manifest", times=1)
        rules = [rule(f"v{number}", target.repository("copy"), source=source.repository("app")) for number in range(3)]
        result = await Syncer(registries, options, in_memory(), rng=Random(1)).sync(rules)
    outcomes = sorted(image.outcome.value for image in result.results)
    assert outcomes == ["copied", "copied", "failed"]
    (failed,) = [image for image in result.results if image.outcome is Outcome.FAILED]
    assert failed.reason == f"{failed.source}: not copied within the 1 s that one image may take"
    assert (failed.side, failed.step) == (None, "copy")
    assert retryable(failed)


def retryable(result: CopyResult) -> bool:
    """Whether the run would retry it at its end."""
    return result.failure is not None and not result.failure.is_permanent


async def test_a_second_request_to_stop_cuts_the_drain_short() -> None:
    """Running copies end at once and count as interrupted."""
    stop = Shutdown(drain_seconds=60)
    async with FakeRegistry() as source, FakeRegistry() as target, client() as registries:
        source.load("app", single("seed"), "v1")
        target.faults.add(faults.silence(30), method="PUT", kind="manifest")
        syncer = Syncer(registries, Options(retries=0), in_memory(), rng=Random(1))

        async def stop_twice() -> None:
            while not target.requests.count(method="PUT", kind="manifest"):  # noqa: ASYNC110 - a count is waited for
                await asyncio.sleep(0.01)
            stop.requested.set()
            await asyncio.sleep(0.05)
            stop.at_once.set()

        async with asyncio.timeout(10), background(stop_twice()):
            wanted = rule("v1", target.repository("copy"), source=source.repository("app"))
            result = await syncer.sync([wanted], stop=stop)
    assert [(image.outcome, image.reason) for image in result.results] == [(Outcome.SKIPPED, "interrupted")]
