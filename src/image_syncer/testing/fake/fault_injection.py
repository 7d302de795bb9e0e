"""What can go wrong with an exchange. `image_syncer.testing.faults` makes these; a registry lets them act."""

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
_LOOKS = 3_000  # A millisecond apart.
_SENDING = frozenset({"POST", "PATCH", "PUT"})


class BrokenConnection(ConnectionResetError):
    """We have reset the connection."""


class Fault:
    """One thing that goes wrong. Each method is a point of an exchange, where nothing happens unless it says so."""

    answers: ClassVar[bool] = False
    """Whether the request ends with it."""
    touches_body: ClassVar[bool] = False
    """Whether it sees the bytes of the answer."""

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """Return the answer to a request that nobody has looked at; None to let it go on."""

    def replace(self, request: web.Request) -> web.StreamResponse | None:
        """Return the answer to a request that was let in; None to let it go on."""

    def receive(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return what the registry gets of a request's body."""
        del request
        return chunks

    def head(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Change the headers of the answer; raise `Broken` where there is none."""

    def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return what the client gets of the answer's body."""
        del request
        return chunks


@dataclass(frozen=True, slots=True)
class Answered(Fault):
    """Another answer in the registry's place."""

    answers: ClassVar[bool] = True
    status: int
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    code: str = ""
    body: bytes | None = None
    early: bool = False

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """The answer, once the request's body is read."""
        if not self.early:
            await read_away(request)
        code = self.code or _CODES.get(self.status, "")
        if self.body is not None or not code:
            return web.Response(status=self.status, body=self.body, headers=self.headers)
        return RegistryError(self.status, code, code.lower(), self.headers).response()


@dataclass(frozen=True, slots=True)
class Redirected(Fault):
    """Who was let in is sent elsewhere."""

    answers: ClassVar[bool] = True
    to: str
    status: int

    def replace(self, request: web.Request) -> web.StreamResponse | None:
        """The redirect."""
        location = self.to if urlsplit(self.to).path else f"{self.to}{request.path_qs}"
        return web.Response(status=self.status, headers={"Location": location})


@dataclass(frozen=True, slots=True)
class Cut(Fault):
    """The connection is reset within a body."""

    touches_body: ClassVar[bool] = True
    after_bytes: int

    def receive(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes before the cut."""
        return self._pass(request, chunks)

    def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The bytes before the cut, unless it is for the request's body."""
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
    """The connection is reset in place of the answer."""

    def head(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Break off."""
        del headers
        raise break_off(request)


@dataclass(frozen=True, slots=True)
class Dripping(Fault):
    """The answer's body comes slowly."""

    touches_body: ClassVar[bool] = True
    bytes_per_second: float

    async def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The same bytes, drop by drop."""
        del request
        length = max(1, int(self.bytes_per_second / _DRIPS_PER_SECOND))
        async for chunk in chunks:
            for start in range(0, len(chunk), length):
                drop = chunk[start : start + length]
                yield drop
                await asyncio.sleep(len(drop) / self.bytes_per_second)


@dataclass(frozen=True, slots=True)
class Silent(Fault):
    """Nothing passes for a while."""

    touches_body: ClassVar[bool] = True
    seconds: float
    after_bytes: int | None = None

    async def meet(self, request: web.Request) -> web.StreamResponse | None:
        """None, after the pause that comes before everything."""
        del request
        if self.after_bytes is None:
            await asyncio.sleep(self.seconds)

    async def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """The same bytes with the pause among them."""
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
    """One byte of the answer's body is another one."""

    touches_body: ClassVar[bool] = True
    at: int

    async def send(self, request: web.Request, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """As many bytes."""
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
    """Headers of the answer are missing, or are others."""

    taken: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict[str, str])

    def head(self, request: web.Request, headers: CIMultiDict[str]) -> None:
        """Take, then give."""
        del request
        for name in (*self.taken, *self.given):
            headers.popall(name, None)
        headers.update(self.given)


async def _sent(request: web.Request) -> None:
    """Wait until what was written is at the other end: a reset throws away what still lies here."""
    with suppress(OSError):
        for _ in range(_LOOKS):
            if not _is_sending(request):
                break
            await asyncio.sleep(0.001)


def _is_sending(request: web.Request) -> bool:
    """Whether bytes are unacknowledged as far as we can tell (Linux, tcp(7): SIOCOUTQ); `OSError` elsewhere."""
    if request.transport is None:
        return False
    connection: socket.socket = request.transport.get_extra_info("socket")
    unsent: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return request.transport.get_write_buffer_size() + unsent > 0


def break_off(request: web.Request) -> BrokenConnection:
    """Reset the connection of *request* at once (RST, not an orderly end); return what to raise."""
    request[RECORD].broken = True
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return BrokenConnection("reset by a fault")
