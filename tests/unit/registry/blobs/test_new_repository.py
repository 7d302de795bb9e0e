"""A target repository that is new: known by one tag list, so its blobs are pushed without a HEAD for each."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from image_syncer.registry.blobs.new_repository import CHEAP_BYTES
from image_syncer.registry.repository import RegistryTarget
from image_syncer.structs import replace
from image_syncer.testing import Blob, FakeRegistry
from image_syncer.testing.images import single
from support.clients import Fault, client

TARGET_PATH = "copy"
"""See the fixture `target`."""

BLOBS = [Blob.generated(f"blob{number}", 1_000) for number in range(8)]
IMAGE = single("image", layers=BLOBS)


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry whose repository `app` holds an image."""
    async with FakeRegistry() as registry:
        registry.load("app", IMAGE, "v1")
        yield registry


def counts(fake: FakeRegistry) -> tuple[int, int]:
    """Return how many blobs were looked up by HEAD, and how many tag lists were read."""
    return fake.requests.count(method="HEAD", kind="blob"), fake.requests.count(kind="tags")


async def test_the_third_lookup_finds_out_for_all_others(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Two HEADs cost no more than the tag list; concurrent lookups share one list."""
    found = await asyncio.gather(*(target.has_blob(blob.descriptor) for blob in BLOBS))
    assert not any(found)
    assert counts(fake) == (2, 1)


async def test_what_was_pushed_there_is_looked_up(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The repository is new no more for a blob that this process has put there."""
    for blob in BLOBS:
        assert not await target.has_blob(blob.descriptor)
    await target.push_blob(BLOBS[4].descriptor, BLOBS[4].open)
    assert await target.has_blob(BLOBS[4].descriptor)
    assert counts(fake) == (3, 1)


async def test_an_expected_or_large_blob_is_looked_up(fake: FakeRegistry, target: RegistryTarget) -> None:
    """An interrupted run leaves blobs without a manifest: a hint of it, and a large blob, are worth a request."""
    for blob in BLOBS[:3]:
        assert not await target.has_blob(blob.descriptor)
    await target.has_blob(BLOBS[3].descriptor, expected=True)
    await target.has_blob(replace(BLOBS[4].descriptor, size=CHEAP_BYTES + 1))
    await target.has_blob(replace(BLOBS[5].descriptor, size=None))
    assert counts(fake) == (5, 1)


async def test_a_repository_with_images_gets_a_head_for_each_blob(fake: FakeRegistry) -> None:
    """Its blobs may be there; a tag that was found says so without a tag list."""
    async with client() as registries:
        target = registries.target(fake.repository("app"))
        assert all([await target.has_blob(blob.descriptor) for blob in BLOBS])
        assert counts(fake) == (len(BLOBS), 1)
    async with client() as registries:
        target = registries.target(fake.repository("app"))
        assert await target.resolve("v1") is not None
        assert all([await target.has_blob(blob.descriptor) for blob in BLOBS])
        assert counts(fake) == (2 * len(BLOBS), 1)


@pytest.mark.parametrize("status", [404, 403, 401, 429, 500])
async def test_any_other_answer_proves_nothing(fake: FakeRegistry, target: RegistryTarget, status: int) -> None:
    """Only NAME_UNKNOWN says that the repository does not exist. The tag list is requested once."""
    fake.intercept.append(Fault(status, "GET", kind="tags", times=99))
    assert not any([await target.has_blob(blob.descriptor) for blob in BLOBS])
    heads, lists = counts(fake)
    assert heads == len(BLOBS)
    assert lists == 1
