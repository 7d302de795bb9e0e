import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest
from aiohttp import web

from image_syncer.errors import ContentMismatch, Denied, NotFound, Unavailable
from image_syncer.oci import Descriptor
from image_syncer.registry.repository import RegistrySource, RegistryTarget
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.clients import QUICK, FakeTime, Fault, client, instead, lose_answer

TARGET_PATH = "copy"
"""See the fixture `target`."""

BLOB = Blob.generated("layer", 300_000)
BIG = Blob.generated("big", 1_500_000)
IMAGE = single("image", layers=[BLOB, BIG])


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry whose repository `app` holds a small blob and a big one."""
    async with FakeRegistry() as registry:
        registry.load("app", IMAGE)
        yield registry


async def read(source: RegistrySource, blob: Descriptor = BLOB.descriptor) -> bytes:
    """Return all bytes of *blob*."""
    async with source.open(blob) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


async def drain(source: RegistrySource, blob: Blob, received: bytearray) -> None:
    """Read *blob* into *received*."""
    async with source.open(blob.descriptor) as chunks:
        async for chunk in chunks:
            received += chunk


def redirect(location: str) -> Callable[[web.Request], web.Response]:
    """Return a handler that redirects to *location*."""
    return lambda _: web.Response(status=307, headers={"Location": location})


async def test_has_blob_sends_one_head(fake: FakeRegistry, target: RegistryTarget) -> None:
    """200 means yes, 404 means no."""
    assert not await target.has_blob(BLOB.descriptor)
    fake.load("copy", IMAGE)
    assert await target.has_blob(BLOB.descriptor)
    assert fake.requests.count(method="HEAD", kind="blob") == 2


@pytest.mark.parametrize(
    ("status", "found"),
    [(200, True), (204, True), (404, False), (400, False), (403, False), (405, False), (503, False)],
)
async def test_a_redirected_lookup_is_judged_by_the_storage_alone(
    fake: FakeRegistry, target: RegistryTarget, status: int, *, found: bool
) -> None:
    """2xx means present, 404 absent, and anything else says nothing, so the blob is mounted or pushed."""
    async with FakeRegistry() as storage:
        storage.intercept.append(refusal := Fault(status, "HEAD", times=99))
        location = f"http://localhost:{storage.host.rpartition(':')[2]}/v2/x"
        fake.intercept.append(instead("HEAD", redirect(location), kind="blob"))
        assert await target.has_blob(BLOB.descriptor) is found
        assert refusal.seen == 1


async def test_a_denied_head_is_an_error(fake: FakeRegistry, target: RegistryTarget) -> None:
    """403 does not mean that the blob is absent."""
    fake.intercept.append(Fault(403, "HEAD"))
    with pytest.raises(Denied):
        await target.has_blob(BLOB.descriptor)


async def test_a_blob_is_read_by_one_get(fake: FakeRegistry, source: RegistrySource) -> None:
    """All bytes, without content decoding."""
    assert await read(source) == BLOB.read()
    assert fake.requests.count(kind="blob") == 1
    assert fake.requests.only(kind="blob")[0].headers["accept-encoding"] == "identity"


async def test_a_blob_of_unknown_size_is_read(source: RegistrySource) -> None:
    """Docker schema 1 does not state sizes."""
    assert await read(source, replace(BLOB.descriptor, size=None)) == BLOB.read()


async def test_wrong_bytes_are_never_complete(fake: FakeRegistry, source: RegistrySource) -> None:
    """The last chunk of wrong content is withheld; a small blob has only one chunk."""
    for blob in (BLOB, BIG):
        fake.replace_blob(blob.digest, blob.read()[:-1] + b"?")
        received = bytearray()
        with pytest.raises(ContentMismatch, match=f"app@{blob.digest}"):
            await drain(source, blob, received)
        assert (len(received) > 0) is (blob is BIG)
        assert len(received) < blob.size_bytes


async def test_a_small_blob_with_surplus_bytes_is_refused(fake: FakeRegistry, source: RegistrySource) -> None:
    """So it cannot fill the memory."""
    fake.replace_blob(BLOB.digest, bytes(1_500_000))
    with pytest.raises(ContentMismatch, match="more than its size"):
        await read(source)


async def test_an_interrupted_read_of_a_small_blob_is_retried(fake: FakeRegistry, source: RegistrySource) -> None:
    """From its beginning."""
    lose_answer(fake, "GET", "blob")
    assert await read(source) == BLOB.read()


async def test_a_missing_blob_is_not_found(source: RegistrySource) -> None:
    """The message has its full name."""
    with pytest.raises(NotFound, match=r"app@sha256:.*: not found; .* 404: BLOB_UNKNOWN"):
        await read(source, Blob.of(b"none").descriptor)


async def test_opening_is_retried(fake: FakeRegistry, source: RegistrySource) -> None:
    """Callers do not notice."""
    fake.intercept.append(Fault(503, "GET", "blob", times=3))
    assert await read(source) == BLOB.read()


async def test_opening_fails_after_four_attempts(fake: FakeRegistry) -> None:
    """With three growing waits between them."""
    time = FakeTime()
    fake.intercept.append(fault := Fault(503, "GET", "blob", times=99, body=b"out of order"))
    async with client(time) as registries:
        with pytest.raises(Unavailable, match="503: out of order"):
            await read(registries.source(fake.repository("app")))
    assert fault.seen == 4
    assert len(time.waits) == 3


async def test_storage_behind_a_redirect_gets_no_credentials(fake: FakeRegistry) -> None:
    """Authorization is never sent to another host."""
    profile = Profile(auth="basic", accounts=Accounts({"ann": Account("secret")}))
    async with FakeRegistry(profile) as registry:
        location = f"{fake.url}/v2/app/blobs/{BLOB.digest}?sig=a%2Fb"
        registry.intercept.append(instead("GET", redirect(location), kind="blob"))
        async with client(access=[RegistryAccount(registry.host, Credential("ann", "secret"))]) as registries:
            assert await read(registries.source(registry.repository("app"))) == BLOB.read()
        assert registry.requests.only(kind="blob")[-1].authorization == "basic"
    stored = fake.requests.only(kind="blob")[0]
    assert (stored.authorization, stored.query) == ("", (("sig", "a/b"),))


async def test_a_refusal_by_the_storage_names_the_storage(fake: FakeRegistry, source: RegistrySource) -> None:
    """The registry's credentials are not the cause."""
    async with FakeRegistry() as storage:
        storage.intercept.append(Fault(403, times=9))
        location = f"http://localhost:{storage.host.rpartition(':')[2]}/v2/x"
        fake.intercept.append(instead("GET", redirect(location), kind="blob"))
        with pytest.raises(Denied, match=rf"denied at another host; localhost:.*{fake.host} redirects to localhost"):
            await read(source)


