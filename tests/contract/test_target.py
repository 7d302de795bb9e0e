"""The contract of every target (`roles.Target`)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from image_syncer.errors import ContentMismatch, MissingContent, Refused, Unavailable
from image_syncer.oci import Digest, Repository
from image_syncer.roles import Chunk, Opener
from image_syncer.testing import Blob, Image
from image_syncer.testing.artifact_kinds import mixed_index, twenty_kinds
from image_syncer.testing.images import multi, single
from support.places import Place

SMALL = Blob.generated("small", 2_000)


def content_of(*parts: bytes, failure: Exception | None = None) -> Opener:
    """Return content in *parts*, which then raises *failure* if there is one."""

    async def stream() -> AsyncGenerator[Chunk]:
        for part in parts:
            yield part
        if failure is not None:
            raise failure

    @asynccontextmanager
    async def opened(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        assert start == 0
        yield stream()

    return opened


async def test_a_pushed_graph_resolves(place: Place) -> None:
    """An index of images of several kinds arrives byte for byte."""
    await _push_and_compare(place, mixed_index("mixed") if place.profile.docker_types else multi("mixed"))


@pytest.mark.parametrize("kind", twenty_kinds())
async def test_every_kind_of_artifact_arrives(open_place: Place, kind: str) -> None:
    """Tested only at stores without a login, which does not affect content."""
    await _push_and_compare(open_place, twenty_kinds()[kind])


async def _push_and_compare(place: Place, image: Image) -> None:
    await place.push(image, "v1")
    assert await place.target().resolve("v1") == image.root.descriptor
    for raw in image.manifests:
        assert await place.source().manifest(str(raw.digest)) == raw
    for blob in image.blobs.values():
        assert await place.read(blob.descriptor) == blob.read()


async def test_small_blobs_arrive_whole_one_after_another(uploading_place: Place) -> None:
    """The first one may find out whether a POST with the content stores a blob; the others follow from that."""
    target = uploading_place.target()
    for size in (2_000, 1, 64 * 1024, 0, 64 * 1024 + 1, 1024 * 1024, 3_000):
        blob = Blob.generated(f"small {size}", size)
        await target.push_blob(blob.descriptor, blob.open)
        assert await uploading_place.read(blob.descriptor) == blob.read()


async def test_missing_content_is_not_an_error(place: Place) -> None:
    """Neither in a missing repository nor in an existing one, by tag and by digest."""
    identifiers = ("missing", str(Digest.of(b"never pushed")))
    assert [await place.target().resolve(identifier) for identifier in identifiers] == [None, None]
    assert not await place.target().has_blob(SMALL.descriptor)
    await place.push(single("there"), "v1")
    assert [await place.target().resolve(identifier) for identifier in identifiers] == [None, None]
    assert not await place.target().has_blob(SMALL.descriptor)


async def test_a_push_is_idempotent(place: Place) -> None:
    """A second one changes nothing."""
    image = multi("repeated")
    for _ in range(2):
        await place.push(image, "v1", "v2")
    assert await place.target().resolve("v1") == await place.target().resolve("v2") == image.root.descriptor
    assert all([await place.target().has_blob(blob.descriptor) for blob in image.blobs.values()])


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((b"?" * 2_000,), id="other bytes"),
        pytest.param((SMALL.read()[:1_000], b"?" * 1_000), id="half of them"),
        pytest.param((SMALL.read()[:-1],), id="a byte less"),
        pytest.param((), id="nothing"),
    ],
)
async def test_wrong_bytes_are_refused_and_leave_nothing(uploading_place: Place, parts: tuple[bytes, ...]) -> None:
    """The right ones are accepted afterwards."""
    target = uploading_place.target()
    with pytest.raises(ContentMismatch):
        await target.push_blob(SMALL.descriptor, content_of(*parts))
    assert not await target.has_blob(SMALL.descriptor)
    await target.push_blob(SMALL.descriptor, SMALL.open)
    assert await uploading_place.read(SMALL.descriptor) == SMALL.read()


@pytest.mark.parametrize("parts", [(SMALL.read(), b"?"), (SMALL.read() + b"?",)])
async def test_surplus_bytes_are_never_stored(uploading_place: Place, parts: tuple[bytes, ...]) -> None:
    """A target refuses such content, or stores only the promised size."""
    with suppress(ContentMismatch):
        await uploading_place.target().push_blob(SMALL.descriptor, content_of(*parts))
        assert await uploading_place.read(SMALL.descriptor) == SMALL.read()
    wrong = Blob.of(SMALL.read() + b"?")
    assert not await uploading_place.target().has_blob(wrong.descriptor)


async def test_a_failing_source_leaves_nothing(uploading_place: Place) -> None:
    """Its error is raised unchanged, and a new push succeeds."""
    failure = Unavailable("the source is gone")
    with pytest.raises(Unavailable) as caught:
        await uploading_place.target().push_blob(SMALL.descriptor, content_of(SMALL.read()[:700], failure=failure))
    assert caught.value is failure
    assert not await uploading_place.target().has_blob(SMALL.descriptor)
    await uploading_place.target().push_blob(SMALL.descriptor, SMALL.open)
    assert await uploading_place.target().has_blob(SMALL.descriptor)


@pytest.mark.parametrize("sent_bytes", [0, 700, 1_999])
async def test_a_cancelled_push_leaves_nothing_visible(uploading_place: Place, sent_bytes: int) -> None:
    """At any point; and the next push succeeds."""
    begun = asyncio.Event()

    @asynccontextmanager
    async def stuck(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        assert start == 0
        yield stream()

    async def stream() -> AsyncGenerator[Chunk]:
        yield SMALL.read()[:sent_bytes]
        begun.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        pushing = group.create_task(uploading_place.target().push_blob(SMALL.descriptor, stuck))
        await begun.wait()
        pushing.cancel()
    assert not await uploading_place.target().has_blob(SMALL.descriptor)
    await uploading_place.target().push_blob(SMALL.descriptor, SMALL.open)
    assert await uploading_place.read(SMALL.descriptor) == SMALL.read()


@pytest.mark.parametrize("size_bytes", [0, 1, 8 * 1024**2, 8 * 1024**2 + 1, 20_000_000])
async def test_blobs_of_any_size_arrive(uploading_place: Place, size_bytes: int) -> None:
    """Empty, tiny, and on both sides of the chunk size."""
    blob = Blob.generated("sized", size_bytes)
    await uploading_place.target().push_blob(blob.descriptor, blob.open)
    assert await uploading_place.target().has_blob(blob.descriptor)
    assert await uploading_place.read(blob.descriptor) == blob.read()


async def test_twenty_pushes_of_one_blob_at_once(uploading_place: Place) -> None:
    """They do not interfere."""
    blob = Blob.generated("popular", 100_000)
    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(uploading_place.target().push_blob(blob.descriptor, blob.open))
    assert await uploading_place.read(blob.descriptor) == blob.read()


async def test_a_tag_moves(place: Place) -> None:
    """It names the new manifest; the old one remains at its digest."""
    first, second = single("first"), single("second")
    await place.push(first, "latest")
    await place.push(second, "latest")
    assert await place.target().resolve("latest") == second.root.descriptor
    assert await place.source().manifest(str(first.digest)) == first.root


@pytest.mark.parametrize("image", [single("incomplete"), multi("incomplete")])
async def test_a_manifest_without_its_content_is_refused(place: Place, image: Image) -> None:
    """With `MissingContent`, and the tag does not appear."""
    with pytest.raises(MissingContent):
        await place.target().push_manifest(image.root, "v1")
    assert await place.target().resolve("v1") is None


async def test_a_manifest_missing_one_blob_is_refused(place: Place) -> None:
    """The tag still names what it named before."""
    old, image = single("old"), single("new")
    await place.push(old, "v1")
    first, *_ = image.blobs.values()
    await place.target().push_blob(first.descriptor, first.open)
    with pytest.raises(MissingContent):
        await place.target().push_manifest(image.root, "v1")
    assert await place.target().resolve("v1") == old.root.descriptor


async def test_a_manifest_at_another_digest_is_refused(place: Place) -> None:
    """The content at a digest has that digest."""
    image, other = single("image"), single("other")
    await place.push(image, "v1")
    with pytest.raises((Refused, ContentMismatch)):
        await place.target().push_manifest(image.root, str(other.digest))
    assert await place.target().resolve(str(other.digest)) is None


async def test_confirmed_tags_name_the_manifest(place: Place) -> None:
    """The store may confirm none of them; pushed one by one, all exist then."""
    image, tags = single("image"), [f"v{number}" for number in range(5)]
    await place.push(image, path="app")
    for _ in range(2):  # The first request may be a trial; the second uses its result.
        confirmed = await place.target().push_tags(image.root, tags)
        assert confirmed <= set(tags)
        for tag in confirmed:
            assert await place.target().resolve(tag) == image.root.descriptor
    for tag in tags:
        await place.target().push_manifest(image.root, tag)
    assert {tag async for tag in place.source().tags()} == set(tags)


async def test_an_empty_list_of_tags_changes_nothing(place: Place) -> None:
    """No tag is confirmed."""
    image = single("image")
    await place.push(image, "v1")
    assert await place.target().push_tags(image.root, []) == frozenset()
    assert [tag async for tag in place.source().tags()] == ["v1"]


async def test_a_blob_is_mounted_from_another_repository(place: Place) -> None:
    """Without sending its content, unless the registry never mounts; then a push succeeds."""
    await place.target("origin").push_blob(SMALL.descriptor, SMALL.open)
    mounted = await place.target("other").mount(SMALL.descriptor, place.repository("origin"))
    assert mounted is (place.profile.mount != "never")
    if not mounted:
        await place.target("other").push_blob(SMALL.descriptor, SMALL.open)
    assert await place.target("other").has_blob(SMALL.descriptor)
    assert await place.read(SMALL.descriptor, "other") == SMALL.read()


@pytest.mark.parametrize("origin", ["empty", "elsewhere"])
async def test_a_mount_from_a_repository_without_the_blob_fails(place: Place, origin: str) -> None:
    """It returns False, and a push succeeds."""
    blob = Blob.generated(place.prefix, 2_000)  # Some registries mount a blob from any repository that has it.
    named = place.repository("origin") if origin == "empty" else Repository("elsewhere.test", "origin")
    assert not await place.target().mount(blob.descriptor, named)
    assert not await place.target().has_blob(blob.descriptor)
    await place.target().push_blob(blob.descriptor, blob.open)
    assert await place.target().has_blob(blob.descriptor)


async def test_repositories_do_not_share_content(place: Place) -> None:
    """Content of one is not visible in another."""
    image = single("mine")
    await place.push(image, "v1", path="mine")
    assert await place.target("yours").resolve("v1") is None
    assert not any([await place.target("yours").has_blob(blob.descriptor) for blob in image.blobs.values()])
