"""MemoryStore counts calls and fails on request; the store contract covers its correctness."""

import pytest

from image_syncer.errors import Denied, NotFound, Unavailable
from image_syncer.testing import MemoryStore, MemoryStores
from image_syncer.testing.images import single
from image_syncer.testing.memory_store import Operation


async def test_calls_are_counted_by_step_and_subject() -> None:
    """Loading an image does not count."""
    store, image = MemoryStore(), single("app")
    store.load(image, "v1")
    await store.source.resolve("v1")
    await store.source.manifest("v1")
    await store.target.resolve(str(image.digest))
    assert store.operations[1] == Operation("manifest", "v1")
    assert (store.count("resolve"), store.count("resolve", "v1"), store.count("open")) == (2, 1, 0)


async def test_it_fails_as_often_as_requested() -> None:
    """At one step and one subject, with the given error."""
    store = MemoryStore()
    store.load(single("app"), "v1", "v2")
    store.fail("resolve", "v1", Denied("no"), times=2)
    for _ in range(2):
        with pytest.raises(Denied):
            await store.source.resolve("v1")
    assert await store.source.resolve("v1") == await store.source.resolve("v2")


async def test_it_always_fails_for_given_digests() -> None:
    """At every step."""
    image = single("app")
    blob = next(iter(image.blobs.values()))
    store = MemoryStore(fail_on=[blob.digest])
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.target.push_blob(blob.descriptor, blob.open)
    assert not store.blobs


async def test_stores_are_one_per_repository() -> None:
    """By text or by value, as source or as target."""
    stores = MemoryStores()
    store = stores.store("memory.test/app")
    assert stores.store(store.repository) is store
    assert stores.source(store.repository) is stores.source(store.repository) is store.source
    store.load(single("app"), "v1")
    assert await stores.target(store.repository).resolve("v1") == single("app").root.descriptor
    assert stores.count("resolve") == 1


async def test_several_tags_at_once_are_accepted_if_configured() -> None:
    """As one call; a missing manifest gets no tag."""
    store, image = MemoryStore(), single("app")
    store.load(image)
    assert await store.target.push_tags(image.root, ["a", "b"]) == frozenset()
    assert not store.operations
    store.many_tags = True
    assert await store.target.push_tags(image.root, ["a", "b"]) == {"a", "b"}
    assert store.tags == {"a": image.digest, "b": image.digest}
    assert store.operations == [Operation("push_tags", "a,b")]
    with pytest.raises(NotFound):
        await store.target.push_tags(single("other").root, ["a"])
