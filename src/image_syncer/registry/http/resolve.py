"""Names to addresses, each name once a minute whoever asks."""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from image_syncer.concurrency.single_flight import SingleFlight

SocketAddress = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]
Address = tuple[int, SocketAddress]
"""The family, and what `connect` takes."""

_SECONDS: Final = 60.0
_NAMES_KEPT: Final = 512
_ADDRESSES: Final = 16


class Resolver:
    """Looks names up in the system's way, and remembers what it found."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], tuple[float, Sequence[Address]]] = OrderedDict()
        self._looking: SingleFlight[tuple[str, int], Sequence[Address]] = SingleFlight()

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """Return the addresses of *host*, 16 at most; raises `socket.gaierror`."""
        key = (host, port)
        now = asyncio.get_running_loop().time()
        expires, addresses = self._known.get(key, (0.0, ()))
        if expires > now:
            return addresses
        addresses = await self._looking.do(key, lambda: _look_up(host, port))
        self._known[key] = (now + _SECONDS, addresses)
        self._known.move_to_end(key)
        if len(self._known) > _NAMES_KEPT:
            self._known.popitem(last=False)
        return addresses

    def forget(self, host: str, port: int) -> None:
        """Look *host* up anew the next time."""
        self._known.pop((host, port), None)


async def _look_up(host: str, port: int) -> Sequence[Address]:
    """Return the addresses of *host*; digits are taken as they are, names are looked up in a thread."""
    loop = asyncio.get_running_loop()
    try:
        with suppress(socket.gaierror):
            return _distinct(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    except UnicodeError as error:  # A label that is too long, or empty.
        raise socket.gaierror(socket.EAI_NONAME, "it can not be a name") from error
    return _distinct(found)


def _distinct(found: Sequence[tuple[int, int, int, str, SocketAddress]]) -> list[Address]:
    return list(dict.fromkeys((entry[0], entry[4]) for entry in found))[:_ADDRESSES]
