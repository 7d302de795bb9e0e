"""Claims on blobs among the processes that share a backend: one of them uploads, the others wait for it.

While a process is alone, its claims are in memory and cost nothing. It announces itself in the backend and looks for
others four times a second. When another process appears, each writes the claims on the blobs it is uploading, and all
later claims; then it tells the others that it shares. The newcomer waits for that before it claims anything itself. A
process that uploads nothing for 10 seconds, such as an idle daemon, withdraws its announcement, and asks the backend
nothing more.

The order makes a double upload impossible. A process announces itself, and looks for others after the commit, so of
two that start at once, one finds the other. It writes each new claim from the moment it knows about others, before it
tells that it shares. It tells that it no longer shares, and looks once more, before it keeps claims in memory again.

A claim is held only by a task that uploads, never by one that waits for another claim, so processes cannot wait for
each other in a circle. It ends with its process, or with the lease of a process that no longer announces itself.
"""

import asyncio
import math
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

SETTLE_POLL_SECONDS: Final = 0.05
"""How often a newcomer looks meanwhile."""

_ANNOUNCED_SECONDS: Final = 10.0  # An announcement older than this is renewed before the next claim.


class BlobClaims:
    """The claims of this process over the backend of *buffer*. No method raises: without a backend, it is alone."""

    def __init__(self, buffer: WriteBehind, clock: Callable[[], float] = time.monotonic) -> None:
        self._buffer = buffer
        self._clock = clock
        self._is_announced = False
        self._settled_at = -math.inf
        self._announcing = asyncio.Lock()  # One look at a time: an older answer must not replace a newer one.
        self._others_at = -math.inf
        self.announcements = 0
        """How often this process has announced itself after a time without claims."""
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
            if self.has_others and not await self._write(key):
                return False
            self._held.add(key)
        finally:
            self._claiming -= 1
        return True

    def had_others_within(self, seconds: float) -> bool:
        """Return whether this process has known about others within the last *seconds*."""
        return self.has_others or self._clock() - self._others_at < seconds

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
                async with self._announcing:
                    await self._look()
            await self._withdraw_idle()

    async def _withdraw_idle(self) -> None:
        """Withdraw the announcement, unless a claim has begun; a claim that begins meanwhile announces again."""
        async with self._announcing:
            if self._has_claims:
                return
            self._is_active.clear()  # No await since the check: a claim that begins now sets it again.
            await self.withdraw()
            self.has_others = False
            self._written.clear()

    async def withdraw(self) -> None:
        """Remove the announcement and all claims of this process, once what it uploaded is written."""
        if self._is_announced:
            await self._buffer.flush()
            await self._buffer.query(lambda backend: backend.withdraw(), default=None)
            self._is_announced, self._settled_at = False, -math.inf

    @property
    def _has_claims(self) -> bool:
        return bool(self._held or self._claiming)

    async def _ensure_announced(self) -> None:
        async with self._announcing:
            now = self._clock()
            if now - self._settled_at < _ANNOUNCED_SECONDS:
                return
            if not self._is_announced:
                self.announcements += 1
            while await self._look() is Neighbours.SETTLING and self._clock() - now < SETTLE_SECONDS:  # noqa: ASYNC110 - other processes
                await asyncio.sleep(SETTLE_POLL_SECONDS)
            self._settled_at = self._clock()

    async def _look(self) -> Neighbours:
        """Announce this process and return the others; share from now on if there are any. Under `_announcing`."""
        shared = self.has_others
        others = await self._announce(self._held if shared else None)
        if others is Neighbours.NONE and shared:
            others = await self._announce(None)  # A newcomer after this one waits, and an earlier one is found.
            self.has_others, shared = others is not Neighbours.NONE, False
        if others is not Neighbours.NONE and not shared:
            others = await self._share()
        if others is not Neighbours.NONE:
            self._others_at = self._clock()
        if others is not Neighbours.SETTLING:
            self._settled_at = self._clock()
        return others

    async def _share(self) -> Neighbours:
        """Write the claims of this process and what it uploaded, and then tell the others that it shares."""
        self.has_others = True  # From here on, a new claim is written before it counts.
        held = frozenset(self._held)
        self._written |= held
        await self._buffer.flush()  # What this process uploaded while it was alone.
        others = await self._announce(held)
        for key in held - self._held:  # Released meanwhile, perhaps before its claim was written.
            self._buffer.put(ReleaseRecord(*key))
        return others

    async def _announce(self, held: Collection[BlobKey] | None) -> Neighbours:
        keys = None if held is None else frozenset(held)
        self._is_announced = True
        return await self._buffer.query(lambda backend: backend.announce(keys), default=Neighbours.NONE, create=True)

    async def _write(self, key: BlobKey) -> bool:
        """Write a claim on *key*; False if another process has it."""
        await self._buffer.drop(ReleaseRecord(*key))  # A pending release would end the new claim.
        self._written.add(key)  # If this task is cancelled, its claim may be written nevertheless.
        foreign = await self._buffer.query(lambda backend: backend.claim_blobs([key]), default=frozenset[BlobKey]())
        if key in foreign:
            self._written.discard(key)
        return key not in foreign
