"""Reading a blob that is not small, going on in mid-stream where the line breaks (RFC 9110, 14).

Each time the registry itself is asked again, so that the signed address that it may lead to is a new one. The bytes are
named by their digest, whose check goes on across breaks, so no If-Range is needed: storage whose ETag differs from one
replica to the next would only send everything anew.
"""

import re
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

from image_syncer.errors import ContentMismatch, ProtocolError, Unavailable
from image_syncer.oci import Descriptor
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.http.transport import Response
from image_syncer.registry.limits.retry import RetryAttempts
from image_syncer.roles import Chunk

GAIN_BYTES: Final = 64 * 1024
"""An attempt that got so much further does not use up patience."""

_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """Which bytes an answer has: from *first* to *last*, of *total* (None: that is not told)."""

    first: int
    last: int
    total: int | None


def content_range(value: str | None) -> ContentRange | None:
    """Return what the header Content-Range says; None without one that makes sense (RFC 9110, 14.4)."""
    match = _CONTENT_RANGE.fullmatch((value or "").strip())
    if match is None:
        return None
    found = ContentRange(int(match[1]), int(match[2]), None if match[3] == "*" else int(match[3]))
    return found if found.first <= found.last and (found.total is None or found.last < found.total) else None


class Download:
    """One read of *blob* from byte *start*; an async context manager, in whose context `chunks` is called once.

    Opening is retried as the policy says, and a read that breaks off is continued. Patience begins anew whenever at
    least 64 KiB more have come. A download's place is held while bytes flow, and not while we wait.
    """

    def __init__(self, conversation: RepositoryRequests, blob: Descriptor, start: int) -> None:
        self._conversation = conversation
        self._endpoint = conversation.client
        self._path = conversation.blob_path(blob)
        self._asked = conversation.blob_context(blob)
        self._size = blob.size
        self._at = start
        self._held = AsyncExitStack()
        self._response: Response | None = None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._held.__aexit__(kind, error, trace)

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield every byte from *start* on, each once."""
        tries = RetryAttempts(self._endpoint.retrying)
        while True:
            began = self._at
            try:
                async with aclosing(self._rest_of_answer()) as chunks:
                    async for chunk in chunks:
                        yield chunk
                if self._has_ended():
                    return
                failure = Unavailable(f"{self._asked.what}: broke off after {self._at} bytes")
            except Unavailable as error:
                if self._size is None:
                    raise  # Where it ends is not known, so neither is whether anything is missing.
                failure = error
            await self._held.aclose()
            await tries.wait_after(failure, advanced=self._at - began >= GAIN_BYTES)
            await self._open()

    async def _open(self) -> None:
        headers = {"Range": f"bytes={self._at}-"} if self._at else {}
        expect = {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT} if self._at else {HTTPStatus.OK}
        call = self._conversation.build("GET", self._path, headers=headers, follow=True)
        download = self._endpoint.download(call, self._asked, expect=expect)
        self._response = await self._held.enter_async_context(download)

    async def _rest_of_answer(self) -> AsyncGenerator[Chunk]:
        """Yield what the answer has from our place on, and move on with it."""
        response = self._response
        if response is None:
            raise RuntimeError("the download is not open")
        surplus = self._surplus(response)
        async with aclosing(response.chunks()) as chunks:
            async for chunk in chunks:
                if surplus >= len(chunk):
                    surplus -= len(chunk)
                    continue
                wanted = memoryview(chunk)[surplus:] if surplus else chunk
                surplus = 0
                self._at += len(wanted)
                yield wanted

    def _surplus(self, response: Response) -> int:
        """Return how many bytes at the beginning of the answer we have already."""
        if not self._at:
            return 0
        if response.status == HTTPStatus.OK:  # It does not do ranges.
            self._check_total(response.content_length)
            return self._at
        found = content_range(response.headers.get("Content-Range"))
        if found is None or found.first != self._at:
            message = f"{self._asked.what}: asked for the bytes from {self._at} on, the registry sends others"
            raise ProtocolError(message, status=response.status)
        self._check_total(found.total)
        return 0

    def _check_total(self, total: int | None) -> None:
        if total is not None and self._size is not None and total != self._size:
            raise ContentMismatch(f"{self._asked.what}: the registry has {total} bytes of it, not {self._size}")

    def _has_ended(self) -> bool:
        """Whether there is no more to come: all is here, or all that the registry has of it."""
        response = self._response
        if response is None or self._size is None or self._at >= self._size:
            return True
        return response.status == HTTPStatus.OK and response.content_length is not None
