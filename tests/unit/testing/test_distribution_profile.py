"""The profile of distribution 2.8 behaves as docker-registry does: both get the same requests and respond the same."""

import asyncio
import io
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from yarl import URL

from image_syncer.testing import Blob, FakeRegistry, profiles
from image_syncer.testing.images import foreign, multi, single
from support.docker_registry import DockerProfile, DockerRegistry
from support.fakes import FAKES
from support.registry_http import Peer

CONTENT = Blob.generated("habits", 3_000).read()
Seen = tuple[object, ...]


class Client:
    """Sends requests to one registry; each result is comparable: status, error code, and selected headers."""

    def __init__(self, http: aiohttp.ClientSession, host: str) -> None:
        self.http = http
        self.host = host

    async def ask(
        self, method: str, path: str, *wanted: str, data: bytes | io.BytesIO | None = None, **headers: str
    ) -> Seen:
        """Return status, code and the headers *wanted*."""
        names = {"content_range": "Content-Range", "content_type": "Content-Type", "range": "Range"}
        url = URL(path if path.startswith("http") else f"http://{self.host}{path}", encoded=True)
        sent = {names[name]: value for name, value in headers.items()}
        async with self.http.request(method, url, data=data, headers=sent) as response:
            text = await _read(response)
            is_refusal = response.status >= 400 and response.content_type == "application/json" and text
            code = json.loads(text)["errors"][0]["code"] if is_refusal else ""
            return (response.status, code, *(response.headers.get(name) for name in wanted))

    async def begin(self) -> str:
        """Open an upload and return its Location, an absolute URL."""
        status, _, location = await self.ask("POST", "/v2/habits/app/blobs/uploads/", "Location")
        assert status == 202
        return str(location)

    async def chunk(self, location: str, size: int = 1_000) -> str:
        """Send a chunk and return the next Location."""
        status, _, after = await self.ask("PATCH", location, "Location", data=CONTENT[:size])
        assert status == 202
        return str(after)

    async def cut(self, location: str, sent_bytes: int) -> None:
        """Announce a chunk, send only *sent_bytes* of it, and disconnect."""
        url = urlsplit(location)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        head = f"PATCH {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 2000\r\n\r\n"
        writer.write(head.encode() + CONTENT[:sent_bytes])
        await writer.drain()
        writer.write_eof()
        await reader.read()
        writer.close()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Return the body, or its beginning if it ends before the announced length."""
    received = bytearray()
    with suppress(aiohttp.ClientPayloadError):
        async for chunk in response.content.iter_any():
            received += chunk
    return bytes(received)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.real)])
async def client(request: pytest.FixtureRequest) -> AsyncGenerator[Client]:
    """A client for each registry; both have the same content."""
    async with aiohttp.ClientSession() as http, FakeRegistry(FAKES["distribution-2.8"]) as fake:
        host = fake.host
        if request.param == "real":
            docker: DockerRegistry = request.getfixturevalue("docker_registry")
            host = docker.host
        await asyncio.to_thread(Peer(host).push, "habits/app", single("habits"), "a", "b", "c")
        yield Client(http, host)


async def _whole_upload(client: Client) -> list[Seen]:
    location = await client.chunk(await client.begin())
    told = await client.ask("GET", location, "Range")
    digest = Blob.of(CONTENT[:1_000]).digest
    closed = await client.ask("PUT", f"{location}&digest={digest}", "Docker-Content-Digest")
    return [told, closed]


async def _empty_upload(client: Client) -> list[Seen]:
    return [await client.ask("GET", await client.begin(), "Range")]


async def _stale_location(client: Client) -> list[Seen]:
    first = await client.begin()
    await client.chunk(first)
    return [await client.ask("GET", first), await client.ask("PATCH", first, data=CONTENT[:10])]


async def _cut_within(client: Client) -> list[Seen]:
    location = await client.chunk(await client.begin())
    await client.cut(location, 500)
    return [await client.ask("GET", location), await client.ask("PATCH", location, data=CONTENT[:10])]


async def _cut_before(client: Client) -> list[Seen]:
    location = await client.chunk(await client.begin())
    await client.cut(location, 0)
    return [await client.ask("GET", location, "Range")]


async def _wrong_range(client: Client) -> list[Seen]:
    location = await client.chunk(await client.begin())
    chunk = CONTENT[:500]
    return [await client.ask("PATCH", location, "Range", data=chunk, content_range="7-506")]


async def _wrong_digest(client: Client) -> list[Seen]:
    location = await client.chunk(await client.begin())
    wrong = await client.ask("PUT", f"{location}&digest={Blob.of(b'?').digest}")
    return [wrong, await client.ask("GET", location)]


async def _mounts(client: Client) -> list[Seen]:
    digest = next(iter(single("habits").blobs))
    path = f"/v2/habits/other/blobs/uploads/?mount={digest}"
    missing = Blob.of(b"no registry has this").digest
    return [
        await client.ask("POST", path),
        await client.ask("POST", f"{path}&from=habits/none"),
        await client.ask("POST", f"/v2/habits/other/blobs/uploads/?mount={missing}&from=habits/app"),
        await client.ask("POST", f"{path}&from=habits/app", "Docker-Content-Digest"),
    ]


async def _many_tags(client: Client) -> list[Seen]:
    root = single("habits").root
    path = f"/v2/habits/app/manifests/{root.digest}?tag=x&tag=y"
    put = await client.ask("PUT", path, "OCI-Tag", data=root.content, content_type=root.media_type)
    return [put, await client.ask("HEAD", "/v2/habits/app/manifests/x")]


async def _missing_parts(client: Client) -> list[Seen]:
    roots = [single("incomplete").root, multi("incomplete").root]
    return [
        await client.ask("PUT", "/v2/habits/app/manifests/z", data=root.content, content_type=root.media_type)
        for root in roots
    ]


async def _referrers(client: Client) -> list[Seen]:
    return [(await client.ask("GET", f"/v2/habits/app/referrers/{single('habits').digest}"))[:1]]


async def _ranges(client: Client) -> list[Seen]:
    blob = next(iter(single("habits").blobs.values()))
    path = f"/v2/habits/app/blobs/{blob.digest}"
    wanted = ("bytes=-5", "bytes=-999999", "bytes=5-9", "bytes=", "bytes=-", "items=0-5", "bytes=9-5")
    asked = [await client.ask("GET", path, "Content-Range", "Content-Length", range=text) for text in wanted]
    return [*asked, await client.ask("HEAD", path, "Content-Range", "Content-Length", range="bytes=-5")]


async def _beyond_the_end(client: Client) -> list[Seen]:
    """The announced length is the blob's, and the body ends before it."""
    blob = next(iter(single("habits").blobs.values()))
    url = f"http://{client.host}/v2/habits/app/blobs/{blob.digest}"
    async with client.http.get(url, headers={"Range": f"bytes={blob.size_bytes}-"}) as response:
        broken = len(await _read(response)) < int(response.headers["Content-Length"]) == blob.size_bytes
        return [(response.status, response.headers["Content-Range"], broken)]


