"""Body framing: where a body ends, and which received bytes belong to it (RFC 9112, 6 and 7). Pure."""

import re
from typing import Final, Protocol

from image_syncer.registry.http.head import Head

_LINE_BYTES: Final = 1024  # A chunk's size line, with extensions.
_TRAILER_BYTES: Final = 16 * 1024
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?")


class BrokenBody(Exception):
    """The body does not match its framing."""


class Framing(Protocol):
    """Extracts one body from the bytes that follow its head."""

    @property
    def has_ended(self) -> bool:
        """Whether the whole body has been fed."""
        ...

    @property
    def is_clean(self) -> bool:
        """Whether no byte was fed beyond the end, so that the connection can be reused."""
        ...

    def wanted(self, limit_bytes: int) -> int:
        """Return how many bytes may be received next, at most *limit_bytes*."""
        ...

    def feed(self, received: memoryview) -> list[memoryview]:
        """Return the content in *received*; raises `BrokenBody`."""
        ...

    def close(self) -> None:
        """Handle the end of the connection; raises `BrokenBody` if the body is incomplete."""
        ...


def framing_of(head: Head, method: str) -> Framing:
    """Return the framing of the body after *head*, the response to a *method* request."""
    if not head.has_body(method):
        return ContentLengthFraming(0)
    if head.chunked:
        return ChunkedFraming()
    return CloseFraming() if head.length is None else ContentLengthFraming(head.length)


class ContentLengthFraming:
    """A body of *length* bytes."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_clean = True

    @property
    def has_ended(self) -> bool:
        """Whether all bytes have been fed."""
        return self._left == 0

    def wanted(self, limit_bytes: int) -> int:
        """Return how many bytes may be received next: never more than the rest of the body."""
        return min(self._left, limit_bytes)

    def feed(self, received: memoryview) -> list[memoryview]:
        """Return *received* up to the end."""
        content = received[: self._left]
        self._left -= len(content)
        self.is_clean = len(content) == len(received)
        return [content] if content else []

    def close(self) -> None:
        """Handle the end of the connection; raises `BrokenBody` if the body is incomplete."""
        if self._left:
            raise BrokenBody


class CloseFraming:
    """A body that ends where the connection ends."""

    def __init__(self) -> None:
        self.has_ended = False
        self.is_clean = False

    def wanted(self, limit_bytes: int) -> int:
        """Return *limit_bytes*."""
        return limit_bytes

    def feed(self, received: memoryview) -> list[memoryview]:
        """Return *received*."""
        return [received] if received else []

    def close(self) -> None:
        """Handle the end of the connection, which ends the body."""
        self.has_ended = True


class ChunkedFraming:
    """A chunked body: size lines of at most 1 KiB, trailers of at most 16 KiB, which are ignored."""

    def __init__(self) -> None:
        self.has_ended = False
        self.is_clean = True
        self._left = 0  # Bytes of the current chunk that are still to come.
        self._after_chunk = False
        self._in_trailer = False
        self._trailer_bytes = 0
        self._line = bytearray()

    def wanted(self, limit_bytes: int) -> int:
        """Return *limit_bytes*."""
        return limit_bytes

    def feed(self, received: memoryview) -> list[memoryview]:
        """Return the content in *received*."""
        found: list[memoryview] = []
        position = 0
        while position < len(received) and not self.has_ended:
            if self._left:
                content = received[position : position + self._left]
                self._left -= len(content)
                position += len(content)
                self._after_chunk = not self._left
                found.append(content)
            else:
                position += self._take_line(received[position : position + _LINE_BYTES])
        self.is_clean = position == len(received)
        return found

    def close(self) -> None:
        """Handle the end of the connection; raises `BrokenBody` if the body is incomplete."""
        if not self.has_ended:
            raise BrokenBody

    def _take_line(self, received: memoryview) -> int:
        """Consume *received* up to the end of a line; return the number of consumed bytes."""
        found = bytes(received)
        end = found.find(b"\n")
        taken = len(found) if end < 0 else end + 1
        self._line += found[:taken]
        if len(self._line) > _LINE_BYTES or (self._after_chunk and not b"\r\n".startswith(self._line)):
            raise BrokenBody
        if end >= 0:
            line = bytes(self._line)
            self._line.clear()
            if not line.endswith(b"\r\n"):
                raise BrokenBody
            self._read_line(line[:-2])
        return taken

    def _read_line(self, line: bytes) -> None:
        if self._after_chunk:
            self._after_chunk = False
            if line:
                raise BrokenBody
        elif self._in_trailer:
            self._trailer_bytes += len(line) + 2
            self.has_ended = not line
            if self._trailer_bytes > _TRAILER_BYTES:
                raise BrokenBody
        else:
            size = _SIZE.fullmatch(line)
            if size is None:
                raise BrokenBody
            self._left = int(size[1], 16)
            self._in_trailer = not self._left
