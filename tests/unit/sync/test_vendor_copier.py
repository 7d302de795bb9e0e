"""A vendor's ways over stores in memory: what is remembered of failures, and what is offered."""

import time
from collections.abc import Callable, Sequence
from random import Random

import pytest

from image_syncer.cache import MemoryBlobLocations
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.errors import Refused
from image_syncer.oci import Digest, Repository
from image_syncer.roles import ImageContent, Way, Ways
from image_syncer.sync.copier import Copier
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.planner import Planner
from image_syncer.sync.result import CopyResult, SilentRunObserver
from image_syncer.sync.run import Run, RunOptions
from image_syncer.sync.transfer_probe import TransferRange
from image_syncer.testing.content import Image
from image_syncer.testing.images import multi, single
from image_syncer.testing.memory_store import MemoryStores
from support.runs import SOURCE, TARGET, rule

Bring = Callable[[ImageContent], None]


class Vendor:
    """A way whose copies *bring* performs; *most* manifests are offered."""

    def __init__(self, bring: Bring, most: int = 100) -> None:
        self.way = Way.IMPORT
        self.requests = 1
        self.wait_seconds: float | None = None
        self.contents: list[ImageContent] = []
        self._bring = bring
        self._most = most

    def offers(self, digest: Digest, manifests: int) -> bool:
        """Offer images of few manifests."""
        del digest
        return manifests <= self._most

    async def copy(self, content: ImageContent) -> None:
        """Bring *content*."""
        self.contents.append(content)
        self._bring(content)


async def execute(stores: MemoryStores, vendor: Vendor, *tags: str, target: Repository = TARGET) -> Run:
    """Copy *tags* one after the other."""
    reader = ManifestReader(stores)
    copier = Copier(
        stores,
        reader,
        observer=SilentRunObserver(),
        locations=MemoryBlobLocations(),
        transfers=lambda _registry: TransferRange(5, 5),
        ways=lambda _source, _target: Ways(vendor=(vendor,)),
    )
    run = Run(
        Planner(stores, reader, width=1),
        copier,
        SilentRunObserver(),
        options=RunOptions(width=1, retries=0),
        clock=time.monotonic,
        rng=Random(0),
    )
    await run.execute([rule(tag, target) for tag in tags], stop=Shutdown(drain_seconds=1.0))
    return run


def filled(*images: Image) -> MemoryStores:
    """Return stores with *images* at the source, tagged v0, v1, ..."""
    stores = MemoryStores()
    for number, image in enumerate(images):
        stores.store(SOURCE).load(image, f"v{number}")
    return stores


def ways(run: Run) -> Sequence[Way | None]:
    """Return the ways of the results."""
    results: Sequence[CopyResult] = run.results
    return [result.way for result in results]


def refuse(content: ImageContent) -> None:
    """Refuse *content*."""
    raise Refused(f"{content.root.digest}: no")


def lie(content: ImageContent) -> None:
    """Bring nothing of *content*."""
    del content


@pytest.mark.parametrize(("bring", "asked"), [(refuse, 3), (lie, 1)], ids=["refuses", "lies"])
async def test_a_way_that_keeps_failing_is_left(bring: Bring, asked: int) -> None:
    """Three refusals or one lie end it for the pair of registries, and one line says how often it failed."""
    stores, vendor = filled(*(single(f"left{number}") for number in range(5))), Vendor(bring)
    run = await execute(stores, vendor, *(f"v{number}" for number in range(5)))
    assert ways(run) == [Way.STREAM] * 5
    assert len(vendor.contents) == asked
    (warning,) = run.warnings
    assert warning.startswith(f"target.test: import from source.test failed ({asked} x)")


async def test_a_success_forgets_refusals() -> None:
    """Two refusals, a success and two refusals end nothing."""
    images = [single(f"mixed{number}") for number in range(6)]
    stores = filled(*images)
    works = {2, 5}

    def bring(content: ImageContent) -> None:
        number = [image.digest for image in images].index(content.root.digest)
        if number not in works:
            refuse(content)
        stores.store(TARGET).load(images[number])

    run = await execute(stores, Vendor(bring), *(f"v{number}" for number in range(6)))
    assert [number for number, way in enumerate(ways(run)) if way is Way.IMPORT] == sorted(works)


async def test_only_offered_images_within_other_registries_are_brought() -> None:
    """An index of too many manifests is streamed, and one registry mounts."""
    stores, vendor = filled(multi("many")), Vendor(lie, most=1)
    assert ways(await execute(stores, vendor, "v0")) == [Way.STREAM]
    within = Repository(SOURCE.registry, "mirror/app")
    assert ways(await execute(stores, Vendor(lie), "v0", target=within)) == [Way.MOUNT]
    assert not vendor.contents


async def test_the_vendor_gets_every_part_once() -> None:
    """Manifests of nested indexes are listed, each once, with all blobs."""
    image = multi("parts")
    stores = filled(image)

    def bring(content: ImageContent) -> None:
        stores.store(TARGET).load(image)

    vendor = Vendor(bring)
    run = await execute(stores, vendor, "v0")
    assert ways(run) == [Way.IMPORT]
    (content,) = vendor.contents
    assert {content.root.digest, *(entry.digest for entry in content.manifests)} == {
        raw.digest for raw in image.manifests
    }
    assert {blob.digest for blob in content.blobs} == {blob.digest for blob in image.blobs.values()}
    assert stores.count("push_blob") == stores.count("open") == 0