async def _sha512_manifests(client: Client) -> list[Seen]:
    root = single("habits").root
    path = f"/v2/habits/app/manifests/{Blob.of(root.content, algorithm='sha512').digest}"
    put = await client.ask("PUT", path, data=root.content, content_type=root.media_type)
    return [put, await client.ask("GET", path)]


async def _sha512_blobs(client: Client) -> list[Seen]:
    blob = Blob.of(CONTENT, algorithm="sha512")
    put = f"{await client.begin()}&digest={blob.digest}"
    sent = await client.ask("PUT", put, "Docker-Content-Digest", data=CONTENT, content_type="application/octet-stream")
    mount = f"/v2/habits/third/blobs/uploads/?mount={blob.digest}&from=habits/app"
    return [
        sent,
        await client.ask("HEAD", f"/v2/habits/app/blobs/{blob.digest}", "Docker-Content-Digest"),
        await client.ask("POST", mount, "Docker-Content-Digest"),
        await client.ask("HEAD", f"/v2/habits/third/blobs/{blob.digest}"),
        await client.ask("HEAD", f"/v2/habits/third/blobs/{Blob.of(CONTENT).digest}"),
        await client.ask("HEAD", f"/v2/habits/app/blobs/{Blob.of(CONTENT).digest}"),
    ]


