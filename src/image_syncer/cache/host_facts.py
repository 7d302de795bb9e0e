"""Facts about registries over a backend that outlives the process."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from image_syncer.cache.backend import FactRecord
from image_syncer.cache.memory import MemoryHostFacts
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.roles import HostFact

RELOAD_SECONDS: Final = 300.0
"""How long the facts of a host are used before they are read again: other processes may have recorded more."""


class PersistentHostFacts:
    """`HostFacts` over the backend of *buffer*, which is read once per host and 5 minutes."""

    def __init__(self, buffer: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._buffer = buffer
        self._clock = clock
        self._memory = MemoryHostFacts(clock)
        self._loaded_at: dict[str, float] = {}
        self._loading = asyncio.Lock()
        self._changed: set[tuple[str, str]] = set()  # During a load: newer than its answer.

    async def get(self, host: str, key: str) -> HostFact | None:
        """Return the fact *key* about *host*; None if unknown or expired."""
        if self._is_outdated(host):
            async with self._loading:
                if self._is_outdated(host):
                    await self._load(host)
        return self._memory.find(host, key)

    def remember(self, host: str, key: str, value: str, *, seconds: float) -> None:
        """Record the fact *key* about *host*, for the next *seconds*."""
        self._memory.remember(host, key, value, seconds=seconds)
        self._changed.add((host, key))
        self._buffer.put(FactRecord(host, key, value, seconds))

    def forget(self, host: str, key: str) -> None:
        """Remove the fact *key* about *host*."""
        self._memory.forget(host, key)
        self._changed.add((host, key))
        self._buffer.put(FactRecord(host, key, None))

    def _is_outdated(self, host: str) -> bool:
        loaded_at = self._loaded_at.get(host)
        return loaded_at is None or self._clock() - loaded_at >= RELOAD_SECONDS

    async def _load(self, host: str) -> None:
        """Replace the facts about *host* by those of the backend, which has those of this process after a flush."""
        self._changed.clear()
        await self._buffer.flush()
        found = await self._buffer.query(lambda backend: backend.host_facts(host), default=None)
        self._loaded_at[host] = self._clock()
        if found is None:  # There is no backend yet, or it rests after a failure.
            return
        self._memory.forget_host(host, keep=self._changed)
        for key, (fact, seconds) in found.items():
            if (host, key) not in self._changed:
                self._memory.add(host, key, fact, seconds=seconds)
