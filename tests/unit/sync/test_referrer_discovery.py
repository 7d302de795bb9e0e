"""What is attached to an image is found at its source, to a bounded depth and number."""

import pytest

from image_syncer.errors import CopyFailed, NotFound, ProtocolError, TooLarge, Unavailable
from image_syncer.oci import Digest
from image_syncer.oci.referrer import (
    PREDICATE_ANNOTATION,
    legacy_tags,
    merge_referrers,
    referrer_entry,
    referrers_tag,
)
from image_syncer.roles import Attachment
from image_syncer.structs import replace
from image_syncer.sync import referrer_discovery
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.referrer_discovery import Attached, ReferrerDiscovery, SourceAttachments, subjects_of
from image_syncer.sync.referrer_settings import DEFAULT_REFERRERS, ReferrerSettings
from image_syncer.testing import Image, MemoryStore, MemoryStores
from image_syncer.testing.images import artifact, cosign_signature, multi, nested, single

SBOM, SIGNATURE = "application/spdx+json", "application/vnd.example.signature"


@pytest.fixture
def stores() -> MemoryStores:
    """Return stores without content."""
    return MemoryStores()


@pytest.fixture
def store(stores: MemoryStores) -> MemoryStore:
    """Return the source repository."""
    return stores.store("source.test/app")


async def find(stores: MemoryStores, image: Image, settings: ReferrerSettings = DEFAULT_REFERRERS) -> Attached:
    """Return what a new discovery finds for *image*."""
    store = stores.store("source.test/app")
    subjects = await subjects_of(ManifestReader(stores), store.repository, image.root)
    discovery = ReferrerDiscovery(stores, ManifestReader(stores))
    return await discovery.find(store.repository, image.digest, subjects, settings)


def digests(attached: Attached) -> list[Digest]:
    """Return the digests of the attachments in their order."""
    return [one.entry.digest for one in attached.attachments]


async def test_all_manifests_of_an_image_are_subjects(stores: MemoryStores, store: MemoryStore) -> None:
    """Nested indexes included."""
    image = nested("nested")
    store.load(image, "v1")
    subjects = await subjects_of(ManifestReader(stores), store.repository, image.root)
    assert subjects.keys() == {raw.digest for raw in image.manifests}
    assert len(subjects[image.digest]) > 0


async def test_referrers_of_each_platform_and_of_referrers_are_found(stores: MemoryStores, store: MemoryStore) -> None:
    """Parents come before their own referrers."""
    image = multi("image")
    child = Image(image.manifests[0], (image.manifests[0],), {})
    on_index = artifact("sbom", SBOM, subject=image)
    on_child = artifact("child", SIGNATURE, subject=child)
    on_sbom = artifact("deep", SIGNATURE, subject=on_index)
    for one in (image, on_index, on_child, on_sbom):
        store.load(one)
    found = digests(await find(stores, image))
    assert set(found) == {on_index.digest, on_child.digest, on_sbom.digest}
    assert found.index(on_index.digest) < found.index(on_sbom.digest)


async def test_legacy_tags_are_found_unless_they_are_off(stores: MemoryStores, store: MemoryStore) -> None:
    """The attachment says which tag names it."""
    image = single("legacy")
    signature, tag = cosign_signature(image), legacy_tags(image.digest)[0]
    store.load(image, "v1")
    store.load(signature, tag)
    assert (await find(stores, image)).attachments == (Attachment(image.digest, signature.root.descriptor, tag),)
    assert (await find(stores, image, ReferrerSettings(legacy_tags=False))).attachments == ()
    assert (await find(stores, image, ReferrerSettings(exclude=("signature",)))).attachments == ()


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (ReferrerSettings(), {SBOM, SIGNATURE}),
        (ReferrerSettings(types=("sbom",)), {SBOM}),
        (ReferrerSettings(types=("application/*",), exclude=(SBOM,)), {SIGNATURE}),
        (ReferrerSettings(exclude=("sbom", "signature")), set[str]()),
    ],
)
async def test_settings_select_by_type_and_kind(
    stores: MemoryStores, store: MemoryStore, settings: ReferrerSettings, wanted: set[str]
) -> None:
    """Both may be globs of artifact types, or kinds."""
    image = single("filtered")
    store.load(image)
    for kind in (SBOM, SIGNATURE):
        store.load(artifact(kind, kind, subject=image))
    assert {one.entry.artifact_type for one in (await find(stores, image, settings)).attachments} == wanted


async def test_the_search_ends_at_its_depth(stores: MemoryStores, store: MemoryStore) -> None:
    """A chain of referrers is followed four levels deep."""
    image = subject = single("chain")
    store.load(image)
    for level in range(6):
        subject = artifact(f"level {level}", SIGNATURE, subject=subject)
        store.load(subject)
    assert len((await find(stores, image)).attachments) == 4


