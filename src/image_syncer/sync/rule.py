"""Rules: what was asked. Where it was written travels along, so that every message can point there."""

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from image_syncer.errors import InvalidReference
from image_syncer.oci import Digest, PlatformFilter, Repository

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


Selection = AllTags | TagNames | TagPattern | ByDigest


@dataclass(frozen=True, slots=True)
class RuleTarget:
    """Where a rule's images go. *tags* rename the selected tags by position; empty keeps the source's tag or digest."""

    repository: Repository
    tags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.repository}:{','.join(self.tags)}" if self.tags else str(self.repository)


@dataclass(frozen=True, slots=True)
class Rule:
    """Copy what *selection* selects in *source* to every target.

    *name* identifies the rule in reports; *origin* says where it was written (`images.yaml:3`), empty if nowhere.
    """

    name: str
    source: Repository
    selection: Selection
    targets: tuple[RuleTarget, ...]
    platforms: PlatformFilter = field(default_factory=PlatformFilter)
    origin: str = ""


def select_tags(selection: Selection, tags: Sequence[str]) -> list[str]:
    """Return those of *tags* that *selection* wants, in their order."""
    match selection:
        case AllTags():
            return list(tags)
        case TagPattern():
            return [tag for tag in tags if selection.regex.search(tag)]
        case TagNames():
            return list(selection.names)
        case ByDigest():
            return []


def _translate_class(match: re.Match[str]) -> str:
    negated, name = match.groups()
    members = _POSIX_CLASSES.get(name)
    if negated or members is None:
        raise InvalidReference(f"{match.group()}: a character class that is not supported; write its characters")
    return members
