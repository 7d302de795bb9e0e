"""Filters of tags by names and patterns."""

from collections.abc import Sequence
from typing import Final, Self

from image_syncer.oci.referrer import is_referrer_tag
from image_syncer.structs import Struct, field
from image_syncer.sync.pattern import TagGlob
from image_syncer.sync.tag_pattern import TagPattern

_NO_NAMES: Final[frozenset[str]] = frozenset()

TagMatcher = str | TagGlob | TagPattern
"""A tag by its name, or a pattern of tags."""


class TagSet(Struct):
    """Names and patterns of tags. A name costs the same however many names there are."""

    names: frozenset[str] = _NO_NAMES
    patterns: tuple[TagGlob | TagPattern, ...] = ()

    @classmethod
    def of(cls, matchers: Sequence[TagMatcher]) -> Self:
        """Return the set of *matchers*. Empty parts are shared: a file may have many thousand rules."""
        names = [each for each in matchers if isinstance(each, str)]
        patterns = tuple(each for each in matchers if not isinstance(each, str))
        return cls(frozenset(names) if names else _NO_NAMES, patterns)

    def has(self, tag: str) -> bool:
        """Whether *tag* is one of the names or matches a pattern."""
        return tag in self.names or any(pattern.matches(tag) for pattern in self.patterns)

    def matcher_of(self, tag: str) -> TagMatcher | None:
        """Return the name or the first pattern that matches *tag*; None without one."""
        return tag if tag in self.names else next((each for each in self.patterns if each.matches(tag)), None)


_NO_TAGS: Final = TagSet()


class TagFilter(Struct):
    """The tags that match any of *include* (all tags if it is empty) and none of *exclude*.

    Patterns select no tags of referrers (`oci.referrer.is_referrer_tag`).

    A plain name in *include* is selected even if the registry does not list it, so that the report shows it as missing.
    """

    include: tuple[TagMatcher, ...] = ()
    exclude: tuple[TagMatcher, ...] = ()
    _included: TagSet = field(init=False, repr=False, compare=False)
    _excluded: TagSet = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_included", TagSet.of(self.include) if self.include else _NO_TAGS)
        object.__setattr__(self, "_excluded", TagSet.of(self.exclude) if self.exclude else _NO_TAGS)

    def wants(self, tag: str) -> bool:
        """Whether the filter selects *tag*."""
        return not self._excluded.has(tag) and self.includes(tag)

    def includes(self, tag: str) -> bool:
        """Whether the filter selects *tag*, whatever it excludes."""
        if is_referrer_tag(tag):  # It belongs to an image, whichever version that is.
            return tag in self._included.names
        return not self.include or self._included.has(tag)

    def excluded_by(self, tag: str) -> TagMatcher | None:
        """Return the name or pattern that excludes *tag*; None without one."""
        return self._excluded.matcher_of(tag)

    def missing(self, tags: Sequence[str]) -> list[str]:
        """Return the included names that are not among *tags*, in their order."""
        listed = set(tags)
        return [name for name in self.include if isinstance(name, str) and name not in listed]

    def select(self, tags: Sequence[str]) -> list[str]:
        """Return the selected ones of *tags* in their order, then included names that are not among them."""
        return [tag for tag in (*tags, *self.missing(tags)) if self.wants(tag)]

    def __str__(self) -> str:
        selected = ",".join(map(str, self.include)) or "all tags"
        return f"{selected} but {','.join(map(str, self.exclude))}" if self.exclude else selected
