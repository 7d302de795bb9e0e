"""The content of a source blob, and the same counted on its way into one target repository."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Repository
from image_syncer.roles import Chunk, Opener, Source
from image_syncer.structs import Struct
from image_syncer.sync.manifest_reader import SMALL_BYTES, ManifestReader
from image_syncer.sync.result import RunObserver


class SourceBlob(Struct):
    """The blob *blob* of the repository *origin*."""

    blob: Descriptor
    origin: Repository
    source: Source
    reader: ManifestReader

    @property
    def is_small(self) -> bool:
        """Whether the blob is read whole and cached."""
        return self.blob.size is not None and self.blob.size <= SMALL_BYTES

    @asynccontextmanager
    async def open(self, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open it for one read from byte *start* (an `Opener`)."""
        if not self.is_small:
            async with self.source.open(self.blob, start) as chunks:
                yield chunks
            return
        try:
            whole = await self.reader.read_blob(self.origin, self.blob)
        except CopyFailed as failure:
            raise failure.cause from failure
        yield _single_chunk(whole[start:])


class CountedContent:
    """The content of one upload: counts the bytes for the observer, and keeps the failure of the read if it failed.

    *count* is called with the number of bytes of each chunk.
    """

    def __init__(
        self, content: Opener, size_bytes: int, observer: RunObserver, count: Callable[[int], None] | None = None
    ) -> None:
        self._count = count
        self._content = content
        self._observer = observer
        self._announced_bytes = size_bytes
        self._position = 0
        self._start: int | None = None
        self.failure: StoreError | None = None
        observer.found(size_bytes)

    @property
    def moved_bytes(self) -> int:
        """Bytes that this process moved; a resumed upload does not count those of an earlier process."""
        return self._position - (self._start or 0)

    @asynccontextmanager
    async def open(self, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open the content from byte *start* (an `Opener`)."""
        self._observer.moved(start - self._position)
        self._position = start
        self._start = start if self._start is None else min(self._start, start)
        async with AsyncExitStack() as stack:
            try:
                chunks = await stack.enter_async_context(self._content(start))
            except StoreError as error:
                self.failure = error
                raise
            yield self._counted(chunks)

    async def _counted(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
        try:
            async for chunk in chunks:
                self._position += len(chunk)
                self._observer.moved(len(chunk))
                if self._count is not None:
                    self._count(len(chunk))
                yield chunk
        except StoreError as error:
            self.failure = error
            raise

    def succeed(self) -> None:
        """Report the whole blob as moved to the observer."""
        self._observer.moved(self._announced_bytes - min(self._position, self._announced_bytes))

    def withdraw(self) -> None:
        """Withdraw this blob from the observer's totals: it was not moved and will not be."""
        self._observer.moved(-self._position)
        self._observer.found(-self._announced_bytes)


async def _single_chunk(whole: bytes) -> AsyncGenerator[Chunk]:
    yield whole
