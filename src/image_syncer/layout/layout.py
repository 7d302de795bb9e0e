"""One layout for asynchronous callers: reads and writes run in threads, changes of the index are made together."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import Final
from weakref import WeakValueDictionary

from image_syncer.cache import DigestCheckpoints, finished, inspect, skipped
from image_syncer.concurrency.taskpool import background
from image_syncer.errors import ContentMismatch, StoreError
from image_syncer.layout.disk_errors import disk_errors
from image_syncer.layout.layout_files import IndexEdit, LayoutFiles
from image_syncer.layout.layout_storage import Storage
from image_syncer.layout.partial_blob import PartialBlob
from image_syncer.layout.safe_files import BlobFile
from image_syncer.layout.thread_calls import in_thread
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.roles import Chunk, Fence, Opener
from image_syncer.structs import Struct

_PIECE_BYTES: Final = 1024 * 1024


class _Change(Struct, frozen=False, eq=False):
    """An edit of the index that waits to be written; then it is done, or it has the failure."""

    edit: IndexEdit
    fence: Fence | None
    is_done: bool = False
    failure: BaseException | None = None


class Layout:
    """The layout in *storage*; all repositories in it share this object."""

    def __init__(self, storage: Storage, checkpoints: DigestCheckpoints) -> None:
        self.files = LayoutFiles(storage)
        self._storage = storage
        self._checkpoints = checkpoints
        self._is_prepared = False
        self._preparing = asyncio.Lock()
        self._changes: deque[_Change] = deque()
        self._writing_index = asyncio.Lock()
        # One writer of a blob at a time; a lock lives while it is used.
        self._blob_locks: WeakValueDictionary[Digest, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def open(self, origin: Repository, blob: Descriptor, start: int) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Open *blob* for one read from byte *start*, verified while it flows."""
        what = f"{self._storage.what}: {blob.digest}"
        verifier, recorded = self._checkpoints.begin(origin, blob, start, what)
        begin = verifier.seen_bytes
        file = await in_thread(self.files.open, blob)
        try:
            chunks = _read(file, begin, what, partial(inspect, verifier, recorded))
            checked = finished(chunks, verifier)
            if start > begin:
                checked = skipped(checked, start - begin)
            async with aclosing(checked):
                yield checked
        except ContentMismatch:
            self._checkpoints.forget(origin, blob.digest)
            raise
        finally:
            file.close()

    async def push_blob(self, blob: Descriptor, content: Opener) -> None:
        """Write *blob* unless it is here already; an interrupted write is continued, also by another process."""
        await self.prepare()
        lock = self._blob_locks.setdefault(blob.digest, asyncio.Lock())
        async with lock:
            if await in_thread(self.files.has, blob):
                return
            unfinished = await in_thread(self._storage.begin, blob.digest, blob.size)
            is_right = True
            try:
                await self._receive(unfinished, blob, content)
            except BaseException as error:
                is_right = not isinstance(error, ContentMismatch)
                with disk_errors(self._storage.what):
                    unfinished.abandon(keep=is_right)
                raise

    async def _receive(self, unfinished: PartialBlob, blob: Descriptor, content: Opener) -> None:
        what = f"{self._storage.what}: {blob.digest}"
        piece = bytearray()

        def write(whole: bytearray) -> None:
            with disk_errors(what):
                unfinished.write(whole)

        def commit() -> None:
            with disk_errors(what):
                unfinished.commit()

        if unfinished.offset != blob.size or not blob.size:
            async with content(unfinished.offset) as chunks:
                async for chunk in chunks:
                    piece += chunk
                    if len(piece) >= _PIECE_BYTES:
                        await in_thread(write, piece)
                        piece = bytearray()
            await in_thread(write, piece)
        await in_thread(commit)

    async def prepare(self) -> None:
        """Prepare to write, once."""
        async with self._preparing:
            if not self._is_prepared:
                await in_thread(self._storage.prepare)
                self._is_prepared = True

    async def change(self, edit: IndexEdit, fence: Fence | None) -> None:
        """Write *edit* to the index, together with those of concurrent callers; `LeaseLost` if *fence* says so."""
        change = _Change(edit, fence)
        self._changes.append(change)
        try:
            async with self._writing_index:
                if not change.is_done:
                    await self._write_changes()
        finally:
            if change in self._changes:  # Cancelled before it was written.
                self._changes.remove(change)
        if change.failure is not None:
            raise change.failure

    async def _write_changes(self) -> None:
        """Write all changes that wait now. The fences are checked under the lock, right before the write."""
        changes = list(self._changes)
        self._changes.clear()
        try:
            await self._write(changes)
        except StoreError as error:
            for change in changes:
                change.failure = change.failure or error
        except BaseException:
            # This task is cancelled. The callers of the others are not: they write their changes themselves.
            self._changes.extendleft(reversed([change for change in changes if change.failure is None]))
            raise
        for change in changes:
            change.is_done = True

    async def _write(self, changes: Sequence[_Change]) -> None:
        with ExitStack() as stack:
            try:
                await in_thread(stack.enter_context, self._storage.locked())
                for change in changes:
                    await _check_fence(change)
                edits = [change.edit for change in changes if change.failure is None]
                if edits:
                    await in_thread(self.files.apply, edits)
            finally:
                await in_thread(stack.close)

    async def finish(self, at_once: asyncio.Event) -> None:
        """Complete what was written; `Interrupted` soon after *at_once* is set."""

        async def interrupt() -> None:
            await at_once.wait()
            self._storage.interrupt()

        if self._is_prepared:
            async with background(interrupt()):
                await in_thread(self._storage.finish)

    async def close(self) -> None:
        """Close all files."""
        await in_thread(self._storage.close)


async def _check_fence(change: _Change) -> None:
    if change.fence is None:
        return
    try:
        await change.fence.check()
    except StoreError as error:
        change.failure = error


async def _read(file: BlobFile, start: int, what: str, look: Callable[[bytes], None]) -> AsyncGenerator[Chunk]:
    """Yield the pieces of *file* from byte *start* on; *look* sees each of them, in the thread that reads it."""

    def read(at: int) -> bytes:
        with disk_errors(what):
            piece = file.read(at, _PIECE_BYTES)
        if piece:
            look(piece)
        return piece

    while piece := await in_thread(read, start):
        start += len(piece)
        yield piece