async def test_a_read_holds_one_slot(fake: FakeRegistry) -> None:
    """With one transfer allowed, the next read begins when the first has ended, even if early."""
    async with client(limits=replace(QUICK, transfers=1)) as registries:
        source = registries.source(fake.repository("app"))
        for _ in range(2):
            async with source.open(BIG.descriptor) as chunks:
                await anext(chunks)  # Ignore the rest.
        assert await read(source, BIG.descriptor) == BIG.read()


async def test_small_blobs_overtake_big_ones(fake: FakeRegistry, target: RegistryTarget) -> None:
    """While the only allowed transfer runs, small blobs are read and pushed."""
    async with client(limits=replace(QUICK, transfers=1)) as registries, asyncio.timeout(5):
        source, other = (registries.source(fake.repository("app")), registries.target(fake.repository("copy")))
        async with source.open(BIG.descriptor) as chunks:
            await anext(chunks)
            assert await read(source) == BLOB.read()
            await other.push_blob(BLOB.descriptor, BLOB.open)
    assert await target.has_blob(BLOB.descriptor)


async def test_a_mount_is_one_post(fake: FakeRegistry, target: RegistryTarget) -> None:
    """No content is read or sent."""
    assert await target.mount(BLOB.descriptor, fake.repository("app"))
    assert BLOB.digest in fake.content("copy").blobs
    assert fake.requests.count(kind="upload") == 1
    assert fake.requests.only(kind="upload")[0].query == (("mount", str(BLOB.digest)), ("from", "app"))


async def test_the_push_after_a_refused_mount_uses_its_session(fake: FakeRegistry, target: RegistryTarget) -> None:
    """202 opened a session, so only the PUT remains."""
    blob = Blob.of(b"nowhere yet")
    assert not await target.mount(blob.descriptor, fake.repository("app"))
    await target.push_blob(blob.descriptor, blob.open)
    assert [request.method for request in fake.requests.only(kind="upload")] == ["POST", "PUT"]
    assert fake.unfinished_uploads == 0


async def test_an_expired_session_of_a_mount_costs_one_retry(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The session is used only once."""
    blob = Blob.of(b"nowhere yet")
    assert not await target.mount(blob.descriptor, fake.repository("app"))
    fake.intercept.append(Fault(404, "PUT", code="BLOB_UPLOAD_UNKNOWN"))
    await target.push_blob(blob.descriptor, blob.open)
    assert [request.method for request in fake.requests.only(kind="upload")] == ["POST", "PUT", "POST", "PUT"]


@pytest.mark.parametrize("status", [400, 403, 404, 405, 500])
async def test_any_failed_mount_means_that_a_push_is_needed(
    fake: FakeRegistry, target: RegistryTarget, status: int
) -> None:
    """Pulp responds 404, others with 5xx; a mount only saves work."""
    fake.intercept.append(Fault(status, "POST", times=99))
    assert not await target.mount(BLOB.descriptor, fake.repository("app"))


async def test_a_mount_of_another_digest_does_not_count(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A 201 must not name another digest."""
    fake.intercept.append(Fault(201, "POST", headers={"Docker-Content-Digest": str(Blob.of(b"x").digest)}))
    assert not await target.mount(BLOB.descriptor, fake.repository("app"))


async def test_nothing_is_mounted_from_another_registry(fake: FakeRegistry, target: RegistryTarget) -> None:
    """No request is sent, since that is impossible."""
    elsewhere = replace(fake.repository("app"), registry="r.example")
    assert not await target.mount(BLOB.descriptor, elsewhere)
    assert len(fake.requests) == 0
