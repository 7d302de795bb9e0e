"""Rules: what was asked. Where it was written travels along, so that every message can point there."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, PlatformFilter, Repository
from image_syncer.sync.pattern import SourcePattern, TagGlob, TargetTemplate

# POSIX classes that Go's regexp knows and Python's re silently reads as something else.
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
    """The tags in which *regex* is found; unanchored, as the Go tool has it."""

    text: str
    regex: re.Pattern[str] = field(repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the pattern of *text* (without its slashes); `InvalidReference` where it is no regular expression."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # Python warns of what it may read in another way one day.
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
    """The tags that any of *include* wants (all, if there are none) and that none of *exclude* does.

    A name in *include* is selected whether the registry lists it or not: that it is missing should be told.
    """

    include: tuple[TagMatcher, ...] = ()
    exclude: tuple[TagMatcher, ...] = ()

    def wants(self, tag: str) -> bool:
        """Whether *tag* is one of those meant."""
        return (not self.include or _fits(tag, self.include)) and not _fits(tag, self.exclude)

    def select(self, tags: Sequence[str]) -> list[str]:
        """Return those of *tags* that are wanted in their order, then the included names that are not among them."""
        listed = set(tags)
        missing = (one for one in self.include if isinstance(one, str) and one not in listed)
        return [tag for tag in (*tags, *missing) if self.wants(tag)]

    def __str__(self) -> str:
        wanted = ",".join(map(str, self.include)) or "all tags"
        return f"{wanted} but {','.join(map(str, self.exclude))}" if self.exclude else wanted


Selection = AllTags | TagNames | TagPattern | TagFilter | ByDigest


@dataclass(frozen=True, slots=True)
class RuleTarget:
    """Where a rule's images go. *tags* rename the selected tags by position; empty keeps the source's tag or digest."""

    repository: Repository
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repository}:{','.join(self.tags)}" if self.tags else str(self.repository)


@dataclass(frozen=True, slots=True)
class Every:
    """Again and again; up to *jitter_seconds* are added by chance, so that many rules do not start together."""

    seconds: float
    jitter_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cron:
    """At the times of a cron *expression* in *timezone* (a name of the tz database)."""

    expression: str
    timezone: str = "UTC"
    jitter_seconds: float = 0.0


Schedule = Every | Cron


@dataclass(frozen=True, slots=True)
class Triggers:
    """When a daemon carries out a rule. Without a schedule and *events* it does so only when it is asked to."""

    schedule: Schedule | None = None
    events: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """Copy what *selection* selects in *source* to every target.

    *name* identifies the rule in reports; *origin* says where it was written (`images.yaml:3`), empty if nowhere.
    A *source* that is a pattern is never listed: which repositories it means is known from events alone.
    *recheck_seconds* is how long a target that was found right is not asked again; None: each run asks it.
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
        """Whether *tag* of *repository* is selected, as far as that can be said without its registry."""
        return self._has(repository) and wants_tag(self.selection, tag)

    def _has(self, repository: Repository) -> bool:
        if isinstance(self.source, SourcePattern):
            return self.source.matches(repository)
        return self.source == repository


def select_tags(selection: Selection, tags: Sequence[str]) -> list[str]:
    """Return those of *tags* that *selection* wants, in their order."""
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
    """Whether *selection* wants *tag*; one by digest wants no tag."""
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


def _fits(tag: str, matchers: Sequence[TagMatcher]) -> bool:
    return any(_fits_one(tag, matcher) for matcher in matchers)


def _fits_one(tag: str, matcher: TagMatcher) -> bool:
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
        raise InvalidReference(f"{match.group()}: a character class that is not supported; write its characters")
    return members
