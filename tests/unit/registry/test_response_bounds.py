"""Bounds of responses, just within and just beyond each limit, on both transports."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence

import pytest
from aiohttp import web

from image_syncer.errors import Denied, ImageSyncerError, ProtocolError, TooLarge, Unavailable
from image_syncer.registry.http import messages
from image_syncer.registry.http.exchange import INFORMATIONAL
from image_syncer.registry.http.head import FIELDS_LIMIT, HEAD_BYTES
from image_syncer.registry.http.messages import PROGRESS_BYTES, Headers, StallTimer
from image_syncer.registry.http.request_body import in_pieces
from image_syncer.registry.http.tls import TlsContexts, TlsPolicy
from image_syncer.registry.http.transport import Request, Transport
from image_syncer.registry.settings import Limits
from image_syncer.testing import FakeRegistry
from support.clients import client

pytestmark = pytest.mark.usefixtures("io_threads")


Listen = Callable[..., Awaitable[int]]
Open = Callable[..., Awaitable[Transport]]
Answering = Callable[..., Awaitable[str]]

VERIFY = TlsPolicy("127.0.0.1")
BOTH = pytest.mark.parametrize("sockets", [True, False], ids=["sockets", "aiohttp"])
IMPATIENT = Limits(connect_seconds=5.0, stall_seconds=0.4)


@pytest.fixture
def answering(listen: Listen) -> Answering:
    """Start a server that answers every request with the same pieces, *pause* seconds apart; return its URL."""

    async def start(*pieces: bytes, pause: float = 0.0) -> str:
        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)

        return f"http://127.0.0.1:{await listen(talk)}/"

    return start


async def get(transport: Transport, url: str, limit_bytes: int = 1024 * 1024) -> bytes:
    """Return the whole body at *url*."""
    async with transport.request(Request("GET", url), tls=VERIFY) as response:
        return await response.read(limit_bytes)


def head(*fields: bytes, length: int = 2) -> bytes:
    """Return a response head with *fields*."""
    return b"HTTP/1.1 200 OK\r\n" + b"".join(b"%s\r\n" % one for one in fields) + b"Content-Length: %d\r\n\r\n" % length


def padded(total: int) -> bytes:
    """Return a head of exactly *total* bytes, including its end."""
    return head(b"X-Long: " + b"x" * (total - len(head(b"X-Long: "))))


@BOTH
@pytest.mark.parametrize(
    ("fits", "over"),
    [
        (padded(HEAD_BYTES), padded(HEAD_BYTES * 3)),
        (head(*[b"X-Many: y"] * (FIELDS_LIMIT - 1)), head(*[b"X-Many: y"] * (FIELDS_LIMIT + 1))),
    ],
    ids=["size", "fields"],
)
async def test_response_heads_are_bounded(answering: Answering, open_transport: Open, fits: bytes, over: bytes) -> None:
    """In size and in the number of fields."""
    assert await get(await open_transport(), await answering(fits + b"ok")) == b"ok"
    with pytest.raises(ImageSyncerError) as raised:
        await get(await open_transport(), await answering(over + b"ok"))
    assert isinstance(raised.value, ProtocolError)


async def test_the_head_size_limit_is_exact(answering: Answering, open_transport: Open) -> None:
    """On the socket transport, to the byte."""
    with pytest.raises(ProtocolError, match="the response is not HTTP"):
        await get(await open_transport(), await answering(padded(HEAD_BYTES + 5) + b"ok"))


async def test_informational_responses_are_bounded(answering: Answering, open_transport: Open) -> None:
    """Exactly the limit passes, one more does not."""
    early = b"HTTP/1.1 103 Early\r\n\r\n"
    assert await get(await open_transport(), await answering(early * INFORMATIONAL + head() + b"ok")) == b"ok"
    with pytest.raises(ProtocolError, match="the response is not HTTP"):
        await get(await open_transport(), await answering(early * (INFORMATIONAL + 1) + head() + b"ok"))


@BOTH
@pytest.mark.parametrize("announced", [True, False])
async def test_a_buffered_body_is_bounded(answering: Answering, open_transport: Open, announced: bool) -> None:
    """The exact limit is read, one more byte is refused, with or without a Content-Length."""

    def frame(length: int) -> bytes:
        return head(length=length) if announced else b"HTTP/1.1 200 OK\r\n\r\n"

    assert await get(await open_transport(), await answering(frame(9) + b"123456789"), 9) == b"123456789"
    with pytest.raises(TooLarge, match="more than 9 bytes"):
        await get(await open_transport(), await answering(frame(10) + b"1234567890"), 9)


@BOTH
async def test_an_endless_body_is_cut_at_the_limit(answering: Answering, open_transport: Open) -> None:
    """With chunked encoding."""
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    url = await answering(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", *[chunk] * 1000)
    with pytest.raises(TooLarge, match="more than 65536 bytes"):
        await get(await open_transport(), url, 65536)


HURRIED = Limits(connect_seconds=0.5, stall_seconds=1.0)
DRIP = (b"HTTP/1.1 200 OK\r\nX-A: ", *[b"a"] * 200)


@BOTH
@pytest.mark.parametrize(("method", "body", "limit"), [("GET", None, 3), ("HEAD", None, 3), ("PUT", b"body", 3)])
async def test_a_dripping_head_times_out(
    answering: Answering, open_transport: Open, method: str, body: bytes | None, limit: int
) -> None:
    """Single bytes are no stall, so the error names the limit that applied and the setting that changes it."""
    url, transport = await answering(*DRIP, pause=0.05), await open_transport(limits=HURRIED)
    with pytest.raises(Unavailable, match=f"no complete response to one request within {limit} s") as raised:
        async with asyncio.timeout(8):
            await _status(transport, Request(method, url, body=body))
    assert "raise timeouts.stall (--stall-timeout)" in (raised.value.remedy or "")


async def test_a_dripping_head_after_a_streamed_body_times_out(answering: Answering, open_transport: Open) -> None:
    """The time of the body does not count; after its last byte the limit is twice the stall time."""
    url, transport = await answering(*DRIP, pause=0.05), await open_transport(limits=HURRIED)
    with pytest.raises(Unavailable, match="no complete response to one request within 2 s"):
        async with asyncio.timeout(8):
            await _status(transport, Request("PUT", url, body=in_pieces(b"body")))


async def _status(transport: Transport, request: Request) -> int:
    async with transport.request(request, tls=VERIFY) as response:
        return response.status


@BOTH
async def test_a_dripping_body_counts_as_stalled(answering: Answering, open_transport: Open) -> None:
    """Single bytes now and then do not keep a reader waiting."""
    url = await answering(head(length=1000), *[b"x"] * 200, pause=0.05)
    with pytest.raises(Unavailable, match=r"the response stalled for 0\.4 s"):
        async with asyncio.timeout(8):
            await get(await open_transport(limits=IMPATIENT), url)


@BOTH
async def test_steady_progress_is_no_stall(answering: Answering, open_transport: Open) -> None:
    """4 KiB within the stall time are progress, however long the whole takes."""
    pieces = [b"x" * PROGRESS_BYTES] * 8
    url = await answering(head(length=8 * PROGRESS_BYTES), *pieces, pause=0.1)
    assert len(await get(await open_transport(limits=IMPATIENT), url)) == 8 * PROGRESS_BYTES


@BOTH
async def test_a_buffered_body_has_a_total_time_limit(
    answering: Answering, open_transport: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However steadily it comes."""
    monkeypatch.setattr(messages, "DOCUMENT_SECONDS", 0.3)
    url = await answering(head(length=100 * PROGRESS_BYTES), *[b"x" * PROGRESS_BYTES] * 100, pause=0.05)
    with pytest.raises(Unavailable, match=r"no complete response within 0\.3 s"):
        await get(await open_transport(), url)


