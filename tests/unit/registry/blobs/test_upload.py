import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.errors import ContentMismatch, Denied, NotFound, ProtocolError, StoreError, Unauthorized, Unavailable
from image_syncer.oci import Digest
from image_syncer.registry.blobs.upload_session import UploadSession, UploadSessions, with_digest
from image_syncer.registry.repository import RegistryTarget
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.registry.vendor_profiles import upload_profile_of
from image_syncer.roles import Chunk
from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile, faults
from image_syncer.testing.images import single
from support.clients import QUICK, Fault, client, failing, instead, lose_answer, one_after_another
from support.syncs import sync_files

pytestmark = pytest.mark.usefixtures("io_threads")


BLOB = Blob.generated("layer", 300_000)
SMALL = Blob.of(b"small")
BIG = Blob.generated("big", 1_500_000)
GONE = Unavailable("the source is gone")


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """An empty registry that opens a session for every POST; `test_single_post` has others."""
    async with FakeRegistry(Profile(single_post=False)) as registry:
        yield registry


def uploads(fake: FakeRegistry) -> list[str]:
    """Return the methods of all requests about uploads."""
    return [request.method for request in fake.requests.only(kind="upload")]


@pytest.mark.parametrize("blob", [Blob.of(b""), SMALL, BLOB, Blob.generated("big", 9 * 1024 * 1024)])
async def test_a_blob_goes_with_a_post_and_a_put(fake: FakeRegistry, target: RegistryTarget, blob: Blob) -> None:
    """At any size, with a Content-Length."""
    await target.push_blob(blob.descriptor, blob.open)
    assert blob.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST", "PUT"]
    assert fake.requests.only(method="PUT")[0].headers["content-length"] == str(blob.size_bytes)


