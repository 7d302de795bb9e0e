"""Requests and answers as everything above the transport sees them, whichever path carries them."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from image_syncer import __version__
from image_syncer.errors import ProtocolError, TooLarge, Unavailable
from image_syncer.registry.http.request_body import RequestBody
from image_syncer.registry.http.urls import redacted
from image_syncer.roles import Chunk

DOCUMENT_SECONDS: Final = 600.0
"""How long a whole body may take that is read at once: a manifest, a list, a token, a small blob."""

PROGRESS_BYTES: Final = 4 * 1024
"""How much of a body has to come within the stall time; less is a stall as well."""


def default_headers() -> dict[str, str]:
    """Return what every request says of us: who asks, and that bytes are wanted as they are stored."""
    return {"User-Agent": f"image-syncer/{__version__}", "Accept-Encoding": "identity"}


class Headers:
    """The headers of an answer; names compare without regard to case."""

    def __init__(self, items: Iterable[tuple[str, str]] = ()) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in items:
            self._values.setdefault(name.lower(), []).append(value)

    def get(self, name: str) -> str | None:
        """Return the first value of *name*, None if it is not there."""
        values = self._values.get(name.lower())
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Return every value of *name*, one per header line, in order."""
        return list(self._values.get(name.lower(), ()))

    @property
    def content_encoding(self) -> str:
        """How the body was compressed although we asked for its very bytes; empty where it was not."""
        return "" if (said := (self.get("Content-Encoding") or "").strip().lower()) == "identity" else said

    def __repr__(self) -> str:
        return f"Headers({', '.join(sorted(self._values))})"  # Names alone: values hold challenges and signed URLs.


@dataclass(frozen=True, slots=True)
class Request:
    """One request. *url* is absolute and encoded already: it is sent untouched."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    body: bytes | RequestBody | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.method} {redacted(self.url)}"


class Response(ABC):
    """One answer; valid until it is released, which whoever has it must do. *url* is what was asked.

    *announced* is the Content-Length in bytes, of a HEAD that of another answer; None where none is told.
    """

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
        """How many bytes the body has by its head; None where that does not say."""
        return self._content_length

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body; `TooLarge` where it has more than *limit_bytes*.

        `Unavailable` where it breaks off, or takes longer than ten minutes.
        """
        if self._request.method == "HEAD" or self._content_length == 0:
            return b""
        if (self._content_length or 0) <= limit_bytes:
            try:
                async with asyncio.timeout(DOCUMENT_SECONDS):
                    content = await self._read(limit_bytes)
            except TimeoutError:
                reason = f"no whole answer within {DOCUMENT_SECONDS:g} s"
                raise Unavailable(f"{self._request}: {reason}", status=self.status) from None
            if len(content) <= limit_bytes:
                return bytes(content)
        raise TooLarge(f"{self._request}: the answer has more than {limit_bytes} bytes", status=self.status)

    async def _read(self, limit_bytes: int) -> bytearray:
        """Return the body, or as much of it as is more than *limit_bytes*."""
        content = bytearray()
        async with aclosing(self.chunks()) as chunks:
            async for chunk in chunks:
                content += chunk
                if len(content) > limit_bytes:
                    break
        return content

    @abstractmethod
    def chunks(self) -> AsyncGenerator[Chunk]:
        """Yield the body as it comes, undecoded; `Unavailable` where it breaks off, or stalls for too long."""

    @abstractmethod
    async def release(self, *, failed: bool) -> None:
        """Let go of the answer; *failed* where whoever had it did not come to an end with it."""


@asynccontextmanager
async def released(response: Response) -> AsyncGenerator[Response]:
    """Give *response*, and release it at the end."""
    failed = True
    try:
        yield response
        failed = False
    finally:
        await response.release(failed=failed)


class StallTimer:
    """Watches that a body keeps coming, within *seconds* of waiting; time in which nobody waits does not count."""

    def __init__(self, seconds: float) -> None:
        self._seconds = self.remaining_seconds = seconds
        self._came = 0

    def record(self, size_bytes: int, seconds: float) -> None:
        """Note that after *seconds* of waiting so many bytes came; `left` is how long the next may take."""
        self._came += size_bytes
        self.remaining_seconds -= seconds
        if self._came >= PROGRESS_BYTES:
            self._came = 0
            self.remaining_seconds = self._seconds


def compression_error(headers: Headers, what: object) -> ProtocolError | None:
    """Return what is wrong with an answer to *what* that makes no sense, where it was compressed; None where not.

    Nothing is ever unpacked: a few kilobytes could be gigabytes, and digests are of the bytes as they are stored.
    """
    if not headers.content_encoding:
        return None
    return ProtocolError(
        f"{what}: the answer is compressed ({headers.content_encoding[:40]}), which was not asked for",
        remedy="a proxy on the way may do that; it must leave answers as they are",
    )
