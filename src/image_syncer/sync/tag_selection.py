"""Selection of tags by names, versions, age and number. `tag_evaluation` evaluates it for the tags of a repository."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from image_syncer.structs import Struct, field
from image_syncer.sync.tag_filter import TagFilter, TagMatcher, TagSet

if TYPE_CHECKING:
    from image_syncer.sync.versions import VersionRange

LatestBy = Literal["semver", "date", "name"]
LatestPer = Literal["major", "minor", "none"]

_MOST_UNITS: Final = 2
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s"))
_NUMBERS: Final = r"[0-9]+"


class TagVersions(Struct):
    """The tags that name a version in *range* (None: any) with one of the *suffixes*, and *prereleases* if wanted.

    Without a pattern in *suffixes*, a version has exactly one of these suffixes; the empty one is none.
    """

    range: "VersionRange | None" = None
    suffixes: tuple[TagMatcher, ...] = ("",)
    prereleases: bool = False
    _suffix_set: TagSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_suffix_set", TagSet.of(self.suffixes))

    def reason_against(self, tag: str) -> str | None:
        """Return why *tag* is not selected; None if it is."""
        from image_syncer.sync.versions import parse_version  # noqa: PLC0415 - most runs need it not

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
        from image_syncer.sync.versions import parse_version  # noqa: PLC0415 - most runs need it not

        by_group: dict[tuple[int, ...], set[tuple[object, ...]]] = {}
        for tag in tags:
            version = parse_version(tag)
            if version is not None:
                by_group.setdefault(version.group(self.per), set()).add(version.order)
        newest = sorted(by_group)[-self.groups :] if self.groups else by_group
        kept = {order for group in newest for order in sorted(by_group[group])[-self.keep :]}
        # Each tag is read again: 100 000 versions would take more memory than the rest of the run.
        return [tag for tag in tags if (version := parse_version(tag)) is not None and version.order in kept]

    def __str__(self) -> str:
        groups = f" of the {self.groups} newest" if self.groups else ""
        per = f" per {self.per}{groups}" if self.per != "none" else ""
        return f"the {self.keep} latest by {self.by}{per}"


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
        texts = [
            str(self.names) if self.names.include or self.names.exclude else "",
            str(self.versions) if self.versions is not None else "",
            f"public for {span(self.min_age_seconds)}" if self.min_age_seconds is not None else "",
            f"newer than {span(self.newer_than_seconds)}" if self.newer_than_seconds is not None else "",
            str(self.latest) if self.latest is not None else "",
        ]
        return "; ".join(filter(None, texts)) or "all tags"


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
    return lambda tag: (dates[tag], _natural(tag))


def _natural(name: str) -> str:
    """Return the order of *name*, in which numbers compare as numbers: each has its length before it."""
    numbered = re.sub(_NUMBERS, lambda found: f"{len(found[0].lstrip('0')):03}{found[0].lstrip('0')}", name)
    return f"{numbered} {name}"
