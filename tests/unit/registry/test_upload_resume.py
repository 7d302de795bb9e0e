"""Uploads of large blobs: chunks as checkpoints, and resuming after a break."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web

from image_syncer.cache import MemoryUploadJournal
from image_syncer.errors import ContentMismatch, TooLarge, Unavailable
from image_syncer.oci import Digest, Repository
from image_syncer.registry.registries import Registries
from image_syncer.registry.repository import RegistryTarget
from image_syncer.roles import Chunk, UploadCheckpoint
from image_syncer.structs import replace
from image_syncer.testing import Blob, FakeRegistry, Profile, faults, profiles
from support.clients import QUICK, Fault, client, failing, lose_answer, one_after_another

pytestmark = pytest.mark.usefixtures("io_threads")


MIB = 1024 * 1024
BLOB = Blob.generated("big", 24 * MIB)
LIMITS = replace(QUICK, chunk_bytes=8 * MIB)


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """An empty registry whose upload sessions survive a break."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def registries() -> AsyncGenerator[Registries]:
    """A client with chunks of 8 MiB."""
    async with client(limits=LIMITS) as opened:
        yield opened


@pytest.fixture
async def target(fake: FakeRegistry, registries: Registries) -> RegistryTarget:
    """The repository `app` to write to."""
    return registries.target(fake.repository("app"))


def uploads(fake: FakeRegistry) -> list[str]:
    """Return the methods of all upload requests."""
    return [request.method for request in fake.requests.only(kind="upload")]


def sent(fake: FakeRegistry) -> int:
    """Return how many upload bytes the registry received."""
    return fake.requests.only(kind="upload").bytes_in


async def test_a_large_blob_is_sent_in_chunks_and_the_last_closes_the_upload(
    fake: FakeRegistry, target: RegistryTarget
) -> None:
    """Each chunk has its Content-Range; chunks grow while they are quick."""
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake) == ["POST", "PATCH", "PUT"]
    ranges = [request.headers.get("content-range") for request in fake.requests.only(kind="upload")]
    assert ranges == [None, f"0-{8 * MIB - 1}", f"{8 * MIB}-{24 * MIB - 1}"]


class _Untouched(MemoryUploadJournal):
    """A journal that fails the test when it is used."""

    def record(self, repository: Repository, digest: Digest, checkpoint: UploadCheckpoint) -> None:
        """Refuse."""
        raise AssertionError((repository, digest, checkpoint))

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Refuse."""
        raise AssertionError((repository, digest))


async def test_a_medium_blob_does_not_use_the_journal(fake: FakeRegistry, registries: Registries) -> None:
    """There is nothing to resume."""
    registries.journal = _Untouched()
    blob = Blob.generated("medium", 8 * MIB)
    await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
    assert blob.digest in fake.content("app").blobs


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_an_upload_resumes_from_the_offset_of_the_registry(
    fake: FakeRegistry, target: RegistryTarget, method: str
) -> None:
    """The client requests the offset once and sends nothing twice."""
    fake.faults.add(faults.cut(after_bytes=3 * MIB), method=method, times=1)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake).count("POST") == 1
    assert uploads(fake).count("GET") == 1
    assert sent(fake) == BLOB.size_bytes


async def test_an_upload_survives_many_breaks(fake: FakeRegistry, target: RegistryTarget) -> None:
    """As long as each attempt gets further, and however small that is beside a chunk."""
    fake.faults.add(faults.cut(after_bytes=MIB), kind="upload", method="PATCH")
    fake.faults.add(faults.cut(after_bytes=MIB), kind="upload", method="PUT")
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake).count("POST") == 1
    assert sent(fake) == BLOB.size_bytes


async def test_breaks_without_progress_end_the_upload(fake: FakeRegistry, target: RegistryTarget) -> None:
    """After four attempts, as everywhere."""
    fake.faults.add(faults.cut(after_bytes=100), method="PATCH")
    with pytest.raises(Unavailable):
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake).count("PATCH") == 4


async def test_content_is_opened_at_the_resumed_offset(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The source is not read from its beginning again."""
    fake.faults.add(faults.cut(after_bytes=3 * MIB), method="PATCH", times=1)
    starts = list[int]()

    def opened(start: int = 0) -> AbstractAsyncContextManager[AsyncIterator[Chunk]]:
        starts.append(start)
        return BLOB.open(start)

    await target.push_blob(BLOB.descriptor, opened)
    assert starts == [0, 3 * MIB]


