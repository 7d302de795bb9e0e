"""A source blob on its way into target repositories: what is read, and who is told of it."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from image_syncer.errors import CopyFailed, StoreError
from image_syncer.oci import Descriptor, Repository
from image_syncer.roles import Chunk, Opener, Source
from image_syncer.sync.manifest_reader import SMALL_BYTES, ManifestReader
from image_syncer.sync.result import RunObserver


@dataclass(frozen=True, slots=True)
class SourceBlob:
    """The blob *blob* in the repository *origin*."""

    blob: Descriptor
    origin: Repository
    source: Source
    reader: ManifestReader

    @property
    def is_small(self) -> bool:
        """Whether it is read whole, and kept for whoever needs it next."""
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
        yield _once(whole[start:])


class CountedContent:
    """One blob on its way into one repository: counts what moves, and remembers whether reading is what failed."""

    def __init__(self, content: Opener, size_bytes: int, observer: RunObserver) -> None:
        self._content = content
        self._observer = observer
        self._announced_bytes = size_bytes
        self._at = 0
        self._first: int | None = None
        self.failure: StoreError | None = None
        observer.found(size_bytes)

    @property
    def moved_bytes(self) -> int:
        """How many bytes of the blob were moved here; what an earlier process had moved is not counted."""
        return self._at - (self._first or 0)

    @asynccontextmanager
    async def open(self, start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open the content from byte *start* (an `Opener`)."""
        self._observer.moved(start - self._at)
        self._at = start
        self._first = start if self._first is None else min(self._first, start)
        async with AsyncExitStack() as stack:
            try:
                chunks = await stack.enter_async_context(self._content(start))
            except StoreError as error:
                self.failure = error
                raise
            yield self._watched(chunks)

    async def _watched(self, chunks: AsyncIterator[Chunk]) -> AsyncGenerator[Chunk]:
        try:
            async for chunk in chunks:
                self._at += len(chunk)
                self._observer.moved(len(chunk))
                yield chunk
        except StoreError as error:
            self.failure = error
            raise

    def succeed(self) -> None:
        """Tell the observer that the whole blob is there, whoever moved it."""
        self._observer.moved(self._announced_bytes - min(self._at, self._announced_bytes))

    def take_back(self) -> None:
        """Tell the observer that nothing of this blob was moved, nor will be now."""
        self._observer.moved(-self._at)
        self._observer.found(-self._announced_bytes)


async def _once(whole: bytes) -> AsyncGenerator[Chunk]:
    yield whole
