"""Reads that are checked while they flow, and that can go on later from the middle without losing what was checked."""

from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from image_syncer.oci import Descriptor, Digest, Repository, Verifier
from image_syncer.roles import Chunk

_BLOBS: Final = 64
# What was sent and never confirmed is mostly the last few MiB: there a read from the middle repeats little. Otherwise
# it is a chunk of an upload, and the beginning of one is never far from a sparse mark.
_DENSE_BYTES: Final = 128 * 1024
_DENSE: Final = 128
_SPARSE_BYTES: Final = 4 * 1024 * 1024
_SPARSE: Final = 128


class BlobCheckpoints:
    """Where the check of one blob stood, lately: at about 250 places, most of them near the end."""

    def __init__(self) -> None:
        self._dense: deque[Verifier] = deque(maxlen=_DENSE)
        self._sparse: deque[Verifier] = deque(maxlen=_SPARSE)

    def note(self, verifier: Verifier) -> None:
        """Remember where *verifier* stands, if that is news."""
        at = verifier.seen_bytes
        if at - _last(self._dense) >= _DENSE_BYTES:
            mark = verifier.copy()
            self._dense.append(mark)
            if at - _last(self._sparse) >= _SPARSE_BYTES:
                self._sparse.append(mark)

    def before(self, start: int) -> Verifier | None:
        """Return a verifier that stands at *start* or closely before; None where there is none."""
        marks = [mark for marks in (self._sparse, self._dense) for mark in marks if mark.seen_bytes <= start]
        latest = max(marks, key=lambda mark: mark.seen_bytes, default=None)
        return None if latest is None or start - latest.seen_bytes > _SPARSE_BYTES else latest.copy()


class DigestCheckpoints:
    """The trails of the blobs that were read last, at most 64 over all sources: one of a big blob has 100 KiB."""

    def __init__(self) -> None:
        self._trails: OrderedDict[tuple[Repository, Digest], BlobCheckpoints] = OrderedDict()

    def begin(self, source: Repository, blob: Descriptor, start: int, what: str) -> tuple[Verifier, BlobCheckpoints]:
        """Return what checks a read of *blob*, to begin where the verifier stands: at *start* or closely before.

        Where this process has not read what is before *start* in *source*, the verifier knows nothing of it.
        """
        key = source, blob.digest
        trail = self._trails.setdefault(key, BlobCheckpoints())
        self._trails.move_to_end(key)
        if len(self._trails) > _BLOBS:
            self._trails.popitem(last=False)
        return (trail.before(start) if start else None) or Verifier(blob.digest, blob.size, what, start=start), trail

    def forget(self, source: Repository, digest: Digest) -> None:
        """Believe no longer what was read of *digest* in *source*: it was not what it should be."""
        self._trails.pop((source, digest), None)


async def verified(
    chunks: AsyncGenerator[Chunk], verifier: Verifier, trail: BlobCheckpoints | None = None
) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on, holding the last one back until *verifier* finds that all is right; `ContentMismatch`.

    Where it stood is noted in *trail*. Closes *chunks* in every case.
    """
    async with aclosing(chunks):
        async for chunk in chunks:
            verifier.update(chunk)
            if trail is not None:
                trail.note(verifier)
            yield chunk
        verifier.finish()


async def skipped(chunks: AsyncGenerator[Chunk], count: int) -> AsyncGenerator[Chunk]:
    """Pass *chunks* on without their first *count* bytes. Closes *chunks* in every case."""
    async with aclosing(chunks):
        async for chunk in chunks:
            passed = min(count, len(chunk))
            count -= passed
            if passed < len(chunk):
                yield memoryview(chunk)[passed:] if passed else chunk


def _last(marks: deque[Verifier]) -> int:
    return marks[-1].seen_bytes if marks else 0