async def test_a_medium_blob_starts_over(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Up to 8 MiB it is not worth the question."""
    blob = Blob.generated("medium", 8 * MIB)
    fake.faults.add(faults.cut(after_bytes=3 * MIB), method="PUT", times=1)
    await target.push_blob(blob.descriptor, blob.open)
    assert uploads(fake) == ["POST", "PUT", "POST", "PUT"]
    assert fake.requests.count(method="HEAD", kind="blob") == 1


async def test_a_lost_session_restarts_with_smaller_chunks_on_new_connections(
    fake: FakeRegistry, target: RegistryTarget
) -> None:
    """As with distribution 2.8: a break in a body loses the whole session."""
    fake.faults.add(faults.cut(after_bytes=4 * MIB), method="PATCH", times=1)
    fake.intercept.append(Fault(404, "GET", "upload", code="BLOB_UPLOAD_INVALID", times=99))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake)[:4] == ["POST", "PATCH", "GET", "POST"]
    later = list(fake.requests.only(kind="upload"))[4:]
    assert max(request.bytes_in for request in later) <= 2 * MIB
    assert {request.headers["connection"] for request in later} == {"close"}
    assert sent(fake) == 4 * MIB + BLOB.size_bytes


async def test_repeated_session_losses_end_the_upload(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Chunks shrink down to the minimum, then the upload fails."""
    fake.faults.add(faults.cut(after_bytes=MIB // 2), method="PATCH")
    fake.intercept.append(Fault(404, "GET", "upload", code="BLOB_UPLOAD_INVALID", times=99))
    with pytest.raises(Unavailable):
        await target.push_blob(BLOB.descriptor, BLOB.open)
    assert 4 <= uploads(fake).count("PATCH") <= 8


async def test_chunks_shrink_for_a_registry_that_keeps_complete_chunks_only(
    fake: FakeRegistry, target: RegistryTarget
) -> None:
    """Two breaks at the same offset: a chunk of that size never arrives."""
    lost = list[int]()

    async def lose_part(request: web.Request) -> web.StreamResponse | None:
        if request.method not in {"PATCH", "PUT"} or (request.content_length or 0) <= 5 * MIB:
            return None
        await request.content.readexactly(5 * MIB)
        lost.append(5 * MIB)
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    fake.intercept.append(lose_part)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake).count("POST") == 1
    assert len(lost) == 2


async def test_a_lost_response_to_the_closing_put_costs_one_head(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The blob is looked up, and nothing is sent again."""
    lose_answer(fake, "PUT", "upload")
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PATCH", "PUT"]
    assert fake.requests.count(method="HEAD", kind="blob") == 1
    assert sent(fake) == BLOB.size_bytes


async def test_a_lost_response_to_a_chunk_costs_one_offset_query(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The registry has the chunk, and its response says so."""
    fake.faults.add(faults.lost(), method="PATCH", times=1)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["POST", "PATCH", "GET", "PATCH", "PUT"]
    assert sent(fake) == BLOB.size_bytes


async def test_a_chunk_that_is_too_large_is_halved(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Until the registry accepts it, and later blobs start with that size."""

    async def refuse(request: web.Request) -> web.StreamResponse | None:
        if request.method in {"PATCH", "PUT"} and (request.content_length or 0) > 3 * MIB:
            return web.Response(status=413)
        return None

    fake.intercept.append(refuse)
    other = Blob.generated("other", 9 * MIB)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    refused = fake.requests.count(kind="upload", status=413)
    await target.push_blob(other.descriptor, other.open)
    assert {BLOB.digest, other.digest} <= fake.content("app").blobs
    assert fake.requests.count(kind="upload", status=413) == refused == 2


@pytest.mark.parametrize(
    "profile",
    [
        profiles.GHCR,
        profiles.ECR,
        profiles.GAR,
        profiles.MONOLITHIC,
        profiles.ARTIFACTORY,
        profiles.ARTIFACTORY_UNNAMED,
    ],
)
async def test_large_blobs_reach_registries_of_every_profile(registries: Registries, profile: Profile) -> None:
    """Their responses tell the profile if the host name does not."""
    async with FakeRegistry(profile) as fake:
        await registries.target(fake.repository("team/app")).push_blob(BLOB.descriptor, BLOB.open)
        assert BLOB.digest in fake.content("team/app").blobs


async def test_artifactory_receives_no_byte_twice(registries: Registries) -> None:
    """Under any host name: its headers identify it before the first byte is sent."""
    async with FakeRegistry(profiles.ARTIFACTORY) as fake:
        await registries.target(fake.repository("app")).push_blob(BLOB.descriptor, BLOB.open)
        assert uploads(fake) == ["POST", "PATCH", "PUT"]
        assert sent(fake) == BLOB.size_bytes


@pytest.mark.parametrize("size", [100_000, 12 * MIB])
async def test_a_registry_that_ignores_closing_content_unannounced_gets_one_blob_twice(
    registries: Registries, size: int
) -> None:
    """The mismatch reveals it, whatever the size of the blob; the second blob goes the right way."""
    first = Blob.generated("first", size)
    async with FakeRegistry(profiles.ARTIFACTORY_UNNAMED) as fake:
        target = registries.target(fake.repository("app"))
        await target.push_blob(first.descriptor, first.open)
        assert sent(fake) == 2 * first.size_bytes
        fake.requests.clear()
        await target.push_blob(BLOB.descriptor, BLOB.open)
        assert uploads(fake) == ["POST", "PATCH", "PUT"]
        assert sent(fake) == BLOB.size_bytes


@pytest.mark.parametrize("profile", [profiles.ARTIFACTORY, profiles.ARTIFACTORY_UNNAMED])
async def test_only_ignored_and_cut_bytes_are_sent_again(registries: Registries, profile: Profile) -> None:
    """An upload that cannot resume restarts after a cut, and no strategy is tried twice."""
    async with FakeRegistry(profile) as fake:
        fake.faults.add(faults.cut(after_bytes=5 * MIB), method="PATCH", times=1)
        await registries.target(fake.repository("app")).push_blob(BLOB.descriptor, BLOB.open)
        assert BLOB.digest in fake.content("app").blobs
        known = profile is profiles.ARTIFACTORY
        assert sent(fake) <= (1 if known else 2) * BLOB.size_bytes + 5 * MIB


@pytest.mark.parametrize(
    ("share", "requests"),
    [(0.5, ["GET", "GET", "POST", "PATCH", "PUT"]), (0.0, ["GET", "GET", "PATCH", "PUT"]), (1.0, ["GET", "PUT"])],
)
async def test_an_inherited_artifactory_upload_is_closed_or_restarted(
    registries: Registries, share: float, requests: list[str]
) -> None:
    """It takes a blob in one request: half a blob is useless, and a complete one is not sent again."""
    blob = Blob.generated("nine", 9 * MIB)
    async with FakeRegistry(profiles.ARTIFACTORY) as fake, aiohttp.ClientSession(fake.url) as http:
        async with http.post("/v2/app/blobs/uploads/") as opened:
            location = f"/v2/app/blobs/uploads/{opened.headers['Docker-Upload-UUID']}"
        if share:
            (await http.patch(location, data=BytesIO(blob.read()[: int(share * blob.size_bytes)]))).close()
        registries.journal.record(fake.repository("app"), blob.digest, UploadCheckpoint(f"{fake.url}{location}", 0))
        fake.requests.clear()
        await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
        assert uploads(fake) == requests
        assert sent(fake) == (0 if share == 1 else blob.size_bytes)


async def test_content_that_is_always_too_large_is_an_error(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A proxy that lets almost nothing through; the error has a remedy."""
    fake.intercept.append(Fault(413, "PATCH", times=99))
    fake.intercept.append(Fault(413, "PUT", times=99))
    with pytest.raises(TooLarge, match="raise the limit"):
        await target.push_blob(BLOB.descriptor, BLOB.open)


@pytest.mark.parametrize("status", [400, 405, 415, 501])
async def test_a_registry_without_chunks_gets_the_blob_in_one_request(
    fake: FakeRegistry, target: RegistryTarget, status: int
) -> None:
    """The second blob goes that way at once."""
    fake.faults.add(faults.answer(status, code="UNSUPPORTED"), method="PATCH")
    other = Blob.generated("other", 9 * MIB)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    await target.push_blob(other.descriptor, other.open)
    assert uploads(fake) == ["POST", "PATCH", "POST", "PUT", "POST", "PUT"]


async def test_an_out_of_order_chunk_resumes_at_the_range_of_the_416(
    fake: FakeRegistry, target: RegistryTarget
) -> None:
    """The response also has a new Location."""
    seen = list[str]()

    async def disorder(request: web.Request) -> web.StreamResponse | None:
        if request.method != "PATCH" or seen:
            return None
        seen.append(request.path)
        headers = {"Location": f"{request.path}?_state=0", "Range": "0-0"}
        return web.Response(status=416, headers=headers)

    fake.intercept.append(disorder)
    with_range = Fault(416, "PUT", headers={}, times=1)
    fake.intercept.append(with_range)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs


# The fake registry answers 416 before it has read the chunk, and may reset the connection that a thread still fills;
# the offset is then asked for with a GET, as after any break.
@pytest.mark.parametrize("io_threads", ["never"], indirect=True, ids=["loop"])
async def test_a_partially_accepted_chunk_continues_from_the_reported_range(
    fake: FakeRegistry, target: RegistryTarget
) -> None:
    """202 with a Range below what was sent; if that was wrong, a 416 corrects it."""
    fake.faults.add(faults.headers({"Range": f"0-{2 * MIB - 1}"}), method="PATCH", times=1)
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake).count("GET") == 0


async def test_a_broken_source_does_not_resend_bytes_to_the_target(fake: FakeRegistry, target: RegistryTarget) -> None:
    """The session stays open, and the content is opened at its offset."""
    half = list(BLOB.chunks())[:12]
    opener, opened = one_after_another(failing(Unavailable("gone"), after=half), BLOB.open)
    await target.push_blob(BLOB.descriptor, opener)
    assert opened[:2] == [0, 1]
    assert uploads(fake).count("POST") == 1
    assert BLOB.digest in fake.content("app").blobs
    assert sent(fake) <= BLOB.size_bytes + MIB


async def test_an_upload_with_wrong_content_is_never_resumed(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Any of its bytes may be wrong: a new session starts from byte 0."""
    half = list(BLOB.chunks())[:12]
    opener, _ = one_after_another(failing(ContentMismatch("wrong"), after=half), BLOB.open)
    await target.push_blob(BLOB.descriptor, opener)
    assert uploads(fake).count("POST") == 2
    assert uploads(fake).count("DELETE") == 1
    assert fake.unfinished_uploads == 0


async def test_the_next_push_resumes_from_the_journal(fake: FakeRegistry) -> None:
    """As a process does that starts after another was killed; the journal is empty afterwards."""
    journal = MemoryUploadJournal()
    fake.faults.add(faults.cut(after_bytes=0), method="PUT")
    async with client(limits=LIMITS) as first:
        first.journal = journal
        with pytest.raises(Unavailable):
            await first.target(fake.repository("app")).push_blob(BLOB.descriptor, BLOB.open)
    fake.faults.clear()
    async with client(limits=LIMITS) as second:
        second.journal = journal
        await second.target(fake.repository("app")).push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake).count("POST") == 1
    assert sent(fake) == BLOB.size_bytes
    assert await journal.take(fake.repository("app"), BLOB.digest) is None


@pytest.mark.parametrize("location", ["/v2/app/blobs/uploads/none", "http://127.0.0.1:1/gone"])
async def test_a_stale_journal_entry_costs_one_request(
    fake: FakeRegistry, registries: Registries, location: str
) -> None:
    """The registry does not know the session, so the entry is removed."""
    journal = registries.journal
    url = location if "//" in location else f"{fake.url}{location}"
    journal.record(fake.repository("app"), BLOB.digest, UploadCheckpoint(url, 8 * MIB))
    await registries.target(fake.repository("app")).push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake)[-4:] == ["POST", "PATCH", "PATCH", "PUT"]
    assert uploads(fake).count("GET") <= 1
    assert await journal.take(fake.repository("app"), BLOB.digest) is None


async def test_chunks_use_new_connections_after_a_session_was_lost_with_its_process(
    fake: FakeRegistry, registries: Registries, target: RegistryTarget
) -> None:
    """A bad link may have ended the process: a chunk on its own connection cannot take others down."""
    url = f"{fake.url}/v2/app/blobs/uploads/not-known-any-more"
    registries.journal.record(fake.repository("app"), BLOB.digest, UploadCheckpoint(url, 8 * MIB))
    await target.push_blob(BLOB.descriptor, BLOB.open)
    assert uploads(fake) == ["GET", "POST", "PATCH", "PATCH", "PUT"]
    assert [request.headers.get("connection") for request in fake.requests.only(kind="upload")][1:] == ["close"] * 4


async def test_wrong_bytes_of_another_process_are_sent_again(fake: FakeRegistry, registries: Registries) -> None:
    """The registry's digest check finds them, and a restart heals the upload."""
    async with client(limits=LIMITS) as others:
        others.journal = registries.journal
        zeros = failing(Unavailable("killed"), after=[bytes(MIB)] * 10)
        with pytest.raises(AssertionError):  # It can not be opened in the middle.
            await others.target(fake.repository("app")).push_blob(BLOB.descriptor, zeros)
    assert fake.unfinished_uploads == 1
    fake.requests.clear()
    await registries.target(fake.repository("app")).push_blob(BLOB.descriptor, BLOB.open)
    assert BLOB.digest in fake.content("app").blobs
    assert uploads(fake).count("POST") == 1
    assert uploads(fake)[0] == "GET"


async def test_concurrent_pushes_of_one_blob_do_not_share_a_session(fake: FakeRegistry, registries: Registries) -> None:
    """One of them uses the journal; the others have sessions of their own."""
    target = registries.target(fake.repository("app"))
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(target.push_blob(BLOB.descriptor, BLOB.open))
    assert uploads(fake).count("POST") == 3
    assert uploads(fake).count("GET") == 0


async def test_medium_blobs_are_not_recorded_in_the_journal(fake: FakeRegistry, registries: Registries) -> None:
    """Recording would cost more than it saves."""
    blob = Blob.generated("medium", 8 * MIB)
    fake.faults.add(faults.answer(503), method="PUT")
    with pytest.raises(Unavailable):
        await registries.target(fake.repository("app")).push_blob(blob.descriptor, blob.open)
    assert await registries.journal.take(fake.repository("app"), blob.digest) is None
