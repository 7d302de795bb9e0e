"""Requests and responses as callers of the transport see them, whichever transport carries them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Final

from image_syncer import __version__
from image_syncer.errors import ProtocolError, TooLarge, Unavailable
from image_syncer.registry.http.connection import Inspect
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.urls import redacted
from image_syncer.roles import Chunk
from image_syncer.structs import Struct, field

DOCUMENT_SECONDS: Final = 600.0
"""Time limit for a body that is read whole: a manifest, a list, a token, a small blob."""

PROGRESS_BYTES: Final = 4 * 1024
"""Bytes of a body that must arrive within the stall time; fewer count as a stall too."""


def default_headers() -> dict[str, str]:
    """Return the headers of every request: our name, and that we want bytes without compression."""
    return {"User-Agent": f"image-syncer/{__version__}", "Accept-Encoding": "identity"}


class Headers:
    """The headers of a response; names are case-insensitive."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        values = self._values
        for name, value in items:
            key = name.lower()
            if key in values:
                values[key].append(value)
            else:
                values[key] = [value]

    def get(self, name: str) -> str | None:
        """Return the first value of *name*, None if it is absent."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of *name*, one per header line, in order."""
        return list(self._values.get(name.lower(), ()))

    @property
    def content_encoding(self) -> str:
        """The compression of the body, which we never ask for; empty without one."""
        encoding = (self.get("Content-Encoding") or "").strip().lower()
        return "" if encoding == "identity" else encoding

    def __repr__(self) -> str:
        return f"Headers({', '.join(sorted(self._values))})"  # No values: they hold challenges and signed URLs.


class Request(Struct):
    """One request. *url* is absolute and already encoded; it is sent unchanged."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | RequestBody | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {redacted(self.url)}"


class Response(ABC):
    """One response to the request for *url*. Its owner must release it; it is valid until then."""

    def __init__(self, request: Request, status: int, headers: Headers, announced: int | None) -> None:
        self.status = status
        self.headers = headers
        self.url = request.url
        self._request = request
        self._content_length = announced

    def __repr__(self) -> str:
        return f"Response({self.status}, {self._request})"

    @property
    def content_length(self) -> int | None:
        """The Content-Length in bytes (for HEAD, that of the body a GET would return); None if the head has none."""
        return self._content_length

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body.

        Raises `TooLarge` for more than *limit_bytes*, `Unavailable` if the body breaks off or takes over ten minutes.
        """
        if self._request.method == "HEAD" or self._content_length == 0:
            return b""
        if (self._content_length or 0) <= limit_bytes:
            if (whole := self._take_whole()) is not None:
                return whole
            try:
                async with asyncio.timeout(DOCUMENT_SECONDS):
                    content = await self._read(limit_bytes)
            except TimeoutError:
                reason = f"no complete response within {DOCUMENT_SECONDS:g} s"
                raise Unavailable(f"{self._request}: {reason}", status=self.status) from None
            if len(content) <= limit_bytes:
                return bytes(content)
        raise TooLarge(f"{self._request}: the response has more than {limit_bytes} bytes", status=self.status)

    def _take_whole(self) -> bytes | None:
        """Return the whole body if it has arrived with its head, at most as long as announced; otherwise None."""
        return None

    async def _read(self, limit_bytes: int) -> bytearray:
        """Return the body, or its beginning if that already exceeds *limit_bytes*."""
        content = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > limit_bytes:
                    break
        return content

    @abstractmethod
    def chunks(self, inspect: Inspect | None = None) -> AsyncGenerator[Chunk]:
        """Yield the body as it arrives, not decoded; raises `Unavailable` if it breaks off or stalls.

        *inspect* receives each chunk before it is yielded, and its errors are raised unchanged.
        """

    @abstractmethod
    async def release(self, *, failed: bool) -> None:
        """Release the response; *failed*: its owner stopped with an exception."""


@asynccontextmanager
async def released(response: Response) -> AsyncGenerator[Response]:
    """Yield *response* and release it at the end."""
    failed = True
    try:
        yield response
        failed = False
    finally:
        await response.release(failed=failed)


class StallTimer:
    """Detects a stalled body. Only time spent waiting for it counts, not time in which its consumer is busy."""

    def __init__(self, seconds: float) -> None:
        self._seconds = self.remaining_seconds = seconds
        self._received = 0

    def record(self, size_bytes: int, seconds: float) -> None:
        """Record that *size_bytes* arrived after *seconds* of waiting; sets the limit for the next bytes."""
        self._received += size_bytes
        self.remaining_seconds -= seconds
        if self._received >= PROGRESS_BYTES:
            self._received = 0
            self.remaining_seconds = self._seconds


def compression_error(headers: Headers, what: object) -> ProtocolError | None:
    """Return the error for an unusable response to *what* if it was compressed, otherwise None.

    We never decompress: a few kilobytes could become gigabytes, and digests are those of the stored bytes.
    """
    if not headers.content_encoding:
        return None
    return ProtocolError(
        f"{what}: the response is compressed ({headers.content_encoding[:40]}), which we did not ask for",
        remedy="a proxy may do that; configure it to pass responses through unchanged",
    )
