"""Layouts in directories: what is written, when it is seen, and what is refused."""

import asyncio
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from image_syncer.errors import (
    ContentMismatch,
    Denied,
    LeaseLost,
    NotFound,
    Refused,
    StoreError,
    Unavailable,
)
from image_syncer.layout.blob_directory import BlobDirectory
from image_syncer.layout.disk_errors import disk_errors
from image_syncer.layout.partial_blob import PartialBlob
from image_syncer.oci import Digest, RawManifest
from image_syncer.oci import media_type as types
from image_syncer.oci.referrer import referrers_tag
from image_syncer.testing import Blob
from image_syncer.testing.images import artifact, multi, signed_schema1, single
from unit.layout.layout_kit import content_of, entries, layout, opened, push, unfinished

BIG = Blob.generated("big", 5_000_000)


class Clock:
    """A fence that refuses from its *refused* check on."""

    def __init__(self, refused: int) -> None:
        self.left = refused

    async def check(self) -> None:
        """Count the checks."""
        self.left -= 1
        if self.left < 0:
            raise LeaseLost("the lease is lost")


async def test_an_image_has_one_entry_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """Not its children: they belong to the index of the image."""
    image = multi("app")
    async with opened() as stores:
        await push(stores.target(layout(tmp_path / "app")), image, "v1")
    assert [entry["digest"] for entry in entries(tmp_path / "app")] == [str(image.digest)]
    assert {path.name for path in (tmp_path / "app").iterdir()} == {"blobs", "index.json", "oci-layout"}


async def test_an_image_by_its_digest_is_listed(tmp_path: Path) -> None:
    """Without a name, so that other tools find it; a tag takes the place of that entry."""
    image = single("app")
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        await push(target, image)
        assert ["annotations" in entry for entry in entries(tmp_path)] == [False]
        await target.push_manifest(image.root, "v1")
        assert [entry["annotations"] for entry in entries(tmp_path)] == [{"org.opencontainers.image.ref.name": "v1"}]


async def test_repositories_of_one_layout_share_blobs(tmp_path: Path) -> None:
    """Each has its own tags; a mount finds what another one wrote."""
    first, second = single("first"), single("second")
    async with opened() as stores:
        names = [layout(tmp_path, name) for name in ("library/nginx", "library/redis", "empty")]
        nginx, redis, empty = map(stores.target, names)
        await push(nginx, first, "v1")
        await push(redis, second, "v1")
        assert await nginx.resolve("v1") == first.root.descriptor
        assert await redis.resolve("v1") == second.root.descriptor
        assert await empty.resolve("v1") is None
        blob = next(iter(first.blobs.values()))
        assert await empty.mount(blob.descriptor, names[0])
        assert not await empty.mount(BIG.descriptor, names[0])
        assert [tag async for tag in stores.source(names[0]).tags()] == ["v1"]
        assert stores.source(names[0]).listed_digests() == {"v1": first.digest}
        with pytest.raises(NotFound, match="no images with the name empty"):
            assert not [tag async for tag in stores.source(names[2]).tags()]


async def test_an_interrupted_write_continues(tmp_path: Path) -> None:
    """In another process, too: it reads only what is missing."""
    sent, starts = BIG.read()[:3_000_000], list[int]()
    async with opened() as stores:
        with pytest.raises(Unavailable):
            await stores.target(layout(tmp_path)).push_blob(
                BIG.descriptor, content_of(sent, failure=Unavailable("the source is gone"))
            )
        assert not await stores.target(layout(tmp_path)).has_blob(BIG.descriptor)
    (kept,) = unfinished(tmp_path).values()
    assert kept > 1_000_000
    async with opened() as stores:
        await stores.target(layout(tmp_path)).push_blob(BIG.descriptor, content_of(BIG.read(), starts=starts))
    assert starts == [kept]
    assert (tmp_path / "blobs" / "sha256" / BIG.digest.encoded).read_bytes() == BIG.read()
    assert unfinished(tmp_path) == {}


@pytest.mark.parametrize("size", [2_000_000, 5_000_000, 6_000_000])
async def test_wrong_bytes_of_an_earlier_write_are_found(tmp_path: Path, size: int) -> None:
    """The blob does not get its name; the next attempt begins at the first byte. Longer ones are not used at all."""
    async with opened() as stores:
        await push(stores.target(layout(tmp_path)), single("app"), "v1")
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / f"sha256-{BIG.digest.encoded}").write_bytes(b"?" * size)
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        if size <= 5_000_000:
            with pytest.raises(ContentMismatch):
                await target.push_blob(BIG.descriptor, BIG.open)
            assert not await target.has_blob(BIG.descriptor)
            assert unfinished(tmp_path) == {}
        await target.push_blob(BIG.descriptor, BIG.open)
    assert (tmp_path / "blobs" / "sha256" / BIG.digest.encoded).read_bytes() == BIG.read()