def test_only_waiting_counts_against_the_stall_time() -> None:
    """Progress resets the time; a slow reader loses none."""
    flow = StallTimer(60)
    flow.record(PROGRESS_BYTES - 1, 50)
    assert flow.remaining_seconds == 10
    flow.record(1, 5)
    assert flow.remaining_seconds == 60


@pytest.mark.parametrize(
    ("values", "coding"), [((), ""), (("identity",), ""), ((" GZIP ",), "gzip"), (("br", "gzip"), "br")]
)
def test_a_content_coding_is_detected(values: Sequence[str], coding: str) -> None:
    """Identity is none."""
    assert Headers(("Content-Encoding", value) for value in values).content_encoding == coding


def test_tls_before_1_2_is_refused() -> None:
    """Whatever the system allows; a stricter system setting stays."""
    for insecure in (False, True):
        context = TlsContexts({}, ()).context(TlsPolicy("registry.example", insecure))
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


async def test_reading_an_error_body_has_a_short_time_limit() -> None:
    """The status alone decides; a dripping error body does not delay it."""

    async def drip(request: web.Request) -> web.StreamResponse | None:
        if "/manifests/" not in request.path:
            return None
        refusal = web.StreamResponse(status=403, headers={"Content-Length": "5000"})
        await refusal.prepare(request)
        await refusal.write(b"no entry ")
        for _ in range(40):  # For 10 s; it is hung up on before that.
            await refusal.write(b".")
            await asyncio.sleep(0.25)
        return refusal

    limits = Limits(connect_seconds=5.0, stall_seconds=20.0, error_seconds=0.5)
    async with FakeRegistry() as fake, client(limits=limits) as registries:
        fake.intercept.append(drip)
        with pytest.raises(Denied, match=r"answered 403: no entry \."):
            async with asyncio.timeout(6):
                await registries.source(fake.repository("app")).manifest("v1")
