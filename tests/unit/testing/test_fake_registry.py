"""FakeRegistry speaks the distribution-spec: by a plain HTTP client, and by skopeo's word."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

from image_syncer.oci import media_type as types
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile
from image_syncer.testing.accounts import PULL
from image_syncer.testing.images import Image, artifact, cosign_signature, multi, single
from image_syncer.testing.kinds import newer_kinds, twenty_kinds
from image_syncer.testing.skopeo import SKOPEO_CANNOT_COPY, Skopeo, SkopeoFailed

ACCOUNTS = Accounts(
    {"alice": Account("pa:ss", refresh_token="refresh-me"), "bob": Account("word", {"public/*": PULL})},
    anonymous={"public/*": PULL},
)


@pytest.fixture
async def registry() -> AsyncGenerator[FakeRegistry]:
    """A registry that wants no login."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def http(registry: FakeRegistry) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of that registry."""
    async with aiohttp.ClientSession(registry.url) as session:
        yield session


async def _start(http: aiohttp.ClientSession, name: str = "app") -> str:
    async with http.post(f"/v2/{name}/blobs/uploads/") as response:
        assert response.status == 202
        return response.headers["Location"]


async def _code(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json())["errors"][0]["code"]


async def test_what_was_loaded_is_served_byte_for_byte(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """By tag and by digest, with its own media type and digest."""
    image = multi("app", docker=True)
    registry.load("team/app", image, "v1")
    for identifier in ("v1", str(image.digest)):
        async with http.get(f"/v2/team/app/manifests/{identifier}") as response:
            assert await response.read() == image.root.content
            assert response.headers["Content-Type"] == types.DOCKER_LIST
            assert response.headers["Docker-Content-Digest"] == str(image.digest)


async def test_head_has_the_headers_alone(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Size and digest of manifests and blobs are told without their content."""
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
    """As distribution does it; an unchanged manifest is not sent again."""
    image = single("app")
    registry.load("app", image, "v1")
    async with http.get("/v2/app/manifests/v1", headers={"Accept": types.DOCKER_MANIFEST}) as response:
        assert await _code(response) == (404, "MANIFEST_UNKNOWN")
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
async def test_what_is_missing_has_its_code(
    registry: FakeRegistry, http: aiohttp.ClientSession, path: str, code: str
) -> None:
    """404 with the code of the specification."""
    registry.load("app", single("app"), "v1")
    async with http.get(f"/v2/{path}") as response:
        assert await _code(response) == (404, code)


@pytest.mark.parametrize(
    ("wanted", "status", "start", "end"),
    [
        ("bytes=10-", 206, 10, 3000),
        ("bytes=0-99", 206, 0, 100),
        ("bytes=2999-9999", 206, 2999, 3000),
        (None, 200, 0, 3000),
    ],
)
async def test_blobs_are_read_from_any_offset(
    registry: FakeRegistry, http: aiohttp.ClientSession, wanted: str | None, status: int, start: int, end: int
) -> None:
    """A Range is answered by 206 with exactly these bytes."""
    blob = Blob.generated("layer", 3000)
    registry.load("app", single("app", layers=[blob]), "v1")
    async with http.get(f"/v2/app/blobs/{blob.digest}", headers={"Range": wanted} if wanted else {}) as response:
        assert (response.status, await response.read()) == (status, blob.read()[start:end])
        assert response.headers.get("Content-Range") == (f"bytes {start}-{end - 1}/3000" if wanted else None)
    assert registry.requests.bytes_out == end - start


async def test_a_range_beyond_the_end_is_refused(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """416 says how much there is."""
    blob = Blob.of(b"content")
    registry.load("app", single("app", layers=[blob]), "v1")
    async with http.get(f"/v2/app/blobs/{blob.digest}", headers={"Range": "bytes=7-"}) as response:
        assert (response.status, response.headers["Content-Range"]) == (416, "bytes */7")


async def test_a_blob_arrives_in_chunks(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Each PATCH continues the last, GET tells how far it came, PUT brings the last chunk and the digest."""
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
    """416 with the newest Location and Range; a Location that was replaced is no better than a wrong range."""
    location = await _start(http)
    async with http.patch(location, data=bytes(1000)) as response:
        newest = response.headers["Location"]
    here = location if chunk_range is None else newest
    headers = {"Content-Range": chunk_range} if chunk_range else {}
    async with http.patch(here, data=bytes(1001), headers=headers) as response:
        assert response.status == 416
        assert (response.headers["Location"], response.headers["Range"]) == (newest, "0-999")


async def test_a_chunk_below_the_minimum_can_only_be_the_last() -> None:
    """The minimum is announced when the upload begins."""
    async with FakeRegistry(Profile(chunk_min_bytes=10)) as registry, aiohttp.ClientSession(registry.url) as http:
        async with http.post("/v2/app/blobs/uploads/") as response:
            assert response.headers["OCI-Chunk-Min-Length"] == "10"
        async with http.patch(response.headers["Location"], data=b"short") as response:
            assert response.status == 202
        async with http.patch(response.headers["Location"], data=bytes(10)) as response:
            assert await _code(response) == (400, "SIZE_INVALID")


async def test_a_broken_chunk_leaves_what_arrived(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """An upload goes on from the byte at which the connection broke."""
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
async def test_wrong_bytes_are_refused_and_forgotten(
    registry: FakeRegistry, http: aiohttp.ClientSession, way: str
) -> None:
    """A digest is checked before anything is kept."""
    digest = Blob.of(b"right").digest
    url = f"/v2/app/blobs/uploads/?digest={digest}" if way == "post" else f"{await _start(http)}&digest={digest}"
    async with http.request(way.upper(), url, data=b"wrong") as response:
        assert await _code(response) == (400, "DIGEST_INVALID")
    assert digest not in registry.content("app").blobs
    assert registry.unfinished_uploads == 0


async def test_an_empty_blob_and_a_sha512_blob_are_stored(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Neither a size of nothing nor another algorithm is special."""
    for blob in (Blob.of(b""), Blob.of(b"x", algorithm="sha512")):
        async with http.post(f"/v2/app/blobs/uploads/?digest={blob.digest}", data=blob.read()) as response:
            assert response.status == 201
        async with http.get(f"/v2/app/blobs/{blob.digest}") as response:
            assert hashlib.new(blob.digest.algorithm, await response.read()).hexdigest() == blob.digest.encoded


@pytest.mark.parametrize(("origin", "status"), [("&from=app", 201), ("", 201), ("&from=nowhere", 202)])
async def test_a_blob_is_mounted_from_where_it_is(
    registry: FakeRegistry, http: aiohttp.ClientSession, origin: str, status: int
) -> None:
    """201 with the source or without one named; a source that has it not begins an upload."""
    image = single("app", layers=(10,))
    registry.load("app", image, "v1")
    digest = next(iter(image.blobs))
    async with http.post(f"/v2/other/blobs/uploads/?mount={digest}{origin}") as response:
        assert response.status == status
    assert (digest in registry.content("other").blobs) == (status == 201)


async def test_an_upload_can_be_given_up(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """After DELETE it is unknown."""
    location = await _start(http)
    async with http.delete(location) as response:
        assert response.status == 204
    async with http.get(location) as response:
        assert response.status == 404
    assert registry.unfinished_uploads == 0


async def _put(http: aiohttp.ClientSession, image: Image, identifier: str, path: str = "app") -> aiohttp.ClientResponse:
    url = f"/v2/{path}/manifests/{identifier}"
    async with http.put(url, data=image.root.content, headers={"Content-Type": image.root.media_type}) as response:
        await response.read()
        return response


async def test_a_manifest_needs_what_it_names(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """An index without its children is refused, and no tag moves."""
    image = multi("app")
    assert await _code(await _put(http, image, "v1")) == (404, "MANIFEST_BLOB_UNKNOWN")
    assert registry.content("app").tags == {}


async def test_a_manifest_at_another_digest_is_refused(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """What stands at a digest has that digest."""
    image, other = single("app"), single("other")
    registry.load("app", image)
    assert await _code(await _put(http, image, str(other.digest))) == (400, "DIGEST_INVALID")


async def test_several_tags_in_one_request(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """end-7b of distribution-spec 1.1."""
    image = single("app")
    registry.load("app", image)
    response = await _put(http, image, f"{image.digest}?tag=a&tag=b")
    assert (response.status, response.headers.getall("OCI-Tag")) == (201, ["a", "b"])
    assert registry.content("app").tags == {"a": image.digest, "b": image.digest}


async def test_a_tag_moves_and_goes(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Deleting a tag leaves the manifest, deleting the digest takes the tags along."""
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
    """Lexical order, `n` at most, and a relative Link while there is more."""
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


async def test_an_interceptor_answers_first(registry: FakeRegistry, http: aiohttp.ClientSession) -> None:
    """Faults come in by this door; such requests are counted too."""

    async def busy(request: web.Request) -> web.Response | None:
        return web.Response(status=429, headers={"Retry-After": "1"}) if request.method == "GET" else None

    registry.intercept.append(busy)
    async with http.get("/v2/") as response:
        assert response.status == 429
    async with http.head("/v2/") as response:
        assert response.status == 200
    assert [request.status for request in registry.requests] == [429, 200]


async def test_basic_asks_for_a_password_and_minds_rights() -> None:
    """401 with a challenge, 403 for what the user may not do."""
    async with FakeRegistry(Profile(auth="basic", accounts=ACCOUNTS)) as registry:
        registry.load("public/app", single("app"), "v1")
        async with aiohttp.ClientSession(registry.url) as http:
            async with http.get("/v2/") as response:
                assert (response.status, response.headers["WWW-Authenticate"]) == (401, 'Basic realm="fake registry"')
            bob = aiohttp.encode_basic_auth("bob", "word")
            async with http.get("/v2/public/app/tags/list", headers={"Authorization": bob}) as response:
                assert response.status == 200
            async with http.post("/v2/public/app/blobs/uploads/", headers={"Authorization": bob}) as response:
                assert await _code(response) == (403, "DENIED")
    assert [request.authorization for request in registry.requests] == ["", "basic", "basic"]
    assert "authorization" not in registry.requests[1].headers


async def test_bearer_names_its_token_server_and_minds_scopes() -> None:
    """The challenge leads to a token, by GET and by POST; it is good for what it was granted for."""
    async with (
        FakeRegistry(Profile(auth="bearer", accounts=ACCOUNTS)) as registry,
        aiohttp.ClientSession() as http,
    ):
        registry.load("app", single("app"), "v1")
        url = f"{registry.url}/v2/app/tags/list"
        async with http.get(url) as response:
            challenge = response.headers["WWW-Authenticate"]
        realm = f"{registry.url}/token"
        scope = "repository:app:pull"
        assert challenge == f'Bearer realm="{realm}",service="fake-registry",scope="{scope}"'
        asked = {"service": "fake-registry", "scope": scope}
        basic = {"Authorization": aiohttp.encode_basic_auth("alice", "pa:ss")}
        async with http.get(realm, params=asked, headers=basic) as response:
            tokens = [(await response.json())["token"]]
        form = {"grant_type": "refresh_token", "refresh_token": "refresh-me", "client_id": "test"}
        async with http.post(realm, data=asked | form) as response:
            tokens.append((await response.json())["access_token"])
        async with http.get(realm, params=asked) as response:
            anonymous = (await response.json())["token"]
        statuses: list[int] = []
        for token in (*tokens, anonymous):
            async with http.get(url, headers={"Authorization": f"Bearer {token}"}) as response:
                statuses.append(response.status)
        assert statuses == [200, 200, 401]
    assert registry.requests.count(kind="token") == 3


@pytest.mark.real
@pytest.mark.parametrize("profile", [Profile(), Profile("basic", ACCOUNTS), Profile("bearer", ACCOUNTS)])
async def test_skopeo_copies_every_kind_in_and_out(profile: Profile, tmp_path: Path) -> None:
    """What an independent client reads after it wrote is what was there before."""
    if not Skopeo.is_installed():
        pytest.skip("skopeo is not installed")
    skopeo = Skopeo(tmp_path, "" if profile.auth == "none" else "alice:pa:ss")
    kinds = {name: image for name, image in twenty_kinds().items() if name not in SKOPEO_CANNOT_COPY}
    async with FakeRegistry(profile) as registry:
        for name, image in kinds.items():
            registry.load("from", image, name)
            await asyncio.to_thread(skopeo.copy, f"{registry.host}/from:{name}", f"{registry.host}/to:{name}")
            assert await asyncio.to_thread(skopeo.raw, f"{registry.host}/to:{name}") == image.root.content
            assert registry.content("to").tags[name] == image.digest


@pytest.mark.real
async def test_skopeo_reads_what_older_registries_do_not_take(tmp_path: Path, registry: FakeRegistry) -> None:
    """Signed schema 1 and sha512 layers; skopeo 1.9 itself does not accept the withdrawn artifact manifest."""
    if not Skopeo.is_installed():
        pytest.skip("skopeo is not installed")
    skopeo = Skopeo(tmp_path)
    for name in ("schema1", "sha512"):
        image = newer_kinds()[name]
        registry.load("app", image, name)
        assert await asyncio.to_thread(skopeo.raw, f"{registry.host}/app:{name}") == image.root.content
    registry.load("app", newer_kinds()["artifact-manifest"], "withdrawn")
    with pytest.raises(SkopeoFailed, match="not accepted"):
        await asyncio.to_thread(skopeo.raw, f"{registry.host}/app:withdrawn")


def test_it_runs_in_a_thread_for_code_that_is_not_async(tmp_path: Path) -> None:
    """A plain `with` starts and stops it."""
    if not Skopeo.is_installed():
        pytest.skip("skopeo is not installed")
    signature = cosign_signature(single("signed"))
    with FakeRegistry.in_thread() as registry:
        registry.load("app", signature, "v1")
        assert Skopeo(tmp_path).raw(f"{registry.host}/app:v1") == signature.root.content
    assert registry.requests.count(kind="manifest") == 1


async def test_it_speaks_tls_where_it_is_given_a_certificate() -> None:
    """To who trusts its CA."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    async with FakeRegistry(Profile(tls=context)) as registry, aiohttp.ClientSession(registry.url) as http:
        async with http.get("/v2/", ssl=trusting) as response:
            assert (response.status, registry.url[:5]) == (200, "https")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await http.get("/v2/")


async def test_a_registry_of_1_0_has_no_referrers() -> None:
    """Neither the listing nor the header that acknowledges a subject."""
    image = artifact("app", "application/x", subject=single("subject"))
    async with FakeRegistry(Profile(referrers=False)) as registry, aiohttp.ClientSession(registry.url) as http:
        registry.load("app", image)
        async with http.get(f"/v2/app/referrers/{single('subject').digest}") as response:
            assert response.status == 404
        assert "OCI-Subject" not in (await _put(http, image, "v1")).headers


async def test_tokens_end() -> None:
    """With a challenge that says why."""
    async with FakeRegistry(Profile("bearer", ACCOUNTS)) as registry, aiohttp.ClientSession(registry.url) as http:
        headers = {"Authorization": aiohttp.encode_basic_auth("alice", "pa:ss")}
        async with http.get("/token", params={"service": "fake-registry"}, headers=headers) as response:
            token = (await response.json())["token"]
        registry.expire_tokens()
        async with http.get("/v2/", headers={"Authorization": f"Bearer {token}"}) as response:
            assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"no json", types.OCI_MANIFEST, 400),
        (b'{"schemaVersion":2,"manifests":[],"layers":[]}', types.OCI_INDEX, 400),
        (b"{}", "application/json", 400),
        (b" " * (4 * 1024 * 1024 + 1), types.OCI_MANIFEST, 413),
    ],
)
async def test_what_is_no_manifest_is_refused(
    http: aiohttp.ClientSession, content: bytes, kind: str, status: int
) -> None:
    """And what is both an index and an image, and what is too large."""
    async with http.put("/v2/app/manifests/v1", data=content, headers={"Content-Type": kind}) as response:
        assert response.status == status
