import asyncio
import json
from collections.abc import AsyncGenerator, Callable

import pytest
from aiohttp import web

from image_syncer.errors import (
    ContentMismatch,
    MissingContent,
    NotFound,
    ProtocolError,
    Refused,
    StoreError,
    TagImmutable,
    TooLarge,
)
from image_syncer.oci import Digest, RawManifest, Repository, media_type
from image_syncer.registry.manifests import ReadAhead
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.structs import replace
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import signed_schema1, single
from support.clients import QUICK, FakeTime, Fault, client, instead, lose_answer

IMAGE = single("image")
OTHER = single("other")


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry with one image, `app:v1`."""
    async with FakeRegistry() as registry:
        registry.load("app", IMAGE, "v1")
        yield registry


def served(
    content: bytes = IMAGE.root.content, headers: dict[str, str] | None = None
) -> Callable[[web.Request], web.Response]:
    """Return a handler that serves *content* as a manifest with these headers only."""
    return lambda _: web.Response(body=content, headers={"Content-Type": IMAGE.root.media_type} | (headers or {}))


async def test_a_tag_is_resolved_by_one_head(fake: FakeRegistry, source: RegistrySource) -> None:
    """Type, digest and size come from the headers; the only other request is the first ping."""
    assert await source.resolve("v1") == IMAGE.root.descriptor
    assert [request.method for request in fake.requests.only(kind="manifest")] == ["HEAD"]
    assert len(fake.requests) == 2


async def test_requests_accept_every_supported_media_type(fake: FakeRegistry, source: RegistrySource) -> None:
    """Otherwise registries convert manifests or answer 404."""
    await source.resolve("v1")
    await source.manifest("v1")
    for request in fake.requests.only(kind="manifest"):
        assert request.headers["accept"].split(", ") == list(media_type.ACCEPT)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Docker-Content-Digest": "sha256:short"},
        {"Docker-Content-Digest": str(IMAGE.digest), "Content-Type": "text/plain"},
    ],
)
async def test_a_get_follows_a_head_without_digest_or_type(
    fake: FakeRegistry, source: RegistrySource, headers: dict[str, str]
) -> None:
    """The manifest itself is then hashed."""
    fake.intercept.append(instead("HEAD", served(headers=headers)))
    assert await source.resolve("v1") == IMAGE.root.descriptor


@pytest.mark.parametrize("status", [405, 501])
async def test_a_get_follows_an_unsupported_head(fake: FakeRegistry, source: RegistrySource, status: int) -> None:
    """Some registries do not implement HEAD."""
    fake.intercept.append(Fault(status, "HEAD"))
    assert await source.resolve("v1") == IMAGE.root.descriptor


@pytest.mark.parametrize("status", [400, 401, 403, 404])
async def test_a_registry_that_refuses_every_head_is_asked_by_get_from_then_on(fake: FakeRegistry, status: int) -> None:
    """Concurrent first requests wait for the one GET that finds it out, and later requests send no HEAD."""
    fake.load("app", OTHER, *(f"t{number}" for number in range(8)))
    fake.intercept.append(refusal := Fault(status, "HEAD", times=999))
    async with client() as registries:
        source = registries.source(fake.repository("app"))
        found = await asyncio.gather(*(source.resolve(f"t{number}") for number in range(8)))
        assert set(found) == {OTHER.root.descriptor}
        refused = refusal.seen
        assert await source.resolve("v1") == IMAGE.root.descriptor
        assert refusal.seen == refused <= 8


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_target_that_refuses_every_head_is_asked_by_get(
    fake: FakeRegistry, target: RegistryTarget, status: int
) -> None:
    """So an unchanged image is recognised there, too."""
    fake.intercept.append(Fault(status, "HEAD", times=999))
    assert await target.resolve("v1") == IMAGE.root.descriptor
    assert await target.resolve("v9") is None


async def test_a_refusal_of_both_methods_costs_one_get_per_registry(fake: FakeRegistry) -> None:
    """HEAD is then no worse than GET, and its refusal is the error; a HEAD that works settles it without any GET."""
    async with client() as registries:
        source = registries.source(fake.repository("app"))
        for tag in ("v7", "v8", "v9"):
            with pytest.raises(NotFound, match=f"app:{tag}"):
                await source.resolve(tag)
    assert fake.requests.count(method="GET", kind="manifest") == 1
    fake.requests.clear()
    async with client() as registries:
        source = registries.source(fake.repository("app"))
        await source.resolve("v1")
        with pytest.raises(NotFound):
            await source.resolve("v9")
    assert fake.requests.count(method="GET", kind="manifest") == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 500, 503])
async def test_a_storage_that_refuses_head_says_nothing_about_a_manifest(fake: FakeRegistry, status: int) -> None:
    """A signed URL of a storage is often valid for GET only: each such HEAD is followed by a GET at the registry."""

    async def storage(request: web.BaseRequest) -> web.Response:
        return web.Response(status=status)

    runner = web.ServerRunner(web.Server(storage))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    elsewhere = f"http://127.0.0.1:{runner.addresses[0][1]}/signed"
    fake.intercept.append(Fault(307, "HEAD", kind="manifest", times=99, headers={"Location": elsewhere}))
    try:
        async with client() as registries:
            source, target = registries.source(fake.repository("app")), registries.target(fake.repository("app"))
            for _ in range(2):
                assert await source.resolve("v1") == IMAGE.root.descriptor
            assert await target.resolve("v1") == IMAGE.root.descriptor
            with pytest.raises(NotFound):
                await source.resolve("v9")
            assert registries.limiter(fake.host).concurrency("request") == QUICK.requests_per_host
    finally:
        await runner.cleanup()


async def test_a_manifest_without_a_digest_header_is_read_once(fake: FakeRegistry) -> None:
    """The lookup has to read it, so the read that follows sends no request; another one does."""
    fake.intercept.append(instead("HEAD", served()))
    fake.intercept.append(instead("GET", served(), kind="manifest"))
    async with client() as registries:
        source = registries.source(fake.repository("app"))
        descriptor = await source.resolve("v1")
        assert await source.manifest(str(descriptor.digest)) == IMAGE.root
        assert fake.requests.count(method="GET", kind="manifest") == 1
        assert await source.manifest(str(descriptor.digest)) == IMAGE.root
        assert fake.requests.count(method="GET", kind="manifest") == 2


def test_manifests_read_ahead_are_bounded() -> None:
    """By their bytes and by their number; the oldest go first."""
    kept, repository = ReadAhead(), Repository("r.test", "app")
    manifests = [replace(IMAGE.root, digest=Digest.of(b"%d" % number)) for number in range(1_001)]
    for manifest in manifests:
        kept.keep(repository.tag("v1"), manifest)
    assert kept.take(repository.at(manifests[0].digest)) is None
    assert kept.take(repository.at(manifests[1].digest)) == manifests[1]
    assert kept.take(repository.at(manifests[1].digest)) is None
    large = [replace(manifest, content=bytes(3 * 1024 * 1024)) for manifest in manifests[:3]]
    for manifest in large:
        kept.keep(repository.tag("v1"), manifest)
    assert [kept.take(repository.at(manifest.digest)) for manifest in large] == [None, *large[1:]]


async def test_a_manifest_is_read_byte_for_byte(source: RegistrySource) -> None:
    """By tag and by digest."""
    assert await source.manifest("v1") == IMAGE.root
    assert await source.manifest(str(IMAGE.digest)) == IMAGE.root


async def test_a_missing_manifest_is_not_found_by_its_full_name(fake: FakeRegistry, source: RegistrySource) -> None:
    """The message has the reference and the registry's text."""
    with pytest.raises(NotFound, match=rf"^{fake.host}/app:v9: not found; .* 404: MANIFEST_UNKNOWN"):
        await source.manifest("v9")
    with pytest.raises(NotFound, match=rf"^{fake.host}/app:v9: not found"):
        await source.resolve("v9")


