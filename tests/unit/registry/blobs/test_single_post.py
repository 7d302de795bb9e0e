"""One POST with the content instead of POST and PUT (distribution-spec end-4b): for small blobs, where it works."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from image_syncer.cache import MemoryHostFacts
from image_syncer.errors import ContentMismatch, Denied
from image_syncer.oci import Digest
from image_syncer.registry.blobs.upload import SINGLE_POST
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.roles import HostFacts
from image_syncer.testing import Account, Accounts, Blob, FakeRegistry, Profile, faults, profiles
from image_syncer.testing.profile import Auth
from support.clients import Fault, client, lose_answer

TRIAL, SMALL = Blob.of(b"trial"), Blob.generated("small", 1024 * 1024)
MORE = [Blob.of(f"blob {number}".encode()) for number in range(4)]


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """An empty registry that stores a blob with one POST."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def other() -> AsyncGenerator[FakeRegistry]:
    """An empty registry that ignores the content of a POST."""
    async with FakeRegistry(profiles.DISTRIBUTION_2_8) as registry:
        yield registry


@pytest.fixture
async def registries() -> AsyncGenerator[Registries]:
    """A client that knows nothing yet."""
    async with client() as registries:
        yield registries


async def push(registries: Registries, fake: FakeRegistry, *blobs: Blob) -> list[str]:
    """Push *blobs* one after another, and return the methods and statuses of the requests about uploads and blobs."""
    fake.requests.clear()
    for blob in blobs:
        await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
        assert blob.digest in fake.content("app").blobs
    requests = [*fake.requests.only(kind="upload"), *fake.requests.only(kind="blob")]
    return [f"{request.method} {request.status}" for request in requests]


async def remembered(facts: HostFacts, fake: FakeRegistry) -> str | None:
    """Return what is remembered about *fake*; None without anything."""
    fact = await facts.get(fake.host, SINGLE_POST)
    return None if fact is None else fact.value


async def test_a_small_blob_goes_with_one_post(registries: Registries, fake: FakeRegistry) -> None:
    """The first one finds that out; a large blob gets a session as before."""
    assert await push(registries, fake, TRIAL, *MORE, SMALL) == ["POST 201"] * 6
    assert await remembered(registries.facts, fake) == "yes"
    large = Blob.generated("large", SMALL.size_bytes + 1)
    assert await push(registries, fake, large) == ["POST 202", "PUT 201"]


async def test_a_registry_that_ignores_the_content_gets_it_with_a_put(
    registries: Registries, other: FakeRegistry
) -> None:
    """Its 202 opens a session, so the trial costs no request; the next blobs send nothing with the POST."""
    assert await push(registries, other, TRIAL, *MORE) == ["POST 202", "PUT 201"] * 5
    posts = other.requests.only(method="POST")
    assert [dict(request.query).get("digest") for request in posts] == [str(TRIAL.digest)] + [None] * 4
    assert await remembered(registries.facts, other) == "no"


async def test_the_result_is_remembered_for_later_processes(fake: FakeRegistry, other: FakeRegistry) -> None:
    """A yes serves blobs that are too large for a trial; a no saves the trial."""
    facts = MemoryHostFacts()
    for process in range(2):
        async with client() as registries:
            registries.facts = facts
            if process:
                assert await push(registries, fake, SMALL) == ["POST 201"]
                assert await push(registries, other, MORE[0]) == ["POST 202", "PUT 201"]
                assert "digest" not in dict(other.requests.only(method="POST")[0].query)
            else:
                await push(registries, fake, TRIAL)
                await push(registries, other, TRIAL)


async def test_a_wrong_memory_costs_no_request(registries: Registries, other: FakeRegistry) -> None:
    """The 202 opens the session that a POST without content would have opened, and the memory is corrected."""
    registries.facts.remember(other.host, SINGLE_POST, "yes", seconds=60.0)
    assert await push(registries, other, SMALL, MORE[0]) == ["POST 202", "PUT 201"] * 2
    assert await remembered(registries.facts, other) == "no"


@pytest.mark.parametrize("status", [400, 405, 413, 415, 501])
@pytest.mark.parametrize("known", [None, "yes"])
async def test_a_refused_post_falls_back_to_a_session(
    registries: Registries, fake: FakeRegistry, status: int, known: str | None
) -> None:
    """The refusal is remembered."""
    if known is not None:
        registries.facts.remember(fake.host, SINGLE_POST, known, seconds=60.0)
    fake.intercept.append(Fault(status, "POST"))
    assert await push(registries, fake, TRIAL) == [f"POST {status}", "POST 202", "PUT 201"]
    assert await remembered(registries.facts, fake) == "no"
    assert await push(registries, fake, MORE[0]) == ["POST 202", "PUT 201"]


async def test_a_trial_that_a_firewall_refuses_falls_back_to_a_session(
    registries: Registries, fake: FakeRegistry
) -> None:
    """A 403 may be about the body. It says nothing for sure, so a later process tries again."""
    fake.intercept.append(Fault(403, "POST", code="DENIED"))
    assert await push(registries, fake, TRIAL, MORE[0]) == ["POST 403", "POST 202", "PUT 201", "POST 202", "PUT 201"]
    assert await remembered(registries.facts, fake) is None


