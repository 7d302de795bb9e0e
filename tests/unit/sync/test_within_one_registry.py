"""Copies within one registry mount from the source repository and move no byte."""

from collections import Counter

import pytest
from aiohttp import web

from image_syncer.app import Options, open_app
from image_syncer.oci import Reference
from image_syncer.structs import replace
from image_syncer.sync.result import Outcome, RunResult
from image_syncer.testing import FakeRegistry, profiles
from image_syncer.testing.fake.request_gate import Interceptor
from image_syncer.testing.images import Image, multi, single

LARGE = 300_000


async def copy_within(registry: FakeRegistry, source: str, *targets: str, options: Options | None = None) -> RunResult:
    """Copy `source` to `targets` within *registry*; all are written as repository:tag."""
    async with open_app(options or Options(retries=0)) as syncer:
        references = [Reference.parse(f"{registry.host}/{target}") for target in targets]
        return await syncer.copy(Reference.parse(f"{registry.host}/{source}"), references)


def sent(registry: FakeRegistry) -> Counter[str]:
    """Count requests as `METHOD kind`, without pings and tokens; a POST that mounts is a `MOUNT`."""
    counted = Counter[str]()
    for request in registry.requests:
        if request.kind in {"ping", "token"}:
            continue
        mounts = any(name == "mount" for name, _ in request.query)
        counted["MOUNT" if mounts else f"{request.method} {request.kind}"] += 1
    return counted


@pytest.mark.parametrize("image", [single("within"), single("large", layers=(1000, LARGE))], ids=["small", "large"])
async def test_another_repository_gets_every_blob_by_a_mount(image: Image) -> None:
    """Three mounts and one manifest; no blob is read, looked up or uploaded."""
    async with FakeRegistry() as registry:
        registry.load("c/s", image, "v1")
        (result,) = (await copy_within(registry, "c/s:v1", "x/s:v1")).results
        assert registry.manifest("x/s", "v1") == image.root
        looks = {"GET referrers": 1, "GET tags": 1}
        assert sent(registry) == {"HEAD manifest": 2, "GET manifest": 1, "MOUNT": 3, "PUT manifest": 1, **looks}
    assert (result.outcome, result.transferred.copied) == (Outcome.COPIED, 0)
    assert result.transferred.mounted == image.size_bytes


async def test_an_index_is_mounted_and_its_manifests_are_only_put() -> None:
    """Each manifest of the index costs one GET and one PUT."""
    image = multi("within")
    async with FakeRegistry() as registry:
        registry.load("c/s", image, "v1")
        (result,) = (await copy_within(registry, "c/s:v1", "x/s:v1")).results
        counted = sent(registry)
    assert result.outcome is Outcome.COPIED
    assert counted["MOUNT"] == len(image.blobs)
    assert counted["PUT manifest"] == counted["GET manifest"] == len(image.manifests)
    assert not {"GET blob", "HEAD blob", "POST upload", "PUT upload", "PATCH upload"} & set(counted)


@pytest.mark.parametrize("image", [single("retag"), multi("retag")], ids=["image", "index"])
async def test_a_retag_is_one_get_and_one_put(image: Image) -> None:
    """The repository holds everything already; both tags are resolved before."""
    async with FakeRegistry() as registry:
        registry.load("c/s", image, "v1")
        (result,) = (await copy_within(registry, "c/s:v1", "c/s:v2")).results
        assert registry.manifest("c/s", "v2") == image.root
        assert sent(registry) == {"HEAD manifest": 2, "GET manifest": 1, "PUT manifest": 1}
    assert result.outcome is Outcome.COPIED


async def test_two_names_of_one_registry_mount_between_them() -> None:
    """`same_as` says that both host names are one registry."""
    image = single("names", layers=(1000, LARGE))
    async with FakeRegistry() as registry:
        registry.load("c/s", image, "v1")
        port = registry.host.rpartition(":")[2]
        options = Options(retries=0, same_as={f"localhost:{port}": registry.host})
        async with open_app(options) as syncer:
            ends = Reference.parse(f"localhost:{port}/c/s:v1"), [Reference.parse(f"{registry.host}/x/s:v1")]
            (result,) = (await syncer.copy(*ends)).results
        looks = {"GET referrers": 1, "GET tags": 1}
        assert sent(registry) == {"HEAD manifest": 2, "GET manifest": 1, "MOUNT": 3, "PUT manifest": 1, **looks}
    assert result.outcome is Outcome.COPIED


async def test_a_refused_mount_falls_back_to_an_upload() -> None:
    """A registry that never mounts gets the blobs by uploads, as between two registries."""
    image = single("refused", layers=(1000, LARGE))
    async with FakeRegistry(replace(profiles.OCI, mount="never")) as registry:
        registry.load("c/s", image, "v1")
        (result,) = (await copy_within(registry, "c/s:v1", "x/s:v1")).results
        assert registry.manifest("x/s", "v1") == image.root
        assert sent(registry)["GET blob"] == len(image.blobs)
    assert (result.outcome, result.transferred.copied) == (Outcome.COPIED, image.size_bytes)


async def test_a_blob_that_the_source_lost_is_found_out_by_the_target() -> None:
    """A retag of a damaged image fails with the source's reason, after the target refused the manifest."""
    image = single("damaged")
    async with FakeRegistry() as registry:
        registry.load("c/s", image, "v1")
        layer = next(iter(image.blobs))
        registry.intercept.append(lacks(str(layer)))
        (result,) = (await copy_within(registry, "c/s:v1", "x/s:v1")).results
        assert registry.manifest("x/s", "v1") is None
    assert (result.outcome, result.side, result.step) == (Outcome.FAILED, "source", "read blob")


def lacks(digest: str) -> Interceptor:
    """Return an interceptor for a registry that lost the blob *digest*."""

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.path.endswith(f"/blobs/{digest}"):
            return web.Response(status=404)
        if request.query.get("mount") == digest:
            location = {"Location": f"{request.path}uploads/none", "Docker-Upload-UUID": "none"}
            return web.Response(status=202, headers=location)
        return None

    return intercept
