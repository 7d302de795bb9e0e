"""Claims on blobs among the processes that share a backend: one of them uploads, the others wait for it.

While a process is alone, its claims are in memory and cost nothing. It announces itself in the backend and looks for
others four times a second. When another process appears, each writes the claims on the blobs it is uploading, and all
later claims. The newcomer waits until the others have done so, before it claims anything itself. A process that
uploads nothing for 10 seconds, such as an idle daemon, withdraws its announcement, and asks the backend nothing more.

A claim is held only by a task that uploads, never by one that waits for another claim, so processes cannot wait for
each other in a circle. It ends with its process, or with the lease of a process that no longer announces itself.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from typing import Final

from image_syncer.cache.backend import BlobKey, Neighbours, ReleaseRecord
from image_syncer.cache.write_behind import WriteBehind

LOOK_SECONDS: Final = 0.25
"""How often a process that uploads looks for others."""

SETTLE_SECONDS: Final = 20 * LOOK_SECONDS
"""How long a newcomer waits at most until the claims of the others are written; a busy machine is slow at that."""

IDLE_SECONDS: Final = 10.0
"""How long a process without claims stays announced."""

_SETTLE_POLL_SECONDS: Final = 0.05

_ANNOUNCED_SECONDS: Final = 10.0  # An announcement older than this is renewed before the next claim.


class BlobClaims:
    """The claims of this process over the backend of *buffer*. No method raises: without a backend, it is alone."""

    def __init__(self, buffer: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._buffer = buffer
        self._clock = clock
        self._announced_at: float | None = None
        self._announcing = asyncio.Lock()
        self.has_others = False
        """Whether other processes share the backend now, as far as this one has looked."""
        self._held: set[BlobKey] = set()
        self._written: set[BlobKey] = set()
        self._claiming = 0
        self._is_active = asyncio.Event()

    async def claim(self, key: BlobKey) -> bool:
        """Claim the upload of the blob *key*; False while another process has it."""
        self._claiming += 1
        self._is_active.set()
        try:
            await self._ensure_announced()
            if self.has_others and key in await self._write([key]):
                return False
            self._held.add(key)
        finally:
            self._claiming -= 1
        return True

    def release(self, key: BlobKey) -> None:
        """Release the claim on *key*, if this process has it."""
        self._held.discard(key)
        if key in self._written:
            self._written.discard(key)
            self._buffer.put(ReleaseRecord(*key))

    async def keep_alive(self) -> None:
        """Look for other processes while this one claims blobs, until cancelled: a newcomer waits for the look."""
        while True:
            await self._is_active.wait()
            active_at = self._clock()
            while self._clock() - active_at < IDLE_SECONDS:
                await asyncio.sleep(LOOK_SECONDS)
                if self._has_claims:
                    active_at = self._clock()
                await self._look()
                if self.has_others:
                    await self._write(self._held - self._written)  # Those that began during the look.
            await self._withdraw_idle()

    async def _withdraw_idle(self) -> None:
        """Withdraw the announcement, unless a claim has begun; a claim that begins meanwhile announces again."""
        async with self._announcing:
            if self._has_claims:
                return
            self._is_active.clear()  # No await since the check: a claim that begins now sets it again.
            await self.withdraw()
            self._announced_at, self.has_others = None, False
            self._written.clear()

    async def withdraw(self) -> None:
        """Remove the announcement and all claims of this process."""
        if self._announced_at is not None:
            await self._buffer.query(lambda backend: backend.withdraw(), default=None)

    @property
    def _has_claims(self) -> bool:
        return bool(self._held or self._claiming)

    async def _ensure_announced(self) -> None:
        async with self._announcing:
            now = self._clock()
            if self._announced_at is not None and now - self._announced_at < _ANNOUNCED_SECONDS:
                return
            while await self._look() is Neighbours.SETTLING and self._clock() - now < SETTLE_SECONDS:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(_SETTLE_POLL_SECONDS)

    async def _look(self) -> Neighbours:
        held = frozenset(self._held)
        others = await self._buffer.query(
            lambda backend: backend.announce(held, self._buffer.flush), default=Neighbours.NONE, create=True
        )
        had_others, self.has_others = self.has_others, others is not Neighbours.NONE
        self._announced_at = self._clock()
        if self.has_others:
            self._written |= held & self._held
            if not had_others:
                await self._buffer.flush()  # What this process uploaded while it was alone.
        return others

    async def _write(self, keys: Collection[BlobKey]) -> Collection[BlobKey]:
        """Write claims on *keys*, and return those that another process has."""
        if not keys:
            return ()
        for key in keys:
            self._buffer.drop(ReleaseRecord(*key))  # A pending release would end the new claim.
        foreign = await self._buffer.query(lambda backend: backend.claim_blobs(keys), default=frozenset[BlobKey]())
        self._written.update(key for key in keys if key not in foreign)
        return foreign
