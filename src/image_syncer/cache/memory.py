"""Caches that end with the process: the implementation for `--state none`."""

import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime

from image_syncer.oci import Descriptor, Digest, PlatformFilter, Repository
from image_syncer.roles import ConfirmedCopy, HostFact, ReferrerCheck, UploadCheckpoint

_LIMIT = 50_000
_FACTS_LIMIT = 10_000


class MemoryBlobLocations:
    """`BlobLocations` in memory; drops the oldest blobs beyond *limit*."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._holders: OrderedDict[tuple[str, Digest], Repository] = OrderedDict()

    async def holders(self, registry: str, blobs: Collection[Digest]) -> Mapping[Digest, Repository]:
        """Return a repository of *registry* for each known one of *blobs*."""
        found = {digest: self._holders.get((registry, digest)) for digest in blobs}
        return {digest: repository for digest, repository in found.items() if repository is not None}

    def record(self, repository: Repository, blob: Descriptor) -> None:
        """Record that *repository* holds *blob*."""
        self.add(repository, blob.digest)

    def add(self, repository: Repository, digest: Digest) -> None:
        """Record that *repository* holds the blob *digest*."""
        key = repository.registry, digest
        self._holders[key] = repository
        self._holders.move_to_end(key)
        if len(self._holders) > self._limit:
            self._holders.popitem(last=False)

    def has_holder(self, registry: str, digest: Digest) -> bool:
        """Whether a repository of *registry* is known to hold *digest*."""
        return (registry, digest) in self._holders

    async def claim(self, registry: str, digest: Digest) -> bool:  # noqa: ARG002 - no other process shares it
        """Return True: no other process shares this cache."""
        return True

    def release(self, registry: str, digest: Digest) -> None:
        """Do nothing, as `claim` does."""

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Record that *repository* does not hold *digest*."""
        key = repository.registry, digest
        if self._holders.get(key) == repository:
            del self._holders[key]


class MemoryDigestCache:
    """`DigestCache` in memory; drops the oldest entries of each kind beyond *limit*."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, limit: int = _LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._filtered: OrderedDict[tuple[Digest, PlatformFilter], Digest] = OrderedDict()
        self._confirmed: OrderedDict[tuple[Repository, str], tuple[Digest, float]] = OrderedDict()

    async def filtered_digest(self, source: Digest, platforms: PlatformFilter) -> Digest | None:
        """Return the digest of *source* after filtering by *platforms*; None if unknown."""
        return self._filtered.get((source, platforms))

    def record_filtered(self, source: Digest, platforms: PlatformFilter, filtered: Digest) -> None:
        """Record that *source*, filtered by *platforms*, has the digest *filtered*."""
        self._filtered[source, platforms] = filtered
        if len(self._filtered) > self._limit:
            self._filtered.popitem(last=False)

    async def target_digests(self, repository: Repository, seconds: float) -> Mapping[str, Digest]:
        """Return what each tag or digest of *repository* named, if confirmed within the last *seconds*."""
        since = self._clock() - seconds
        return {
            identifier: digest
            for (known, identifier), (digest, confirmed_at) in self._confirmed.items()
            if known == repository and confirmed_at >= since
        }

    def record_copies(self, copies: Sequence[ConfirmedCopy]) -> None:
        """Record *copies* as confirmed now."""
        for copy in copies:
            key = copy.target.repository, copy.target.identifier
            self._confirmed[key] = copy.target_digest, self._clock()
            self._confirmed.move_to_end(key)
            if len(self._confirmed) > self._limit:
                self._confirmed.popitem(last=False)


class MemoryUploadJournal:
    """`UploadJournal` in memory; drops the oldest of 50 000 uploads."""

    def __init__(self) -> None:
        self._checkpoints: OrderedDict[tuple[Repository, Digest], UploadCheckpoint] = OrderedDict()

    def record(self, repository: Repository, digest: Digest, checkpoint: UploadCheckpoint) -> None:
        """Record how far the upload of *digest* to *repository* has come."""
        self._checkpoints[repository, digest] = checkpoint
        self._checkpoints.move_to_end((repository, digest))
        if len(self._checkpoints) > _LIMIT:
            self._checkpoints.popitem(last=False)

    async def take(self, repository: Repository, digest: Digest) -> UploadCheckpoint | None:
        """Remove and return the upload of *digest* to *repository*; None without one."""
        return self._checkpoints.pop((repository, digest), None)

    def forget(self, repository: Repository, digest: Digest) -> None:
        """Remove the upload: it has ended."""
        self._checkpoints.pop((repository, digest), None)


class MemoryHostFacts:
    """`HostFacts` in memory; drops the oldest of 10 000 facts. *clock* is in monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._clock = clock
        self._now = now
        self._facts: OrderedDict[tuple[str, str], tuple[HostFact, float]] = OrderedDict()

    async def get(self, host: str, key: str) -> HostFact | None:
        """Return the fact *key* about *host*; None if unknown or expired."""
        return self.find(host, key)

    def find(self, host: str, key: str) -> HostFact | None:
        """Return the fact *key* about *host*; None if unknown or expired."""
        fact, expires_at = self._facts.get((host, key), (None, 0.0))
        return fact if self._clock() < expires_at else None

    def remember(self, host: str, key: str, value: str, *, seconds: float) -> None:
        """Record the fact *key* about *host*, for the next *seconds*."""
        self.add(host, key, HostFact(value, self._now()), seconds=seconds)

    def add(self, host: str, key: str, fact: HostFact, *, seconds: float) -> None:
        """Record *fact*, which expires in *seconds*."""
        self._facts[host, key] = fact, self._clock() + seconds
        self._facts.move_to_end((host, key))
        if len(self._facts) > _FACTS_LIMIT:
            self._facts.popitem(last=False)

    def forget(self, host: str, key: str) -> None:
        """Remove the fact *key* about *host*."""
        self._facts.pop((host, key), None)

    def forget_host(self, host: str, *, keep: Collection[tuple[str, str]]) -> None:
        """Remove all facts about *host* but those of *keep*."""
        for known in [known for known in self._facts if known[0] == host and known not in keep]:
            del self._facts[known]


class MemoryReferrerCache:
    """`ReferrerCache` in memory; drops the oldest entries of each kind beyond *limit*."""

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._checks: OrderedDict[tuple[Repository, Digest], ReferrerCheck] = OrderedDict()
        self._tags: OrderedDict[tuple[Repository, str], Digest] = OrderedDict()

    async def checks(self, repository: Repository, subjects: Collection[Digest]) -> Mapping[Digest, ReferrerCheck]:
        """Return the last check of each one of *subjects* in the target *repository* that was checked."""
        found = {subject: self._checks.get((repository, subject)) for subject in subjects}
        return {subject: check for subject, check in found.items() if check is not None}

    def record_check(self, check: ReferrerCheck) -> None:
        """Replace the last check of its subject."""
        self._checks[check.repository, check.subject] = check
        self._checks.move_to_end((check.repository, check.subject))
        if len(self._checks) > self._limit:
            self._checks.popitem(last=False)

    async def written_tags(self, repository: Repository) -> Mapping[str, Digest]:
        """Return what this tool last wrote at each legacy tag of the target *repository*."""
        return {tag: digest for (known, tag), digest in self._tags.items() if known == repository}

    def record_written_tag(self, repository: Repository, tag: str, digest: Digest) -> None:
        """Record that this tool wrote *digest* at the legacy *tag*."""
        self._tags[repository, tag] = digest
        self._tags.move_to_end((repository, tag))
        if len(self._tags) > self._limit:
            self._tags.popitem(last=False)