async def _layers_elsewhere(client: Client) -> list[Seen]:
    seen: list[Seen] = []
    for docker in (True, False):
        image = foreign("habits", docker=docker)
        for blob in image.blobs.values():
            put = f"{await client.begin()}&digest={blob.digest}"
            await client.ask("PUT", put, data=blob.read(), content_type="application/octet-stream")
        for urls in (["https://a.test/b"], ["http://a.test/b"], ["https:"], []):
            document: dict[str, Any] = json.loads(image.root.content)
            document["layers"][0]["urls"] = urls
            content = json.dumps(document).encode()
            path = f"/v2/habits/app/manifests/{Blob.of(content).digest}"
            seen.append(await client.ask("PUT", path, data=content, content_type=image.root.media_type))
    return seen


async def _malformed_digests(client: Client) -> list[Seen]:
    root = single("habits").root
    seen: list[Seen] = []
    for reference in ("sha256:abc", f"md5:{32 * 'a'}", "foo:bar"):
        path = f"/v2/habits/app/manifests/{reference}"
        seen += [await client.ask(method, path) for method in ("GET", "HEAD", "DELETE")]
        seen.append(await client.ask("PUT", path, data=root.content, content_type=root.media_type))
    seen.append(await client.ask("GET", "/v2/habits/app/blobs/sha256:abc"))
    seen.append(await client.ask("PUT", f"{await client.begin()}&digest=sha256:abc"))
    seen.append(await client.ask("POST", "/v2/habits/other/blobs/uploads/?mount=sha256:abc&from=habits/app"))
    return seen


async def _deletions(client: Client) -> list[Seen]:
    digest = single("habits").digest
    paths = ("a", "none", digest, digest, "a")
    return [await client.ask("DELETE", f"/v2/habits/app/manifests/{path}") for path in paths[:-1]] + [
        await client.ask("GET", "/v2/habits/app/manifests/a")
    ]


async def _single_post(client: Client) -> list[Seen]:
    digest = Blob.of(b"whole").digest
    path = f"/v2/habits/app/blobs/uploads/?digest={digest}"
    posted = await client.ask("POST", path, data=b"whole", content_type="application/octet-stream")
    return [posted, await client.ask("HEAD", f"/v2/habits/app/blobs/{digest}")]


async def _large_manifest(client: Client) -> list[Seen]:
    root = single("habits").root
    content = io.BytesIO(bytes(4 * 1024 * 1024 + 1))
    return [await client.ask("PUT", "/v2/habits/app/manifests/z", data=content, content_type=root.media_type)]


async def _closed_uploads(client: Client) -> list[Seen]:
    location = await client.begin()
    await client.ask("DELETE", location)
    return [await client.ask("GET", location), await client.ask("GET", location.partition("?")[0])]


async def _absent(client: Client) -> list[Seen]:
    paths = ["app/manifests/no", "none/manifests/no", "none/tags/list", f"app/blobs/{Blob.of(b'?').digest}"]
    return [await client.ask("GET", f"/v2/habits/{path}") for path in paths]


