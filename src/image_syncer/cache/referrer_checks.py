"""What earlier runs compared and wrote of referrers, over a backend that outlives the process."""

from collections.abc import Collection, Mapping

from image_syncer.cache.backend import AttachedTagRecord
from image_syncer.cache.memory import MemoryReferrerCache
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.oci import Digest, Repository
from image_syncer.roles import ReferrerCheck


class PersistentReferrerCache:
    """`ReferrerCache` over the backend of *buffer*. Of two checks the newer one counts.

    Of two written tags that of the backend counts: another process may have written one since. Those of this process
    count where the backend has none or fails.
    """

    def __init__(self, buffer: WriteBehind) -> None:
        self._buffer = buffer
        self._memory = MemoryReferrerCache()

    async def checks(self, repository: Repository, subjects: Collection[Digest]) -> Mapping[Digest, ReferrerCheck]:
        """Return the last check of each one of *subjects* in the target *repository* that was checked."""
        stored = await self._buffer.query(lambda backend: backend.referrer_checks(repository, subjects), default={})
        found = dict(stored)
        for subject, check in (await self._memory.checks(repository, subjects)).items():
            other = found.get(subject)
            if other is None or other.checked_at <= check.checked_at:
                found[subject] = check
        return found

    def record_check(self, check: ReferrerCheck) -> None:
        """Replace the last check of its subject."""
        self._memory.record_check(check)
        self._buffer.put(check)

    async def written_tags(self, repository: Repository) -> Mapping[str, Digest]:
        """Return what this tool last wrote at each legacy tag of the target *repository*."""
        await self._buffer.flush()  # What this process wrote last must not look older than what it wrote before.
        found = await self._buffer.query(lambda backend: backend.attached_tags(repository), default={})
        return {**await self._memory.written_tags(repository), **found}

    def record_written_tag(self, repository: Repository, tag: str, digest: Digest) -> None:
        """Record that this tool wrote *digest* at the legacy *tag*."""
        self._memory.record_written_tag(repository, tag, digest)
        self._buffer.put(AttachedTagRecord(repository, tag, digest))
