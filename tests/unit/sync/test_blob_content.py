"""What is counted of a blob on its way, and where its content is opened."""

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


async def test_an_upload_that_goes_on_reads_from_its_place_and_counts_what_it_moved() -> None:
    """The target gets the bytes that it lacks and no others; what an earlier process moved is not ours."""
    upload = CountedContent(content, len(CONTENT), SilentRunObserver())

    async with upload.open(4) as chunks:
        read = b"".join([bytes(chunk) async for chunk in chunks])

    assert (read, upload.moved_bytes) == (CONTENT[4:], 6)
