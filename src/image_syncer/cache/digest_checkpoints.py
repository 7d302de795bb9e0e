"""Verified reads that can resume in the middle: copies of the hash state at earlier offsets."""

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Final

from image_syncer.oci import Descriptor, Digest, Repository, Verifier
from image_syncer.roles import Chunk

_MAX_BLOBS: Final = 64
# A resumed upload mostly starts within the last few MiB that were sent, where dense checkpoints save reading. Otherwise
# it starts at the beginning of an upload chunk, and a sparse checkpoint lies shortly before each of those.
_DENSE_BYTES: Final = 128 * 1024
_MAX_DENSE: Final = 128
_STEP_BYTES: Final = 512 * 1024  # Between two checkpoints within a large chunk.
_SPARSE_BYTES: Final = 4 * 1024 * 1024
_MAX_SPARSE: Final = 128


class BlobCheckpoints:
    """Recent states of the verifier of one blob: about 250, most of them near the end."""

    def __init__(self) -> None:
        self._dense: deque[Verifier] = deque(maxlen=_MAX_DENSE)
        self._sparse: deque[Verifier] = deque(maxlen=_MAX_SPARSE)

    def record(self, verifier: Verifier) -> None:
        """Keep a copy of *verifier* if it is far enough behind the last one."""
        offset = verifier.seen_bytes
        if offset - _last_offset(self._dense) >= _DENSE_BYTES:
            checkpoint = verifier.copy()
            self._dense.append(checkpoint)
            if offset - _last_offset(self._sparse) >= _SPARSE_BYTES:
                self._sparse.append(checkpoint)

    def latest_before(self, start: int) -> Verifier | None:
        """Return a verifier at *start* or at most 4 MiB before; None without one."""
        candidates = [kept for marks in (self._sparse, self._dense) for kept in marks if kept.seen_bytes <= start]
        latest = max(candidates, key=lambda kept: kept.seen_bytes, default=None)
        return None if latest is None or start - latest.seen_bytes > _SPARSE_BYTES else latest.copy()


class DigestCheckpoints:
    """The checkpoints of the 64 blobs that were read last, over all sources; those of a big blob take 100 KiB."""

    def __init__(self) -> None:
        self._of_blobs: OrderedDict[tuple[Repository, Digest], BlobCheckpoints] = OrderedDict()

    def begin(self, source: Repository, blob: Descriptor, start: int, what: str) -> tuple[Verifier, BlobCheckpoints]:
        """Return the verifier for a read of *blob*, and its checkpoints. The read must start at `verifier.seen_bytes`.

        That is *start* or shortly before. If this process has not read the bytes before *start* in *source*, the
        verifier does not know them, and checks the size alone.
        """
        key = source, blob.digest
        checkpoints = self._of_blobs.setdefault(key, BlobCheckpoints())
        self._of_blobs.move_to_end(key)
        if len(self._of_blobs) > _MAX_BLOBS:
            self._of_blobs.popitem(last=False)
        resumed = checkpoints.latest_before(start) if start else None
        return resumed or Verifier(blob.digest, blob.size, what, start=start), checkpoints

    def forget(self, source: Repository, digest: Digest) -> None:
        """Drop the checkpoints of *digest* in *source*, because its bytes were wrong."""
        self._of_blobs.pop((source, digest), None)


def inspect(verifier: Verifier, checkpoints: BlobCheckpoints | None, chunk: Chunk) -> None:
    """Add *chunk* to *verifier*, and record its state in *checkpoints*; `ContentMismatch` for wrong content."""
    if checkpoints is None or len(chunk) <= _STEP_BYTES:
        steps: Iterable[Chunk] = (chunk,)
    else:
        view = memoryview(chunk)
        steps = (view[start : start + _STEP_BYTES] for start in range(0, len(view), _STEP_BYTES))
    for step in steps:
        verifier.update(step)
        if checkpoints is not None:
            checkpoints.record(verifier)


async def finished(chunks: AsyncGenerator[Chunk], verifier: Verifier) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on, which *verifier* has seen already; `ContentMismatch` at the end if bytes are missing.

    Always closes *chunks*.
    """
    async with aclosing(chunks):
        async for chunk in chunks:
            yield chunk
        verifier.finish()


async def verified(
    chunks: AsyncGenerator[Chunk], verifier: Verifier, checkpoints: BlobCheckpoints | None = None
) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on, the last one only if *verifier* accepts the content; `ContentMismatch` otherwise.

    Records the verifier's states in *checkpoints*. Always closes *chunks*.
    """
    async with aclosing(chunks):
        async for chunk in chunks:
            inspect(verifier, checkpoints, chunk)
            yield chunk
        verifier.finish()


async def skipped(chunks: AsyncGenerator[Chunk], count: int) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on without their first *count* bytes. Always closes *chunks*."""
    async with aclosing(chunks):
        async for chunk in chunks:
            surplus = min(count, len(chunk))
            count -= surplus
            if surplus < len(chunk):
                yield memoryview(chunk)[surplus:] if surplus else chunk


def _last_offset(checkpoints: deque[Verifier]) -> int:
    return checkpoints[-1].seen_bytes if checkpoints else 0