async def test_a_blob_that_another_process_writes_is_written_beside_it(tmp_path: Path) -> None:
    """Neither waits for the other, and the file of the other stays."""
    async with opened() as stores:
        await push(stores.target(layout(tmp_path)), single("app"), "v1")
        other = PartialBlob.begin(str(tmp_path), BIG.digest, BIG.descriptor.size, "other")
        other.write(BIG.read()[:2_000_000])
        await stores.target(layout(tmp_path)).push_blob(BIG.descriptor, BIG.open)
        assert await stores.target(layout(tmp_path)).has_blob(BIG.descriptor)
        assert set(unfinished(tmp_path).values()) == {2_000_000}
        other.write(BIG.read()[2_000_000:])
        other.commit()
    assert (tmp_path / "blobs" / "sha256" / BIG.digest.encoded).read_bytes() == BIG.read()
    assert unfinished(tmp_path) == {}


async def test_a_damaged_blob_of_another_size_is_written_again(tmp_path: Path) -> None:
    """A file of the right size is trusted until it is read: then its digest is checked."""
    blob = Blob.generated("small", 1000)
    async with opened() as stores:
        target, source = stores.target(layout(tmp_path)), stores.source(layout(tmp_path))
        await target.push_blob(blob.descriptor, blob.open)
        file = tmp_path / "blobs" / "sha256" / blob.digest.encoded
        file.write_bytes(b"?")
        assert not await target.has_blob(blob.descriptor)
        with pytest.raises(ContentMismatch, match="the layout is damaged"):
            async with source.open(blob.descriptor):
                raise AssertionError
        await target.push_blob(blob.descriptor, blob.open)
        assert file.read_bytes() == blob.read()


async def test_a_damaged_manifest_is_written_again(tmp_path: Path) -> None:
    """A target does not know it by its tag then, so the next copy brings it."""
    image = single("app")
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        await push(target, image, "v1")
        file = tmp_path / "blobs" / "sha256" / image.digest.encoded
        file.write_bytes(b"?" * len(image.root.content))
        with pytest.raises(ContentMismatch, match="the layout is damaged"):
            await stores.source(layout(tmp_path)).resolve("v1")
        assert await target.resolve("v1") is None
        await target.push_manifest(image.root, "v1")
        assert await target.resolve("v1") == image.root.descriptor
    assert file.read_bytes() == image.root.content


async def test_changes_of_another_process_are_kept_and_seen(tmp_path: Path) -> None:
    """Both write to the index; each has the tags of the other."""
    async with opened() as one, opened() as two:
        first, second = one.target(layout(tmp_path)), two.target(layout(tmp_path))
        await push(first, single("first"), "v1")
        await push(second, single("second"), "v2")
        await push(first, single("third"), "v3")
        for stores in (one, two):
            assert [tag async for tag in stores.source(layout(tmp_path)).tags()] == ["v1", "v2", "v3"]
        assert await second.resolve("v3") == single("third").root.descriptor


async def test_many_writers_of_the_index_lose_nothing(tmp_path: Path) -> None:
    """In two processes; those of one are written together."""
    image = single("app")
    async with opened() as one, opened() as two:
        await push(one.target(layout(tmp_path)), image)
        targets = one.target(layout(tmp_path)), two.target(layout(tmp_path))
        await asyncio.gather(
            *(targets[number % 2].push_manifest(image.root, f"v{number}") for number in range(40)),
            targets[0].push_tags(image.root, ["a", "b"]),
        )
        tags = {tag async for tag in one.source(layout(tmp_path)).tags()}
    assert tags == {*(f"v{number}" for number in range(40)), "a", "b"}


