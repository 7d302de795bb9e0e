"""Request and response bodies of a fake registry, with the faults that apply to them."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Final, cast

from aiohttp import web

from image_syncer.testing.fake.answers import RECORD, RegistryError
from image_syncer.testing.fake.fault_injection import Fault
from image_syncer.testing.profile import ProfileRefusal

FAULTS: Final = web.RequestKey[tuple[Fault, ...]]("faults", tuple)


class StreamedBody(web.StreamResponse):
    """A response that reads its body from *chunks* while it is sent; *headers* contain its Content-Length."""

    def __init__(self, chunks: Iterator[bytes], status: int, headers: Mapping[str, str]) -> None:
        super().__init__(status=status, headers=headers)
        self.chunks = chunks


async def received(request: web.Request) -> AsyncGenerator[bytes]:
    """Yield the body of *request* as it arrives and count it; `OSError` or `ClientError` if it breaks off."""
    chunks: AsyncIterator[bytes] = request.content.iter_any()
    for fault in request.get(FAULTS, ()):
        chunks = fault.receive(request, chunks)
    async for chunk in chunks:
        request[RECORD].bytes_in += len(chunk)
        yield chunk


async def read_limited(request: web.Request, limit_bytes: int, refusal: ProfileRefusal) -> bytes:
    """Return the body of *request*; answer one above *limit_bytes* with *refusal*."""
    parts: list[bytes] = []
    async with aclosing(received(request)) as chunks:
        async for chunk in chunks:
            parts.append(chunk)
            if request[RECORD].bytes_in > limit_bytes:
                raise RegistryError.of(refusal)
    return b"".join(parts)


async def deliver(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Record *response* before its first byte is sent, then send it, unless aiohttp can do that."""
    faults, record = request.get(FAULTS, ()), request[RECORD]
    touched = any(fault.touches_body for fault in faults) and isinstance(response, web.Response)
    if touched and request.method != "HEAD":
        response = _streamed(cast("web.Response", response))
    for fault in faults:
        fault.head(request, response.headers)
    record.status = response.status
    if isinstance(response, StreamedBody):
        await _send(request, response, faults)
    elif isinstance(response, web.Response) and isinstance(response.body, bytes) and request.method != "HEAD":
        record.bytes_out = len(response.body)
    return response


async def _send(request: web.Request, response: StreamedBody, faults: tuple[Fault, ...]) -> None:
    await response.prepare(request)
    chunks = _each(response.chunks)
    for fault in faults:
        chunks = fault.send(request, chunks)
    if request.method != "HEAD":
        async for chunk in chunks:
            request[RECORD].bytes_out += len(chunk)
            await response.write(chunk)
    await response.write_eof()
    if request.method != "HEAD" and request[RECORD].bytes_out < int(response.headers["Content-Length"]):
        _disconnect(request)


def _disconnect(request: web.Request) -> None:
    """Close the connection after a body that is shorter than announced."""
    if request.transport is not None:
        request.transport.close()


def _streamed(response: web.Response) -> StreamedBody:
    body = response.body if isinstance(response.body, bytes) else b""
    headers = response.headers.copy()
    headers.setdefault("Content-Length", str(len(body)))
    return StreamedBody(iter((body,)) if body else iter(()), response.status, headers)


async def _each(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    for chunk in chunks:
        yield chunk
