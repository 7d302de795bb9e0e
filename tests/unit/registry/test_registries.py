import asyncio
import gc
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path

import pytest

from image_syncer.cache.digest_checkpoints import BlobCheckpoints
from image_syncer.errors import ContentMismatch, MissingContent, NotFound, Unauthorized
from image_syncer.oci import RawManifest, Repository
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile
from image_syncer.testing.images import multi, single
from support.clients import FakeTime, Fault, client

IMAGE = single("image")
ACCOUNTS = Accounts({"ann": Account("secret"), "bob": Account("secret")})


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry with `app:v1`."""
    async with FakeRegistry() as registry:
        registry.load("app", IMAGE, "v1")
        yield registry


async def test_equal_arguments_give_the_same_object() -> None:
    """For the whole run, and without any request."""
    async with client() as registries:
        repository = Repository("r.invalid", "app")
        assert registries.source(repository) is registries.source(Repository("r.invalid", "app"))
        assert registries.target(repository) is registries.target(repository)
        assert registries.requests == {"source": 0, "target": 0}


async def test_every_request_is_counted_for_its_side() -> None:
    """Pings and tokens included: the counts match what the registry received."""
    async with FakeRegistry(Profile(auth="bearer", accounts=ACCOUNTS)) as fake:
        fake.load("app", IMAGE, "v1")
        async with client(access=[RegistryAccount(fake.host, Credential("ann", "secret"))]) as registries:
            await registries.source(fake.repository("app")).resolve("v1")
            await registries.target(fake.repository("copy")).resolve("v1")
            assert registries.requests == {"source": 3, "target": 2}
        assert len(fake.requests) == 5
        assert fake.requests.count(kind="ping") == 1


async def test_all_repositories_of_a_registry_share_one_ping(fake: FakeRegistry) -> None:
    """Also with concurrent first requests."""
    async with client() as registries, asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(registries.target(fake.repository(f"app{number}")).resolve("v1"))
    assert fake.requests.count(kind="ping") == 1


async def test_two_logins_at_one_registry_are_kept_apart() -> None:
    """The longest matching entry decides whose token is sent."""
    async with FakeRegistry(Profile(auth="basic", accounts=ACCOUNTS)) as fake:
        fake.load("team/app", IMAGE, "v1")
        access = [
            RegistryAccount(fake.host, Credential("ann", "secret")),
            RegistryAccount(f"{fake.host}/team", Credential("bob", "wrong")),
        ]
        async with client(access=access) as registries:
            assert await registries.target(fake.repository("other")).resolve("v1") is None
            with pytest.raises(Unauthorized):
                await registries.source(fake.repository("team/app")).resolve("v1")


async def test_a_rate_limit_pauses_all_repositories_of_the_registry(fake: FakeRegistry) -> None:
    """One 429 with Retry-After applies to all: no second request is refused."""
    time, fault = FakeTime(), Fault(429, "HEAD", headers={"Retry-After": "30"})
    fake.intercept.append(fault)
    async with client(time) as registries:
        await registries.source(fake.repository("app")).resolve("v1")
        await registries.target(fake.repository("copy")).resolve("v1")
    assert fault.seen == 1
    assert sum(time.waits) == 30


async def test_connections_are_closed_on_exit(fake: FakeRegistry) -> None:
    """Afterwards requests raise RuntimeError."""
    async with client() as registries:
        source = registries.source(fake.repository("app"))
        await source.resolve("v1")
    with pytest.raises(RuntimeError, match="not open"):
        await source.resolve("v1")


@pytest.fixture
def distribution(tmp_path: Path) -> Iterator[str]:
    """Debian's docker-registry on a free port: `127.0.0.1:port`."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = tmp_path / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path / 'data'}}}}}\nhttp: {{addr: '{host}'}}\n"
    )
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([program, "serve", str(config)], stdout=log, stderr=subprocess.STDOUT)
        try:
            yield host
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
async def real(distribution: str) -> AsyncGenerator[Registries]:
    """A client, once the real registry answers."""
    host, _, port = distribution.rpartition(":")
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                break
    async with client() as registries:
        yield registries