async def test_wrong_bytes_are_refused_after_a_second_read(fake: FakeRegistry, source: RegistrySource) -> None:
    """A registry that sends other content is read twice and never believed."""
    fake.intercept.append(instead("GET", served(OTHER.root.content), kind="manifest"))
    with pytest.raises(ContentMismatch, match=str(OTHER.digest)):
        await source.manifest(str(IMAGE.digest))
    assert fake.requests.count(method="GET", kind="manifest") == 2


async def test_a_truncated_manifest_is_read_again(fake: FakeRegistry, source: RegistrySource) -> None:
    """Invalid JSON with a wrong digest is a transfer error."""
    headers = {"Docker-Content-Digest": str(IMAGE.digest)}
    fake.intercept.append(Fault(200, "GET", "manifest", body=IMAGE.root.content[:-9], headers=headers))
    assert await source.manifest("v1") == IMAGE.root


async def test_a_tag_is_verified_against_the_digest_header(fake: FakeRegistry, source: RegistrySource) -> None:
    """Header and bytes must agree."""
    fake.intercept.append(instead("GET", served(headers={"Docker-Content-Digest": str(OTHER.digest)}), kind="manifest"))
    with pytest.raises(ContentMismatch, match="not sha256:"):
        await source.manifest("v1")


async def test_a_head_that_contradicts_the_requested_digest_is_refused(
    fake: FakeRegistry, source: RegistrySource
) -> None:
    """A registry cannot rename content."""
    fake.intercept.append(instead("HEAD", served(headers={"Docker-Content-Digest": str(OTHER.digest)})))
    with pytest.raises(ContentMismatch):
        await source.resolve(str(IMAGE.digest))


async def test_a_sha512_digest_is_checked_and_kept(fake: FakeRegistry, source: RegistrySource) -> None:
    """A manifest requested by a digest of another algorithm is verified by it and returned with it."""
    wanted = Digest.of(IMAGE.root.content, "sha512")
    fake.intercept.append(instead("GET", served(), kind="manifest"))
    assert (await source.manifest(str(wanted))).digest == wanted