async def test_without_the_right_to_push_the_known_way_fails_at_once(
    registries: Registries, fake: FakeRegistry
) -> None:
    """Nor is anything learnt from it."""
    await push(registries, fake, TRIAL)
    fake.intercept.append(Fault(403, "POST", code="DENIED", times=2))
    with pytest.raises(Denied):
        await push(registries, fake, MORE[0])
    assert fake.requests.count(kind="upload") == 1
    assert await remembered(registries.facts, fake) == "yes"


@pytest.mark.parametrize("known", [None, "yes"])
async def test_after_a_lost_response_the_blob_goes_to_a_session(
    registries: Registries, fake: FakeRegistry, known: str | None
) -> None:
    """A proxy may cut every POST with a body; what is known does not change."""
    if known is not None:
        registries.facts.remember(fake.host, SINGLE_POST, known, seconds=60.0)
    lose_answer(fake, "POST", "upload")
    assert (await push(registries, fake, TRIAL))[-2:] == ["POST 202", "PUT 201"]
    assert await remembered(registries.facts, fake) == known
    expected = ["POST 201"] if known == "yes" else ["POST 202", "PUT 201"]
    assert await push(registries, fake, MORE[0]) == expected


async def test_a_rate_limit_is_waited_for(registries: Registries, fake: FakeRegistry) -> None:
    """The blob is stored in the end."""
    fake.faults.add(faults.answer(429, headers={"Retry-After": "1"}), method="POST", times=1)
    assert await push(registries, fake, TRIAL) == ["POST 429", "POST 202", "PUT 201"]


async def test_uploads_during_the_trial_open_sessions(registries: Registries, fake: FakeRegistry) -> None:
    """One trial is enough, and none waits for it."""
    is_over = asyncio.Event()

    async def wait(request: web.Request) -> web.StreamResponse | None:
        if request.method == "POST" and "digest" in request.query:
            await is_over.wait()
        return None

    fake.intercept.append(wait)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        trial = group.create_task(push(registries, fake, TRIAL))
        await asyncio.sleep(0.1)
        for blob in MORE:
            await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
        assert not trial.done()
        is_over.set()
    assert fake.requests.count(method="PUT") == len(MORE)
    assert await push(registries, fake, Blob.of(b"after")) == ["POST 201"]


@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_trial_without_a_digest_in_the_answer_is_checked(
    registries: Registries, fake: FakeRegistry, is_stored: object
) -> None:
    """A 201 alone proves nothing: one HEAD finds out whether the blob is there."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST" or "digest" not in request.query:
            return None
        if is_stored:
            await request.match_info.handler(request)
        return web.Response(status=201, headers={"Location": "/v2/app/blobs/somewhere"})

    fake.intercept.append(answer)
    requests = await push(registries, fake, TRIAL, MORE[0])
    if is_stored:
        assert requests == ["POST 201", "POST 201", "HEAD 200"]
    else:
        assert requests == ["POST 201", "POST 202", "PUT 201", "POST 202", "PUT 201", "HEAD 404"]
    assert await remembered(registries.facts, fake) == ("yes" if is_stored else "no")


async def test_another_digest_in_the_answer_is_a_mismatch(registries: Registries, fake: FakeRegistry) -> None:
    """The registry stored something else; the next attempt uses a session."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if request.method != "POST" or "digest" not in request.query:
            return None
        return web.Response(status=201, headers={"Docker-Content-Digest": str(Digest.of(b"something else"))})

    fake.intercept.append(answer)
    assert await push(registries, fake, TRIAL) == ["POST 201", "POST 202", "PUT 201"]


async def test_wrong_content_fails(registries: Registries, fake: FakeRegistry) -> None:
    """Neither way stores it, and a registry that checks digests is not blamed."""
    await push(registries, fake, TRIAL)
    with pytest.raises(ContentMismatch):
        await registries.target(fake.repository("app")).push_blob(
            MORE[0].descriptor, Blob.of(b"x" * MORE[0].size_bytes).open
        )
    assert await remembered(registries.facts, fake) == "yes"
    assert MORE[0].digest not in fake.content("app").blobs


async def test_a_session_that_a_refused_mount_left_is_used(registries: Registries, fake: FakeRegistry) -> None:
    """Mounts come first."""
    await push(registries, fake, TRIAL)
    target = registries.target(fake.repository("app"))
    assert not await target.mount(MORE[0].descriptor, fake.repository("elsewhere"))
    fake.requests.clear()
    await target.push_blob(MORE[0].descriptor, MORE[0].open)
    assert [request.method for request in fake.requests.only(kind="upload")] == ["PUT"]


@pytest.mark.parametrize("blob", [Blob.of(b""), Blob.of(b"other", algorithm="sha512")])
async def test_other_blobs_get_a_session(registries: Registries, fake: FakeRegistry, blob: Blob) -> None:
    """Zot refuses an empty body, and not every registry knows other digests."""
    await push(registries, fake, TRIAL)
    await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
    assert [request.method for request in fake.requests.only(kind="upload")][1:] == ["POST", "PUT"]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_the_post_with_content_is_sent_again_with_a_login(auth: Auth) -> None:
    """The content is in memory, so a 401 costs no second read."""
    profile = Profile(auth=auth, accounts=Accounts({"ann": Account("secret")}))
    async with FakeRegistry(profile) as fake:
        login = RegistryAccount(fake.host, Credential("ann", "secret"))
        async with client(access=[login]) as registries:
            await push(registries, fake, TRIAL, MORE[0])
        assert fake.requests.count(kind="upload", method="PUT") == 0
