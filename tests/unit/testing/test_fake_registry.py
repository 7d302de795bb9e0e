"""FakeRegistry speaks the distribution-spec, judged by a plain HTTP client and by skopeo."""

import asyncio
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web

from image_syncer.oci import media_type as types
from image_syncer.testing import Blob, FakeRegistry, Profile
from image_syncer.testing.artifact_kinds import newer_kinds, twenty_kinds
from image_syncer.testing.images import Image, artifact, cosign_signature, multi, single
from support.answers import code_of, copy_by_skopeo
from support.skopeo import SKOPEO_CANNOT_COPY, Skopeo, SkopeoFailed


async def test_loaded_content_is_served_byte_for_byte(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """By tag and by digest, with its own media type and digest."""
    image = multi("app", docker=True)
    registry.load("team/app", image, "v1")
    for identifier in ("v1", str(image.digest)):
        async with http.get(f"/v2/team/app/manifests/{identifier}") as response:
            assert await response.read() == image.root.content
            assert response.headers["Content-Type"] == types.DOCKER_LIST
            assert response.headers["Docker-Content-Digest"] == str(image.digest)


async def test_head_has_only_headers(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Size and digest of manifests and blobs, without content."""
    image = single("app")
    registry.load("app", image, "v1")
    blob = next(iter(image.blobs.values()))
    for path, size in (
        (f"manifests/{image.digest}", len(image.root.content)),
        (f"blobs/{blob.digest}", blob.size_bytes),
    ):
        async with http.head(f"/v2/app/{path}") as response:
            assert (response.status, response.headers["Content-Length"]) == (200, str(size))
            assert await response.read() == b""
    assert registry.requests.bytes_out == 0


async def test_a_type_that_is_not_accepted_is_not_found(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """As in distribution; a conditional request for an unchanged manifest gets no body."""
    image = single("app")
    registry.load("app", image, "v1")
    async with http.get("/v2/app/manifests/v1", headers={"Accept": types.DOCKER_MANIFEST}) as response:
        assert await code_of(response) == (404, "MANIFEST_UNKNOWN")
    async with http.get("/v2/app/manifests/v1", headers={"If-None-Match": f'"{image.digest}"'}) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("nowhere/manifests/v1", "NAME_UNKNOWN"),
        ("app/manifests/v2", "MANIFEST_UNKNOWN"),
        (f"app/blobs/sha256:{'0' * 64}", "BLOB_UNKNOWN"),
        ("nowhere/tags/list", "NAME_UNKNOWN"),
        ("app/blobs/uploads/nothing", "BLOB_UPLOAD_UNKNOWN"),
    ],
)
async def test_missing_content_has_the_code_of_the_specification(
    registry: FakeRegistry, http: aiohttp.ClientSession, path: str, code: str
) -> None:
    """404 with that code."""
    registry.load("app", single("app"), "v1")
    async with http.get(f"/v2/{path}") as response:
        assert await code_of(response) == (404, code)


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=10-", 206, 10, 3000),
        ("bytes=0-99", 206, 0, 100),
        ("bytes=2999-9999", 206, 2999, 3000),
        ("bytes=-500", 206, 2500, 3000),
        ("bytes=-5000", 206, 0, 3000),
        ("bytes=0-9,20-29", 200, 0, 3000),
        ("items=0-9", 200, 0, 3000),
        ("bytes=-", 200, 0, 3000),
        (None, 200, 0, 3000),
    ],
)
async def test_blobs_are_read_from_any_offset(
    registry: FakeRegistry, http: aiohttp.ClientSession, wanted: str | None, status: int, start: int, end: int
) -> None:
    """206 with exactly the requested bytes; a malformed range, or one of several parts, gives the whole blob."""
    blob = Blob.generated("layer", 3000)
    registry.load("app", single("app", layers=[blob]), "v1")
    async with http.get(f"/v2/app/blobs/{blob.digest}", headers={"Range": wanted} if wanted else {}) as response:
        assert (response.status, await response.read()) == (status, blob.read()[start:end])
        partial = f"bytes {start}-{end - 1}/3000" if status == 206 else None
        assert response.headers.get("Content-Range") == partial
    assert registry.requests.bytes_out == end - start


@pytest.mark.parametrize("wanted", ["bytes=7-", "bytes=7-9", "bytes=-0"])
async def test_a_range_beyond_the_end_is_refused(
    registry: FakeRegistry, http: aiohttp.ClientSession, wanted: str
) -> None:
    """416 reports the size."""
    blob = Blob.of(b"content")
    registry.load("app", single("app", layers=[blob]), "v1")
    async with http.get(f"/v2/app/blobs/{blob.digest}", headers={"Range": wanted}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, "bytes */7")


async def _put(http: aiohttp.ClientSession, image: Image, identifier: str, path: str = "app") -> aiohttp.ClientResponse:
    url = f"/v2/{path}/manifests/{identifier}"
    async with http.put(url, data=image.root.content, headers={"Content-Type": image.root.media_type}) as response:
        await response.read()
        return response


async def test_a_manifest_requires_its_content(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """An index without its children is refused, and no tag moves."""
    image = multi("app")
    assert await code_of(await _put(http, image, "v1")) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert registry.content("app").tags == {}


async def test_a_manifest_at_another_digest_is_refused(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """A digest always gives content with that digest."""
    image, other = single("app"), single("other")
    registry.load("app", image)
    assert await code_of(await _put(http, image, str(other.digest))) == (400, "DIGEST_INVALID")


async def test_one_put_sets_several_tags(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """end-7b of distribution-spec 1.1."""
    image = single("app")
    registry.load("app", image)
    response = await _put(http, image, f"{image.digest}?tag=a&tag=b")
    assert (response.status, response.headers.getall("OCI-Tag")) == (201, ["a", "b"])
    assert registry.content("app").tags == {"a": image.digest, "b": image.digest}


async def test_a_tag_moves_and_is_deleted(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Deleting a tag leaves the manifest; deleting the digest removes its tags."""
    first, second = single("first"), single("second")
    registry.load("app", first, "old", "v1")
    registry.load("app", second)
    assert (await _put(http, second, "v1")).status == 201
    assert registry.content("app").tags == {"old": first.digest, "v1": second.digest}
    for identifier in ("v1", str(first.digest)):
        async with http.delete(f"/v2/app/manifests/{identifier}") as response:
            assert response.status == 202
    assert registry.content("app").tags == {}
    assert registry.manifest("app", str(second.digest)) == second.root


async def test_referrers_are_listed_filtered_and_paged() -> None:
    """A missing subject is accepted and acknowledged."""
    subject = single("subject")
    images = [artifact(str(number), f"application/x-{number}", subject=subject) for number in range(3)]
    async with FakeRegistry(Profile(page_limit=2)) as registry, aiohttp.ClientSession(registry.url) as http:
        for image in images:
            registry.load("app", image)
            response = await _put(http, image, str(image.digest))
            assert response.headers["OCI-Subject"] == str(subject.digest)
        async with http.get(f"/v2/app/referrers/{subject.digest}") as response:
            found = (await response.json(content_type=types.OCI_INDEX))["manifests"]
            link = response.links["next"]["url"]
        async with http.get(link) as response:
            found += (await response.json(content_type=types.OCI_INDEX))["manifests"]
        assert {entry["digest"] for entry in found} == {str(image.digest) for image in images}
        async with http.get(f"/v2/app/referrers/{subject.digest}?artifactType=application/x-1") as response:
            assert response.headers["OCI-Filters-Applied"] == "artifactType"
            assert len((await response.json(content_type=types.OCI_INDEX))["manifests"]) == 1


@pytest.mark.parametrize(("path", "key"), [("/v2/app/tags/list", "tags"), ("/v2/_catalog", "repositories")])
async def test_listings_are_paged_by_links(
    registry: FakeRegistry, http: aiohttp.ClientSession, path: str, key: str
) -> None:
    """Lexical order, at most `n` entries, and a relative Link to the next page."""
    image = single("app")
    registry.load("app", image, "c", "a", "b")
    registry.load("b", image)
    registry.load("c", image)
    pages: list[list[str]] = []
    url = f"{path}?n=2"
    while url:
        async with http.get(url) as response:
            pages.append((await response.json())[key])
            url = str(response.links["next"]["url"]) if response.links else ""
    assert pages in ([["a", "b"], ["c"]], [["app", "b"], ["c"]])


async def test_an_interceptor_responds_first(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Interceptors inject faults; their requests are counted too."""

    async def busy(request: web.Request) -> web.Response | None:
        return web.Response(status=429, headers={"Retry-After": "1"}) if request.method == "GET" else None

    registry.intercept.append(busy)
    async with http.get("/v2/") as response:
        assert response.status == 429
    async with http.head("/v2/") as response:
        assert response.status == 200
    assert [request.status for request in registry.requests] == [429, 200]


@pytest.mark.real
@pytest.mark.slow
async def test_skopeo_copies_every_kind_in_and_out(skopeo: Skopeo, registry: FakeRegistry) -> None:
    """An independent client reads back exactly what it wrote."""
    for name in twenty_kinds().keys() - SKOPEO_CANNOT_COPY:
        await copy_by_skopeo(skopeo, registry, name)


@pytest.mark.real
async def test_skopeo_reads_kinds_that_older_registries_refuse(skopeo: Skopeo, registry: FakeRegistry) -> None:
    """Signed schema 1 and sha512 layers; skopeo 1.9 does not accept the withdrawn artifact manifest."""
    for name in ("schema1", "sha512"):
        image = newer_kinds()[name]
        registry.load("app", image, name)
        assert await asyncio.to_thread(skopeo.raw, f"{registry.host}/app:{name}") == image.root.content
    registry.load("app", newer_kinds()["artifact-manifest"], "withdrawn")
    with pytest.raises(SkopeoFailed, match="not accepted"):
        await asyncio.to_thread(skopeo.raw, f"{registry.host}/app:withdrawn")


@pytest.mark.real
def test_it_runs_in_a_thread_for_code_that_is_not_async(skopeo: Skopeo) -> None:
    """A plain `with` starts and stops it."""
    signature = cosign_signature(single("signed"))
    with FakeRegistry.in_thread() as registry:
        registry.load("app", signature, "v1")
        assert skopeo.raw(f"{registry.host}/app:v1") == signature.root.content
    assert registry.requests.count(kind="manifest") == 1


async def test_a_registry_of_spec_1_0_has_no_referrers() -> None:
    """Neither the listing nor the header that acknowledges a subject."""
    image = artifact("app", "application/x", subject=single("subject"))
    async with FakeRegistry(Profile(referrers=False)) as registry, aiohttp.ClientSession(registry.url) as http:
        registry.load("app", image)
        async with http.get(f"/v2/app/referrers/{single('subject').digest}") as response:
            assert response.status == 404
        assert "OCI-Subject" not in (await _put(http, image, "v1")).headers


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no json", types.OCI_MANIFEST, 400),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', types.OCI_INDEX, 400),
        (b"{}", "application/json", 400),
        (b" " * (4 * 1024 * 1024 + 1), types.OCI_MANIFEST, 413),
    ],
)
async def test_an_invalid_manifest_is_refused(
    http: aiohttp.ClientSession, content: bytes, kind: str, status: int
) -> None:
    """Also a document that is both index and image, and one that is too large."""
    async with http.put("/v2/app/manifests/v1", data=BytesIO(content), headers={"Content-Type": kind}) as response:
        assert response.status == status