async def test_signed_schema_1_is_checked_by_its_payload(fake: FakeRegistry, source: RegistrySource) -> None:
    """Its digest leaves the signatures out."""
    signed = signed_schema1("old", "v1").root
    headers = {"Content-Type": signed.media_type, "Docker-Content-Digest": str(signed.digest)}
    fake.intercept.append(instead("GET", served(signed.content, headers), kind="manifest"))
    assert await source.manifest("v1") == signed


async def test_a_huge_manifest_is_not_read(fake: FakeRegistry, source: RegistrySource) -> None:
    """The limit of the specification, 4 MiB, applies."""
    fake.intercept.append(instead("GET", served(b" " * (4 * 1024 * 1024 + 1)), kind="manifest"))
    with pytest.raises(TooLarge):
        await source.manifest("v1")


async def test_an_html_page_is_no_manifest(fake: FakeRegistry, source: RegistrySource) -> None:
    """The error names the reference."""
    fake.intercept.append(instead("GET", served(b"<html>", {"Content-Type": "text/html"}), kind="manifest"))
    with pytest.raises(ProtocolError, match="app:v1: not a manifest"):
        await source.manifest("v1")


async def test_a_manifest_is_pushed_byte_for_byte(fake: FakeRegistry, target: RegistryTarget) -> None:
    """With its own media type."""
    await target.push_manifest(IMAGE.root, "v2")
    assert fake.manifest("app", "v2") == IMAGE.root
    put = fake.requests.only(method="PUT")[0]
    assert put.headers["content-type"] == IMAGE.root.media_type


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_every_success_status_of_a_put_is_accepted(
    fake: FakeRegistry, target: RegistryTarget, status: int
) -> None:
    """Registries vary."""
    fake.intercept.append(fault := Fault(status, "PUT"))
    await target.push_manifest(IMAGE.root, "v2")
    assert fault.seen == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "MANIFEST_BLOB_UNKNOWN", MissingContent),
        (500, "MANIFEST_INVALID", Refused),
        (503, "BLOB_UNKNOWN", MissingContent),
    ],
)
async def test_a_server_error_with_a_manifest_code_is_no_outage(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str, kind: type[StoreError]
) -> None:
    """Some registries send such codes with a 5xx: the request is wrong, so it is sent once and opens no breaker."""
    fake.intercept.append(fault := Fault(status, "PUT", code=code, times=99))
    for _ in range(6):
        with pytest.raises(kind):
            await target.push_manifest(OTHER.root, "v2")
    assert fault.seen == 6
    assert await target.resolve("v1") is not None


async def test_missing_content_has_its_own_error(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The copier reacts to it."""
    with pytest.raises(MissingContent, match="MANIFEST_BLOB_UNKNOWN"):
        await target.push_manifest(OTHER.root, "v2")


async def test_a_put_whose_response_was_lost_is_repeated(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A manifest PUT is idempotent."""
    lose_answer(fake, "PUT", "manifest")
    await target.push_manifest(IMAGE.root, "v2")
    assert fake.requests.count(method="PUT") == 2


async def test_a_registry_that_stores_another_digest_is_detected(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The digest header of the response must match."""
    fake.intercept.append(Fault(201, "PUT", headers={"Docker-Content-Digest": str(OTHER.digest)}))
    with pytest.raises(ContentMismatch, match=f"stored {OTHER.digest}"):
        await target.push_manifest(IMAGE.root, "v2")


async def test_an_immutable_tag_with_the_same_content_is_success(fake: FakeRegistry, target: RegistryTarget) -> None:
    """An earlier attempt or another client pushed it."""
    fake.intercept.append(Fault(412, "PUT", code="PRECONDITION", times=9))
    await target.push_manifest(IMAGE.root, "v1")


async def test_an_immutable_tag_with_other_content_is_an_error(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The remedy names the registry."""
    fake.intercept.append(Fault(412, "PUT", code="PRECONDITION", times=9))
    with pytest.raises(TagImmutable):
        await target.push_manifest(OTHER.root, "v1")
    assert fake.requests.count(method="PUT") == 1


async def test_retry_after_of_a_manifest_request_is_waited_for(fake: FakeRegistry) -> None:
    """Then the request succeeds."""
    time = FakeTime()
    fake.intercept.append(Fault(429, "HEAD", code="TOOMANYREQUESTS", headers={"Retry-After": "17"}))
    async with client(time) as registries:
        assert await registries.source(fake.repository("app")).resolve("v1") == IMAGE.root.descriptor
    assert sum(time.waits) == 17


async def test_an_index_without_media_type_keeps_its_bytes(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The type comes from the header."""
    raw = RawManifest.of(json.dumps({"schemaVersion": 2, "manifests": []}).encode())
    await target.push_manifest(raw, "empty")
    assert fake.manifest("app", "empty") == raw