@pytest.mark.real
async def test_an_image_round_trips_through_a_real_registry(real: Registries, distribution: str) -> None:
    """Blobs, children, index, tag; byte for byte."""
    image = multi("real")
    target = real.target(Repository(distribution, "app"))
    for blob in image.blobs.values():
        assert not await target.has_blob(blob.descriptor)
        await target.push_blob(blob.descriptor, blob.open)
        assert await target.has_blob(blob.descriptor)
    for manifest in image.manifests:
        await target.push_manifest(manifest, str(manifest.digest))
    await target.push_manifest(image.root, "v1")
    source = real.source(Repository(distribution, "app"))
    assert await source.resolve("v1") == image.root.descriptor
    assert [await source.manifest(str(raw.digest)) for raw in image.manifests] == list(image.manifests)
    assert [tag async for tag in source.tags()] == ["v1"]


@pytest.mark.real
async def test_a_large_blob_round_trips_and_is_mounted(real: Registries, distribution: str) -> None:
    """32 MiB in one PUT; then mounted into another repository with one request."""
    blob = Blob.generated("large", 32 * 1024 * 1024)
    first, second = Repository(distribution, "first"), Repository(distribution, "second")
    await real.target(first).push_blob(blob.descriptor, blob.open)
    async with real.source(first).open(blob.descriptor) as chunks:
        assert sum([len(chunk) async for chunk in chunks]) == blob.size_bytes
    before = real.requests["target"]
    assert await real.target(second).mount(blob.descriptor, first)
    assert real.requests["target"] == before + 1
    assert await real.target(second).has_blob(blob.descriptor)


@pytest.mark.real
async def test_refusals_of_a_real_registry_map_to_errors(real: Registries, distribution: str) -> None:
    """Missing content, wrong bytes, and missing manifests."""
    target, source = real.target(Repository(distribution, "app")), real.source(Repository(distribution, "app"))
    small = Blob.of(b"small")
    with pytest.raises(MissingContent):
        await target.push_manifest(IMAGE.root, "v1")
    with pytest.raises(ContentMismatch):
        await target.push_blob(small.descriptor, Blob.of(b"smalL").open)
    with pytest.raises(NotFound):
        await source.resolve("v1")
    with pytest.raises(NotFound):
        await anext(source.tags())
    assert await target.resolve("v1") is None
    assert not await target.has_blob(small.descriptor)


@pytest.mark.real
async def test_a_refused_mount_continues_as_an_upload_at_a_real_registry(real: Registries, distribution: str) -> None:
    """The session of the 202 takes the blob with one more request."""
    target, origin = real.target(Repository(distribution, "app")), Repository(distribution, "none")
    blob = Blob.of(b"content")
    assert not await target.mount(blob.descriptor, origin)
    before = real.requests["target"]
    await target.push_blob(blob.descriptor, blob.open)
    assert real.requests["target"] == before + 1
    raw = RawManifest.of(b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}')
    await target.push_manifest(raw, "empty")
    assert await target.resolve("empty") == raw.descriptor


async def test_read_checkpoints_are_bounded_over_all_repositories(fake: FakeRegistry) -> None:
    """A thousand repositories keep no more than a hundred; small blobs keep none."""

    def checkpoints() -> int:
        gc.collect()  # Objects of other tests.
        return sum(isinstance(each, BlobCheckpoints) for each in gc.get_objects())

    image, before = single("large", layers=(2_000_000, 1000)), checkpoints()
    async with client() as registries:
        for number in range(70):
            fake.load(f"app{number}", image, "v1")
            for blob in image.blobs.values():
                async with registries.source(fake.repository(f"app{number}")).open(blob.descriptor) as chunks:
                    assert sum([len(chunk) async for chunk in chunks]) == blob.size_bytes
        assert checkpoints() - before == 64
