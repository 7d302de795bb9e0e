"""FakeRegistry accepts blobs as the distribution-spec says: at once, in chunks, by mount."""

import asyncio
import hashlib

import aiohttp
import pytest

from image_syncer.testing import Blob, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.answers import code_of


async def _start(http: aiohttp.ClientSession, name: str = "app") -> str:
    async with http.post(f"/v2/{name}/blobs/uploads/") as response:
        assert response.status == 202
        return response.headers["Location"]


async def test_a_blob_arrives_in_chunks(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Each PATCH continues the last, GET reports the offset, PUT sends the last chunk and the digest."""
    blob = Blob.generated("layer", 3000)
    content = blob.read()
    location = await _start(http)
    async with http.patch(location, data=content[:1000], headers={"Content-Range": "0-999"}) as response:
        assert (response.status, response.headers["Range"]) == (202, "0-999")
    async with http.get(location) as response:
        assert (response.status, response.headers["Range"]) == (204, "0-999")
        location = response.headers["Location"]
    async with http.put(f"{location}&digest={blob.digest}", data=content[1000:]) as response:
        assert response.status == 201
    assert blob.digest in registry.content("app").blobs
    assert registry.requests.bytes_in == 3000


@pytest.mark.parametrize("chunk_range", ["999-1999", "1001-2001", None])
async def test_a_chunk_out_of_order_is_refused(http: aiohttp.ClientSession, chunk_range: str | None) -> None:
    """416 with the newest Location and Range; an outdated Location is refused like a wrong range."""
    location = await _start(http)
    async with http.patch(location, data=bytes(1000)) as response:
        newest = response.headers["Location"]
    here = location if chunk_range is None else newest
    headers = {"Content-Range": chunk_range} if chunk_range else {}
    async with http.patch(here, data=bytes(1001), headers=headers) as response:
        assert response.status == 416
        assert (response.headers["Location"], response.headers["Range"]) == (newest, "0-999")


async def test_only_the_last_chunk_may_be_below_the_minimum() -> None:
    """The minimum is announced when the upload begins."""
    async with FakeRegistry(Profile(chunk_min_bytes=10)) as registry, aiohttp.ClientSession(registry.url) as http:
        async with http.post("/v2/app/blobs/uploads/") as response:
            assert response.headers["OCI-Chunk-Min-Length"] == "10"
        async with http.patch(response.headers["Location"], data=b"short") as response:
            assert response.status == 202
        async with http.patch(response.headers["Location"], data=bytes(10)) as response:
            assert await code_of(response) == (400, "SIZE_INVALID")


async def test_a_broken_chunk_keeps_the_received_bytes(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """An upload continues at the byte where the connection broke."""
    location = await _start(http)
    host, _, port = registry.host.partition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(f"PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n".encode() + bytes(200))
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with http.get(location) as response:
        assert response.headers["Range"] == "0-199"


@pytest.mark.parametrize("way", ["post", "put"])
async def test_wrong_bytes_are_refused_and_discarded(
    registry: FakeRegistry, http: aiohttp.ClientSession, way: str
) -> None:
    """The digest is verified before the blob is stored."""
    digest = Blob.of(b"right").digest
    url = f"/v2/app/blobs/uploads/?digest={digest}" if way == "post" else f"{await _start(http)}&digest={digest}"
    async with http.request(way.upper(), url, data=b"wrong") as response:
        assert await code_of(response) == (400, "DIGEST_INVALID")
    assert digest not in registry.content("app").blobs
    assert registry.unfinished_uploads == 0


async def test_an_empty_blob_and_a_sha512_blob_are_stored(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Neither needs special treatment."""
    for blob in (Blob.of(b""), Blob.of(b"x", algorithm="sha512")):
        async with http.post(f"/v2/app/blobs/uploads/?digest={blob.digest}", data=blob.read()) as response:
            assert response.status == 201
        async with http.get(f"/v2/app/blobs/{blob.digest}") as response:
            assert hashlib.new(blob.digest.algorithm, await response.read()).hexdigest() == blob.digest.encoded


@pytest.mark.parametrize(("origin", "status"), [("&from=app", 201), ("", 201), ("&from=nowhere", 202)])
async def test_a_blob_is_mounted_from_another_repository(
    registry: FakeRegistry, http: aiohttp.ClientSession, origin: str, status: int
) -> None:
    """201 with or without `from`; an upload begins if the named repository lacks it."""
    image = single("app", layers=(10,))
    registry.load("app", image, "v1")
    digest = next(iter(image.blobs))
    async with http.post(f"/v2/other/blobs/uploads/?mount={digest}{origin}") as response:
        assert response.status == status
    assert (digest in registry.content("other").blobs) == (status == 201)


async def test_an_upload_can_be_cancelled(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """After DELETE it is unknown."""
    location = await _start(http)
    async with http.delete(location) as response:
        assert response.status == 204
    async with http.get(location) as response:
        assert response.status == 404
    assert registry.unfinished_uploads == 0