TAKEN = (202, "")
LOST = (404, "BLOB_UPLOAD_INVALID")
INVALID = (400, "DIGEST_INVALID")
BROKEN, BROKEN_HEAD = (500, "UNKNOWN"), (500, "")
HABITS: dict[Callable[[Client], Awaitable[list[Seen]]], list[Seen]] = {
    _whole_upload: [(204, "", "0-999"), (201, "", str(Blob.of(CONTENT[:1_000]).digest))],
    _empty_upload: [(204, "", "0-0")],
    _stale_location: [LOST, LOST],
    _cut_within: [LOST, LOST],
    _cut_before: [(204, "", "0-999")],
    _wrong_range: [(202, "", "0-1499")],
    _wrong_digest: [(400, "DIGEST_INVALID"), (204, "")],
    _mounts: [TAKEN, TAKEN, TAKEN, (201, "", str(next(iter(single("habits").blobs))))],
    _many_tags: [(201, "", None), (404, "")],
    _missing_parts: [(400, "MANIFEST_BLOB_UNKNOWN"), (400, "MANIFEST_BLOB_UNKNOWN")],
    _referrers: [(404,)],
    _ranges: [
        (206, "", "bytes 243-247/248", "5"),
        (206, "", "bytes 0-247/248", "248"),
        (206, "", "bytes 5-9/248", "5"),
        (200, "", None, "248"),
        *[(416, "", None, "248")] * 3,
        (206, "", "bytes 243-247/248", "5"),
    ],
    _beyond_the_end: [(416, "bytes */248", True)],
    _sha512_manifests: [(400, "DIGEST_INVALID"), (404, "MANIFEST_UNKNOWN")],
    _sha512_blobs: [
        (201, "", str(Blob.of(CONTENT).digest)),
        (200, "", str(Blob.of(CONTENT).digest)),
        (201, "", str(Blob.of(CONTENT, algorithm="sha512").digest)),  # A mount that lies.
        *[(404, "")] * 2,
        (200, ""),
    ],
    _layers_elsewhere: [
        *[(201, ""), BROKEN, BROKEN, BROKEN],
        *[(201, ""), BROKEN, BROKEN, (400, "MANIFEST_BLOB_UNKNOWN")],
    ],
    _malformed_digests: [
        *[BROKEN, BROKEN_HEAD, INVALID, BROKEN] * 3,
        *[INVALID, INVALID, TAKEN],
    ],
    _deletions: [INVALID, INVALID, TAKEN, (404, "MANIFEST_UNKNOWN"), (404, "MANIFEST_UNKNOWN")],
    _single_post: [TAKEN, (404, "")],
    _large_manifest: [(400, "MANIFEST_INVALID")],
    _closed_uploads: [(404, "BLOB_UPLOAD_UNKNOWN"), LOST],
    _absent: [
        (404, "MANIFEST_UNKNOWN"),
        (404, "MANIFEST_UNKNOWN"),  # Without its repository as well.
        (404, "NAME_UNKNOWN"),
        (404, "BLOB_UNKNOWN"),
    ],
}


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.__name__.strip("_"))
async def test_the_profile_behaves_as_the_real_registry(
    client: Client, habit: Callable[[Client], Awaitable[list[Seen]]]
) -> None:
    """The profile and Debian's docker-registry give the same responses."""
    assert await habit(client) == HABITS[habit]


async def test_the_whole_list_comes_whatever_is_asked(client: Client) -> None:
    """`n` and `last` are ignored, there is no Link, and the order is arbitrary."""
    async with client.http.get(f"http://{client.host}/v2/habits/app/tags/list?n=1&last=b") as response:
        assert sorted((await response.json(content_type=None))["tags"]) == ["a", "b", "c"]
        assert "Link" not in response.headers


async def test_the_default_configuration_refuses_urls_of_layers() -> None:
    """Every non-distributable layer with a URL is an unexpected error, in the profile and in docker-registry."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    with DockerRegistry(DockerProfile(layer_urls=False)) as docker:
        async with aiohttp.ClientSession() as http, FakeRegistry(profiles.DISTRIBUTION_2_8) as fake:
            for host in (docker.host, fake.host):
                seen = await _layers_elsewhere(Client(http, host))
                assert seen == [*[BROKEN] * 7, (400, "MANIFEST_BLOB_UNKNOWN")]
