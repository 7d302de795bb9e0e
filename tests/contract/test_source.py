"""The contract of every source (`roles.Source`)."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import product

import pytest

from image_syncer.errors import ContentMismatch, NotFound
from image_syncer.oci import Descriptor, Digest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.roles import Source
from image_syncer.testing import Blob
from image_syncer.testing.content import ODD
from image_syncer.testing.images import multi, single
from support.places import Place

NOWHERE = Digest.of(b"never pushed")


async def test_resolve_and_manifest_agree(place: Place) -> None:
    """By tag and by digest, for index and image: the same type, digest, size and bytes."""
    image = multi("agree", style=ODD)
    await place.push(image, "v1")
    source = place.source()
    wanted = {"v1": image.root} | {str(raw.digest): raw for raw in image.manifests}
    for identifier, raw in wanted.items():
        assert await source.manifest(identifier) == raw
        assert await source.resolve(identifier) == raw.descriptor


@pytest.mark.parametrize("path", ["app", "never/pushed"])
async def test_a_missing_manifest_is_not_found(place: Place, path: str) -> None:
    """In an existing repository and in a missing one, by tag and by digest."""
    await place.push(single("there"), "v1")
    source = place.source(path)
    requests: list[Callable[[str], Awaitable[Descriptor | RawManifest]]] = [source.resolve, source.manifest]
    for request, identifier in product(requests, ("missing", str(NOWHERE))):
        with pytest.raises(NotFound):
            await request(identifier)


@pytest.mark.parametrize("path", ["app", "never/pushed"])
async def test_a_missing_blob_is_not_found(reading_place: Place, path: str) -> None:
    """No byte is passed on."""
    await reading_place.push(single("there"), "v1")
    with pytest.raises(NotFound):
        await reading_place.read(Descriptor(types.OCI_LAYER, NOWHERE, 18), path)


@pytest.mark.parametrize("size_bytes", [0, 1, 1_000, 3_000_001])
async def test_a_blob_can_be_read_again(reading_place: Place, size_bytes: int) -> None:
    """Each read begins at byte 0."""
    blob = Blob.generated("often", size_bytes)
    await reading_place.target().push_blob(blob.descriptor, blob.open)
    for _ in range(2):
        assert await reading_place.read(blob.descriptor) == blob.read()


async def test_a_blob_of_unknown_size_is_read(reading_place: Place) -> None:
    """Docker schema 1 does not state sizes."""
    blob = Blob.generated("sizeless", 2_000)
    await reading_place.target().push_blob(blob.descriptor, blob.open)
    assert await reading_place.read(Descriptor(types.DOCKER_LAYER, blob.digest, None)) == blob.read()


@pytest.mark.parametrize(
    ("kept_bytes", "tail"),
    [
        pytest.param(299_999, b"?", id="last byte"),
        pytest.param(0, b"?" * 300_000, id="every byte"),
        pytest.param(300_000, b"?", id="a byte more"),
        pytest.param(299_999, b"", id="a byte less"),
        pytest.param(0, b"", id="nothing"),
    ],
)
async def test_wrong_content_is_never_passed_on_whole(reading_place: Place, kept_bytes: int, tail: bytes) -> None:
    """The last chunk is withheld until size and digest are verified."""
    blob = Blob.generated("damaged", 300_000)
    await reading_place.target().push_blob(blob.descriptor, blob.open)
    reading_place.replace_blob(blob.digest, blob.read()[:kept_bytes] + tail)
    received = bytearray()
    with pytest.raises(ContentMismatch):
        await _read_into(received, reading_place.source(), blob.descriptor)
    assert len(received) < 300_000


async def _read_into(received: bytearray, source: Source, blob: Descriptor) -> None:
    async with source.open(blob) as chunks:
        async for chunk in chunks:
            received += chunk


async def test_a_reader_may_stop_early(reading_place: Place) -> None:
    """The next read does not wait for the unread rest."""
    blob = Blob.generated("early", 5_000_000)
    await reading_place.target().push_blob(blob.descriptor, blob.open)
    async with reading_place.source().open(blob.descriptor) as chunks:
        async for chunk in chunks:
            assert chunk
            break
    assert await reading_place.read(blob.descriptor) == blob.read()


async def test_many_readers_do_not_mix_their_bytes(reading_place: Place) -> None:
    """Buffers are reused, but not shared."""
    blobs = [Blob.generated(f"reader/{number}", 200_000) for number in range(12)]
    for blob in blobs:
        await reading_place.target().push_blob(blob.descriptor, blob.open)
    contents = await asyncio.gather(*(reading_place.read(blob.descriptor) for blob in blobs))
    assert contents == [blob.read() for blob in blobs]


async def test_every_tag_is_listed_once(place: Place) -> None:
    """Over all pages, in any order."""
    image = single("tagged", layers=())
    names = [f"v{number:02}" for number in range(10)]
    await place.push(image, *reversed(names))
    assert sorted([tag async for tag in place.source().tags()]) == names


async def test_tags_of_a_missing_repository_are_not_found(place: Place) -> None:
    """That differs from a repository without tags."""
    with pytest.raises(NotFound):
        assert not [tag async for tag in place.source("never/pushed").tags()]
