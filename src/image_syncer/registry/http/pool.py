"""The pool of idle connections, and a pool of receive buffers."""

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from ssl import SSLContext
from typing import Final

from image_syncer.registry.http.address_policy import AddressPolicy
from image_syncer.registry.http.connection import Connection
from image_syncer.registry.http.urls import Origin

PoolKey = tuple[Origin, SSLContext | None, AddressPolicy]
"""Origin, TLS context and address policy of a connection. The transport keeps contexts for its whole life.

Requests with the same key would pass the same checks, so a pooled connection needs no second check.
"""

IDLE_SECONDS: Final = 30.0
_IDLE_CONNECTIONS: Final = 64
_BUFFER_BYTES: Final = 512 * 1024
_LARGE_BUFFER_BYTES: Final = 2 * 1024 * 1024
_MOST_LARGE: Final = 8  # In use at once: more bodies than that do not get faster by threads.
_KEPT_BUFFERS: Final = 4


class Pool:
    """Idle connections: at most 64, each for at most 30 s. One that receives bytes or ends while idle is closed."""

    def __init__(self) -> None:
        self._idle: OrderedDict[Connection, tuple[PoolKey, float]] = OrderedDict()
        self._by_key: dict[PoolKey, list[Connection]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def take(self, key: PoolKey) -> Connection | None:
        """Return the most recently used connection to *key*, None if there is none."""
        while connections := self._by_key.get(key):
            connection = connections[-1]
            self._forget(connection)
            if connection.probe_idle():
                return connection
            connection.close()
        return None

    def put(self, key: PoolKey, connection: Connection) -> None:
        """Keep *connection*, whose last response was read to its end."""
        loop = asyncio.get_running_loop()
        connection.is_used = True
        connection.on_readable = partial(self._check, connection)
        connection.watch()
        self._idle[connection] = (key, loop.time() + IDLE_SECONDS)
        self._by_key.setdefault(key, []).append(connection)
        if len(self._idle) > _IDLE_CONNECTIONS:
            self._drop(next(iter(self._idle)))
        if self._timer is None:
            self._timer = loop.call_later(IDLE_SECONDS, self._expire)

    def close_oldest(self) -> bool:
        """Close the connection that has been idle longest; return False if there is none."""
        if not self._idle:
            return False
        self._drop(next(iter(self._idle)))
        return True

    def close(self) -> None:
        """Close all idle connections."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for connection in tuple(self._idle):
            self._drop(connection)

    def _check(self, connection: Connection) -> None:
        """Close *connection* if it ended or received unexpected bytes; a TLS session ticket is neither."""
        if not connection.probe_idle():
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._forget(connection)
        connection.close()

    def _forget(self, connection: Connection) -> None:
        key, _ = self._idle.pop(connection)
        connection.on_readable = None
        connections = self._by_key[key]
        connections.remove(connection)
        if not connections:
            del self._by_key[key]

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        while self._idle:
            connection, (_, expires) = next(iter(self._idle.items()))
            if expires > loop.time():
                self._timer = loop.call_at(expires, self._expire)
                return
            self._drop(connection)


class BufferPool:
    """Receive buffers, one for each body that is being read; a few are kept for reuse."""

    def __init__(self) -> None:
        self._free: dict[int, list[memoryview]] = {_BUFFER_BYTES: [], _LARGE_BUFFER_BYTES: []}
        self._large_in_use = 0

    @contextmanager
    def borrow(self, *, large: bool = False) -> Generator[memoryview]:
        """Lend a buffer of 512 KiB with arbitrary content; of 2 MiB if *large*, to eight borrowers at once.

        Views of it are invalid after the context.
        """
        large = large and self._large_in_use < _MOST_LARGE
        self._large_in_use += large
        size = _LARGE_BUFFER_BYTES if large else _BUFFER_BYTES
        free = self._free[size]
        buffer = free.pop() if free else memoryview(bytearray(size))
        try:
            yield buffer
        finally:
            self._large_in_use -= large
            if len(free) < _KEPT_BUFFERS:
                free.append(buffer)
