"""The contract of what is attached to manifests (`roles.ReferrerSource`, `roles.ReferrerTarget`)."""

import asyncio

from image_syncer.oci import Descriptor, Digest
from image_syncer.oci.referrer import legacy_tags, referrer_entry, referrers_tag
from image_syncer.roles import ReferrerSource, ReferrerTarget
from image_syncer.testing import Image
from image_syncer.testing.images import artifact, cosign_signature, multi, single
from support.places import Place

KIND = "application/vnd.example.attached"


def source_of(place: Place) -> ReferrerSource:
    """Return the repository of the tests as a source of referrers."""
    return place.stores.referrer_source(place.repository())


def target_of(place: Place) -> ReferrerTarget:
    """Return the repository of the tests as a target of referrers."""
    return place.stores.referrer_target(place.repository())


async def attach(place: Place, image: Image, *attached: Image) -> None:
    """Attach images to *image* in the way that a copy does."""
    for one in attached:
        for blob in one.blobs.values():
            await place.target().push_blob(blob.descriptor, blob.open)
    await push_referrers(place, image, *attached)


async def push_referrers(place: Place, image: Image, *attached: Image) -> None:
    """Attach images whose blobs are there to *image*."""
    target, unlisted = target_of(place), list[Descriptor]()
    for one in attached:
        if not await target.push_referrer(one.root):
            unlisted.append(referrer_entry(one.root))
    if unlisted:
        await target.list_referrers(image.digest, unlisted)


async def digests(place: Place, subject: Digest) -> set[Digest]:
    """Return the digests of the referrers of *subject*."""
    return {entry.digest for entry in await source_of(place).referrers(subject)}


async def test_an_image_without_referrers_has_none(place: Place) -> None:
    """Neither before the repository exists nor after."""
    image = single("plain")
    assert await source_of(place).referrers(image.digest) == ()
    await place.push(image, "v1")
    assert await source_of(place).referrers(image.digest) == ()
    assert await source_of(place).legacy_tags(image.digest) == {}


async def test_referrers_are_found_where_they_were_stored(place: Place) -> None:
    """By the API or by the tag schema, with type and annotations."""
    image = multi("signed")
    await place.push(image, "v1")
    first, second = (artifact(name, KIND, subject=image) for name in ("first", "second"))
    await attach(place, image, first, second)
    found = {entry.digest: entry for entry in await source_of(place).referrers(image.digest)}
    assert found.keys() == {first.digest, second.digest}
    assert found[first.digest].artifact_type == referrer_entry(first.root).artifact_type
    assert found[first.digest].size == len(first.root.content)
    assert await place.source().manifest(str(first.digest)) == first.root
    assert await digests(place, first.digest) == set()


async def test_a_second_time_adds_nothing(place: Place) -> None:
    """The list has each referrer once."""
    image = single("twice")
    await place.push(image, "v1")
    signature = artifact("signature", KIND, subject=image)
    await attach(place, image, signature)
    await attach(place, image, signature)
    assert [entry.digest for entry in await source_of(place).referrers(image.digest)] == [signature.digest]


async def test_later_referrers_are_added_to_the_list(place: Place) -> None:
    """An existing index of the tag schema is merged, never replaced."""
    image = single("later")
    await place.push(image, "v1")
    first, second = (artifact(name, KIND, subject=image) for name in ("first", "second"))
    await attach(place, image, first)
    await attach(place, image, second)
    assert await digests(place, image.digest) == {first.digest, second.digest}


async def test_many_writers_lose_no_entry(place: Place) -> None:
    """Copies of one process take turns at the index of a subject.

    Their blobs are there already: docker-registry does not write links of blobs atomically, so it can miss a blob that
    another request uploads once more.
    """
    image = single("crowded")
    await place.push(image, "v1")
    attached = [artifact(f"attached {number}", KIND, subject=image) for number in range(5)]
    for blob in {digest: blob for one in attached for digest, blob in one.blobs.items()}.values():
        await place.target().push_blob(blob.descriptor, blob.open)
    await asyncio.gather(*(push_referrers(place, image, one) for one in attached))
    assert await digests(place, image.digest) == {one.digest for one in attached}


async def test_a_referrer_may_have_referrers(place: Place) -> None:
    """Such as the signature of an SBOM."""
    image = single("deep")
    await place.push(image, "v1")
    sbom = artifact("sbom", KIND, subject=image)
    signature = artifact("signature", KIND, subject=sbom)
    await attach(place, image, sbom)
    await attach(place, sbom, signature)
    assert await digests(place, sbom.digest) == {signature.digest}
    assert await digests(place, image.digest) == {sbom.digest}


async def test_legacy_tags_are_found(place: Place) -> None:
    """By a request for each, or in the tag list if that was read."""
    image = single("legacy")
    await place.push(image, "v1")
    signature = cosign_signature(image)
    tag = legacy_tags(image.digest)[0]
    await place.push(signature, tag)
    assert {name: one.digest for name, one in (await source_of(place).legacy_tags(image.digest)).items()} == {
        tag: signature.digest
    }
    assert {name async for name in place.source().tags()} >= {"v1", tag}
    assert (await source_of(place).legacy_tags(image.digest)).keys() == {tag}
    assert await source_of(place).legacy_tags(signature.digest) == {}
    assert (await target_of(place).legacy_tags(image.digest)).keys() == {tag}


async def test_an_image_at_the_tag_of_the_tag_schema_is_no_list(place: Place) -> None:
    """Its entries are not taken for referrers."""
    image = multi("misnamed")
    await place.push(image, "v1", referrers_tag(image.digest))
    children = [raw.digest for raw in image.manifests if raw.digest != image.digest]
    assert await source_of(place).referrers(image.digest, children) == ()
