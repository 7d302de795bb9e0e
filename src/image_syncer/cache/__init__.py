"""What earlier requests and runs found out: kept in memory, and written behind to a database that outlives them."""

from image_syncer.cache.digest_checkpoints import DigestCheckpoints, finished, inspect, skipped, verified
from image_syncer.cache.memory import (
    MemoryBlobLocations,
    MemoryDigestCache,
    MemoryHostFacts,
    MemoryReferrerCache,
    MemoryUploadJournal,
)
from image_syncer.cache.persistent import Caches, in_memory
from image_syncer.cache.tag_times import MemoryFirstSeen, MemoryImageDates

__all__ = [
    "Caches",
    "DigestCheckpoints",
    "MemoryBlobLocations",
    "MemoryDigestCache",
    "MemoryFirstSeen",
    "MemoryHostFacts",
    "MemoryImageDates",
    "MemoryReferrerCache",
    "MemoryUploadJournal",
    "finished",
    "in_memory",
    "inspect",
    "skipped",
    "verified",
]
