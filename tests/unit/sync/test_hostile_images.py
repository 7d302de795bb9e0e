"""Hostile images: their claims are checked and their size is bounded."""

import pytest

from image_syncer.oci import Digest, PlatformFilter, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.sync import copy_state, platform_filter
from image_syncer.sync.result import Outcome
from image_syncer.testing.images import Entry, Image, index, multi, single
from image_syncer.testing.memory_store import MemoryStores
from support.runs import SOURCE, TARGET, RunRules, rule, runner


@pytest.fixture
def stores() -> MemoryStores:
    """Empty stores."""
    return MemoryStores()


@pytest.fixture
def run(stores: MemoryStores) -> RunRules:
    """A function that executes rules over *stores* and returns the results by target."""
    return runner(stores)


def renamed(image: Image, old: str, new: str) -> Image:
    """Return *image* with a text replaced in its root manifest, which changes its digest."""
    content = image.root.content.replace(old.encode(), new.encode(), 1)
    root = RawManifest.of(content, image.root.media_type)
    return Image(root, (*image.manifests[:-1], root), image.blobs)


@pytest.mark.parametrize("difference", [-1, 1])
async def test_a_child_of_another_size_is_refused(stores: MemoryStores, run: RunRules, difference: int) -> None:
    """Its digest is right, but every puller refuses it."""
    image = multi("a")
    size = len(image.manifests[0].content)
    stores.store(SOURCE).load(renamed(image, f'"size":{size}', f'"size":{size + difference}'), "v1")
    result = (await run(rule("v1")))[f"{TARGET}:v1"]
    assert (result.outcome, result.side, result.step) == (Outcome.FAILED, "source", "read manifest")
    assert f"its index says {size + difference} bytes, it has {size}" in (result.reason or "")
    assert stores.store(TARGET).tags == {}


async def test_an_image_has_a_bounded_number_of_manifests(
    stores: MemoryStores, run: RunRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested indexes multiply, so the whole tree has a limit; an image at the limit passes."""
    monkeypatch.setattr(copy_state, "MANIFESTS_LIMIT", 3)
    stores.store(SOURCE).load(index([Entry(single("a")), Entry(single("b"))]), "fits")
    stores.store(SOURCE).load(index([Entry(single("a")), Entry(single("b")), Entry(single("c"))]), "over")
    assert (await run(rule("fits")))[f"{TARGET}:fits"].outcome is Outcome.COPIED
    result = (await run(rule("over")))[f"{TARGET}:over"]
    assert (result.outcome, result.side) == (Outcome.FAILED, "source")
    assert "more than 3 manifests in one image" in (result.reason or "")


async def test_a_filter_reads_a_bounded_number_of_indexes(
    stores: MemoryStores, run: RunRules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter has to read every nested index before anything is copied."""
    monkeypatch.setattr(platform_filter, "NESTED_LIMIT", 2)
    indexes = [Entry(multi(name)) for name in ("a", "b", "c")]
    stores.store(SOURCE).load(index(indexes[:2]), "fits")
    stores.store(SOURCE).load(index(indexes), "over")
    wanted = PlatformFilter.parse(["linux"], ["amd64"])
    assert (await run(rule("fits", platforms=wanted)))[f"{TARGET}:fits"].outcome is Outcome.COPIED
    result = (await run(rule("over", platforms=wanted)))[f"{TARGET}:over"]
    assert (result.outcome, result.side) == (Outcome.FAILED, "source")
    assert "more than 2 indexes within one image" in (result.reason or "")


async def test_half_a_character_is_refused_by_a_filter(stores: MemoryStores, run: RunRules) -> None:
    """A text that cannot be written as UTF-8 is refused when the index is read."""
    image = multi("a")
    content = image.root.content.replace(b"{", rb'{"annotations":{"note":"\ud800"},', 1)
    store = stores.store(SOURCE)
    store.load(image, "v1")
    digest = Digest.of(content)
    store.manifests[digest] = RawManifest(types.OCI_INDEX, digest, content)
    store.tags["v1"] = digest
    result = (await run(rule("v1", platforms=PlatformFilter.parse(["linux"], ["amd64"]))))[f"{TARGET}:v1"]
    assert (result.outcome, result.side) == (Outcome.FAILED, "source")
    assert "a lone surrogate; refused as ambiguous" in (result.reason or "")
