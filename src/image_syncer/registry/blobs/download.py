"""Resumable read of a blob that is not small: a Range request after each break (RFC 9110, section 14).

Each request goes to the registry itself, so that a redirect has a fresh signature. There is no If-Range: the digest is
verified across breaks, and storage whose replicas have different ETags would send the whole blob again.
"""

import re
from collections.abc import AsyncGenerator, Callable, Container, Mapping
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from image_syncer.errors import ContentMismatch, Unavailable
from image_syncer.oci import Descriptor
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.http.transport import Response
from image_syncer.registry.limits.retry import RetryAttempts
from image_syncer.roles import Chunk
from image_syncer.structs import Struct

GAIN_BYTES: Final = 64 * 1024
"""An attempt that got this much further counts as progress."""

_RANGE_STATUSES: Final = frozenset(
    {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE}
)
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


class ContentRange(Struct):
    """The bytes in a response: from *first* to *last*, of *total* (None: not stated)."""

    first: int
    last: int
    total: int | None


def content_range(value: str | None) -> ContentRange | None:
    """Return the range in a Content-Range header; None without a valid one (RFC 9110, section 14.4)."""
    match = _CONTENT_RANGE.fullmatch((value or "").strip())
    if match is None:
        return None
    found = ContentRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))
    return found if found.first <= found.last and (found.total is None or found.last < found.total) else None


class _Surplus:
    """Passes what follows the first *count* bytes to *inspect*."""

    def __init__(self, count: int, inspect: Callable[[Chunk], None]) -> None:
        self._count = count
        self._inspect = inspect

    def __call__(self, chunk: Chunk) -> None:
        skipped = min(self._count, len(chunk))
        self._count -= skipped
        if skipped < len(chunk):
            self._inspect(memoryview(chunk)[skipped:] if skipped else chunk)


class Download:
    """One read of *blob* from byte *start*; an async context manager, within which `chunks` is called once.

    *inspect* receives every byte once, in order, before it is yielded, maybe in a thread; its errors end the read.

    Opening is retried as the policy says, and an interrupted read is resumed. Each 64 KiB of progress resets the count
    of attempts. A download slot is held while bytes flow, not while waiting for a retry.
    """

    def __init__(
        self, requests: RepositoryRequests, blob: Descriptor, start: int, inspect: Callable[[Chunk], None]
    ) -> None:
        self._requests = requests
        self._client = requests.client
        self._path = requests.blob_path(blob)
        self._context = requests.blob_context(blob)
        self._size = blob.size
        self._position = start
        self._inspect = inspect
        self._opened = AsyncExitStack()
        self._response: Response | None = None
        self._surplus_bytes = 0
        self._serves_ranges = True

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._opened.__aexit__(kind, error, trace)

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield every byte from *start* on, exactly once."""
        attempts = RetryAttempts(self._client.retrying)
        while True:
            began = self._position
            try:
                async with aclosing(self._rest_of_response()) as chunks:
                    async for chunk in chunks:
                        yield chunk
                if self._has_ended():
                    return
                failure = Unavailable(f"{self._context.what}: broke off after {self._position} bytes")
            except Unavailable as error:
                if self._size is None:
                    raise  # Without a size it is unknown whether bytes are missing.
                failure = error
            await self._opened.aclose()
            await attempts.wait_after(failure, advanced=self._position - began >= GAIN_BYTES)
            await self._open()

    async def _open(self) -> None:
        """Open the rest of the blob. If the registry does not serve a usable range, open the whole blob instead."""
        if self._position and self._serves_ranges:
            # Closed, if the size is known: some registries respond 416 to an open range.
            end = "" if self._size is None else self._size - 1
            response = await self._request({"Range": f"bytes={self._position}-{end}"}, _RANGE_STATUSES)
            surplus = self._surplus(response)
            if surplus is not None:
                self._response, self._surplus_bytes = response, surplus
                return
            self._serves_ranges = False
            await self._opened.aclose()
        response = await self._request({}, {HTTPStatus.OK})
        if self._position:
            self._check_total(response.content_length)
        self._response, self._surplus_bytes = response, self._position

    async def _request(self, headers: Mapping[str, str], expect: Container[int]) -> Response:
        call = self._requests.build("GET", self._path, headers=headers, follow=True)
        return await self._opened.enter_async_context(self._client.download(call, self._context, expect=expect))

    async def _rest_of_response(self) -> AsyncGenerator[Chunk]:
        """Yield the bytes of the response from our position on, and advance the position."""
        response = self._response
        if response is None:
            raise RuntimeError("the download is not open")
        surplus = self._surplus_bytes
        async with aclosing(response.chunks(_Surplus(surplus, self._inspect))) as chunks:
            async for chunk in chunks:
                if surplus >= len(chunk):
                    surplus -= len(chunk)
                    continue
                wanted = memoryview(chunk)[surplus:] if surplus else chunk
                surplus = 0
                self._position += len(wanted)
                yield wanted

    def _surplus(self, response: Response) -> int | None:
        """Return how many bytes at the start of a response to a Range were already yielded; None if it is unusable.

        A 206 may begin earlier than requested (some servers always begin at 0). One that begins later, or does not
        state its range, is unusable, and so is a 416.
        """
        if response.status == HTTPStatus.OK:  # The server ignores Range.
            self._check_total(response.content_length)
            return self._position
        found = content_range(response.headers.get("Content-Range"))
        if response.status != HTTPStatus.PARTIAL_CONTENT or found is None:
            return None
        self._check_total(found.total)
        return self._position - found.first if found.first <= self._position <= found.last else None

    def _check_total(self, total: int | None) -> None:
        if total is not None and self._size is not None and total != self._size:
            raise ContentMismatch(f"{self._context.what}: the registry has {total} bytes of it, not {self._size}")

    def _has_ended(self) -> bool:
        """Whether the read is over: all bytes arrived, or all that the registry has."""
        response = self._response
        if response is None or self._size is None or self._position >= self._size:
            return True
        return response.status == HTTPStatus.OK and response.content_length is not None
