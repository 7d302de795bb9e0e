"""Non-distributable layers: those with `urls` are skipped unless the rule wants them; all others are ordinary blobs."""

import json
import time
from collections.abc import Sequence

import pytest
from aiohttp import web

from image_syncer.app import Options, open_app
from image_syncer.oci import RawManifest, Repository
from image_syncer.oci import media_type as types
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing import FakeRegistry, profiles
from image_syncer.testing.fake.request_gate import Interceptor
from image_syncer.testing.images import Blob, Image, single

OCI_TYPE = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
TYPES = [types.DOCKER_FOREIGN_LAYER, OCI_TYPE, "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"]
CONFIG = Blob.of(b'{"os": "windows", "architecture": "amd64"}', types.OCI_CONFIG)
LAYER = Blob.generated("own", 900)


def base(kind: str) -> Blob:
    """Return a base layer of the media type *kind*."""
    return Blob.generated("base", 800, kind)


def windows(kind: str, urls: Sequence[str]) -> Image:
    """Return an image whose base layer has the media type *kind* and *urls*."""
    layers = [{**_descriptor(base(kind)), "urls": [*urls]}, _descriptor(LAYER)]
    document = {"schemaVersion": 2, "mediaType": types.OCI_MANIFEST, "config": _descriptor(CONFIG), "layers": layers}
    root = RawManifest.of(json.dumps(document).encode())
    return Image(root, (root,), {blob.digest: blob for blob in (CONFIG, LAYER, base(kind))})


def _descriptor(blob: Blob) -> dict[str, object]:
    return {"mediaType": blob.descriptor.media_type, "digest": str(blob.digest), "size": blob.size_bytes}


async def copy(source: FakeRegistry, target: FakeRegistry, *, wants_layers: bool = False) -> dict[str, CopyResult]:
    """Copy all tags of app by a rule, and return the results by tag."""
    rule = Rule(
        "app",
        Repository(source.host, "app"),
        AllTags(),
        (RuleTarget(Repository(target.host, "app")),),
        nondistributable_layers=wants_layers,
    )
    async with open_app(Options(retries=0)) as syncer:
        result = await syncer.sync([rule])
    return {entry.source.rpartition(":")[2]: entry for entry in result.results}


def demand(digest: str, status: int, target: FakeRegistry) -> Interceptor:
    """Return an interceptor for a target that refuses manifests that name *digest* while it has no such blob."""

    async def intercept(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PUT" or "/manifests/" not in request.path or "windows" not in request.path:
            return None
        if any(str(held) == digest for held in target.content("app").blobs):
            return None
        body = {"errors": [{"code": "MANIFEST_BLOB_UNKNOWN" if status == 404 else "UNKNOWN", "message": "no layer"}]}
        return web.json_response(body, status=status)

    return intercept


@pytest.mark.parametrize("kind", TYPES)
async def test_a_layer_without_urls_is_an_ordinary_blob(kind: str) -> None:
    """There is no other place to get it from, so the copy would be incomplete without it."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", windows(kind, []), "windows")
        (result,) = (await copy(source, target)).values()
        assert target.blob(base(kind).digest) is not None
    assert result.outcome is Outcome.COPIED


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("wanted", [False, True])
async def test_a_layer_with_urls_is_copied_only_if_the_rule_wants_it(kind: str, wanted: bool) -> None:
    """By default the source is not even asked for it."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", windows(kind, ["https://layers.test/base"]), "windows")
        (result,) = (await copy(source, target, wants_layers=wanted)).values()
        assert (target.blob(base(kind).digest) is not None) is wanted
        reads = [read for read in source.requests if read.path.endswith(str(base(kind).digest))]
        assert len(reads) == wanted
    assert result.outcome is Outcome.COPIED


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_a_target_that_demands_the_layers_is_no_outage(status: int) -> None:
    """The image fails within seconds with the reason and the remedy; other images are copied."""
    kind = OCI_TYPE
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", windows(kind, ["https://layers.test/base"]), "windows")
        source.load("app", single("fine"), "fine")
        target.intercept.append(demand(str(base(kind).digest), status, target))
        began = time.monotonic()
        results = await copy(source, target)
        assert time.monotonic() - began < 5
        assert results["fine"].outcome is Outcome.COPIED
        failed = results["windows"]
        assert (failed.outcome, failed.side, failed.step) == (Outcome.FAILED, "target", "push manifest")
        assert "without its non-distributable layers (1)" in (failed.reason or "")
        assert "nondistributable_layers: true" in (failed.remedy or "")
        repaired = await copy(source, target, wants_layers=True)
    assert repaired["windows"].outcome is Outcome.COPIED


@pytest.mark.parametrize("wanted", [False, True])
async def test_a_target_that_allows_no_urls_is_named_as_that(wanted: bool) -> None:
    """docker-registry answers 500 in its default configuration, with and without the layers."""
    async with FakeRegistry() as source, FakeRegistry(profiles.DISTRIBUTION_2_8) as target:
        source.load("app", windows(OCI_TYPE, ["https://layers.test/base"]), "windows")
        (failed,) = (await copy(source, target, wants_layers=wanted)).values()
    assert (failed.outcome, failed.step) == (Outcome.FAILED, "push manifest")
    assert "validation.manifests.urls.allow" in (failed.remedy or "")
    assert ("nondistributable_layers: true" in (failed.remedy or "")) is not wanted
