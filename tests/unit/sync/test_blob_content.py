"""Counting the bytes of an upload, and opening its content at an offset."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from image_syncer.roles import Chunk
from image_syncer.sync.blob_content import CountedContent
from image_syncer.sync.result import SilentRunObserver

CONTENT = b"0123456789"


@asynccontextmanager
async def content(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
    """Open the ten digits from *start*."""

    async def chunks() -> AsyncGenerator[Chunk]:
        yield CONTENT[start:]

    yield chunks()


async def test_a_resumed_upload_reads_from_its_offset_and_counts_its_own_bytes() -> None:
    """The target gets only the bytes that it lacks; those of an earlier process do not count."""
    upload = CountedContent(content, len(CONTENT), SilentRunObserver())

    async with upload.open(4) as chunks:
        read = b"".join([bytes(chunk) async for chunk in chunks])

    assert (read, upload.moved_bytes) == (CONTENT[4:], 6)