async def test_a_lost_lease_writes_no_tag(tmp_path: Path) -> None:
    """The changes of others are written; the blob of the manifest may stay."""
    image = single("app")
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        await push(target, image)
        results = await asyncio.gather(
            target.push_manifest(image.root, "v1"),
            target.push_manifest(image.root, "v2", Clock(0)),
            target.push_manifest(image.root, "v3", Clock(1)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [type(None), LeaseLost, type(None)]
        assert {tag async for tag in stores.source(layout(tmp_path)).tags()} == {"v1", "v3"}


async def test_a_cancelled_push_does_not_disturb_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that writes the index for all, nor one that waits for it: that one is not written at all."""
    begun, may_go = threading.Event(), threading.Event()
    write_index = BlobDirectory.write_index

    def slow(directory: BlobDirectory, content: bytes) -> None:
        begun.set()
        assert may_go.wait(60)
        write_index(directory, content)

    image = single("app")
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        await push(target, image, "v1")
        monkeypatch.setattr(BlobDirectory, "write_index", slow)
        writing = asyncio.ensure_future(target.push_manifest(image.root, "writing"))
        assert await asyncio.to_thread(begun.wait, 60)
        waiting, other = (asyncio.ensure_future(target.push_manifest(image.root, tag)) for tag in ("waiting", "other"))
        for push_of in (writing, waiting):
            await asyncio.sleep(0)
            push_of.cancel()
        may_go.set()
        results = await asyncio.gather(writing, waiting, other, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.CancelledError, asyncio.CancelledError, type(None)]
        assert {tag async for tag in stores.source(layout(tmp_path)).tags()} - {"writing"} == {"v1", "other"}


async def test_a_change_that_looks_the_same_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process may write twice within a tick of the clock, and its file get the inode of the first one."""

    def same(directory: BlobDirectory) -> tuple[int, int, int]:
        del directory
        return 1, 2, 3

    monkeypatch.setattr(BlobDirectory, "index_version", same)
    first, second, third = (single(name) for name in ("first", "second", "third"))
    async with opened() as one, opened() as two:
        ours, theirs = one.target(layout(tmp_path)), two.target(layout(tmp_path))
        await push(ours, first, "v1")
        await push(theirs, second, "v2")
        await push(ours, third, "v3")
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in entries(tmp_path)] == [
        "v1",
        "v2",
        "v3",
    ]


async def test_referrers_are_listed_without_a_name(tmp_path: Path) -> None:
    """With their type, as ORAS lists them; an index of the tag schema is read, too."""
    image = multi("app")
    signature, sbom = (artifact(name, f"application/{name}", subject=image) for name in ("signature", "sbom"))
    async with opened() as stores:
        target = stores.referrer_target(layout(tmp_path))
        await push(target, image, "v1")
        for blob in sbom.blobs.values():
            await target.push_blob(blob.descriptor, blob.open)
        assert await target.push_referrer(sbom.root)
        found = await stores.referrer_source(layout(tmp_path)).referrers(image.digest)
        assert [entry.digest for entry in found] == [sbom.digest]
        assert [entry.get("artifactType") for entry in entries(tmp_path)] == [None, found[0].artifact_type]
        for blob in signature.blobs.values():
            await target.push_blob(blob.descriptor, blob.open)
        await target.push_manifest(signature.root, str(signature.digest))
        fallback = RawManifest.of(
            b'{"schemaVersion":2,"mediaType":"%s","manifests":[{"mediaType":"%s","digest":"%s","size":%d}]}'
            % (
                types.OCI_INDEX.encode(),
                types.OCI_MANIFEST.encode(),
                str(signature.digest).encode(),
                len(signature.root.content),
            )
        )
        await target.push_manifest(fallback, referrers_tag(image.digest))
        found = await stores.referrer_source(layout(tmp_path)).referrers(image.digest)
        assert {entry.digest for entry in found} == {sbom.digest, signature.digest}
        assert await stores.referrer_source(layout(tmp_path)).referrers(sbom.digest) == ()


async def test_manifests_without_a_digest_of_their_bytes_are_refused(tmp_path: Path) -> None:
    """A layout finds content by the digest of its bytes."""
    image = signed_schema1("library/old", "schema1")
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        for blob in image.blobs.values():
            await target.push_blob(blob.descriptor, blob.open)
        with pytest.raises(Refused, match="schema 1"):
            await target.push_manifest(image.root, "v1")


async def test_a_blob_is_no_manifest(tmp_path: Path) -> None:
    """Asked for by its digest it is not found, as at a registry."""
    image = single("app")
    config = next(blob for blob in image.blobs.values() if blob.descriptor.media_type == types.OCI_CONFIG)
    async with opened() as stores:
        await push(stores.target(layout(tmp_path)), image, "v1")
        assert await stores.target(layout(tmp_path)).resolve(str(config.digest)) is None
        with pytest.raises(NotFound, match="no manifest"):
            await stores.source(layout(tmp_path)).manifest(str(config.digest))


async def test_what_is_older_than_a_week_is_removed(tmp_path: Path) -> None:
    """Younger unfinished blobs stay, since they are continued."""
    async with opened() as stores:
        await push(stores.target(layout(tmp_path)), single("app"), "v1")
    (tmp_path / ".partial").mkdir()
    for name, age in (("old", 8), ("young", 6)):
        file = tmp_path / ".partial" / name
        file.write_bytes(b"x")
        then = file.stat().st_mtime - age * 86_400
        os.utime(file, (then, then))
    async with opened() as stores:
        await push(stores.target(layout(tmp_path)), single("other"), "v2")
    assert set(unfinished(tmp_path)) == {"young"}


async def test_a_clock_that_is_ahead_removes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the run that it misleads, nor the next one after it is right again."""
    await copy_at(tmp_path, "v1", 0, monkeypatch)
    (tmp_path / ".partial").mkdir()
    (tmp_path / ".partial" / "young").write_bytes(b"x")
    await copy_at(tmp_path, "v2", 9, monkeypatch)
    assert set(unfinished(tmp_path)) == {"young"}
    then = time.time() + 9 * 86_400
    for path in (tmp_path, tmp_path / "index.json", tmp_path / "blobs", tmp_path / "blobs" / "sha256"):
        os.utime(path, (then, then))  # As that clock had it.
    await copy_at(tmp_path, "v3", 0, monkeypatch)
    assert set(unfinished(tmp_path)) == {"young"}
    await copy_at(tmp_path, "v4", 9, monkeypatch)
    assert unfinished(tmp_path) == {}


async def copy_at(path: Path, tag: str, days: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copy an image to the layout at *path*, with a clock that is ahead by *days*."""
    now = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: now() + days * 86_400)
        async with opened() as stores:
            await push(stores.target(layout(path)), single(tag), tag)


