import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial

import pytest
from aiohttp import web

from image_syncer.errors import ContentMismatch, Denied, NotFound, ProtocolError, StoreError, Unauthorized, Unavailable
from image_syncer.oci import Digest
from image_syncer.registry.blobs.upload_session import UploadSession, UploadSessions, with_digest
from image_syncer.registry.repository import RegistryTarget
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.registry.vendor_profiles import upload_profile_of
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.clients import QUICK, Fault, client, failing, instead, lose_answer, one_after_another

BLOB = Blob.generated("layer", 300_000)
SMALL = Blob.of(b"small")
BIG = Blob.generated("big", 1_500_000)
GONE = Unavailable("the source is gone")


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """An empty registry."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def target(fake: FakeRegistry) -> AsyncGenerator[RegistryTarget]:
    """The repository `app` to write to."""
    async with client() as registries:
        yield registries.target(fake.repository("app"))


def uploads(fake: FakeRegistry) -> list[str]:
    """Return the methods of the requests that were about uploads."""
    return [request.method for request in fake.requests.only(kind="upload")]


@pytest.mark.parametrize("blob", [Blob.of(b""), SMALL, BLOB, Blob.generated("big", 9 * 1024 * 1024)])
async def test_a_blob_goes_with_a_post_and_a_put(fake: FakeRegistry, target: RegistryTarget, blob: Blob) -> None:
    """Whatever its size, and its length is said beforehand."""
    await target.push_blob(blob.descriptor, blob.open)
    assert blob.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST", "PUT"]
    assert fake.requests.only(method="PUT")[0].headers["content-length"] == str(blob.size_bytes)


async def test_a_blob_of_unknown_size_goes_with_a_patch(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A PUT without a length is not for every registry."""
    await target.push_blob(replace(BLOB.descriptor, size=None), BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST", "PATCH", "PUT"]


@pytest.mark.parametrize(
    ("registry", "patches"),
    [("x.jfrog.io", True), ("x.JFrog.io:443", True), ("jfrog.io.example", False), ("r.io", False)],
)
def test_registries_that_want_a_patch_are_known(registry: str, patches: object) -> None:
    """Artifactory's cloud is one."""
    assert upload_profile_of(registry).patches is patches


async def test_a_registry_that_refuses_the_put_gets_a_patch_from_then_on(
    fake: FakeRegistry, target: RegistryTarget
) -> None:
    """What was learnt is kept, so the detour is made once."""
    fake.intercept.append(Fault(400, "PUT", code="UNSUPPORTED"))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    await target.push_blob(SMALL.descriptor, SMALL.open)
    assert uploads(fake) == ["POST", "PUT", "POST", "PATCH", "PUT", "POST", "PATCH", "PUT"]


async def test_a_put_that_is_denied_is_not_tried_another_way(fake: FakeRegistry, target: RegistryTarget) -> None:
    """403 is about rights, not about ways."""
    fake.intercept.append(Fault(403, "PUT", code="DENIED"))
    with pytest.raises(Denied, match=f"app@{BLOB.digest}: denied"):
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PUT"]


async def test_a_put_whose_answer_was_lost_is_looked_for_first(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Nothing is sent twice."""
    lose_answer(fake, "PUT", "upload")
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PUT"]
    assert fake.requests.count(method="HEAD", kind="blob") == 1


@pytest.mark.parametrize(("status", "code"), [(503, ""), (404, "BLOB_UPLOAD_UNKNOWN"), (400, "DIGEST_INVALID")])
async def test_an_upload_that_failed_begins_anew(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str
) -> None:
    """With a new session and the content from its beginning."""
    fake.intercept.append(Fault(status, "PUT", code=code))
    opener, opened = one_after_another(BLOB.open)
    await target.push_blob(BLOB.descriptor, opener)
    assert BLOB.digest in fake.content("app").blobs
    assert len(opened) == 2


async def test_an_upload_that_always_fails_is_given_up(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The policy bounds it, and there is no second level of retries below."""
    fake.intercept.append(Fault(503, "POST", times=99))
    with pytest.raises(Unavailable):
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST"] * 4


async def test_wrong_content_is_uploaded_once_more_and_no_oftener(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The registry's DIGEST_INVALID ends it, and nothing was committed."""
    with pytest.raises(ContentMismatch, match="DIGEST_INVALID"):
        await target.push_blob(SMALL.descriptor, Blob.of(b"smalL").open)
    assert uploads(fake).count("POST") == 2
    assert not fake.content("app").blobs


async def test_wrong_content_is_read_anew(fake: FakeRegistry, target: RegistryTarget) -> None:
    """What was damaged on its way to us is not sent a second time."""
    opener, opened = one_after_another(Blob.of(b"smalL").open, SMALL.open)
    await target.push_blob(SMALL.descriptor, opener)
    assert opened == [0, 1]
    assert SMALL.digest in fake.content("app").blobs


@pytest.mark.parametrize("content", [Blob.of(b"smal"), Blob.of(b"small and more")])
async def test_content_of_another_size_is_never_committed(
    fake: FakeRegistry, target: RegistryTarget, content: Blob
) -> None:
    """Too little or too much: the request is broken off."""
    with pytest.raises(ContentMismatch):
        await target.push_blob(SMALL.descriptor, content.open)
    assert not fake.content("app").blobs


@pytest.mark.parametrize("blob", [BLOB, BIG])
@pytest.mark.parametrize("failure", [NotFound("no such blob"), ZeroDivisionError(), Denied("no")])
async def test_what_the_content_raises_comes_out_unchanged(
    fake: FakeRegistry, target: RegistryTarget, failure: Exception, blob: Blob
) -> None:
    """The copier tells by the very object which side failed."""
    with pytest.raises(type(failure)) as caught:
        await target.push_blob(blob.descriptor, failing(failure, after=[b"some"]))
    assert caught.value is failure
    assert not fake.content("app").blobs


@pytest.mark.parametrize("blob", [BLOB, BIG])
async def test_a_source_that_breaks_off_is_read_anew(fake: FakeRegistry, target: RegistryTarget, blob: Blob) -> None:
    """A fresh opener, a fresh session, and no look at the target, which is not to blame."""
    opener, opened = one_after_another(failing(GONE, after=[b"some"]), blob.open)
    await target.push_blob(blob.descriptor, opener)
    assert opened == [0, 1]
    assert fake.requests.count(method="HEAD") == 0
    assert fake.unfinished_uploads == 0


@pytest.mark.parametrize("blob", [BLOB, BIG])
async def test_a_source_that_lies_is_read_twice_at_most(target: RegistryTarget, blob: Blob) -> None:
    """Damage heals at the second reading; a lie does not get our bandwidth."""
    wrong = ContentMismatch("wrong")
    opener, opened = one_after_another(failing(wrong, after=[b"some"]))
    with pytest.raises(ContentMismatch) as caught:
        await target.push_blob(blob.descriptor, opener)
    assert caught.value is wrong
    assert len(opened) == 2


@pytest.mark.parametrize(("blob", "asked"), [(BLOB, []), (BIG, ["POST", "DELETE"])])
async def test_a_source_that_can_not_be_opened_is_not_tried_here(
    fake: FakeRegistry, target: RegistryTarget, blob: Blob, asked: list[str]
) -> None:
    """Whoever opens it has retries of his own; they must not multiply. A session is given back."""
    async with client() as others:
        missing = others.source(fake.repository("none"))
        fake.intercept.append(fault := Fault(503, "GET", "blob", times=99))
        with pytest.raises(Unavailable):
            await target.push_blob(blob.descriptor, partial(missing.open, blob.descriptor))
    assert fault.seen == 4
    assert uploads(fake) == asked
    assert fake.unfinished_uploads == 0


async def test_a_session_that_can_not_be_given_back_is_left(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Cancelling is a courtesy: its failure hides nothing."""
    fake.intercept.append(Fault(401, "DELETE", times=9))
    failure = NotFound("no such blob")
    with pytest.raises(NotFound) as caught:
        await target.push_blob(BLOB.descriptor, failing(failure))
    assert caught.value is failure


async def test_an_early_commit_is_taken_after_a_look(fake: FakeRegistry) -> None:
    """ECR answers 201 to the PATCH and would refuse the PUT."""

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


async def test_a_yes_that_is_not_sure_is_checked(fake: FakeRegistry, target: RegistryTarget) -> None:
    """202 to the closing PUT promises nothing."""
    fake.intercept.append(Fault(202, "PUT"))
    with pytest.raises(ProtocolError, match="answered 202, but does not hold it"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_a_registry_that_lost_bytes_is_noticed(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Range says how much has arrived; what is missing can not be made up in the PUT."""
    headers = {"Range": "0-99", "Location": "/v2/app/blobs/uploads/x"}
    fake.intercept.append(Fault(415, "PUT", times=99))  # So that a PATCH is tried.
    fake.intercept.append(Fault(202, "PATCH", headers=headers, times=99))
    with pytest.raises(Unavailable, match="got 100 of 300000 bytes"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_a_registry_that_stores_something_else_is_caught(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Its answer names another digest."""
    fake.intercept.append(Fault(201, "PUT", headers={"Docker-Content-Digest": str(SMALL.digest)}, times=9))
    with pytest.raises(ContentMismatch, match="stored it as"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_without_a_location_the_session_s_id_makes_one(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Artifactory behind a proxy needs that."""
    fake.intercept.append(Fault(202, "POST", headers={"Docker-Upload-UUID": "some-id"}))
    fake.intercept.append(Fault(201, "PUT"))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert fake.requests.only(method="PUT")[0].path == "/v2/app/blobs/uploads/some-id"


async def test_a_session_without_an_address_is_an_error(fake: FakeRegistry, target: RegistryTarget) -> None:
    """And the message says what is missing."""
    fake.intercept.append(Fault(202, "POST", headers={"Docker-Upload-UUID": "../../x"}))
    with pytest.raises(ProtocolError, match="did not say where"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_an_upload_at_another_host_gets_no_credentials_and_says_so() -> None:
    """401 from there is no matter of passwords."""
    profile = Profile(auth="basic", accounts=Accounts({"ann": Account("secret")}))
    async with FakeRegistry(profile) as registry, FakeRegistry(profile) as other:
        location = f"http://localhost:{other.host.rpartition(':')[2]}/v2/app/blobs/uploads/x?state=1"
        there = instead("POST", lambda _: web.Response(status=202, headers={"Location": location}))
        registry.intercept.append(there)
        async with client(access=[RegistryAccount(registry.host, Credential("ann", "secret"))]) as registries:
            with pytest.raises(Unauthorized, match=r"redirects to localhost:.*, which never gets its credentials"):
                await registries.target(registry.repository("app")).push_blob(SMALL.descriptor, SMALL.open)
        assert {request.authorization for request in other.requests} == {""}


async def test_a_token_that_ends_in_mid_push_costs_a_second_reading() -> None:
    """The body is sent anew with a new token, also where one transfer is all that is allowed."""
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
    """A to B and B to A, one transfer each: the order in which places are taken is the same everywhere."""
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
    """And no task, and its place is free for the next."""
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
def test_the_digest_joins_a_query_that_stays_as_it_is(location: str, expected: str) -> None:
    """It may be signed."""
    assert with_digest(location, SMALL.digest) == expected.replace("D", str(SMALL.digest).replace(":", "%3A"))


def test_unused_sessions_are_bounded_and_used_once() -> None:
    """The oldest are forgotten; registries tidy up themselves."""
    sessions = UploadSessions()
    digests = [Digest.of(str(number).encode()) for number in range(100)]
    for digest in digests:
        sessions.keep(digest, UploadSession(f"/{digest}"))
    assert sessions.take(digests[0]) is None
    assert sessions.take(digests[99]) == UploadSession(f"/{digests[99]}")
    assert sessions.take(digests[99]) is None


async def test_a_registry_can_not_send_us_into_our_own_machine(fake: FakeRegistry, target: RegistryTarget) -> None:
    """An upload address at the cloud's metadata service is refused before anything is sent."""
    fake.intercept.append(Fault(202, "POST", headers={"Location": "http://169.254.169.254/latest"}))
    with pytest.raises(StoreError, match="refused"):
        await target.push_blob(BLOB.descriptor, BLOB.open)
