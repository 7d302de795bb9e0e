"""Finds out whether a target repository is new, so that its blobs are pushed without a HEAD for each."""

import asyncio
from typing import Final

from image_syncer.oci import Descriptor, Digest
from image_syncer.registry.endpoint import RepositoryRequests
from image_syncer.registry.listing import is_unknown

CHEAP_BYTES: Final = 8 * 1024 * 1024
"""A blob up to this size is pushed without a HEAD: distribution calls a repository unknown that has only blobs."""

_LOOKUPS: Final = 2  # So many blobs are looked up by HEAD: with fewer, the tag list would save nothing.
_PUSHED_LIMIT: Final = 10_000
_NEW_SECONDS: Final = 300.0


class NewRepository:
    """What is known of the existence of one target repository, from one request of its tag list."""

    __slots__ = ("_is_new", "_lock", "_lookups", "_pushed", "_until")

    def __init__(self) -> None:
        self._lookups = 0
        self._is_new: bool | None = None
        self._lock: asyncio.Lock | None = None
        self._until = 0.0
        self._pushed: set[Digest] | None = None  # Most of a run's repositories never have one.

    @property
    def is_known(self) -> bool:
        """Whether the repository certainly has a manifest, or a tag list."""
        return self._is_new is False

    def note_exists(self) -> None:
        """Record that the repository has a manifest."""
        if self._is_new is None:
            self._is_new = False

    def note_pushed(self, digest: Digest) -> None:
        """Record that this process has put *digest* there since; after 10 000 of them, every blob is looked up."""
        if self._is_new:
            self._pushed = self._pushed or set()
            self._pushed.add(digest)
            if len(self._pushed) > _PUSHED_LIMIT:
                self._is_new = False
                self._pushed = None

    async def is_new(self, requests: RepositoryRequests) -> bool:
        """Whether the registry did not know the repository at the first call; asked again after five minutes."""
        now = asyncio.get_running_loop().time()
        if self._is_new and now >= self._until:
            self._is_new = self._pushed = None
        if self._is_new is None:
            self._lock = self._lock or asyncio.Lock()
            async with self._lock:  # Concurrent callers wait for one request.
                if self._is_new is None:
                    self._is_new, self._until = await is_unknown(requests), now + _NEW_SECONDS
        return bool(self._is_new)

    async def lacks(self, blob: Descriptor, requests: RepositoryRequests) -> bool:
        """Whether the repository has no *blob* for certain, or so likely that a push costs less than a HEAD."""
        if blob.size is None or blob.size > CHEAP_BYTES:
            return False
        self._lookups += 1
        if self._is_new is None and self._lookups <= _LOOKUPS:
            return False
        return await self.is_new(requests) and blob.digest not in (self._pushed or ())
