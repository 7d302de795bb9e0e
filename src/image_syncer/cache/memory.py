"""Knowledge and history of one process: what `--state none` uses."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence

from image_syncer.oci import Descriptor, Digest, PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, UploadCheckpoint

_LIMIT = 50_000


class MemoryBlobLocations:
    """`Knowledge` that ends with the process; the oldest blobs beyond *limit* are forgotten."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._holders: OrderedDict[tuple[str, Digest], Repository] = OrderedDict()

    async def holders(self, registry: str, blobs: Collection[Digest]) -> Mapping[Digest, Repository]:
        """Return a repository of *registry* for each of *blobs* that is known there."""
        found = {digest: self._holders.get((registry, digest)) for digest in blobs}
        return {digest: repository for digest, repository in found.items() if repository is not None}

    def record(self, repository: Repository, blob: Descriptor) -> None:
        """Note that *repository* holds *blob*."""
        self.add(repository, blob.digest)

    def add(self, repository: Repository, digest: Digest) -> None:
        """Note that *repository* holds the blob *digest*."""
        key = repository.registry, digest
        self._holders[key] = repository
        self._holders.move_to_end(key)
        if len(self._holders) > self._limit:
            self._holders.popitem(last=False)

    def has_holder(self, registry: str, digest: Digest) -> bool:
        """Whether a repository of *registry* is known for *digest*."""
        return (registry, digest) in self._holders

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Note that *repository* does not hold *digest* after all."""
        key = repository.registry, digest
        if self._holders.get(key) == repository:
            del self._holders[key]


class MemoryDigestCache:
    """`History` that ends with the process; the oldest entries of each kind beyond *limit* are forgotten."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: int = _LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._trimmed: OrderedDict[tuple[Digest, PlatformFilter], Digest] = OrderedDict()
        self._confirmed: OrderedDict[tuple[Repository, str], tuple[Digest, float]] = OrderedDict()

    async def filtered_digest(self, source: Digest, platforms: PlatformFilter) -> Digest | None:
        """Return the digest of what *platforms* leave of *source*; None where it is not known."""
        return self._trimmed.get((source, platforms))

    def record_filtered(self, source: Digest, platforms: PlatformFilter, trimmed: Digest) -> None:
        """Note that *platforms* leave *trimmed* of *source*."""
        self._trimmed[source, platforms] = trimmed
        if len(self._trimmed) > self._limit:
            self._trimmed.popitem(last=False)

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what the tags and digests of *repository* named within the last *seconds*."""
        since = self._clock() - seconds
        return {
            identifier: digest
            for (known, identifier), (digest, at) in self._confirmed.items()
            if known == repository and at >= since
        }

    def record_copies(self, copies: Sequence[ConfirmedCopy]) -> None:
        """Note what *copies* say, as of now."""
        for copy in copies:
            key = copy.target.repository, copy.target.identifier
            self._confirmed[key] = copy.target_digest, self._clock()
            self._confirmed.move_to_end(key)
            if len(self._confirmed) > self._limit:
                self._confirmed.popitem(last=False)


class MemoryUploadJournal:
    """`UploadJournal` that ends with the process; the oldest of 50 000 uploads are forgotten."""

    def __init__(self) -> None:
        self._unfinished: OrderedDict[tuple[Repository, Digest], UploadCheckpoint] = OrderedDict()

    def record(self, repository: Repository, digest: Digest, unfinished: UploadCheckpoint) -> None:
        """Note how far the upload of *digest* to *repository* has come."""
        self._unfinished[repository, digest] = unfinished
        self._unfinished.move_to_end((repository, digest))
        if len(self._unfinished) > _LIMIT:
            self._unfinished.popitem(last=False)

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Return the upload of *digest* to *repository* that was begun, and forget it; None without one."""
        return self._unfinished.pop((repository, digest), None)

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Note that there is nothing to go on with."""
        self._unfinished.pop((repository, digest), None)
