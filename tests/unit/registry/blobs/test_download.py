"""Interrupted downloads resume where they broke."""

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from image_syncer.errors import ContentMismatch, Denied, NotFound, StoreError, Unavailable
from image_syncer.registry.blobs.download import ContentRange, content_range
from image_syncer.registry.repository import RegistrySource
from image_syncer.testing import Blob, FakeRegistry
from image_syncer.testing.fake_registry import Interceptor
from image_syncer.testing.images import single
from support.clients import FakeTime, Fault, client

pytestmark = pytest.mark.usefixtures("io_threads")


MIB = 1024 * 1024
BLOB = Blob.generated("download", 8 * MIB)
CONTENT = BLOB.read()


@dataclass(slots=True)
class Cutting:
    """Serves the blob from the requested offset, and breaks the connection after *every* bytes, *times* times.

    *starts* are the requested offsets. *lie* changes the response headers.
    """

    every: int
    times: int = 10_000
    ranges: bool = True
    starts: list[int] = field(default_factory=list[int])
    lie: Callable[[dict[str, str]], Mapping[str, str]] = field(default=lambda headers: headers)
    sent_bytes: int = 0

    async def __call__(self, request: web.Request) -> web.StreamResponse | None:
        """Respond to a GET of a blob."""
        if request.method != "GET" or "/blobs/" not in request.path:
            return None
        wanted = request.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        self.starts.append(start)
        headers = {"Content-Length": str(len(CONTENT) - start), "ETag": '"weak"'}
        if wanted and self.ranges:
            headers["Content-Range"] = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        elif not self.ranges:
            start, headers["Content-Length"] = 0, str(len(CONTENT))
        status = 206 if "Content-Range" in headers else 200
        return await self._send(request, status, self.lie(headers), CONTENT[start:])

    async def _send(
        self, request: web.Request, status: int, headers: Mapping[str, str], content: bytes
    ) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        cut = self.times > 0 and len(content) > self.every
        await response.write(content[: self.every] if cut else content)
        self.sent_bytes += min(self.every, len(content)) if cut else len(content)
        if cut:
            self.times -= 1
            assert request.transport is not None
            request.transport.close()  # Written bytes still arrive.
        else:
            await response.write_eof()
        return response


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry whose repository `app` holds the blob."""
    async with FakeRegistry() as registry:
        registry.load("app", single("image", layers=[BLOB]))
        yield registry


async def read(source: RegistrySource, start: int = 0) -> bytes:
    """Return the blob from *start* on."""
    async with source.open(BLOB.descriptor, start) as chunks:
        return b"".join([bytes(chunk) async for chunk in chunks])


async def test_a_download_resumes_where_it_broke(fake: FakeRegistry, source: RegistrySource) -> None:
    """After any number of breaks, each byte was sent once."""
    fake.intercept.append(cutting := Cutting(every=MIB // 2))
    assert await read(source) == CONTENT
    assert cutting.starts == [number * MIB // 2 for number in range(16)]
    assert cutting.sent_bytes == len(CONTENT)


async def test_less_than_64_kib_per_attempt_is_no_progress(fake: FakeRegistry, source: RegistrySource) -> None:
    """After four such attempts the download fails."""
    fake.intercept.append(cutting := Cutting(every=1000))
    with pytest.raises(Unavailable, match="broke off"):
        await read(source)
    assert cutting.starts == [0, 1000, 2000, 3000]


async def test_progress_resets_the_attempts(fake: FakeRegistry) -> None:
    """Three bad attempts, a good one, three bad ones: the waits start again at the smallest."""
    time = FakeTime()
    lengths = iter([10, 10, 10, MIB, 10, 10, 10, len(CONTENT)])

    class Varying(Cutting):
        async def __call__(self, request: web.Request) -> web.StreamResponse | None:
            if request.method == "GET" and "/blobs/" in request.path:
                self.every = next(lengths)
            return await Cutting.__call__(self, request)

    fake.intercept.append(Varying(every=0))
    async with client(time) as registries:
        assert await read(registries.source(fake.repository("app"))) == CONTENT
    assert len(time.waits) == 7
    assert max(time.waits[3], time.waits[4]) <= 1.0


async def test_bytes_that_a_registry_without_ranges_repeats_are_skipped(
    fake: FakeRegistry, source: RegistrySource
) -> None:
    """It sends 200 in place of 206."""
    fake.intercept.append(cutting := Cutting(every=3 * MIB, times=1, ranges=False))
    assert await read(source) == CONTENT
    assert cutting.starts == [0, 3 * MIB]


async def test_a_registry_without_ranges_that_always_breaks_fails(fake: FakeRegistry, source: RegistrySource) -> None:
    """It never gets beyond the bytes that we have."""
    fake.intercept.append(cutting := Cutting(every=3 * MIB, ranges=False))
    with pytest.raises(Unavailable):
        await read(source)
    assert len(cutting.starts) == 5


async def test_each_attempt_follows_a_new_redirect(fake: FakeRegistry, source: RegistrySource) -> None:
    """Signed URLs expire. The request to the storage has the Range."""
    async with FakeRegistry() as storage:
        storage.intercept.append(cutting := Cutting(every=3 * MIB))
        signed = iter(range(100))

        async def redirect(request: web.Request) -> web.StreamResponse | None:
            if request.method != "GET" or "/blobs/" not in request.path:
                return None
            location = f"{storage.url}{request.path}?signature={next(signed)}"
            return web.Response(status=307, headers={"Location": location})

        fake.intercept.append(redirect)
        assert await read(source) == CONTENT
        assert [request.query for request in storage.requests.only(kind="blob")] == [
            (("signature", str(number)),) for number in range(3)
        ]
    assert cutting.starts == [0, 3 * MIB, 6 * MIB]


def other_start(headers: dict[str, str]) -> Mapping[str, str]:
    """Claim to start a byte later."""
    if "Content-Range" in headers:
        headers["Content-Range"] = headers["Content-Range"].replace("bytes 3145728-", "bytes 3145729-")
    return headers


def other_total(headers: dict[str, str]) -> Mapping[str, str]:
    """Claim to have a byte more."""
    if "Content-Range" in headers:
        headers["Content-Range"] = headers["Content-Range"].replace("/8388608", "/8388609")
    return headers


def without_range(headers: dict[str, str]) -> Mapping[str, str]:
    """Omit the Content-Range of a 206."""
    headers.pop("Content-Range", None)
    return headers


def invalid(headers: dict[str, str]) -> Mapping[str, str]:
    """Send an invalid range."""
    if "Content-Range" in headers:
        headers["Content-Range"] = "bytes ?"
    return headers


@pytest.mark.parametrize("lie", [other_start, invalid, without_range])
async def test_after_an_unusable_range_the_blob_is_read_from_its_beginning(
    fake: FakeRegistry, source: RegistrySource, lie: Callable[[dict[str, str]], Mapping[str, str]]
) -> None:
    """Without a Range, once and for all: the bytes that were already read are skipped."""
    fake.intercept.append(cutting := Cutting(every=3 * MIB, times=1, lie=lie))
    assert await read(source) == CONTENT
    assert cutting.starts == [0, 3 * MIB, 0]


async def test_a_range_that_begins_too_early_is_used(fake: FakeRegistry, source: RegistrySource) -> None:
    """206 from byte 0: the bytes that were already read are skipped, and there is no third request."""
    breaking = Cutting(every=3 * MIB, times=1)
    whole = list[int]()

    async def respond(request: web.Request) -> web.StreamResponse | None:
        if not breaking.starts:
            return await breaking(request)
        if request.method != "GET" or "/blobs/" not in request.path:
            return None
        whole.append(206)
        headers = {"Content-Range": f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}"}
        return web.Response(status=206, headers=headers, body=CONTENT)

    fake.intercept.append(respond)
    assert await read(source) == CONTENT
    assert (breaking.starts, whole) == ([0], [206])


async def test_another_size_in_the_range_is_a_mismatch(fake: FakeRegistry, source: RegistrySource) -> None:
    """No wrong byte is passed on."""
    fake.intercept.append(Cutting(every=3 * MIB, lie=other_total))
    with pytest.raises(ContentMismatch, match="the registry has 8388609 bytes of it, not 8388608"):
        await read(source)


async def test_after_a_416_the_blob_is_read_from_its_beginning(fake: FakeRegistry, source: RegistrySource) -> None:
    """Some servers respond so to any Range."""
    cutting = Cutting(every=3 * MIB, times=1)
    refused = list[str]()

    async def respond(request: web.Request) -> web.StreamResponse | None:
        if "Range" in request.headers:
            refused.append(request.headers["Range"])
            return web.Response(status=416)
        return await cutting(request)

    fake.intercept.append(respond)
    assert await read(source) == CONTENT
    assert (refused, cutting.starts) == ([f"bytes={3 * MIB}-{8 * MIB - 1}"], [0, 0])


async def test_a_range_is_closed(fake: FakeRegistry, source: RegistrySource) -> None:
    """Some servers respond 416 to an open range."""

    async def respond(request: web.Request) -> web.StreamResponse | None:
        is_open = request.headers.get("Range", "").endswith("-")
        return web.Response(status=416) if is_open else await cutting(request)

    cutting = Cutting(every=3 * MIB)
    fake.intercept.append(respond)
    assert await read(source) == CONTENT
    assert cutting.sent_bytes == len(CONTENT)


def second(status: int) -> Interceptor:
    """Break the first response, and refuse the second request with *status*."""
    cutting = Cutting(every=3 * MIB)
    refusal = Fault(status, "GET", "blob", times=99)

    async def respond(request: web.Request) -> web.StreamResponse | None:
        return await (refusal if cutting.starts else cutting)(request)

    return respond


@pytest.mark.parametrize(("status", "kind"), [(403, Denied), (404, NotFound), (503, Unavailable)])
async def test_a_refused_resume_raises_the_refusal(
    fake: FakeRegistry, source: RegistrySource, status: int, kind: type[StoreError]
) -> None:
    """Its message has the reference."""
    fake.intercept.append(second(status))
    with pytest.raises(kind, match=f"app@{BLOB.digest}.*answered {status}"):
        await read(source)


async def test_wrong_bytes_after_the_break_are_detected(fake: FakeRegistry, source: RegistrySource) -> None:
    """The digest is verified across the break."""
    fake.intercept.append(Cutting(every=3 * MIB, times=1))
    fake.replace_blob(BLOB.digest, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    fake.intercept.insert(0, _only_first(fake.intercept.pop()))
    with pytest.raises(ContentMismatch, match="the bytes have digest"):
        await read(source)


def _only_first(interceptor: Interceptor) -> Interceptor:
    count = 0

    async def respond(request: web.Request) -> web.StreamResponse | None:
        nonlocal count
        if request.method != "GET" or "/blobs/" not in request.path:
            return None
        count += 1
        return await interceptor(request) if count == 1 else None

    return respond


@pytest.mark.parametrize("start", [1, 5 * MIB + 17, 8 * MIB - 1])
async def test_a_read_from_the_middle_requests_only_the_rest(
    fake: FakeRegistry, source: RegistrySource, start: int
) -> None:
    """One GET with a Range, if the bytes before were not read."""
    assert await read(source, start) == CONTENT[start:]
    assert [request.headers["range"] for request in fake.requests.only(kind="blob")] == [
        f"bytes={start}-{len(CONTENT) - 1}"
    ]
    assert fake.requests.only(kind="blob").bytes_out == len(CONTENT) - start


async def test_a_read_from_the_middle_is_verified_with_the_bytes_before(
    fake: FakeRegistry, source: RegistrySource
) -> None:
    """So it starts a little earlier, and a wrong byte is detected."""
    async with source.open(BLOB.descriptor) as chunks:
        got = 0
        async for chunk in chunks:
            got += len(chunk)
            if got >= 4 * MIB:
                break
    fake.replace_blob(BLOB.digest, CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(ContentMismatch):
        await read(source, 4 * MIB)
    assert len(CONTENT) - 3 * MIB > fake.requests.only(kind="blob")[-1].bytes_out >= len(CONTENT) - 4 * MIB


async def test_a_small_blob_can_be_read_from_the_middle(fake: FakeRegistry, source: RegistrySource) -> None:
    """It is read whole, like every small blob."""
    small = Blob.of(b"0123456789")
    fake.load("app", single("small", layers=[small]))
    async with source.open(small.descriptor, 4) as chunks:
        assert b"".join([bytes(chunk) async for chunk in chunks]) == b"456789"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes 3-9/10", ContentRange(3, 9, 10)),
        (" BYTES 0-0/* ", ContentRange(0, 0, None)),
        ("bytes 9-3/10", None),
        ("bytes 3-10/10", None),
        ("bytes */10", None),
        ("items 3-9/10", None),
        ("bytes 3-9", None),
        ("bytes 3-9/1e3", None),
        (f"bytes 0-1/{'9' * 19}", None),
        ("", None),
        (None, None),
    ],
)
def test_a_content_range_is_parsed_or_ignored(header: str | None, expected: ContentRange | None) -> None:
    """An invalid one is ignored."""
    assert content_range(header) == expected
