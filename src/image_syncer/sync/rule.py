"""Rules: which images to copy where. Each has the place where it was written, so that messages can point there."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate

# POSIX classes that Go's regexp supports and Python's re silently misreads.
_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "digit": "0-9",
    "lower": "a-z",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
    "punct": r"!-/:-@\[-`{-~",
}
_POSIX_CLASS = re.compile(r"\[:(\^?)([a-z]+):\]")


@dataclass(frozen=True, slots=True)
class AllTags:
    """Every tag of the repository."""

    def __str__(self) -> str:
        return "all tags"


@dataclass(frozen=True, slots=True)
class TagNames:
    """These tags, in this order."""

    names: tuple[str, ...]

    def __str__(self) -> str:
        return ",".join(self.names)


@dataclass(frozen=True, slots=True)
class TagPattern:
    """The tags in which *regex* matches; unanchored, as in the Go tool."""

    text: str
    regex: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern in *text* (without its slashes); `InvalidReference` if it is no regular expression."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Python warns about syntax whose meaning may change.
                regex = re.compile(_POSIX_CLASS.sub(_translate_class, text), re.ASCII)
        except (re.error, OverflowError, RecursionError, Warning) as error:
            raise InvalidReference(f"/{text}/: not a regular expression: {error}") from error
        return cls(text, regex)

    def __str__(self) -> str:
        return f"/{self.text}/"


@dataclass(frozen=True, slots=True)
class ByDigest:
    """The one manifest with this digest."""

    digest: Digest

    def __str__(self) -> str:
        return str(self.digest)


TagMatcher = str | TagGlob | TagPattern
"""A tag by its name, or a pattern of tags."""


@dataclass(frozen=True, slots=True)
class TagFilter:
    """The tags that match any of *include* (all tags if it is empty) and none of *exclude*.

    A plain name in *include* is selected even if the registry does not list it, so that the report shows it as missing.
    """

    include: tuple[TagMatcher, ...] = ()
    exclude: tuple[TagMatcher, ...] = ()

    def wants(self, tag: str) -> bool:
        """Whether the filter selects *tag*."""
        return (not self.include or _matches_any(tag, self.include)) and not _matches_any(tag, self.exclude)

    def select(self, tags: Sequence[str]) -> list[str]:
        """Return the selected ones of *tags* in their order, then included names that are not among them."""
        listed = set(tags)
        missing = (name for name in self.include if isinstance(name, str) and name not in listed)
        return [tag for tag in (*tags, *missing) if self.wants(tag)]

    def __str__(self) -> str:
        selected = ",".join(map(str, self.include)) or "all tags"
        return f"{selected} but {','.join(map(str, self.exclude))}" if self.exclude else selected


Selection = AllTags | TagNames | TagPattern | TagFilter | ByDigest


@dataclass(frozen=True, slots=True)
class RuleTarget:
    """A target repository. *tags* rename the selected tags by position; empty keeps the source's tags or digest."""

    repository: Repository
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repository}:{','.join(self.tags)}" if self.tags else str(self.repository)


@dataclass(frozen=True, slots=True)
class Every:
    """An interval; a random delay of up to *jitter_seconds* keeps rules from starting together."""

    seconds: float
    jitter_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cron:
    """The times of a cron *expression* in *timezone* (a name of the tz database)."""

    expression: str
    timezone: str = "UTC"
    jitter_seconds: float = 0.0


Schedule = Every | Cron


@dataclass(frozen=True, slots=True)
class Triggers:
    """When a daemon runs a rule: on a schedule, on *events*, or with neither only on request."""

    schedule: Schedule | None = None
    events: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Copy the *selection* of *source* to every target.

    *name* identifies the rule in reports; *origin* is the place where it was written (`images.yaml:3`), or empty.
    A *source* that is a pattern is never listed: its repositories become known by events only.
    A target that was confirmed is not asked again for *recheck_seconds*; None: each run asks it.
    """

    name: str
    source: Repository | SourcePattern
    selection: Selection
    targets: tuple[RuleTarget | TargetTemplate, ...]
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    origin: str = ""
    triggers: Triggers = field(default_factory=Triggers)
    recheck_seconds: float | None = None

    def wants(self, repository: Repository, tag: str) -> bool:
        """Whether the rule selects *tag* of *repository*, as far as the rule alone can tell."""
        return self._has_source(repository) and wants_tag(self.selection, tag)

    def _has_source(self, repository: Repository) -> bool:
        if isinstance(self.source, SourcePattern):
            return self.source.matches(repository)
        return self.source == repository


def select_tags(selection: Selection, tags: Sequence[str]) -> list[str]:
    """Return those of *tags* that *selection* selects, in their order."""
    match selection:
        case AllTags():
            return list(tags)
        case TagPattern():
            return [tag for tag in tags if selection.regex.search(tag)]
        case TagNames():
            return list(selection.names)
        case TagFilter():
            return selection.select(tags)
        case ByDigest():
            return []


def wants_tag(selection: Selection, tag: str) -> bool:
    """Whether *selection* selects *tag*; a selection by digest selects no tag."""
    match selection:
        case AllTags():
            return True
        case TagPattern():
            return selection.regex.search(tag) is not None
        case TagNames():
            return tag in selection.names
        case TagFilter():
            return selection.wants(tag)
        case ByDigest():
            return False


def _matches_any(tag: str, matchers: Sequence[TagMatcher]) -> bool:
    return any(_matches(tag, matcher) for matcher in matchers)


def _matches(tag: str, matcher: TagMatcher) -> bool:
    match matcher:
        case str():
            return tag == matcher
        case TagGlob():
            return matcher.regex.fullmatch(tag) is not None
        case TagPattern():
            return matcher.regex.search(tag) is not None


def _translate_class(match: re.Match[str]) -> str:
    negated, name = match.groups()
    members = _POSIX_CLASSES.get(name)
    if negated or members is None:
        raise InvalidReference(f"{match.group()}: this character class is not supported; write its characters")
    return members
