"""A target that answers 404 to every HEAD of a manifest is read by GET: nothing is copied again each run."""

from collections.abc import AsyncGenerator
from random import Random

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import Caches, in_memory
from image_syncer.sync.result import Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import single
from support.clients import Fault, client
from support.runs import rule

TAGS = ("v1", "v2", "v3")


@pytest.fixture
async def source() -> AsyncGenerator[FakeRegistry]:
    """A registry with three tags of one image."""
    async with FakeRegistry() as fake:
        fake.load("app", single("image"), *TAGS)
        yield fake


async def outcomes(source: FakeRegistry, target: FakeRegistry, known: Caches) -> list[Outcome]:
    """Return the outcomes of a run by a new process that has what is *known* of earlier runs."""
    async with client() as registries:
        syncer = Syncer(registries, Options(retries=0), known, rng=Random(1))
        rules = [rule(tag, target.repository("copy"), source=source.repository("app")) for tag in TAGS]
        return [one.outcome for one in (await syncer.sync(rules)).results]


async def test_what_an_earlier_run_wrote_is_found_by_get(source: FakeRegistry) -> None:
    """One GET finds out about the registry; from then on no HEAD is sent."""
    async with FakeRegistry() as target:
        target.intercept.append(Fault(404, "HEAD", "manifest", times=10_000))
        known = in_memory()
        assert await outcomes(source, target, known) == [Outcome.COPIED] * 3
        puts = target.requests.count(method="PUT")
        assert await outcomes(source, target, known) == [Outcome.UNCHANGED] * 3
        assert target.requests.count(method="PUT") == puts


async def test_tags_that_were_deleted_are_copied_again(source: FakeRegistry) -> None:
    """The second look is made once per registry and run."""
    async with FakeRegistry() as target:
        known = in_memory()
        await outcomes(source, target, known)
        target.requests.clear()
        for tag in TAGS:
            del target.content("copy").tags[tag]
        assert await outcomes(source, target, known) == [Outcome.COPIED] * 3
        assert target.requests.count(method="GET", kind="manifest") <= 1
        assert target.requests.count(method="HEAD", kind="manifest") <= 3 + 3  # Those that ran at the same time.


async def test_new_tags_cost_no_second_look(source: FakeRegistry) -> None:
    """A 404 is the ordinary answer for them."""
    async with FakeRegistry() as target:
        assert await outcomes(source, target, in_memory()) == [Outcome.COPIED] * 3
        assert target.requests.count(method="GET", kind="manifest") == 0
        assert target.requests.count(method="HEAD", kind="manifest") == 3
