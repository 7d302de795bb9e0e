"""Layouts in archives: written at the end of a run, in one step, with what was there before."""

import asyncio
import tarfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from image_syncer.errors import ContentMismatch, Interrupted, NotFound, ProtocolError, Refused, StoreError, Unavailable
from image_syncer.layout import archive_storage
from image_syncer.layout.layout_repository import LayoutTarget
from image_syncer.layout.layout_stores import LayoutStores
from image_syncer.layout.tar_file import TarWriter
from image_syncer.oci import Repository
from image_syncer.testing import Blob, Image
from image_syncer.testing.images import foreign, multi, nested, sharing, single
from unit.layout.layout_kit import content_of, layout, names_in, opened, push

BIG = Blob.generated("big", 3_000_000)


def archive(path: Path) -> Repository:
    """Return the layout in the archive at *path*."""
    return layout(path, scheme="oci-archive")


@asynccontextmanager
async def target_at(path: Path) -> AsyncGenerator[LayoutTarget]:
    """Give the archive at *path* as a target; it is written at the end."""
    async with opened() as stores:
        yield stores.target(archive(path))


async def tags_of(path: Path) -> list[str]:
    """Return the tags in the archive at *path*."""
    async with opened() as stores:
        return [tag async for tag in stores.source(archive(path)).tags()]


async def read_image(path: Path, image: Image, tag: str) -> None:
    """Read *image* from the archive at *path* by its *tag*, with all its parts."""
    async with opened() as stores:
        source = stores.source(archive(path))
        assert await source.manifest(tag) == image.root
        for raw in image.manifests:
            assert await source.manifest(str(raw.digest)) == raw
        for blob in image.blobs.values():
            async with source.open(blob.descriptor) as chunks:
                assert b"".join([bytes(chunk) async for chunk in chunks]) == blob.read()


def digests_in(path: Path) -> set[str]:
    """Return the digests of the blobs in the archive at *path*; each is there once."""
    with tarfile.open(path) as found:
        names = [member.name for member in found if member.isfile()]
    assert len(set(names)) == len(names)
    return {name.rpartition("/")[2] for name in names if name.startswith("blobs/")}


@pytest.mark.parametrize("image", [single("app"), multi("app"), nested("app", 3), foreign("app")])
async def test_an_image_arrives_in_one_file(tmp_path: Path, image: Image) -> None:
    """With all its parts and nothing else; nothing is left beside it."""
    path = tmp_path / "image.tar"
    async with target_at(path) as target:
        await push(target, image, "v1")
        assert not path.exists()
    assert names_in(tmp_path) == ["image.tar"]
    await read_image(path, image, "v1")
    assert digests_in(path) == {raw.digest.encoded for raw in image.manifests} | {one.encoded for one in image.blobs}


async def test_a_later_run_adds_to_the_archive(tmp_path: Path) -> None:
    """Content that no image needs any more is left out."""
    path = tmp_path / "image.tar"
    first, second = sharing("app", 2, shared=(3000,), own=(100,))
    async with target_at(path) as target:
        await push(target, first, "v1")
        await push(target, single("moved"), "latest")
    async with target_at(path) as target:
        assert await target.resolve("v1") == first.root.descriptor
        await push(target, second, "latest")
    assert await tags_of(path) == ["v1", "latest"]
    await read_image(path, first, "v1")
    await read_image(path, second, "latest")
    wanted = {*first.blobs, *second.blobs, first.digest, second.digest}
    assert digests_in(path) == {digest.encoded for digest in wanted}


async def test_nothing_new_writes_nothing(tmp_path: Path) -> None:
    """The file stays the same."""
    path = tmp_path / "image.tar"
    image = single("app")
    async with target_at(path) as target:
        await push(target, image, "v1")
    before = path.stat()
    async with target_at(path) as target:
        assert await target.resolve("v1") == image.root.descriptor
        for blob in image.blobs.values():
            assert await target.has_blob(blob.descriptor)
            await target.push_blob(blob.descriptor, blob.open)
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert names_in(tmp_path) == ["image.tar"]


