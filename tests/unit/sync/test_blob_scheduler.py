"""Placing blobs: read once, uploaded once per registry, mounted elsewhere, with hints of earlier runs."""

import pytest

from image_syncer.cache import MemoryBlobLocations
from image_syncer.errors import Denied, TagImmutable, Unavailable
from image_syncer.oci import Repository
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, Rule
from image_syncer.sync.run import RunOptions
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import Image, sharing, single
from image_syncer.testing.memory_store import MemoryStores
from support.clients import client
from support.runs import SOURCE, TARGET, rule, runner

OTHER = Repository("target.test", "mirror/other")
TARGETS = [Repository(f"target{number}.test", "mirror/app") for number in range(3)]
LARGE = 300_000  # Bytes: more than is read whole and cached.


@pytest.fixture
def stores() -> MemoryStores:
    """Empty stores."""
    return MemoryStores()


def image(name: str = "a") -> Image:
    """Return an image with a small and a large layer."""
    return single(name, layers=(1000, LARGE))


LAYER = next(digest for digest, blob in image().blobs.items() if blob.size_bytes >= LARGE)


async def test_one_read_serves_all_targets(stores: MemoryStores) -> None:
    """The source sees no more requests than for one target: each manifest and each blob is read once."""
    stores.store(SOURCE).load(image(), "v1")
    results = await runner(stores)(rule("v1", *TARGETS))
    assert [result.outcome for result in results.values()] == [Outcome.COPIED] * 3
    source = stores.store(SOURCE)
    assert (source.count("open"), source.count("manifest"), source.count("resolve")) == (3, 1, 1)
    assert all(stores.store(target).count("push_blob") == 3 for target in TARGETS)
    assert all(result.transferred.copied == image().size_bytes for result in results.values())


async def test_a_failing_target_does_not_disturb_the_others(stores: MemoryStores) -> None:
    """It may fail at a blob or at a manifest; the others use the same read."""
    stores.store(SOURCE).load(image(), "v1")
    stores.store(TARGETS[0]).fail("push_blob", LAYER, Denied("no"))
    stores.store(TARGETS[1]).fail("push_manifest", "v1", Denied("no"))
    results = await runner(stores)(rule("v1", *TARGETS))
    outcomes = [results[f"{target}:v1"].outcome for target in TARGETS]
    assert outcomes == [Outcome.FAILED, Outcome.FAILED, Outcome.COPIED]
    assert (results[f"{TARGETS[0]}:v1"].side, results[f"{TARGETS[0]}:v1"].step) == ("target", "push blob")
    assert stores.store(SOURCE).count("open", LAYER) == 1
    assert stores.store(TARGETS[0]).count("push_manifest") == 0


async def test_a_failing_source_fails_all_targets_of_that_image_only(stores: MemoryStores) -> None:
    """The reason names the source."""
    stores.store(SOURCE).load(image("a"), "v1")
    stores.store(SOURCE).load(image("b"), "v2")
    stores.store(SOURCE).fail("open", LAYER, Unavailable("broke off"), times=3)
    results = await runner(stores)(rule("v1", *TARGETS), rule("v2", *TARGETS))
    for target in TARGETS:
        failed, copied = results[f"{target}:v1"], results[f"{target}:v2"]
        assert (failed.outcome, failed.side, failed.step) == (Outcome.FAILED, "source", "read blob")
        assert copied.outcome is Outcome.COPIED


async def test_two_rules_share_the_read_of_the_same_image(stores: MemoryStores) -> None:
    """An image that two rules copy to two targets is one image."""
    stores.store(SOURCE).load(image(), "v1")
    await runner(stores)(rule("v1", TARGETS[0]), rule("v1", TARGETS[1]))
    assert stores.store(SOURCE).count("open") == 3


async def test_a_registry_that_mounts_is_not_asked_before_an_upload(stores: MemoryStores) -> None:
    """The mount request also tells whether the repository has the blob, and begins the upload if not."""
    images = sharing("s", 12, shared=(100, 200, 300), own=(50,))
    rules = list[Rule]()
    for number, shared in enumerate(images):
        repository = Repository("source.test", f"app{number}")
        stores.store(repository).load(shared, "v1")
        rules.append(rule("v1", Repository("target.test", f"mirror/app{number}"), source=repository))
    await runner(stores)(*rules, options=RunOptions(width=2, retries=0))
    uploads = len({digest for shared in images for digest in shared.blobs})
    assert stores.count("push_blob") == uploads
    lookups = sum(store.count("has_blob") for store in stores)
    assert lookups < uploads / 2


