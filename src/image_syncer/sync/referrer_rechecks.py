"""Decides which unchanged images are due: what is attached to them at the source is compared again.

Each subject has a fixed phase in the interval, derived from its digest, so that rechecks spread over the interval. An
image without an earlier check is recorded as seen, and is due at its next phase. An image of which nothing attached is
known is due at once if a list of tags shows a tag of the tag schema or of cosign for it.

Without a state nothing is due, unless a rule has a gate: only a recorded check can say that an image has passed it.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from image_syncer.oci import Digest, Repository
from image_syncer.oci.referrer import legacy_tags, list_digest, referrers_tag
from image_syncer.roles import Gate, ReferrerCheck
from image_syncer.structs import Struct, replace
from image_syncer.sync.plan import PlannedCopy
from image_syncer.sync.referrer_settings import ReferrerSettings
from image_syncer.sync.rule_trust import ReferrerAccess

NEVER_LISTED: Final = Digest.of(b"never listed")
"""Stands for the list of an image that was never looked at; equal to no digest of a list."""

NOTHING_AT_TAGS: Final = Digest.of(b"nothing at the listed tags")
"""Stands for an empty list of an image that has tags in the list of tags: they hold nothing for the rule."""

_EMPTY_LIST: Final = list_digest((), {})
_PHASE_DIGITS: Final = 8
_SEEN_PER_RUN: Final = 2_000
"""How many images one run records as seen; later runs record the others. It bounds the memory."""


class Due(Struct):
    """Unchanged images: those that are *due*, and how many are *unchecked* since there is no state."""

    due: Sequence[PlannedCopy]
    unchecked: int


class ReferrerRechecks:
    """Decides for one run. *now* returns seconds since the epoch."""

    def __init__(self, access: ReferrerAccess, *, now: Callable[[], float] = time.time) -> None:
        self._access = access
        self._now = now
        self._seen = 0

    async def select(self, unchanged: Sequence[PlannedCopy], *, forced: bool) -> Due:
        """Return those of the *unchanged* images that are due; *forced*: all whose rule wants referrers or has a gate.

        Records as seen those that were never checked and have no gate.
        """
        due: list[PlannedCopy] = []
        unchecked = 0
        checks = await self._last_checks(() if forced else unchanged)
        for planned in unchanged:
            copy = planned.copy
            gate = self._access.trust_of(copy.rule).gate
            if not copy.referrers.enabled and gate is None:
                continue
            last = checks.get((copy.target.repository, planned.target_digest))
            if forced:
                due.append(planned)
            elif gate is None and not self._has_history:
                unchecked += 1
                self._record_seen(planned)  # A state that does not exist yet begins with this run.
            elif last is None and gate is None:
                self._see(planned, due)
            elif last is None or last.settings != settings_text(copy.referrers, gate):
                due.append(planned)
            elif copy.referrers.enabled and self._has_come(planned, last):
                due.append(replace(planned, listed=last.listed))
        return Due(due, unchecked)

    def _has_come(self, planned: PlannedCopy, last: ReferrerCheck) -> bool:
        if has_come(last, planned.copy.referrers.recheck_seconds, self._now()):
            return True
        return last.listed in {NEVER_LISTED, _EMPTY_LIST} and self._has_listed_tags(planned)

    def _has_listed_tags(self, planned: PlannedCopy) -> bool:
        """Whether the last list of the source's tags, if any, has tags of what is attached to the image *planned*."""
        subject, copy = planned.source_digest, planned.copy
        holder = copy.referrers.source_of(copy.source.repository)
        listed = self._access.stores.referrer_source(holder).listed_referrer_tags()
        if subject is None or not listed:
            return False
        return any(tag in listed for tag in (referrers_tag(subject), *legacy_tags(subject)))

    def _see(self, planned: PlannedCopy, due: list[PlannedCopy]) -> None:
        """Record as seen an image that was never checked; it is due at once if each run checks it."""
        if planned.copy.referrers.recheck_seconds <= 0:
            due.append(planned)
        else:
            self._record_seen(planned)

    def _record_seen(self, planned: PlannedCopy) -> None:
        if self._seen < _SEEN_PER_RUN:
            self._seen += 1
            self.record(planned, NEVER_LISTED)

    @property
    def _has_history(self) -> bool:
        return self._access.cache is not None and self._access.has_history

    async def _last_checks(
        self, unchanged: Sequence[PlannedCopy]
    ) -> Mapping[tuple[Repository, Digest | None], ReferrerCheck]:
        """Return the last checks of the *unchanged* images at their targets."""
        wanted: dict[Repository, set[Digest]] = {}
        for planned in unchanged:
            if planned.target_digest is not None:
                wanted.setdefault(planned.copy.target.repository, set()).add(planned.target_digest)
        found: dict[tuple[Repository, Digest | None], ReferrerCheck] = {}
        if self._access.cache is not None and self._access.has_history:
            for repository, digests in wanted.items():
                checks = await self._access.cache.checks(repository, digests)
                found |= {(repository, digest): check for digest, check in checks.items()}
        return found

    def record(self, planned: PlannedCopy, listed: Digest) -> None:
        """Record that the image *planned* was compared now with the source's list *listed*."""
        copy, gate = planned.copy, self._access.trust_of(planned.copy.rule).gate
        if self._access.cache is None or planned.target_digest is None or not (copy.referrers.enabled or gate):
            return
        if listed == _EMPTY_LIST and self._has_listed_tags(planned):
            listed = NOTHING_AT_TAGS
        settings = settings_text(copy.referrers, gate)
        repository = copy.target.repository
        check = ReferrerCheck(repository, planned.target_digest, listed, settings, self._now())
        self._access.cache.record_check(check)


def has_come(last: ReferrerCheck, interval_seconds: float, now: float) -> bool:
    """Whether the phase of the subject has come since its *last* check; an interval of 0: always."""
    if interval_seconds <= 0:
        return True
    phase = int(last.subject.encoded[:_PHASE_DIGITS], 16) / 16**_PHASE_DIGITS * interval_seconds
    return (now - phase) // interval_seconds > (last.checked_at - phase) // interval_seconds


def settings_text(settings: ReferrerSettings, gate: Gate | None) -> str:
    """Return a short text that changes with what *settings* select, and with the settings of *gate*."""
    return f"{_selection_text(settings)} {gate.settings if gate is not None else ''}".strip()


@lru_cache(maxsize=1024)
def _selection_text(settings: ReferrerSettings) -> str:
    selecting = settings.enabled, settings.types, settings.exclude, settings.legacy_tags
    places = str(settings.source), str(settings.target)
    return hashlib.sha256(repr((selecting, places)).encode()).hexdigest()[:16]
