"""Names at the target: how a rule changes the path and the tag of a source before placeholders use them."""

import re
from collections.abc import Sequence
from typing import Any, Final, Self

from image_syncer.errors import InvalidReference
from image_syncer.structs import Struct
from image_syncer.sync.tag_pattern import compile_pattern

_GROUP: Final = re.compile(r"\\([1-9])(?![0-9])")
_LITERAL: Final = re.compile(r"[A-Za-z0-9._/-]*")


class Replacement(Struct):
    r"""Replaces the first match of the regular expression *pattern* by *text*, in which `\1` is its first group."""

    pattern: str
    text: str

    @classmethod
    def parse(cls, pattern: str, text: str) -> Self:
        r"""Return the replacement; `InvalidReference` for other forms than `\1` to `\9`, or a group that is missing."""
        groups: int = compile_pattern(pattern, captures=True).groups
        rest = _GROUP.sub("", text)
        if not _LITERAL.fullmatch(rest):
            raise InvalidReference(
                f"{text[:200]!r}: not a replacement", remedy=r"write parts of a name, and \1 to \9 for groups"
            )
        for number in _GROUP.findall(text):
            if int(number) > groups:
                count = "no group" if not groups else "one group" if groups == 1 else f"{groups} groups"
                raise InvalidReference(f"{text[:200]!r}: \\{number}, but {pattern[:200]!r} has {count}")
        return cls(pattern, text)

    def apply(self, value: str) -> str | None:
        """Return *value* with the match replaced; None if nothing matches."""
        match: Any = compile_pattern(self.pattern, captures=True).search(value)
        if match is None:
            return None
        text = _GROUP.sub(lambda group: match.group(int(group[1])) or "", self.text)
        return f"{value[: match.start()]}{text}{value[match.end() :]}"


class Naming(Struct):
    """How a rule names what it copies. The steps apply to the path in this order: strip, rename, flatten, prefix.

    *strip* is the beginning of paths to remove, or the number of components; the last component always stays. The first
    of *renames* that matches applies. *flatten* joins the components; empty: they stay. *prefix* is put in front, as
    components of its own. The first of *tag_renames* that matches applies to the tag.
    """

    strip: str | int = ""
    renames: tuple[Replacement, ...] = ()
    flatten: str = ""
    prefix: str = ""
    tag_renames: tuple[Replacement, ...] = ()

    def path(self, path: str) -> str:
        """Return the *path* of a source repository as the targets' placeholders use it."""
        if self is KEEP_NAMES:
            return path
        path = _rename(self.renames, self._stripped(path))
        if self.flatten:
            path = path.replace("/", self.flatten)
        return f"{self.prefix}/{path}" if self.prefix else path

    def tag(self, tag: str) -> str:
        """Return the *tag* of a source as the targets' placeholders use it."""
        return _rename(self.tag_renames, tag)

    def _stripped(self, path: str) -> str:
        if isinstance(self.strip, str):
            return path.removeprefix(f"{self.strip}/") if self.strip else path
        components = path.split("/")
        return "/".join(components[min(self.strip, len(components) - 1) :])


KEEP_NAMES: Final = Naming()
"""Names stay as they are at the source."""


def _rename(renames: Sequence[Replacement], value: str) -> str:
    for rename in renames:
        if (renamed := rename.apply(value)) is not None:
            return renamed
    return value
