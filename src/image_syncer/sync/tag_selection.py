"""Selection of tags by names, versions, age and number, and the reason for each tag. Pure.

The order of evaluation: listed tags, without those of referrers; `include`; `semver` with `suffix` and `prereleases`;
`exclude`; `min_age`; `newer_than`; the guard `min_tags`; `latest`.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final, Literal, Self

from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.structs import Struct, field
from image_syncer.sync.tag_filter import TagFilter, TagMatcher, TagSet
from image_syncer.sync.versions import VersionRange, parse_version

LatestBy = Literal["semver", "date", "name"]
LatestPer = Literal["major", "minor", "none"]

_NO_DATES: Final[Mapping[str, datetime]] = MappingProxyType({})
_MOST_UNITS: Final = 2
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_NUMBERS: Final = r"([0-9]+)"


class TagVersions(Struct):
    """The tags that name a version in *range* (None: any) with one of the *suffixes*, and *prereleases* if wanted.

    Without a pattern in *suffixes*, a version has exactly one of these suffixes; the empty one is none.
    """

    range: VersionRange | None = None
    suffixes: tuple[TagMatcher, ...] = ("",)
    prereleases: bool = False
    _suffix_set: TagSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_suffix_set", TagSet.of(self.suffixes))

    def reason_against(self, tag: str) -> str | None:
        """Return why *tag* is not selected; None if it is."""
        version = parse_version(tag)
        if version is None:
            return "is no version"
        if not self._suffix_set.has(version.suffix):
            wanted = ", ".join(repr(str(each)) for each in self.suffixes)
            return f"has the suffix {version.suffix!r}; suffix is {wanted}"
        if self.range is None:
            return None if version.prerelease is None or self.prereleases else "is a prerelease"
        if self.range.has(version, prereleases=self.prereleases):
            return None
        if version.prerelease is not None and self.range.has(version, prereleases=True):
            return "is a prerelease"
        return f"is not in semver {str(self.range)!r}"

    def __str__(self) -> str:
        semver = f"semver {self.range}" if self.range is not None else "versions"
        suffix = f" with suffix {','.join(map(str, self.suffixes))}" if any(self.suffixes) else ""
        return f"{semver}{suffix}{' and prereleases' if self.prereleases else ''}"


class Latest(Struct):
    """The *keep* last tags by version, date or name; by version in each group *per* major or minor version.

    By version, tags of one version count as one. With *groups*, only that many of the newest groups have any.
    """

    keep: int
    by: LatestBy = "semver"
    per: LatestPer = "none"
    groups: int | None = None

    def select(self, tags: Sequence[str], dates: Mapping[str, datetime]) -> list[str]:
        """Return the selected ones of *tags* in their order; *dates* has the date of each, for "date"."""
        if self.by == "semver":
            return self._newest_versions(tags)
        key = _by_date(dates) if self.by == "date" else _natural
        last = set(sorted(tags, key=key)[-self.keep :])
        return [tag for tag in tags if tag in last]

    def _newest_versions(self, tags: Sequence[str]) -> list[str]:
        versions = {tag: version for tag in tags if (version := parse_version(tag)) is not None}
        by_group: dict[tuple[int, ...], set[tuple[object, ...]]] = {}
        for version in versions.values():
            by_group.setdefault(version.group(self.per), set()).add(version.order)
        newest = sorted(by_group)[-self.groups :] if self.groups else by_group
        kept = {group: set(sorted(by_group[group])[-self.keep :]) for group in newest}
        return [tag for tag, version in versions.items() if version.order in kept.get(version.group(self.per), ())]

    def __str__(self) -> str:
        groups = f" of the {self.groups} newest" if self.groups else ""
        per = f" per {self.per}{groups}" if self.per != "none" else ""
        return f"the {self.keep} latest by {self.by}{per}"


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


class TagSelection(Struct):
    """The tags that pass *names*, then *versions*, then the ages, and of those the *latest*.

    A tag is at least *min_age_seconds* public, and its image at most *newer_than_seconds* old. With fewer than
    *min_tags* tags before *latest*, the selection fails.
    """

    names: TagFilter
    versions: TagVersions | None = None
    min_age_seconds: float | None = None
    newer_than_seconds: float | None = None
    latest: Latest | None = None
    min_tags: int = 0

    @property
    def needs_listing(self) -> bool:
        """Whether the other tags or dates decide about a tag, and not its name alone."""
        ages = self.min_age_seconds, self.newer_than_seconds
        return self.latest is not None or bool(self.min_tags) or any(age is not None for age in ages)

    @property
    def needs_created(self) -> bool:
        """Whether the dates of images decide."""
        return self.newer_than_seconds is not None or (self.latest is not None and self.latest.by == "date")

    def wants(self, tag: str) -> bool:
        """Whether the name of *tag* fits; the other tags and dates may still decide against it."""
        return self.names.wants(tag) and (self.versions is None or self.versions.reason_against(tag) is None)

    def select(self, tags: Sequence[str]) -> list[str]:
        """Return those of *tags* whose names fit, in their order, then included names that are not among them."""
        return [tag for tag in (*tags, *self.names.missing(tags)) if self.wants(tag)]

    def __str__(self) -> str:
        versions = self.versions
        texts = [
            str(self.names) if self.names.include or self.names.exclude else "",
            f"semver {versions.range}" if versions is not None and versions.range is not None else "",
            f"suffix {','.join(map(str, versions.suffixes))}"
            if versions is not None and any(versions.suffixes)
            else "",
            f"public for {span(self.min_age_seconds)}" if self.min_age_seconds is not None else "",
            f"newer than {span(self.newer_than_seconds)}" if self.newer_than_seconds is not None else "",
            str(self.latest) if self.latest is not None else "",
        ]
        return "; ".join(filter(None, texts)) or "all tags"


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
        """How many tags are left before `latest`."""

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
        if self.guarded >= least:
            return None
        return f"{self.guarded} of {len(self._listed)} listed tags are left, min_tags is {least}"

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


def too_young(age_seconds: float, min_age_seconds: float) -> str:
    """Return the reason why a tag that is public for *age_seconds* is skipped."""
    return f"public for {span(age_seconds)}, min_age is {span(min_age_seconds)}"


def span(seconds: float) -> str:
    """Return *seconds* in their largest whole units, two at most: `2d`, `1d12h`, `90s` as `1m30s`."""
    rest, texts = int(max(0.0, seconds)), list[str]()
    for size, unit in _UNITS:
        if rest >= size and len(texts) < _MOST_UNITS:
            texts.append(f"{rest // size}{unit}")
            rest %= size
    return "".join(texts) or "0s"


def _by_date(dates: Mapping[str, datetime]) -> Callable[[str], tuple[object, ...]]:
    return lambda tag: (dates[tag], *_natural(tag))


def _natural(name: str) -> tuple[object, ...]:
    """Return the order of *name*, in which numbers compare as numbers."""
    parts: Iterable[str] = re.split(_NUMBERS, name)
    return (tuple((len(part.lstrip("0")), part.lstrip("0")) if part.isdigit() else (0, part) for part in parts), name)
