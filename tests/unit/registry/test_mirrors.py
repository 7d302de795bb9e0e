"""Mirrors: they deliver what a digest names, and the registry itself what they do not."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from image_syncer.app import Options, open_app
from image_syncer.errors import ContentMismatch, NotFound, Unavailable
from image_syncer.oci import Digest
from image_syncer.registry.mirrors import Mirror
from image_syncer.registry.registries import Registries
from image_syncer.registry.repository import RegistrySource
from image_syncer.testing import Blob, FakeRegistry, faults
from image_syncer.testing.images import single
from support.clients import FakeTime, client

MIB = 1024 * 1024
BLOB = Blob.generated("mirrored", 4 * MIB)
CONTENT = BLOB.read()
IMAGE = single("mirrored", layers=[BLOB])
DIGEST = str(IMAGE.digest)


@pytest.fixture
async def origin() -> AsyncGenerator[FakeRegistry]:
    """The registry itself, with the image."""
    async with FakeRegistry() as registry:
        registry.load("team/app", IMAGE, "v1")
        yield registry


@pytest.fixture
async def mirror() -> AsyncGenerator[FakeRegistry]:
    """A mirror with the same image below a prefix, whose tag is stale."""
    async with FakeRegistry() as registry:
        registry.load("hub/team/app", IMAGE)
        registry.load("hub/team/app", single("stale"), "v1")
        yield registry


def mirrored(registries: Registries, origin: FakeRegistry, *mirrors: FakeRegistry) -> RegistrySource:
    """Return the repository at *origin* as a source with *mirrors*."""
    registries.mirrors = {origin.host: tuple(f"{mirror.host}/hub" for mirror in mirrors)}
    return registries.source(origin.repository("team/app"))


async def read(source: RegistrySource, start: int = 0) -> bytes:
    """Return the blob from *start* on."""
    async with source.open(BLOB.descriptor, start) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


async def test_content_comes_from_the_mirror_and_tags_from_the_registry(
    origin: FakeRegistry, mirror: FakeRegistry
) -> None:
    """A mirror may be stale, but a digest names the same bytes everywhere. All requests are counted."""
    async with client() as registries:
        source = mirrored(registries, origin, mirror)
        assert (await source.resolve("v1")).digest == IMAGE.digest
        assert (await source.manifest("v1")).digest == IMAGE.digest
        assert (await source.manifest(DIGEST)).digest == IMAGE.digest
        assert await read(source) == CONTENT
        assert await read(source, MIB) == CONTENT[MIB:]
        assert origin.requests.count(method="GET", kind="blob") == 0
        assert origin.requests.count(method="GET", kind="manifest") == 1
        assert mirror.requests.count(method="GET", kind="manifest") == 1
        assert registries.requests["source"] == len(origin.requests) + len(mirror.requests)


async def test_what_a_mirror_lacks_is_read_from_the_registry(origin: FakeRegistry) -> None:
    """The mirror stays in use for the rest; what is missing everywhere is reported for the registry."""
    async with FakeRegistry() as empty, client() as registries:
        source = mirrored(registries, origin, empty)
        assert await read(source) == CONTENT
        assert (await source.manifest(DIGEST)).digest == IMAGE.digest
        assert empty.requests.count(kind="blob") == 1
        assert empty.requests.count(kind="manifest") == 1
        absent = str(Digest.of(b"absent"))
        with pytest.raises(NotFound, match=f"^{origin.host}/team/app"):
            await source.manifest(absent)


async def test_a_mirror_that_is_down_costs_one_attempt_and_no_wait(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    """Then the next mirror and at last the registry delivers; the failed one is left alone for a while."""
    mirror.faults.add(faults.answer(503, headers={"Retry-After": "30"}))
    time = FakeTime()
    async with FakeRegistry() as second, client(time) as registries:
        second.load("hub/team/app", IMAGE)
        source = mirrored(registries, origin, mirror, second)
        assert await read(source) == CONTENT
        assert (await source.manifest(DIGEST)).digest == IMAGE.digest
        assert time.waits == []
        assert len(mirror.requests) == 1
        assert second.requests.count(method="GET", kind="blob") == 1
        assert len(origin.requests) == 0


async def test_the_registry_sends_the_rest_of_a_blob_that_breaks_off(
    origin: FakeRegistry, mirror: FakeRegistry
) -> None:
    """The bytes that have arrived are not wanted again, and the bytes are right."""
    mirror.faults.add(faults.cut(after_bytes=MIB), method="GET", kind="blob", times=1)
    mirror.faults.add(faults.answer(500), method="GET", kind="blob")
    async with client() as registries:
        assert await read(mirrored(registries, origin, mirror)) == CONTENT
    assert origin.requests.count(method="GET", kind="blob") == 1


async def test_a_mirror_that_sends_wrong_content_is_left_alone(origin: FakeRegistry, mirror: FakeRegistry) -> None:
    """What has been passed on cannot be mended, so this read fails; the next one comes from the registry."""
    mirror.faults.add(faults.altered(at=MIB), method="GET", kind="blob")
    async with client() as registries:
        source = mirrored(registries, origin, mirror)
        with pytest.raises(ContentMismatch):
            await read(source)
        assert await read(source) == CONTENT
    assert mirror.requests.count(method="GET", kind="blob") == 1


async def test_a_copy_from_a_lying_mirror_is_right_in_the_end(
    origin: FakeRegistry, mirror: FakeRegistry, tmp_path: Path
) -> None:
    """The run copies the image that the registry names, from wherever its bytes come."""
    mirror.faults.add(faults.altered(at=MIB), method="GET", kind="blob")
    async with FakeRegistry() as target:
        options = Options(environment={}, home=tmp_path, mirrors={origin.host: (f"{mirror.host}/hub",)})
        async with open_app(options) as syncer:
            reference = origin.repository("team/app").tag("v1")
            result = await syncer.copy(reference, [target.repository("app").tag("v1")])
        assert [entry.outcome for entry in result.results] == ["copied"]
        manifest = target.manifest("app", "v1")
        assert manifest is not None
        assert manifest.digest == IMAGE.digest
        assert target.blob(BLOB.descriptor.digest) == CONTENT


def test_a_mirror_remembers_failures_but_not_absence() -> None:
    """Wrong content counts longer than an outage."""
    ends: list[float] = []
    for error in (NotFound("n"), Unavailable("u"), ContentMismatch("c")):
        mirror = Mirror("m.example")
        mirror.note(error)
        ends.append(mirror.usable_at)
    assert ends[0] == 0.0 < ends[1] < ends[2]