async def test_the_source_is_opened_while_the_session_is(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Neither waits for the other's round trip; a small blob is read before, in a request of its own."""
    is_open = asyncio.Event()

    @asynccontextmanager
    async def content(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        is_open.set()
        async with BIG.open(start) as chunks:
            yield chunks

    async def wait_for_source(request: web.Request) -> web.StreamResponse | None:
        if request.method == "POST":
            await is_open.wait()
        return None

    fake.intercept.append(wait_for_source)
    async with asyncio.timeout(5):
        await target.push_blob(BIG.descriptor, content)
    assert uploads(fake) == ["POST", "PUT"]


async def test_a_refused_session_closes_the_source_again(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The refusal is the error, and no read stays open."""
    opened = 0

    @asynccontextmanager
    async def content(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        nonlocal opened
        async with BIG.open(start) as chunks:
            opened += 1
            yield chunks
        opened -= 1

    fake.intercept.append(Fault(403, "POST", code="DENIED"))
    with pytest.raises(Denied):
        await target.push_blob(BIG.descriptor, content)
    assert opened == 0


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_of_the_post_is_followed(fake: FakeRegistry, target: RegistryTarget, status: int) -> None:
    """The session then lives where the redirect leads; relative Locations refer to that host."""
    moved = fake.url.replace("127.0.0.1", "localhost")

    async def redirect(request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST" or request.host.startswith("localhost"):
            return None
        return web.Response(status=status, headers={"Location": f"{moved}{request.path_qs}"})

    fake.intercept.append(redirect)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST", "POST", "PUT"]


@pytest.mark.parametrize(("algorithm", "query"), [("sha256", ()), ("sha512", (("digest-algorithm", "sha512"),))])
async def test_the_post_names_another_digest_algorithm(
    fake: FakeRegistry, target: RegistryTarget, algorithm: str, query: tuple[tuple[str, str], ...]
) -> None:
    """The registry hashes the content while it comes; the POST of a mount may become that of an upload."""
    blob = Blob.of(b"content" * 20_000, algorithm=algorithm)  # Too large for the trial of a POST with content.
    await target.push_blob(blob.descriptor, blob.open)
    assert blob.digest in fake.content("app").blobs
    assert fake.requests.only(method="POST")[0].query == query
    assert not await target.mount(Blob.of(b"other", algorithm=algorithm).descriptor, fake.repository("none"))
    assert fake.requests.only(method="POST")[1].query[2:] == query


async def test_a_blob_of_unknown_size_goes_with_a_patch(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Not every registry accepts a PUT without a length."""
    await target.push_blob(replace(BLOB.descriptor, size=None), BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST", "PATCH", "PUT"]


@pytest.mark.parametrize(
    ("registry", "patches"),
    [("x.jfrog.io", True), ("x.JFrog.io:443", True), ("jfrog.io.example", False), ("r.io", False)],
)
def test_hosts_of_artifactory_get_a_patch(registry: str, patches: object) -> None:
    """Its cloud is known by the domain."""
    assert upload_profile_of(registry).patches is patches


async def test_after_a_refused_put_all_blobs_go_with_a_patch(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The lesson is kept, so the detour happens once."""
    fake.intercept.append(Fault(400, "PUT", code="UNSUPPORTED"))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    await target.push_blob(SMALL.descriptor, SMALL.open)
    assert uploads(fake) == ["POST", "PUT", "POST", "PATCH", "PUT", "POST", "PATCH", "PUT"]


async def test_a_denied_put_is_not_tried_in_another_way(fake: FakeRegistry, target: RegistryTarget) -> None:
    """403 is about permissions."""
    fake.intercept.append(Fault(403, "PUT", code="DENIED"))
    with pytest.raises(Denied, match=f"app@{BLOB.digest}: denied"):
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PUT"]


async def test_a_lost_response_to_the_put_is_followed_by_a_head(fake: FakeRegistry, target: RegistryTarget) -> None:
    """So no content is sent twice."""
    lose_answer(fake, "PUT", "upload")
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PUT"]
    assert fake.requests.count(method="HEAD", kind="blob") == 1


@pytest.mark.parametrize(("status", "code"), [(500, ""), (404, "BLOB_UPLOAD_UNKNOWN"), (400, "DIGEST_INVALID")])
async def test_a_failed_upload_of_a_small_blob_starts_again(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str
) -> None:
    """With a new session, and the content from its beginning."""
    fake.intercept.append(Fault(status, "PUT", code=code))
    opener, opened = one_after_another(BLOB.open)
    await target.push_blob(BLOB.descriptor, opener)
    assert BLOB.digest in fake.content("app").blobs
    assert len(opened) == 2


@pytest.mark.parametrize("blob", [SMALL, BLOB, BIG])
@pytest.mark.parametrize(("status", "refusals", "heads"), [(429, 1, 0), (429, 3, 0), (503, 1, 1)])
async def test_a_put_that_is_refused_for_the_moment_keeps_its_session(
    fake: FakeRegistry, target: RegistryTarget, blob: Blob, status: int, refusals: int, heads: int
) -> None:
    """The registry took none of the content, so the same session takes it; after a 503 a HEAD checks that first."""
    headers = {"Retry-After": "1"} if status == 429 else {}
    fake.faults.add(faults.answer(status, headers=headers), method="PUT", times=refusals)
    await target.push_blob(blob.descriptor, blob.open)
    assert blob.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST"] + ["PUT"] * (refusals + 1)
    assert len({request.path for request in fake.requests.only(method="PUT", kind="upload")}) == 1
    assert fake.requests.count(method="HEAD", kind="blob") == heads
    assert fake.unfinished_uploads == 0


@pytest.mark.parametrize(("status", "code"), [(404, "BLOB_UPLOAD_UNKNOWN"), (404, ""), (400, "DIGEST_INVALID")])
async def test_a_kept_session_that_turns_out_useless_is_replaced(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str
) -> None:
    """It ended meanwhile, or had taken some of the content after all; the next blob is pushed as ever."""
    fake.intercept.append(Fault(429, "PUT", "upload", headers={"Retry-After": "1"}))
    fake.intercept.append(Fault(status, "PUT", "upload", code=code))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    again = ["POST", "PATCH", "PUT"] if code == "DIGEST_INVALID" else ["POST", "PUT"]
    assert uploads(fake) == ["POST", "PUT", "PUT", *again]
    await target.push_blob(SMALL.descriptor, SMALL.open)
    assert uploads(fake)[-2:] == ["POST", "PUT"]


async def test_a_second_503_to_a_put_gets_a_new_session(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The session itself may be the reason."""
    fake.intercept.append(Fault(503, "PUT", "upload", times=2))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PUT", "PUT", "POST", "PUT"]


async def test_a_storage_that_refuses_head_does_not_end_a_retry(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The lookup after a lost response is redirected there: it says nothing, so the blob is sent again."""
    async with FakeRegistry() as storage:
        storage.intercept.append(Fault(403, "HEAD", times=9))
        location = f"http://localhost:{storage.host.rpartition(':')[2]}/signed"
        fake.intercept.append(Fault(307, "HEAD", "blob", headers={"Location": location}, times=9))
        lose_answer(fake, "PUT", "upload")
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PUT", "POST", "PUT"]


async def test_a_storage_that_refuses_head_confirms_no_upload(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A 202 to the closing PUT needs a proof: what verifies never infers."""
    async with FakeRegistry() as storage:
        storage.intercept.append(Fault(403, "HEAD", times=9))
        location = f"http://localhost:{storage.host.rpartition(':')[2]}/signed"
        fake.intercept.append(Fault(307, "HEAD", "blob", headers={"Location": location}, times=9))
        fake.intercept.append(Fault(202, "PUT", "upload"))
        with pytest.raises(Denied, match="denied at another host"):
            await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_an_upload_fails_after_four_attempts(fake: FakeRegistry, target: RegistryTarget) -> None:
    """There is no second level of retries below."""
    fake.intercept.append(Fault(503, "POST", times=99))
    with pytest.raises(Unavailable):
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST"] * 4


async def test_wrong_content_is_uploaded_twice_at_most(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The registry refuses it with DIGEST_INVALID, and commits nothing."""
    with pytest.raises(ContentMismatch, match="DIGEST_INVALID"):
        await target.push_blob(SMALL.descriptor, Blob.of(b"smalL").open)
    assert uploads(fake).count("POST") == 2
    assert not fake.content("app").blobs


async def test_wrong_content_is_read_again(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Content that was damaged in transit is right the second time."""
    opener, opened = one_after_another(Blob.of(b"smalL").open, SMALL.open)
    await target.push_blob(SMALL.descriptor, opener)
    assert opened == [0, 1]
    assert SMALL.digest in fake.content("app").blobs


@pytest.mark.parametrize("content", [Blob.of(b"smal"), Blob.of(b"small and more")])
async def test_content_of_another_size_is_never_committed(
    fake: FakeRegistry, target: RegistryTarget, content: Blob
) -> None:
    """Too few or too many bytes break the request."""
    with pytest.raises(ContentMismatch):
        await target.push_blob(SMALL.descriptor, content.open)
    assert not fake.content("app").blobs


@pytest.mark.parametrize("blob", [BLOB, BIG])
@pytest.mark.parametrize("failure", [NotFound("no such blob"), ZeroDivisionError(), Denied("no")])
async def test_an_error_of_the_content_is_raised_unchanged(
    fake: FakeRegistry, target: RegistryTarget, failure: Exception, blob: Blob
) -> None:
    """The copier tells by the exception object which side failed."""
    with pytest.raises(type(failure)) as caught:
        await target.push_blob(blob.descriptor, failing(failure, after=[b"some"]))
    assert caught.value is failure
    assert not fake.content("app").blobs


@pytest.mark.parametrize("blob", [BLOB, BIG])
async def test_an_interrupted_source_is_read_again(fake: FakeRegistry, target: RegistryTarget, blob: Blob) -> None:
    """With a new session and no HEAD, since the target did nothing wrong."""
    opener, opened = one_after_another(failing(GONE, after=[b"some"]), blob.open)
    await target.push_blob(blob.descriptor, opener)
    assert opened == [0, 1]
    assert fake.requests.count(method="HEAD") == 0
    assert fake.unfinished_uploads == 0


@pytest.mark.parametrize("blob", [BLOB, BIG])
async def test_a_source_with_wrong_content_is_read_twice_at_most(target: RegistryTarget, blob: Blob) -> None:
    """A damaged transfer is right the second time; a wrong source costs no more bandwidth."""
    wrong = ContentMismatch("wrong")
    opener, opened = one_after_another(failing(wrong, after=[b"some"]))
    with pytest.raises(ContentMismatch) as caught:
        await target.push_blob(blob.descriptor, opener)
    assert caught.value is wrong
    assert len(opened) == 2


@pytest.mark.parametrize(("blob", "requests"), [(BLOB, []), (BIG, ["POST", "DELETE"])])
async def test_a_source_that_cannot_be_opened_is_not_retried_by_the_upload(
    fake: FakeRegistry, target: RegistryTarget, blob: Blob, requests: list[str]
) -> None:
    """Its opener has retried, and retries must not multiply. The session is deleted."""
    async with client() as others:
        missing = others.source(fake.repository("none"))
        fake.intercept.append(fault := Fault(503, "GET", "blob", times=99))
        with pytest.raises(Unavailable):
            await target.push_blob(blob.descriptor, partial(missing.open, blob.descriptor))
    assert fault.seen == 4
    assert uploads(fake) == requests
    assert fake.unfinished_uploads == 0


async def test_a_session_that_cannot_be_deleted_is_left(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The failure of the DELETE does not hide the cause."""
    fake.intercept.append(Fault(401, "DELETE", times=9))
    failure = NotFound("no such blob")
    with pytest.raises(NotFound) as caught:
        await target.push_blob(BLOB.descriptor, failing(failure))
    assert caught.value is failure


async def test_an_early_commit_is_accepted_after_a_head(fake: FakeRegistry) -> None:
    """ECR responds 201 to the PATCH, and would refuse the PUT."""

    async def commit(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH":
            return None
        fake.load("app", single("x", layers=[BLOB]))
        await request.read()
        return web.Response(status=201)

    fake.intercept.append(commit)
    async with client() as registries:
        await registries.target(fake.repository("app")).push_blob(replace(BLOB.descriptor, size=None), BLOB.open)
    assert uploads(fake) == ["POST", "PATCH"]


async def test_an_unconfirmed_put_is_checked(fake: FakeRegistry, target: RegistryTarget) -> None:
    """202 to the closing PUT confirms nothing."""
    fake.intercept.append(Fault(202, "PUT"))
    with pytest.raises(ProtocolError, match="answered 202, but does not hold it"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_lost_bytes_are_detected(fake: FakeRegistry, target: RegistryTarget) -> None:
    """By the Range of the response; the PUT cannot add them."""
    headers = {"Range": "0-99", "Location": "/v2/app/blobs/uploads/x"}
    fake.intercept.append(Fault(415, "PUT", times=99))  # So a PATCH is tried.
    fake.intercept.append(Fault(202, "PATCH", headers=headers, times=99))
    with pytest.raises(Unavailable, match="got 100 of 300000 bytes"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_a_stored_blob_with_another_digest_is_a_mismatch(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Docker-Content-Digest of the response names it."""
    fake.intercept.append(Fault(201, "PUT", headers={"Docker-Content-Digest": str(SMALL.digest)}, times=9))
    with pytest.raises(ContentMismatch, match="stored it as"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_without_a_location_the_upload_id_makes_the_url(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Some proxies drop Location (seen with Artifactory)."""
    fake.intercept.append(Fault(202, "POST", headers={"Docker-Upload-UUID": "some-id"}))
    fake.intercept.append(Fault(201, "PUT"))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert fake.requests.only(method="PUT")[0].path == "/v2/app/blobs/uploads/some-id"


async def test_a_session_without_a_usable_location_is_an_error(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The message says what is missing."""
    fake.intercept.append(Fault(202, "POST", headers={"Docker-Upload-UUID": "../../x"}))
    with pytest.raises(ProtocolError, match="did not say where"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


def wrong_location(fake: FakeRegistry, location: str) -> Fault:
    """Have *fake* open every upload at *location*."""
    fault = Fault(202, "POST", headers={"Location": location}, times=999)
    fake.intercept.append(fault)
    return fault


@pytest.mark.parametrize("blob", [SMALL, Blob.generated("resumable", 9 * 1024 * 1024)])
@pytest.mark.parametrize("host", ["localhost:1", "nowhere.invalid"])
async def test_a_location_at_a_host_that_cannot_be_reached_is_the_fault_of_the_registry(
    fake: FakeRegistry, target: RegistryTarget, blob: Blob, host: str
) -> None:
    """There is one POST, and other requests to the registry go on: no circuit breaker."""
    fault = wrong_location(fake, f"http://{host}/v2/app/blobs/uploads/x")
    with pytest.raises(ProtocolError, match=f"sent the upload to http://{host}, where it leads nowhere") as caught:
        await target.push_blob(blob.descriptor, blob.open)
    assert fault.seen == 1
    assert f"{fake.host}, or a proxy before it, sends a wrong Location" in (caught.value.remedy or "")
    for _ in range(8):
        with pytest.raises(ProtocolError):
            await target.push_blob(blob.descriptor, blob.open)
    assert not await target.has_blob(blob.descriptor)


@pytest.mark.parametrize("blob", [SMALL, Blob.generated("resumable", 9 * 1024 * 1024)])
async def test_a_location_at_a_path_that_does_not_exist_is_the_fault_of_the_registry(
    fake: FakeRegistry, target: RegistryTarget, blob: Blob
) -> None:
    """A proxy that loses a path prefix; its 404 has no error code of a registry."""
    fault = wrong_location(fake, "/without/prefix/blobs/uploads/x")
    with pytest.raises(ProtocolError, match="where it leads nowhere"):
        await target.push_blob(blob.descriptor, blob.open)
    assert fault.seen == 1


async def test_an_image_whose_uploads_lead_nowhere_fails_at_once(fake: FakeRegistry, tmp_path: Path) -> None:
    """One POST for each of its two blobs, also with retries."""
    fault = wrong_location(fake, "http://localhost:1/v2/app/blobs/uploads/x")
    async with FakeRegistry() as source:
        source.load("app", single("image", layers=[SMALL]), "v1")
        result = await sync_files(tmp_path, {f"{source.host}/app:v1": f"{fake.host}/copy"}, retries=3)
    (copied,) = result.results
    assert "leads nowhere" in (copied.reason or "")
    assert fault.seen <= 2


async def test_an_upload_at_another_host_gets_no_credentials_and_says_so() -> None:
    """The error for a 401 from there says so."""
    profile = Profile(auth="basic", accounts=Accounts({"ann": Account("secret")}))
    async with FakeRegistry(profile) as registry, FakeRegistry(profile) as other:
        location = f"http://localhost:{other.host.rpartition(':')[2]}/v2/app/blobs/uploads/x?state=1"
        there = instead("POST", lambda _: web.Response(status=202, headers={"Location": location}))
        registry.intercept.append(there)
        async with client(access=[RegistryAccount(registry.host, Credential("ann", "secret"))]) as registries:
            with pytest.raises(Unauthorized, match=r"redirects to localhost:.*, which never gets its credentials"):
                await registries.target(registry.repository("app")).push_blob(SMALL.descriptor, SMALL.open)
        assert {request.authorization for request in other.requests} == {""}


async def test_a_token_that_expires_during_a_push_costs_a_second_read() -> None:
    """The body is sent again with a new token, even with one transfer allowed."""
    profile = Profile(auth="bearer", accounts=Accounts({"ann": Account("secret")}))
    async with FakeRegistry(profile) as fake, FakeRegistry() as origin:
        origin.load("app", single("x", layers=[BLOB]))

        async def expire(request: web.Request) -> None:
            if request.method == "PUT" and fake.requests.count(method="PUT") == 1:
                fake.expire_tokens()

        fake.intercept.append(expire)
        access = [RegistryAccount(fake.host, Credential("ann", "secret"))]
        async with client(limits=replace(QUICK, transfers=1), access=access) as registries:
            source = registries.source(origin.repository("app"))
            target = registries.target(fake.repository("app"))
            async with asyncio.timeout(20):
                await target.push_blob(BLOB.descriptor, partial(source.open, BLOB.descriptor))
        assert BLOB.digest in fake.content("app").blobs
        assert fake.requests.count(method="PUT", status=401) == 1


async def test_pushes_both_ways_at_once_do_not_wait_for_each_other() -> None:
    """A to B and B to A with one transfer each: slots are taken in one order, so there is no deadlock."""
    there, back = Blob.generated("there", 2_000_000), Blob.generated("back", 2_000_000)
    async with FakeRegistry() as a, FakeRegistry() as b, client(limits=replace(QUICK, transfers=1)) as registries:
        a.load("app", single("a", layers=[there]))
        b.load("app", single("b", layers=[back]))

        async def copy(blob: Blob, origin: FakeRegistry, to: FakeRegistry, name: str) -> None:
            source = registries.source(origin.repository("app"))
            await registries.target(to.repository(name)).push_blob(
                blob.descriptor, partial(source.open, blob.descriptor)
            )

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for number in range(4):
                group.create_task(copy(there, a, b, f"to{number}"))
                group.create_task(copy(back, b, a, f"to{number}"))
        assert all(there.digest in b.content(f"to{number}").blobs for number in range(4))


async def test_a_cancelled_push_leaves_nothing_visible(fake: FakeRegistry, target: RegistryTarget) -> None:
    """No task is left, and its slot is free for the next push."""
    started = asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse | None:
        if request.method == "PUT":
            started.set()
            await asyncio.sleep(3600)
        return None

    fake.intercept.append(hang)
    async with asyncio.TaskGroup() as group:
        push = group.create_task(target.push_blob(BLOB.descriptor, BLOB.open))
        await started.wait()
        push.cancel()
    assert push.cancelled()
    fake.intercept.clear()
    assert not fake.content("app").blobs
    await target.push_blob(BLOB.descriptor, BLOB.open)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://r/x", "http://r/x?digest=D"),
        ("http://r/x?_state=a%2Fb", "http://r/x?_state=a%2Fb&digest=D"),
        ("http://r/x?", "http://r/x?digest=D"),
        ("http://r/x?a=1&", "http://r/x?a=1&digest=D"),
    ],
)
def test_the_digest_is_added_to_an_unchanged_query(location: str, expected: str) -> None:
    """The query may be signed."""
    assert with_digest(location, SMALL.digest) == expected.replace("D", str(SMALL.digest).replace(":", "%3A"))


def test_unused_sessions_are_bounded_and_used_once() -> None:
    """The oldest are dropped; registries delete unused sessions themselves."""
    sessions = UploadSessions()
    digests = [Digest.of(str(number).encode()) for number in range(100)]
    for digest in digests:
        sessions.keep(digest, UploadSession(f"/{digest}"))
    assert sessions.take(digests[0]) is None
    assert sessions.take(digests[99]) == UploadSession(f"/{digests[99]}")
    assert sessions.take(digests[99]) is None


async def test_an_upload_url_at_a_link_local_address_is_refused(fake: FakeRegistry, target: RegistryTarget) -> None:
    """No byte goes to the cloud's metadata service."""
    fake.intercept.append(Fault(202, "POST", headers={"Location": "http://169.254.169.254/latest"}))
    with pytest.raises(StoreError, match="refused"):
        await target.push_blob(BLOB.descriptor, BLOB.open)
