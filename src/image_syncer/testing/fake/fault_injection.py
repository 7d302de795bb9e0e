"""Faults of an exchange. `image_syncer.testing.faults` creates them; a registry applies them."""

import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from aiohttp import web
from multidict import CIMultiDict

from image_syncer.testing.fake.answers import RECORD, RegistryError, read_away

_CODES = {
    401: "UNAUTHORIZED",
    403: "DENIED",
    416: "RANGE_INVALID",
    429: "TOOMANYREQUESTS",
    500: "UNKNOWN",
    503: "UNAVAILABLE",
}
_DRIPS_PER_SECOND = 20
_LOOKS = 3_000  # One millisecond apart.
_SENDING = frozenset({"POST", "PATCH", "PUT"})


class BrokenConnection(ConnectionResetError):
    """The fault has reset the connection."""


class Fault:
    """One fault. Each method hooks into a point of an exchange, and does nothing unless overridden."""

    answers: ClassVar[bool] = False
    """Whether the fault ends the request."""
    touches_body: ClassVar[bool] = False
    """Whether the fault needs the bytes of the response."""

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """Return a response before the registry sees the request; None to continue."""

    def replace(self, request: web.Request) -> web.StreamResponse | None:
        """Return a response after the request was authorized; None to continue."""

    def receive(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the bytes of the request's body that reach the registry."""
        del request
        return chunks

    def head(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Change the headers of the response, or raise `BrokenConnection` instead of responding."""

    def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the bytes of the response's body that reach the client."""
        del request
        return chunks


@dataclass(frozen=True, slots=True)
class Answered(Fault):
    """Responds instead of the registry."""

    answers: ClassVar[bool] = True
    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    code: str = ""
    body: bytes | None = None
    early: bool = False

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """Return the response after reading the request's body."""
        if not self.early:
            await read_away(request)
        code = self.code or _CODES.get(self.status, "")
        if self.body is not None or not code:
            return web.Response(status=self.status, body=self.body, headers=self.headers)
        return RegistryError(self.status, code, code.lower(), self.headers).response()


@dataclass(frozen=True, slots=True)
class Redirected(Fault):
    """Redirects authorized requests."""

    answers: ClassVar[bool] = True
    to: str
    status: int

    def replace(self, request: web.Request) -> web.StreamResponse | None:
        """Return the redirect."""
        location = self.to if urlsplit(self.to).path else f"{self.to}{request.path_qs}"
        return web.Response(status=self.status, headers={"Location": location})


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """Resets the connection within a body."""

    touches_body: ClassVar[bool] = True
    after_bytes: int

    def receive(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the bytes before the cut."""
        return self._pass(request, chunks)

    def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Yield the bytes before the cut, unless the cut is in the request's body."""
        return chunks if request.method in _SENDING else self._pass(request, chunks)

    async def _pass(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        left = self.after_bytes
        async for chunk in chunks:
            if len(chunk) > left:
                if left:
                    yield chunk[:left]
                await _sent(request)
                raise break_off(request)
            left -= len(chunk)
            yield chunk


class Lost(Fault):
    """Resets the connection instead of responding."""

    def head(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Reset the connection."""
        del headers
        raise break_off(request)


@dataclass(frozen=True, slots=True)
class Dripping(Fault):
    """Sends the response's body slowly."""

    touches_body: ClassVar[bool] = True
    bytes_per_second: float

    async def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the same bytes in small pieces."""
        del request
        length = max(1, int(self.bytes_per_second / _DRIPS_PER_SECOND))
        async for chunk in chunks:
            for start in range(0, len(chunk), length):
                drop = chunk[start : start + length]
                yield drop
                await asyncio.sleep(len(drop) / self.bytes_per_second)


@dataclass(frozen=True, slots=True)
class Silent(Fault):
    """Pauses the exchange."""

    touches_body: ClassVar[bool] = True
    seconds: float
    after_bytes: int | None = None

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """Pause before the registry sees the request, and return None."""
        del request
        if self.after_bytes is None:
            await asyncio.sleep(self.seconds)

    async def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the same bytes with a pause after the first ones."""
        del request
        left = self.after_bytes
        async for chunk in chunks:
            if left is None or left >= len(chunk):
                left = None if left is None else left - len(chunk)
                yield chunk
                continue
            yield chunk[:left]
            await asyncio.sleep(self.seconds)
            yield chunk[left:]
            left = None


@dataclass(frozen=True, slots=True)
class Altered(Fault):
    """Alters one byte of the response's body."""

    touches_body: ClassVar[bool] = True
    at: int

    async def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Yield the same number of bytes."""
        del request
        start = 0
        async for chunk in chunks:
            if start <= self.at < start + len(chunk):
                changed = bytearray(chunk)
                changed[self.at - start] ^= 0x55
                yield bytes(changed)
            else:
                yield chunk
            start += len(chunk)


@dataclass(frozen=True, slots=True)
class OtherHeaders(Fault):
    """Removes or replaces headers of the response."""

    taken: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict[str, str])

    def head(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Remove headers, then set headers."""
        del request
        for name in (*self.taken, *self.given):
            headers.popall(name, None)
        headers.update(self.given)


async def _sent(request: web.Request) -> None:
    """Wait until the peer has all written bytes: a reset discards bytes that are still in the send buffer."""
    with suppress(OSError):
        for _ in range(_LOOKS):
            if not _is_sending(request):
                break
            await asyncio.sleep(0.001)


def _is_sending(request: web.Request) -> bool:
    """Whether bytes are unacknowledged (Linux, tcp(7): SIOCOUTQ); `OSError` elsewhere."""
    if request.transport is None:
        return False
    connection: socket.socket = request.transport.get_extra_info("socket")
    unsent: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return request.transport.get_write_buffer_size() + unsent > 0


def break_off(request: web.Request) -> BrokenConnection:
    """Reset the connection of *request* at once (RST, no orderly close); return the exception to raise."""
    request[RECORD].broken = True
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return BrokenConnection("reset by a fault")