async def test_a_locked_layout_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not for ever."""
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        await push(target, single("app"), "v1")
        monkeypatch.setattr("image_syncer.layout.blob_directory._LOCK_SECONDS", 0.05)
        handle = os.open(tmp_path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            with pytest.raises(Unavailable, match="keeps the layout locked"):
                await target.push_manifest(single("app").root, "v2")
        finally:
            os.close(handle)
        await target.push_manifest(single("app").root, "v2")
        assert {tag async for tag in stores.source(layout(tmp_path)).tags()} == {"v1", "v2"}


async def test_an_index_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next push is as if the failed one had never been."""

    def full(directory: BlobDirectory, content: bytes) -> None:
        del directory, content
        with disk_errors("index.json"):
            raise OSError(28, "No space left on device")

    image = single("app")
    async with opened() as stores:
        target = stores.target(layout(tmp_path))
        await push(target, image, "v1")
        with monkeypatch.context() as patched:
            patched.setattr(BlobDirectory, "write_index", full)
            with pytest.raises(Unavailable, match="No space left"):
                await target.push_manifest(image.root, "v2")
        assert await target.resolve("v2") is None
        await target.push_manifest(image.root, "v3")
        assert [tag async for tag in stores.source(layout(tmp_path)).tags()] == ["v1", "v3"]


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (2, NotFound),
        (13, Denied),
        (30, Denied),
        (40, Refused),
        (20, Refused),
        (24, StoreError),
        (28, Unavailable),
        (5, Unavailable),
    ],
)
def test_errors_of_the_system_say_what_to_do(number: int, error: type[StoreError]) -> None:
    """Each names what it is about."""
    with pytest.raises(error, match="oci:images"), disk_errors("oci:images"):
        raise OSError(number, os.strerror(number))


async def test_the_index_is_read_once_for_many_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as its file does not change."""
    image = single("app")
    async with opened() as stores:
        await push(stores.target(layout(tmp_path)), image, "v1")
    read = list[str]()
    read_index = BlobDirectory.read_index

    def counted(directory: BlobDirectory) -> bytes:
        read.append(directory.what)
        return read_index(directory)

    monkeypatch.setattr(BlobDirectory, "read_index", counted)
    async with opened() as stores:
        for _ in range(5):
            assert (await stores.source(layout(tmp_path)).resolve("v1")).digest == image.digest
            assert await stores.source(layout(tmp_path)).referrers(Digest.of(b"x")) == ()
    assert len(read) == 1
