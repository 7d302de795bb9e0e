"""The buffer in front of a backend loses no record when a flush is interrupted."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import cast

import pytest

from image_syncer.cache.backend import AttachedTagRecord, CacheBackend, CacheRecord, LazyBackend
from image_syncer.cache.write_behind import WriteBehind
from image_syncer.oci import Digest, Repository


class SlowBackend:
    """A backend that opens once *may_open* is set, and keeps the digests that were written by tag."""

    def __init__(self) -> None:
        self.may_open = asyncio.Event()
        self.opening = asyncio.Event()
        self.written: dict[str, Digest] = {}

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[CacheBackend]:
        """Wait, and yield the backend."""
        self.opening.set()
        await self.may_open.wait()
        yield cast("CacheBackend", self)

    async def write(self, records: tuple[CacheRecord, ...], *, tidy: bool) -> None:
        """Keep *records*."""
        del tidy
        for record in records:
            assert isinstance(record, AttachedTagRecord)
            self.written[record.tag] = record.digest


def record(tag: str, content: str) -> AttachedTagRecord:
    """Return a record of *tag*."""
    return AttachedTagRecord(Repository("target.test", "app"), tag, Digest.of(content.encode()))


async def test_a_cancelled_flush_leaves_its_records_to_the_next_one() -> None:
    """The end of a run cancels the flush in the background, which may be opening a slow database."""
    backend = SlowBackend()
    buffer = WriteBehind(LazyBackend(backend.opened, lambda: False), pytest.fail)
    for tag in ("first", "second"):
        buffer.put(record(tag, "old"))
    flush = asyncio.create_task(buffer.flush())
    await backend.opening.wait()
    buffer.put(record("second", "new"))
    flush.cancel()
    with suppress(asyncio.CancelledError):
        await flush
    backend.may_open.set()
    await buffer.close()
    assert backend.written == {"first": Digest.of(b"old"), "second": Digest.of(b"new")}