async def test_the_same_images_make_the_same_file(tmp_path: Path) -> None:
    """In any order of their blobs, and whenever it is written."""
    for name in ("one.tar", "two.tar"):
        async with target_at(tmp_path / name) as target:
            await push(target, multi("app"), "v1")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()


async def test_each_finish_of_one_process_has_all_before_it(tmp_path: Path) -> None:
    """As a daemon writes after each job."""
    path = tmp_path / "image.tar"
    async with opened() as stores:
        target = stores.target(archive(path))
        for number in range(3):
            await push(target, single(f"app {number}"), f"v{number}")
            assert await stores.finish(asyncio.Event()) == {}
            assert await tags_of(path) == [f"v{one}" for one in range(number + 1)]
            await read_image(path, single("app 0"), "v0")


async def test_a_failed_image_leaves_what_it_has_for_the_next_run(tmp_path: Path) -> None:
    """The archive has the images that did not fail."""
    path = tmp_path / "image.tar"
    starts: list[int] = []
    async with target_at(path) as target:
        await push(target, single("app"), "v1")
        with pytest.raises(Unavailable):
            await target.push_blob(BIG.descriptor, content_of(BIG.read()[:2_500_000], failure=Unavailable("gone")))
    assert names_in(tmp_path) == ["image.tar", "image.tar.partial"]
    assert await tags_of(path) == ["v1"]
    async with target_at(path) as target:
        await target.push_blob(BIG.descriptor, content_of(BIG.read(), starts=starts))
        await push(target, single("other"), "v2")
    assert [start > 1_000_000 for start in starts] == [True]
    assert await tags_of(path) == ["v1", "v2"]


