"""Versions in tags, and ranges of versions.

A tag names a version if it is one to four numbers, with an optional `v` before them, an optional prerelease after them,
and an optional suffix at the end: `v1.25.0-rc.1-alpine3.19` is the version 1.25.0, the prerelease `rc.1` and the suffix
`-alpine3.19`. Semantic versioning would read the whole rest as a prerelease, but images have variants.
"""

import re
from functools import cache, lru_cache
from typing import Any, Final, Self

from image_syncer.errors import InvalidReference
from image_syncer.structs import Struct

_PRERELEASES: Final = "alpha|beta|canary|cr|dev|ea|milestone|next|nightly|preview|pre|rc|snapshot|unstable"
_TAG: Final = rf"""v?+(?P<numbers>[0-9]{{1,18}}+(?:\.[0-9]{{1,18}}+){{0,3}})
    (?:[-._]?(?P<word>{_PRERELEASES}|(?<=[0-9])[ab](?=[0-9])|(?<=-)m(?=[0-9]))
       (?P<counters>(?:[-.]?[0-9]{{1,18}}+){{0,3}})(?![A-Za-z0-9]))?
    (?P<suffix>(?:[-_][A-Za-z0-9_.-]*+|\.[A-Za-z_][A-Za-z0-9_.-]*+)?)"""
_LONE_NUMBER_DIGITS: Final = 4
_RELEASE_NUMBERS: Final = 3
_ALL_NUMBERS: Final = 4
_SAME_WORDS: Final = {"a": "alpha", "b": "beta", "cr": "rc", "m": "milestone"}
_MOST_RANGE_TEXT: Final = 1_000

# What people write and the library does not read: a blank after an operator, `v`, zeros before a number, commas.
_BLANK: Final = r"(?<=[<>=~^])\s+"
_LETTER_V: Final = r"(?<![0-9A-Za-z.-])v(?=[0-9])"
_ZEROS: Final = r"(?<![0-9A-Za-z-])0+(?=[0-9])"
_PRERELEASE: Final = r"(?P<release>[0-9]+\.[0-9]+\.[0-9]+)-(?P<word>[A-Za-z]+)(?P<counters>[0-9.]*)"


class TagVersion(Struct):
    """The version that a tag names: four numbers (missing ones are 0), the prerelease, and the *suffix* of the tag.

    *prerelease* is a word and its counters, such as `("rc", 1)`; None for a release.
    """

    numbers: tuple[int, int, int, int]
    prerelease: tuple[str, tuple[int, ...]] | None = None
    suffix: str = ""

    @property
    def order(self) -> tuple[object, ...]:
        """What versions are compared by: the numbers, a release after its prereleases; the suffix does not count."""
        return (*self.numbers, self.prerelease is None, self.prerelease or ("", ()))

    def group(self, level: str) -> tuple[int, ...]:
        """Return the numbers that name the version's group at *level*: `major`, `minor`; empty for other levels."""
        return self.numbers[: {"major": 1, "minor": 2}.get(level, 0)]


def parse_version(tag: str) -> TagVersion | None:
    """Return the version that *tag* names; None for other tags.

    A lone number of more than four digits is a date or a build, not a version.
    """
    found = _tag_regex().fullmatch(tag)
    if found is None:
        return None
    texts = found["numbers"].split(".")
    if len(texts) == 1 and len(texts[0]) > _LONE_NUMBER_DIGITS:
        return None
    numbers = [int(text) for text in texts] + [0] * (_ALL_NUMBERS - len(texts))
    word = found["word"]
    prerelease = None if word is None else (_known_word(word), tuple(map(int, re.findall("[0-9]+", found["counters"]))))
    return TagVersion((numbers[0], numbers[1], numbers[2], numbers[3]), prerelease, found["suffix"])


class VersionRange(Struct):
    """A range of versions as npm writes it: `>=1.25 <2 || 3.x`, `^1.2`, `~1.2.3`, `1.2 - 1.4`."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the range in *text*; `InvalidReference` if it is none."""
        _compile(text)
        return cls(text)

    def has(self, version: TagVersion, *, prereleases: bool = False) -> bool:
        """Whether *version* is in the range, by its first three numbers.

        A prerelease compares with those of the same release that the range names, as in npm. Without any, it is in the
        range only with *prereleases*, and if its release is.
        """
        named = _compile(self.text)[1]
        release = ".".join(map(str, version.numbers[:_RELEASE_NUMBERS]))
        if version.prerelease is None:
            return _matches(self.text, release)
        word, counters = version.prerelease
        if release in named:  # The library would take 1.26.0-rc.1 as below 1.26, which npm does not.
            return _matches(self.text, f"{release}-{'.'.join((word, *map(str, counters)))}")
        return prereleases and _matches(self.text, release)

    def __str__(self) -> str:
        return self.text


@cache
def _tag_regex() -> re.Pattern[str]:
    """Return the compiled `_TAG`; most runs need it not, and it takes as long as an import of several modules."""
    return re.compile(_TAG, re.VERBOSE | re.IGNORECASE)


def _known_word(word: str) -> str:
    lower = word.lower()
    return _SAME_WORDS.get(lower, lower)


@lru_cache(maxsize=4096)
def _matches(text: str, version: str) -> bool:
    """Whether *version* is in the range *text*. Many tags are variants of one version; a comparison takes 20 µs."""
    from semantic_version import Version  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0415 - see below

    return _compile(text)[0].match(Version(version))


@lru_cache(maxsize=256)
def _compile(text: str) -> tuple[Any, frozenset[str]]:
    """Return the compiled range, and the versions of which it names a prerelease."""
    # Only ranges of versions need it.
    from semantic_version import NpmSpec  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0415 - see above

    remedy = "write a range such as '>=1.25 <2 || 3.x', '^1.2' or '~1.2.3'"
    if len(text) > _MOST_RANGE_TEXT:
        raise InvalidReference(f"a range of versions longer than {_MOST_RANGE_TEXT} characters", remedy=remedy)
    plain = text.replace(",", " ").lower()
    for surplus in (_BLANK, _LETTER_V, _ZEROS):
        plain = re.sub(surplus, "", plain)
    plain = re.sub(_PRERELEASE, _with_known_word, plain)
    parts = [" ".join(part.split()) for part in plain.split("||")]
    if not all(parts):
        raise InvalidReference(f"{text!r}: a range of versions with an empty part", remedy=remedy)
    try:
        compiled = NpmSpec(" || ".join(parts))
    except ValueError as error:
        raise InvalidReference(f"{text!r}: not a range of versions", remedy=remedy) from error
    return compiled, frozenset(found["release"] for found in re.finditer(_PRERELEASE, plain))


def _with_known_word(found: re.Match[str]) -> str:
    counters = [str(int(text)) for text in found["counters"].split(".") if text]
    return ".".join((f"{found['release']}-{_known_word(found['word'])}", *counters))