async def test_too_many_attachments_are_refused(
    stores: MemoryStores, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile registry cannot make a copy endless."""
    monkeypatch.setattr(referrer_discovery, "ATTACHMENTS_LIMIT", 2)
    image = single("crowded")
    store.load(image)
    for number in range(3):
        store.load(artifact(str(number), SIGNATURE, subject=image))
    with pytest.raises(CopyFailed) as caught:
        await find(stores, image)
    assert isinstance(caught.value.cause, TooLarge)
    assert (caught.value.side, caught.value.step) == ("source", "find referrers")


async def test_an_unreachable_source_fails_the_search(stores: MemoryStores, store: MemoryStore) -> None:
    """A signature must not be lost since the registry was down for a moment."""
    image = single("unreachable")
    store.load(image)
    store.fail("referrers", image.digest)
    with pytest.raises(CopyFailed) as caught:
        await find(stores, image)
    assert isinstance(caught.value.cause, Unavailable)


async def test_an_image_is_searched_once_for_all_targets(stores: MemoryStores, store: MemoryStore) -> None:
    """The second search costs no request."""
    image = single("once")
    store.load(image)
    discovery = ReferrerDiscovery(stores, ManifestReader(stores))
    subjects = {image.digest: ()}
    for _ in range(2):
        await discovery.find(store.repository, image.digest, subjects, DEFAULT_REFERRERS)
    assert (store.count("referrers"), store.count("legacy_tags")) == (1, 1)


async def test_the_digest_of_the_list_follows_what_is_attached(stores: MemoryStores, store: MemoryStore) -> None:
    """A late signature changes it."""
    image = single("late")
    store.load(image)
    before = (await find(stores, image)).listed
    assert (await find(stores, image)).listed == before
    store.load(artifact("late", SIGNATURE, subject=image))
    assert (await find(stores, image)).listed != before


async def test_a_manifest_that_does_not_name_its_subject_is_refused(stores: MemoryStores, store: MemoryStore) -> None:
    """GitLab answers the tag of the tag schema with an image."""
    image, other = single("image"), single("other")
    stranger = artifact("stranger", SIGNATURE, subject=other)
    store.load(stranger)
    attachments = SourceAttachments(ManifestReader(stores), store.repository)
    with pytest.raises(ProtocolError, match="which it does not name"):
        await attachments.manifest(Attachment(image.digest, referrer_entry(stranger.root)))
    assert await attachments.manifest(Attachment(other.digest, referrer_entry(stranger.root))) == stranger.root


async def test_blobs_for_verification_are_bounded(
    stores: MemoryStores, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are read into memory."""
    image = single("image")
    one = artifact("large", SBOM, subject=image)
    store.load(one)
    attachment = Attachment(image.digest, referrer_entry(one.root))
    attachments = SourceAttachments(ManifestReader(stores), store.repository)
    (blob, *_) = one.blobs.values()
    assert await attachments.blob(attachment, blob.descriptor) == blob.read()
    monkeypatch.setattr(referrer_discovery, "BLOB_LIMIT_BYTES", 1)
    with pytest.raises(TooLarge):
        await attachments.blob(attachment, blob.descriptor)


BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def bundle(seed: str, subject: Image, predicate: str = "") -> Image:
    """Return a Sigstore bundle: a signature, or a statement of the type *predicate*."""
    notes = {PREDICATE_ANNOTATION: predicate} if predicate else {}
    return artifact(seed, BUNDLE, subject=subject, annotations=notes)


def listed_without_annotations(store: MemoryStore, image: Image, *attached: Image) -> None:
    """Attach images by an index of the tag schema that gives their artifact types only, as some clients write it."""
    store.referrers_api = False
    for one in attached:
        store.load(one)
    entries = [replace(referrer_entry(one.root), annotations={}) for one in attached]
    index = merge_referrers(None, entries)
    assert index is not None
    store.load(Image(index, (index,), {}), referrers_tag(image.digest))


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        (ReferrerSettings(exclude=("sbom",)), {"signature", "other"}),
        (ReferrerSettings(types=("signature",)), {"signature"}),
        (ReferrerSettings(exclude=("signature",)), {"sbom", "other"}),
        (ReferrerSettings(types=("sbom",)), {"sbom"}),
        (ReferrerSettings(types=(BUNDLE,)), {"signature", "sbom"}),
    ],
    ids=["no sboms", "signatures", "no signatures", "sboms", "type"],
)
async def test_a_kind_that_its_list_does_not_tell_is_read(
    stores: MemoryStores, store: MemoryStore, settings: ReferrerSettings, wanted: set[str]
) -> None:
    """An SBOM in a bundle is no signature, whatever its list leaves out; only a rule that selects kinds reads it."""
    image = single("image")
    attached = {
        "signature": bundle("signature", image),
        "sbom": bundle("sbom", image, "https://spdx.dev/Document"),
        "other": artifact("other", "application/vnd.example.other", subject=image),
    }
    store.load(image, "v1")
    listed_without_annotations(store, image, *attached.values())
    store.operations.clear()
    found = digests(await find(stores, image, settings))
    assert {name for name, one in attached.items() if one.digest in found} == wanted
    assert store.count("manifest", attached["other"].digest) == 0
    assert store.count("manifest", attached["sbom"].digest) == (0 if settings.types == (BUNDLE,) else 1)


async def test_only_some_manifests_are_read_for_their_kind(
    stores: MemoryStores, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound, the list decides."""
    monkeypatch.setattr(referrer_discovery, "KINDS_READ_LIMIT", 2)
    image = single("image")
    store.load(image, "v1")
    sboms = [bundle(f"sbom {number}", image, "https://spdx.dev/Document") for number in range(5)]
    listed_without_annotations(store, image, *sboms)
    assert len(digests(await find(stores, image, ReferrerSettings(exclude=("sbom",))))) == 3


@pytest.mark.parametrize("is_gone", [True, False])
async def test_an_outage_is_no_kind(stores: MemoryStores, store: MemoryStore, is_gone: bool) -> None:
    """It fails the search, which is tried again; a manifest that is gone counts as its list says."""
    image = single("image")
    store.load(image, "v1")
    sbom = bundle("sbom", image, "https://spdx.dev/Document")
    listed_without_annotations(store, image, sbom)
    error = NotFound("gone") if is_gone else Unavailable("try later", status=503)
    store.fail("manifest", sbom.digest, error, times=100)
    settings = ReferrerSettings(exclude=("sbom",))
    if is_gone:
        assert digests(await find(stores, image, settings)) == [sbom.digest]
    else:
        with pytest.raises(CopyFailed):
            await find(stores, image, settings)
