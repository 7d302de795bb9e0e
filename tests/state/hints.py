"""Helpers for tests of the caches; as a program, a run that records blobs: `python -m state.hints`."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from image_syncer.cache.backend import CacheBackend, LazyBackend
from image_syncer.cache.persistent import for_run
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.state import StateCacheBackend, open_cache_backend, open_state

KEEP = timedelta(days=30)
HERE = Repository("target.test", "mirror/app")
_LATER_TABLES = (
    *("blob_claims", "claimers", "host_facts", "referrer_checks", "attached_tags"),
    *("first_seen", "image_dates", "event_deltas", "clock_looks"),
)
TO_REVISION_0007 = (
    *(f"DROP TABLE image_syncer_{name}" for name in _LATER_TABLES),
    "DROP INDEX image_syncer_results_by_latest_source_digest",
    "ALTER TABLE image_syncer_results DROP COLUMN referrers",
    "UPDATE image_syncer_version SET version_num = '0007'",
)
"""The statements that undo the later revisions."""


def digest(text: str) -> Digest:
    """Return a digest by name."""
    return Digest.of(text.encode())


def blob(text: str) -> Descriptor:
    """Return a blob by name."""
    return Descriptor("application/octet-stream", digest(text), len(text))


def shelf(place: str, *, is_new: bool = False, of_daemon: bool = False) -> LazyBackend:
    """Return the caches of the state at *place*, opened as by a one-shot run or as by a daemon."""
    opened = _open_as_daemon(place) if of_daemon else open_cache_backend(place, keep=KEEP)
    return LazyBackend(lambda: opened, lambda: is_new)


@asynccontextmanager
async def _open_as_daemon(place: str) -> AsyncGenerator[CacheBackend]:
    async with open_state(place) as state:
        yield StateCacheBackend(state.database, keep=KEEP)


async def _note(place: str, name: str, rounds: int) -> None:
    """Record a blob of this process and one that others record too, write both, and repeat."""
    async with for_run(shelf(place)) as memories:
        for number in range(rounds):
            memories.blob_locations.record(HERE, blob(f"{name}-{number}"))
            memories.blob_locations.record(Repository("target.test", name), blob(f"all-{number % 10}"))
            if warnings := await memories.flush():
                sys.exit("\n".join(warnings))


if __name__ == "__main__":
    asyncio.run(_note(sys.argv[1], sys.argv[2], int(sys.argv[3])))
