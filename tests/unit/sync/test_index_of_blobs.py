"""An index may name blobs: BuildKit exports its cache so (`type=registry,image-manifest=false`)."""

import json
import time
from collections.abc import Sequence

import pytest
from aiohttp import web

from image_syncer.app import Options, open_app
from image_syncer.oci import RawManifest, Reference
from image_syncer.oci import media_type as types
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.fake.request_gate import Interceptor
from image_syncer.testing.images import Blob, Image, single

CACHE_CONFIG = "application/vnd.buildkit.cacheconfig.v0"
LAYER = Blob.generated("cache/layer", 4000, types.OCI_LAYER_GZIP)


def cache_index(entries: Sequence[tuple[Blob | Image, str]]) -> Image:
    """Return an index of *entries*, each with the media type that the index gives it."""
    document = {
        "schemaVersion": 2,
        "mediaType": types.OCI_INDEX,
        "manifests": [
            {"mediaType": kind, "digest": str(entry.digest), "size": _size(entry)} for entry, kind in entries
        ],
    }
    root = RawManifest.of(json.dumps(document).encode())
    images = [entry for entry, _ in entries if isinstance(entry, Image)]
    blobs = {entry.digest: entry for entry, _ in entries if isinstance(entry, Blob)}
    for image in images:
        blobs |= image.blobs
    return Image(root, (*(raw for image in images for raw in image.manifests), root), blobs)


def _size(entry: Blob | Image) -> int:
    return entry.size_bytes if isinstance(entry, Blob) else len(entry.root.content)


def cache(kind: str = CACHE_CONFIG) -> Image:
    """Return a cache as BuildKit exports it: a layer and its own config, whose media type is *kind*."""
    return cache_index([(LAYER, types.OCI_LAYER_GZIP), (Blob.of(b'{"layers": []}', kind), kind)])


async def copy(source: FakeRegistry, target: FakeRegistry, image: Image) -> CopyResult:
    """Copy *image* and return its result."""
    source.load("cache", image, "v1")
    async with open_app(Options(retries=0)) as syncer:
        ends = Reference.parse(f"{source.host}/cache:v1"), [Reference.parse(f"{target.host}/cache:v1")]
        (result,) = (await syncer.copy(*ends)).results
    return result


def answer_500(image: Image) -> Interceptor:
    """Answer as distribution 2.8 does for a blob of *image* that a client reads as a manifest."""
    blobs = set(map(str, image.blobs))

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        is_manifest = "/manifests/" in request.path and request.path.rpartition("/")[2] in blobs
        return web.Response(status=500) if is_manifest else None

    return intercept


@pytest.mark.parametrize("status", [404, 500])
async def test_a_build_cache_arrives_with_its_blobs(status: int) -> None:
    """The entries go as blobs at once: a try as a manifest would cost a minute where the source answers 500."""
    image = cache()
    async with FakeRegistry() as source, FakeRegistry() as target:
        if status == 500:
            source.intercept.append(answer_500(image))
        began = time.monotonic()
        result = await copy(source, target, image)
        assert time.monotonic() - began < 5
        assert target.manifest("cache", "v1") == image.root
        assert all(target.blob(digest) is not None for digest in image.blobs)
        assert source.requests.count(method="GET", kind="manifest") == 1
    assert (result.outcome, result.transferred.copied) == (Outcome.COPIED, image.size_bytes)


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "application/vnd.acme.thing.v1+json"])
async def test_an_unknown_type_may_be_a_blob(kind: str) -> None:
    """The source knows the content as a blob."""
    image = cache(kind)
    async with FakeRegistry() as source, FakeRegistry() as target:
        assert (await copy(source, target, image)).outcome is Outcome.COPIED
        assert all(target.blob(digest) is not None for digest in image.blobs)


@pytest.mark.parametrize("kind", ["", "application/octet-stream", "application/vnd.acme.manifest.v1+json"])
async def test_an_unknown_type_may_be_a_manifest(kind: str) -> None:
    """The source knows the content as a manifest, and it arrives with everything that it names."""
    child = single("child")
    image = cache_index([(child, kind)])
    async with FakeRegistry() as source, FakeRegistry() as target:
        assert (await copy(source, target, image)).outcome is Outcome.COPIED
        assert target.manifest("cache", str(child.digest)) == child.root
        assert all(target.blob(digest) is not None for digest in child.blobs)


async def test_a_name_like_a_manifest_may_still_be_a_blob() -> None:
    """The other kind is tried where the first one is not found."""
    image = cache("application/vnd.acme.manifest.v1+json")
    async with FakeRegistry() as source, FakeRegistry() as target:
        assert (await copy(source, target, image)).outcome is Outcome.COPIED


async def test_a_missing_entry_is_a_failure_that_names_it() -> None:
    """Neither kind is there: no tag appears."""
    whole = cache()
    image = Image(whole.root, whole.manifests, {LAYER.digest: LAYER})
    async with FakeRegistry() as source, FakeRegistry() as target:
        result = await copy(source, target, image)
        assert target.content("cache").tags == {}
    missing = next(digest for digest in whole.blobs if digest != LAYER.digest)
    assert (result.outcome, result.side) == (Outcome.FAILED, "source")
    assert str(missing) in (result.reason or "")


async def test_inspect_shows_a_build_cache() -> None:
    """Its entries are blobs, so there is no platform to read."""
    image = cache()
    async with FakeRegistry() as source:
        source.load("cache", image, "v1")
        async with open_app(Options()) as syncer:
            inspection = await syncer.inspect(Reference.parse(f"{source.host}/cache:v1"))
        assert source.requests.count(method="GET") == 1 + source.requests.count(kind="ping")
    assert (inspection.platforms, inspection.blobs, inspection.size_bytes) == ((), 2, image.size_bytes)
