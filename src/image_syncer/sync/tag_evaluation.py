"""Evaluates a selection for the tags of one repository, and explains the result for each tag. Pure.

The order of evaluation: listed tags, without those of referrers; `include`; `semver` with `suffix` and `prereleases`;
`exclude`; `min_age`; `newer_than`; the guard `min_tags`; `latest`.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, Self

from image_syncer.oci import Reference
from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.structs import Struct
from image_syncer.sync.rule import AllTags, ByDigest, Selection, TagNames
from image_syncer.sync.tag_filter import TagFilter
from image_syncer.sync.tag_pattern import TagPattern
from image_syncer.sync.tag_selection import TagSelection, span, too_young

_NO_DATES: Final[Mapping[str, datetime]] = MappingProxyType({})


class TagFacts(Struct):
    """What is known about tags at the time *now*.

    *published* is since when each has been public, *created* is when its image was made; unknown tags have neither.
    """

    now: datetime
    published: Mapping[str, datetime] = _NO_DATES
    created: Mapping[str, datetime] = _NO_DATES


class TagExplanation(Struct):
    """Whether a tag is selected, and why."""

    is_selected: bool
    reason: str


class TagEvaluation:
    """The evaluation of a selection for the *listed* tags of a repository, in steps.

    Call `check_min_age` with dates of the `remaining` tags, then `check_newer_than` and `take_latest` likewise.
    """

    def __init__(self, selection: TagSelection, listed: Sequence[str], now: datetime) -> None:
        self._selection = selection
        self._listed = listed
        self._now = now
        self._ages: dict[str, float] = {}
        self._aged: frozenset[str] | None = None
        self._newer: frozenset[str] | None = None
        self._missing = [tag for tag in selection.names.missing(listed) if selection.wants(tag)]
        self.remaining = [tag for tag in listed if selection.wants(tag)]
        """The listed tags that passed all steps so far, in the order of the list."""
        self.guarded = len(self.remaining)
        """How many tags are left before `latest`; the guard counts those that wait, too."""
        self.waiting = 0
        """How many tags are not public for long enough."""

    @classmethod
    def complete(cls, selection: TagSelection, listed: Sequence[str], facts: TagFacts) -> Self:
        """Return the evaluation after all steps."""
        evaluation = cls(selection, listed, facts.now)
        evaluation.check_min_age(facts.published)
        evaluation.check_newer_than(facts.created)
        evaluation.take_latest(facts.created)
        return evaluation

    def check_min_age(self, published: Mapping[str, datetime]) -> None:
        """Drop tags that are not public for long enough; one without a date is new."""
        least = self._selection.min_age_seconds
        if least is not None:
            self._keep_ages(published, default=self._now, passes=lambda age: age >= least)
            self._aged = frozenset(self.remaining)
            self.waiting = self.guarded - len(self.remaining)
        self.guarded = len(self.remaining)

    def check_newer_than(self, created: Mapping[str, datetime]) -> None:
        """Drop tags of images that are too old; one without a date is new."""
        most = self._selection.newer_than_seconds
        if most is not None:
            self._keep_ages(created, default=self._now, passes=lambda age: age <= most)
            self._newer = frozenset(self.remaining)
        self.guarded = len(self.remaining)

    def take_latest(self, created: Mapping[str, datetime]) -> None:
        """Drop all but the latest tags."""
        latest = self._selection.latest
        if latest is not None:
            self.remaining = latest.select(self.remaining, {tag: created.get(tag, self._now) for tag in self.remaining})

    @property
    def selected(self) -> list[str]:
        """The selected tags in the order of the list, then the included names that are not listed."""
        return [*self.remaining, *self._missing]

    @property
    def shortfall(self) -> str | None:
        """Why the guard `min_tags` refuses this answer of the registry; None if it does not."""
        least = self._selection.min_tags
        found = self.guarded + self.waiting  # The registry lists those that wait: its answer is not short.
        if found >= least:
            return None
        return f"{found} of {len(self._listed)} listed tags are left, min_tags is {least}"

    def explain(self, tag: str) -> TagExplanation:
        """Return whether *tag* is selected, and the first step that decides against it."""
        is_listed = tag in self._listed
        if not is_listed and tag in self._missing:
            return TagExplanation(is_selected=True, reason="include names it; the registry does not list it")
        reason = reason_against_name(self._selection, tag)
        if reason is None and not is_listed:
            reason = "the registry does not list it"
        reason = reason or self._reason_against_date(tag)
        if reason is None and tag not in self.remaining:
            reason = f"is not among {self._selection.latest}"
        if reason is not None:
            return TagExplanation(is_selected=False, reason=reason)
        return TagExplanation(is_selected=True, reason=f"fits {self._selection}")

    def _reason_against_date(self, tag: str) -> str | None:
        selection, age = self._selection, self._ages.get(tag, 0.0)
        if self._aged is not None and selection.min_age_seconds is not None and tag not in self._aged:
            return too_young(age, selection.min_age_seconds)
        if self._newer is not None and selection.newer_than_seconds is not None and tag not in self._newer:
            return f"created {span(age)} ago, newer_than is {span(selection.newer_than_seconds)}"
        return None

    def _keep_ages(self, dates: Mapping[str, datetime], *, default: datetime, passes: Callable[[float], bool]) -> None:
        kept: list[str] = []
        for tag in self.remaining:
            age = (self._now - dates.get(tag, default)).total_seconds()
            if passes(age):
                kept.append(tag)
            else:
                self._ages[tag] = age
        self.remaining = kept


def reason_against_name(selection: TagSelection, tag: str) -> str | None:
    """Return why the name of *tag* does not fit *selection*; None if it fits."""
    names = selection.names
    if not names.includes(tag):
        if is_referrer_tag(tag):
            return "belongs to another image: a signature, an SBOM or an attestation"
        return "matches nothing in include"
    reason = None if selection.versions is None else selection.versions.reason_against(tag)
    if reason is not None:
        return reason
    excluding = names.excluded_by(tag)
    return None if excluding is None else f"matches {str(excluding)!r} in exclude"


def explain_alone(selection: Selection, image: Reference) -> TagExplanation:
    """Return whether the tag or digest of *image* fits *selection*, and why, without other tags and dates."""
    if isinstance(selection, ByDigest):
        fits = image.digest == selection.digest
        return TagExplanation(fits, f"{'has' if fits else 'does not have'} the digest {selection}")
    if image.tag is None:
        return TagExplanation(is_selected=False, reason="has no tag")
    reason = reason_against_name(_as_selection(selection), image.tag)
    if reason is not None:
        return TagExplanation(is_selected=False, reason=reason)
    return TagExplanation(is_selected=True, reason=f"fits {selection}")


def _as_selection(selection: AllTags | TagNames | TagPattern | TagFilter | TagSelection) -> TagSelection:
    match selection:
        case AllTags():
            return TagSelection(TagFilter())
        case TagNames():
            return TagSelection(TagFilter(selection.names))
        case TagPattern():
            return TagSelection(TagFilter((selection,)))
        case TagFilter():
            return TagSelection(selection)
        case TagSelection():
            return selection