async def test_an_archive_that_cannot_be_written_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one stays as it was; a later run has everything at hand."""
    path = tmp_path / "image.tar"
    async with target_at(path) as target:
        await push(target, single("old"), "v1")
    before = path.read_bytes()

    def full(writer: TarWriter) -> None:
        del writer
        raise OSError(28, "No space left on device")

    stores = LayoutStores()
    target = stores.target(archive(path))
    await push(target, single("new"), "v2")
    with monkeypatch.context() as patched:
        patched.setattr(TarWriter, "finish", full)
        failures = await stores.finish(asyncio.Event())
    assert {location: type(error) for location, error in failures.items()} == {f"oci-archive:{path}": Unavailable}
    await stores.close()
    assert path.read_bytes() == before
    async with target_at(path) as target:
        assert all([await target.has_blob(blob.descriptor) for blob in single("old").blobs.values()])
        await push(target, single("new"), "v2")
    assert await tags_of(path) == ["v1", "v2"]
    assert names_in(tmp_path) == ["image.tar"]


async def test_a_stop_at_once_ends_the_write_of_an_archive(tmp_path: Path) -> None:
    """The old one stays, and so does what was gathered for the new one."""
    path = tmp_path / "image.tar"
    async with target_at(path) as target:
        await push(target, single("old"), "v1")
    before = path.read_bytes()
    stores, at_once = LayoutStores(), asyncio.Event()
    await push(stores.target(archive(path)), single("new", layers=[BIG]), "v2")
    at_once.set()
    failures = await stores.finish(at_once)
    await stores.close()
    assert [type(error) for error in failures.values()] == [Interrupted]
    assert path.read_bytes() == before
    async with target_at(path) as target:
        await push(target, single("other"), "v3")
        assert await target.has_blob(BIG.descriptor)
    assert await tags_of(path) == ["v1", "v3"]


async def test_one_process_at_a_time_writes_an_archive(tmp_path: Path) -> None:
    """The other one fails; both may read."""
    path = tmp_path / "image.tar"
    async with target_at(path) as target:
        await push(target, single("app"), "v1")
    async with target_at(path) as first:
        await push(first, single("first"), "v2")
        async with opened() as stores:
            with pytest.raises(Unavailable, match="another process writes the archive"):
                await push(stores.target(archive(path)), single("second"), "v3")
            assert await stores.target(archive(path)).resolve("v1") == single("app").root.descriptor
    assert await tags_of(path) == ["v1", "v2"]


async def test_a_replaced_archive_is_read_again(tmp_path: Path) -> None:
    """An open one is not mixed with it."""
    path = tmp_path / "image.tar"
    async with target_at(path) as target:
        await push(target, single("old"), "v1")
    async with opened() as stores:
        source = stores.source(archive(path))
        assert (await source.resolve("v1")).digest == single("old").digest
        async with target_at(path) as target:
            await push(target, single("new"), "v1")
        assert (await source.resolve("v1")).digest == single("new").digest


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        pytest.param(None, NotFound, "no such file", id="no file"),
        pytest.param({}, ProtocolError, "index.json, oci-layout is missing", id="nothing in it"),
        pytest.param({"manifest.json": b"[]"}, ProtocolError, "docker-archive:FILE", id="of docker save"),
        pytest.param({"oci-layout": b"{}", "index.json": b"{}"}, ProtocolError, "its version", id="no version"),
        pytest.param(
            {"oci-layout": archive_storage.LAYOUT_CONTENT, "index.json": b"["},
            ProtocolError,
            "not JSON",
            id="broken index",
        ),
        pytest.param(
            {"oci-layout": archive_storage.LAYOUT_CONTENT, "index.json": b" " * (17 * 1024**2)},
            Refused,
            "more than 16 MiB",
            id="huge index",
        ),
    ],
)
async def test_other_files_are_no_archives(
    tmp_path: Path, files: dict[str, bytes] | None, error: type[StoreError], message: str
) -> None:
    """Neither to read nor to write to: they stay as they are."""
    path = tmp_path / "image.tar"
    if files is not None:
        write_archive(path, files)
    async with opened() as stores:
        with pytest.raises(error, match=message):
            await stores.source(archive(path)).manifest("v1")
        if files is not None:
            before = path.read_bytes()
            with pytest.raises(error, match=message):
                await push(stores.target(archive(path)), single("app"), "v1")
            assert path.read_bytes() == before


async def test_an_archive_that_was_cut_between_its_files_is_named_as_such(tmp_path: Path) -> None:
    """As a source, unless it has everything; as a target always, since the new archive would have its gaps."""
    whole, path = tmp_path / "whole.tar", tmp_path / "image.tar"
    async with target_at(whole) as target:
        await push(target, multi("app"), "v1")
    with tarfile.open(whole) as found:
        members = [(member.name, member.offset) for member in found]
    content = whole.read_bytes()
    ends = [offset for name, offset in members if name != "blobs"]
    end = next(at for at in range(ends[-1] + 512, len(content), 512) if not content[at:].strip(b"\0"))
    for cut in ends:
        path.write_bytes(content[:cut])
        with pytest.raises((NotFound, ProtocolError), match="cut off"):
            await read_image(path, multi("app"), "v1")
    path.write_bytes(content[:end])
    await read_image(path, multi("app"), "v1")
    for cut in (*ends, end):
        path.write_bytes(content[:cut])
        async with opened() as stores:
            with pytest.raises(ProtocolError, match="cut off: the archive has no end"):
                await push(stores.target(archive(path)), single("other"), "v2")
        assert path.read_bytes() == content[:cut]


async def test_a_damaged_blob_in_an_archive_is_found(tmp_path: Path) -> None:
    """While it is read, before its last byte is passed on."""
    path = tmp_path / "image.tar"
    image = single("app")
    async with target_at(path) as target:
        await push(target, image, "v1")
    blob = max(image.blobs.values(), key=lambda one: one.descriptor.size or 0)
    path.write_bytes(path.read_bytes().replace(blob.read(), b"?" * len(blob.read())))
    async with opened() as stores:
        with pytest.raises(ContentMismatch):
            async with stores.source(archive(path)).open(blob.descriptor) as chunks:
                assert [chunk async for chunk in chunks]


def write_archive(path: Path, files: dict[str, bytes]) -> None:
    """Write an archive with *files*."""
    with path.open("wb", buffering=0) as file:
        writer = TarWriter(file.fileno())
        for name, content in files.items():
            writer.add_bytes(name, content)
        writer.finish()
