"""Which part of a blob goes with which request: by what is known of a registry, and by what it has refused."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from image_syncer.errors import Refused, TooLarge
from image_syncer.registry.blobs.chunk_size import LEAST_BYTES
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.vendor_profiles import LearntProfile

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
# Refusals of a PUT that may mean the way, not the content: those registries may take a PATCH.
_OTHER_WAY: Final = frozenset({400, 405, 411, 415, 501})


@dataclass(frozen=True, slots=True)
class Part:
    """The *length* bytes from *start* on (None: all there are), which go with the closing PUT if *closes*.

    *is_last*: nothing follows but that PUT.
    """

    start: int
    length: int | None
    closes: bool
    is_last: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the blob."""
        return self.start == 0 and self.is_last


class UploadStrategy:
    """The way of one blob of *size* bytes (None: nobody knows), which may change while it is pushed.

    What turns out is kept in *quirks* for the pushes that follow, and what others have found out is taken from there
    with each session that begins. *now* is the time in seconds.
    """

    def __init__(self, quirks: LearntProfile, size: int | None, now: Callable[[], float]) -> None:
        self._quirks = quirks
        self._size = size
        self._now = now
        self._patches = size is None
        self._chunks = size is not None
        self._before_doubt: tuple[bool, bool] | None = None
        self._guesses = False
        self._least = 0
        self.refresh()

    def refresh(self) -> None:
        """Take the way that is known by now."""
        habits = self._quirks.uploads
        self._patches |= habits.patches
        self._chunks &= habits.chunks

    @property
    def can_chunk(self) -> bool:
        """Whether the content may go in several requests, and so go on after a break."""
        return self._chunks

    def next_part(self, session: UploadSession) -> Part:
        """Return what follows on what *session* has."""
        start = session.offset_bytes
        if self._size is None:
            return Part(start, 0, closes=True, is_last=True) if start else Part(0, None, closes=False, is_last=True)
        rest = self._size - start
        length = min(rest, self._limit(session)) if self._chunks else rest
        is_last = length == rest
        return Part(start, length, closes=is_last and (not self._patches or not rest), is_last=is_last)

    def headers(self, part: Part | None = None) -> Mapping[str, str]:
        """Return the headers of a request about an upload; with *part* of one that carries it."""
        headers = {"Connection": "close"} if self._quirks.chunk.is_wary(self._now()) else {}
        if part is None:
            return headers
        if part.length and not part.is_whole:
            headers["Content-Range"] = f"{part.start}-{part.start + part.length - 1}"
        return headers | _OCTETS

    def after_success(self, part: Part, seconds: float) -> None:
        """Learn from a PATCH with *part* that took *seconds*."""
        if part.length is not None and not part.is_last:
            self._quirks.chunk = self._quirks.chunk.after_success(part.length, seconds, self._now())

    def after_break(self, part: Part, sent: int) -> bool:
        """Learn from a break that lost *part* or more, after *sent* bytes of it; whether chunks are smaller now."""
        if part.length is None or not self._chunks:
            return False
        before = self._quirks.chunk.at(self._now())
        self._quirks.chunk = self._quirks.chunk.after_break(min(part.length, before), sent, self._now())
        return self._quirks.chunk.at(self._now()) < before

    def after_loss(self) -> None:
        """Learn from an upload of an earlier process, of which nothing is left."""
        if self._chunks:
            self._quirks.chunk = self._quirks.chunk.after_loss(self._now())

    def fall_back_after(self, refusal: Refused, part: Part) -> bool:
        """Whether there is another way after *refusal* of *part*; it is gone from now on."""
        if self._before_doubt is not None:  # It was only a try: what it said of the other way stands.
            self._patches, self._chunks = self._before_doubt
            self._before_doubt = None
            return True
        if isinstance(refusal, TooLarge):
            return self._is_made_smaller(part)
        if not part.is_whole and not part.closes:
            self._chunks = False
            self._patches |= part.start > 0  # The one before it was taken, and what comes with a PUT may be overlooked.
            return True
        if not part.closes or self._patches or refusal.status not in _OTHER_WAY:
            return False
        self._patches = True
        return True

    def try_single_patch(self, *, inherited: bool = False) -> None:
        """Try it as Artifactory wants it, where the registry found other bytes than came, some of them with a PUT.

        It may have taken that for empty; unless it has stored what came so. With *inherited* bytes of another process
        these may be what was wrong, so that nothing is learnt if it goes well.
        """
        if self._patches or self._quirks.closing_put_carries:
            return
        self._before_doubt = self._patches, self._chunks
        self._patches, self._chunks = True, False
        self._guesses = inherited

    def after_commit(self, part: Part | None) -> None:
        """Note for the registry what has proved to be right; *part* went with the last request."""
        habits = self._quirks.uploads
        self._quirks.closing_put_carries |= part is not None and part.closes and bool(part.length)
        if self._size is not None and not self._guesses:
            self._quirks.uploads = replace(
                habits, patches=habits.patches or self._patches, chunks=habits.chunks and self._chunks
            )

    def _limit(self, session: UploadSession) -> int:
        habits = self._quirks.uploads
        self._least = max(habits.least_bytes, session.least_bytes)
        limit = max(self._quirks.chunk.at(self._now()), self._least)
        return limit if habits.most_bytes is None else min(limit, habits.most_bytes)

    def _is_made_smaller(self, part: Part) -> bool:
        if not self._chunks or part.length is None or part.length <= max(LEAST_BYTES, self._least):
            return False
        self._quirks.chunk = self._quirks.chunk.after_413(part.length)
        return True
