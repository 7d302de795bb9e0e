"""Which part of a blob goes with which request: by what is known about a registry, and by what it has refused. Pure."""

from collections.abc import Mapping
from typing import Final, Self

from image_syncer.errors import Refused, TooLarge
from image_syncer.registry.blobs.chunk_size import LEAST_BYTES, ChunkSize
from image_syncer.registry.blobs.upload_session import UploadSession
from image_syncer.registry.vendor_profiles import LearntProfile
from image_syncer.registry.vendors.vendor_profile import UploadProfile
from image_syncer.structs import Struct, replace

_OCTETS: Final = {"Content-Type": "application/octet-stream"}
# A PUT refused with one of these may be accepted as a PATCH: the registry may not support a body with the closing PUT.
_TRY_PATCH: Final = frozenset({400, 405, 411, 415, 501})

_EXCESS: Final = 4
"""A last part of less than this share of a chunk goes with the one before it: it would cost a round trip."""


class Part(Struct):
    """The *length* bytes from *start* on (None: all remaining); sent with the closing PUT if *closes*.

    *is_last*: only that PUT follows.
    """

    start: int
    length: int | None
    closes: bool
    is_last: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole blob."""
        return self.start == 0 and self.is_last

    @property
    def has_body(self) -> bool:
        """Whether the request carries content; False for the empty PUT that only closes the upload."""
        return self.start == 0 or self.length != 0


class UploadFacts(Struct):
    """A snapshot of what all uploads to one registry have learnt, at the time *now* (monotonic seconds).

    *closing_put_carries*: a blob was stored whose content came with the closing PUT. *single_post*: a POST with the
    content stores a small blob; None: unknown.
    """

    profile: UploadProfile
    chunk: ChunkSize
    closing_put_carries: bool
    now: float
    single_post: bool | None = None

    @classmethod
    def of(cls, learnt: LearntProfile, now: float) -> Self:
        """Return the snapshot of *learnt*."""
        return cls(learnt.uploads, learnt.chunk, learnt.closing_put_carries, now, learnt.single_post)

    def save(self, learnt: LearntProfile) -> None:
        """Store these facts in *learnt*. No other task may run between `of` and `save`, or its lessons are lost."""
        learnt.uploads = self.profile
        learnt.chunk = self.chunk
        learnt.closing_put_carries = self.closing_put_carries
        learnt.single_post = self.single_post

    def headers(self, part: Part | None = None) -> Mapping[str, str]:
        """Return the headers of a request about an upload; with *part*, of the request that carries it."""
        headers = {"Connection": "close"} if self.chunk.is_wary(self.now) else {}
        if part is None:
            return headers
        if part.length and not part.is_whole:
            headers["Content-Range"] = f"{part.start}-{part.start + part.length - 1}"
        return headers | _OCTETS

    def after_success(self, part: Part, seconds: float) -> Self:
        """Return the facts after a PATCH with *part* that took *seconds*."""
        if part.length is None or part.is_last:
            return self
        return replace(self, chunk=self.chunk.after_success(part.length, seconds, self.now))


class UploadStrategy(Struct):
    """How one blob of *size* bytes (None: unknown) is divided into requests. It changes while the blob is pushed.

    *patches*: all content goes in PATCHes and the closing PUT is empty. *can_chunk*: content may go in several
    requests, and so resume after a break. *fallback* holds (patches, can_chunk) of before a trial, None without a
    trial; *is_trial_inherited*: the trial follows bytes of another process, so its success proves nothing.
    """

    size: int | None
    patches: bool
    can_chunk: bool
    fallback: tuple[bool, bool] | None = None
    is_trial_inherited: bool = False

    @classmethod
    def of(cls, size: int | None, facts: UploadFacts) -> Self:
        """Return the strategy to begin with for a blob of *size* bytes."""
        return cls(size, patches=size is None, can_chunk=size is not None).refresh(facts)

    def refresh(self, facts: UploadFacts) -> Self:
        """Return the strategy with what other uploads have learnt since."""
        patches, can_chunk = self.patches or facts.profile.patches, self.can_chunk and facts.profile.chunks
        if (patches, can_chunk) == (self.patches, self.can_chunk):
            return self
        return replace(self, patches=patches, can_chunk=can_chunk)

    def next_part(self, session: UploadSession, facts: UploadFacts) -> Part:
        """Return the part that follows the bytes in *session*."""
        start = session.offset_bytes
        if self.size is None:
            return Part(start, 0, closes=True, is_last=True) if start else Part(0, None, closes=False, is_last=True)
        rest = self.size - start
        limit = _limit(session, facts)
        length = min(rest, limit) if self.can_chunk and not _is_small_excess(rest, limit, facts) else rest
        is_last = length == rest
        return Part(start, length, closes=is_last and (not self.patches or not rest), is_last=is_last)

    def after_break(self, part: Part, sent: int, facts: UploadFacts) -> UploadFacts:
        """Return the facts after a break that lost *part* or more, *sent* bytes of which had been sent."""
        if part.length is None or not self.can_chunk:
            return facts
        length = min(part.length, facts.chunk.at(facts.now))
        return replace(facts, chunk=facts.chunk.after_break(length, sent, facts.now))

    def after_loss(self, facts: UploadFacts) -> UploadFacts:
        """Return the facts after the registry lost an upload of an earlier process."""
        return replace(facts, chunk=facts.chunk.after_loss(facts.now)) if self.can_chunk else facts

    def fall_back_after(
        self, refusal: Refused, part: Part, session: UploadSession, facts: UploadFacts
    ) -> tuple[Self, UploadFacts] | None:
        """Return the strategy and the facts after *refusal* of *part* in *session*; None if no other way is left."""
        if self.fallback is not None:  # The trial failed; what the registry said about the other way is right.
            patches, can_chunk = self.fallback
            return replace(self, patches=patches, can_chunk=can_chunk, fallback=None), facts
        if isinstance(refusal, TooLarge):
            if not self.can_chunk or part.length is None or part.length <= max(LEAST_BYTES, _least(session, facts)):
                return None
            return self, replace(facts, chunk=facts.chunk.after_413(part.length))
        if not part.is_whole and not part.closes:
            # If the registry accepted a PATCH before this one, PATCH works; content of a PUT might be ignored.
            return replace(self, can_chunk=False, patches=self.patches or part.start > 0), facts
        if not part.closes or self.patches or refusal.status not in _TRY_PATCH:
            return None
        return replace(self, patches=True), facts

    def try_single_patch(self, facts: UploadFacts, *, inherited: bool) -> Self:
        """Return the strategy for a registry that found other bytes than were sent, some of them with the closing PUT.

        It may ignore the content of a PUT, as Artifactory does, unless it has stored such content before. With
        *inherited* bytes of another process, those may be the wrong ones, so a success teaches nothing.
        """
        if self.patches or facts.closing_put_carries:
            return self
        return replace(
            self,
            patches=True,
            can_chunk=False,
            fallback=(self.patches, self.can_chunk),
            is_trial_inherited=inherited,
        )

    def after_commit(self, part: Part | None, facts: UploadFacts) -> UploadFacts:
        """Return the facts after the blob was stored; *part* went with the last request."""
        carries = facts.closing_put_carries or (part is not None and part.closes and bool(part.length))
        profile = facts.profile
        if self.size is not None and not self.is_trial_inherited:
            patches, chunks = profile.patches or self.patches, profile.chunks and self.can_chunk
            if (patches, chunks) != (profile.patches, profile.chunks):
                profile = replace(profile, patches=patches, chunks=chunks)
        if profile is facts.profile and carries == facts.closing_put_carries:
            return facts
        return replace(facts, profile=profile, closing_put_carries=carries)


def _least(session: UploadSession, facts: UploadFacts) -> int:
    return max(facts.profile.least_bytes, session.least_bytes)


def _limit(session: UploadSession, facts: UploadFacts) -> int:
    limit = max(facts.chunk.at(facts.now), _least(session, facts))
    most = facts.profile.most_bytes
    return limit if most is None else min(limit, most)


def _is_small_excess(rest: int, limit: int, facts: UploadFacts) -> bool:
    """Whether *rest* is so little more than *limit* bytes that one request is better than two.

    Not where breaks or refusals have made chunks smaller: the limit has a reason there.
    """
    most = facts.profile.most_bytes
    is_allowed = (most is None or rest <= most) and facts.chunk.may_exceed(facts.now)
    return is_allowed and rest - limit <= limit // _EXCESS