async def test_a_hint_of_an_earlier_run_saves_the_lookup(stores: MemoryStores) -> None:
    """A blob in another repository of the registry is mounted without a HEAD or a read."""
    knowledge = MemoryBlobLocations()
    stores.store(SOURCE).load(image(), "v1")
    await runner(stores, knowledge)(rule("v1", TARGET))
    stores.store(SOURCE).operations.clear()
    await runner(stores, knowledge)(rule("v1", OTHER))
    other = stores.store(OTHER)
    assert (other.count("mount"), other.count("has_blob"), other.count("push_blob")) == (3, 0, 0)
    assert stores.store(SOURCE).count("open") == 0


async def test_a_hint_of_the_same_repository_is_worth_a_lookup() -> None:
    """An interrupted run has pushed blobs and no manifest, so the registry may call the repository new."""
    locations = MemoryBlobLocations()
    content = single("a", layers=(1000, 1001, 1002, 1003))
    async with FakeRegistry() as source_registry, FakeRegistry() as fake:
        source_registry.load("app", content, "v1")
        source, target = source_registry.repository("app"), fake.repository("copy")
        for blob in content.blobs.values():
            locations.record(target, blob.descriptor)
        async with client() as registries:
            await runner(registries, locations)(rule("v1", target, source=source))
        assert fake.requests.count(method="HEAD", kind="blob") == len(content.blobs)
        assert fake.requests.count(kind="tags") == 0


async def test_a_wrong_hint_is_corrected_within_the_run(stores: MemoryStores) -> None:
    """A blob that the registry collected is uploaded, and its new location is recorded."""
    knowledge = MemoryBlobLocations()
    stores.store(SOURCE).load(image(), "v1")
    await runner(stores, knowledge)(rule("v1", TARGET))
    gone = stores.store(TARGET)
    gone.blobs.clear()
    gone.manifests.clear()
    gone.tags.clear()
    result = (await runner(stores, knowledge)(rule("v1", OTHER)))[f"{OTHER}:v1"]
    assert (result.outcome, result.transferred.copied) == (Outcome.COPIED, image().size_bytes)
    found = await knowledge.holders("target.test", list(image().blobs))
    assert set(found.values()) == {OTHER}


async def test_a_refused_mount_is_followed_by_a_lookup(stores: MemoryStores) -> None:
    """A registry that does not mount may have the blob in this repository."""
    knowledge = MemoryBlobLocations()
    for blob in image().blobs.values():
        knowledge.record(Repository("target.test", "never/there"), blob.descriptor)
    stores.store(SOURCE).load(image(), "v1")
    stores.store(TARGET).blobs |= image().blobs
    result = (await runner(stores, knowledge)(rule("v1", TARGET)))[f"{TARGET}:v1"]
    assert (result.outcome, result.transferred.existing) == (Outcome.COPIED, image().size_bytes)
    assert stores.store(TARGET).count("push_blob") == 0


@pytest.mark.parametrize(("many", "requests"), [(True, 2), (False, 6)])
async def test_one_request_tags_many_times_where_the_target_supports_it(
    many: bool, requests: int, stores: MemoryStores
) -> None:
    """The first of six tags goes with the manifest, the others in one request or one by one."""
    tags = [f"v{number}" for number in range(6)]
    stores.store(SOURCE).load(image(), *tags)
    target = stores.store(TARGET)
    target.many_tags = many
    results = await runner(stores)(rule(AllTags(), TARGET))
    assert {result.outcome for result in results.values()} == {Outcome.COPIED}
    assert target.tags == dict.fromkeys(tags, image().digest)
    counted = target.count("push_manifest") + many * target.count("push_tags")
    assert counted == requests


async def test_an_immutable_tag_does_not_fail_the_other_tags(stores: MemoryStores) -> None:
    """This holds for one request with many tags too."""
    tags = [f"v{number}" for number in range(6)]
    stores.store(SOURCE).load(image(), *tags)
    target = stores.store(TARGET)
    target.many_tags = True
    target.fail("push_tags", None, TagImmutable("v3 is fixed"))
    target.fail("push_manifest", "v3", TagImmutable("v3 is fixed"))
    results = await runner(stores)(rule(AllTags(), TARGET))
    failed = [name for name, result in results.items() if result.outcome is Outcome.FAILED]
    assert failed == [f"{TARGET}:v3"]
