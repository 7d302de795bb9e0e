"""Regular expressions on tags, in Go's syntax, matched by RE2 in time linear to the length of the tag."""

import re
from functools import lru_cache
from typing import Any, Final, Self

from image_syncer.errors import InvalidReference, UsageError
from image_syncer.structs import Struct

# One token of a regular expression: quoted text, an escape, a character class, a repetition `{,n}`, or a character.
_TOKEN: Final = re.compile(
    r"""\\Q.*?(?:\\E|\Z)
    | (?P<end>\\Z)
    | \\.
    | \[\^?\]?(?:\[:[^\]]*:\]|\\.|[^\]\\])*+\]
    | (?P<open_repetition>\{,[0-9]+\})
    | .""",
    re.DOTALL | re.VERBOSE,
)
_REMEDIES: Final = (
    (re.compile(r"invalid perl operator: \(\?<?[=!]"), "lookaround", "select other tags with exclude: instead"),
    (re.compile(r"invalid escape sequence: \\[1-9]"), "backreferences", "write the text again, or list tags by name"),
    (re.compile(r"bad repetition operator: [*+?}]\+$"), "possessive quantifiers", "leave the + out"),
    (re.compile(r"invalid perl operator: \(\?>"), "atomic groups", "write (?:...)"),
)


class TagPattern(Struct):
    """The tags in which a regular expression matches, unanchored as in the Go tool.

    No pattern makes matching slow, since RE2 does not backtrack.
    """

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the regular expression *text*, without its slashes; `InvalidReference` if RE2 does not accept it."""
        compile_pattern(text)
        return cls(text)

    def matches(self, tag: str) -> bool:
        """Whether the regular expression matches somewhere in *tag*."""
        return compile_pattern(self.text).search(tag) is not None

    def __str__(self) -> str:
        return f"/{self.text}/"


@lru_cache(maxsize=256)
def compile_pattern(text: str, *, captures: bool = False) -> Any:
    """Return the compiled *text*, with its groups if *captures*; `InvalidReference` if RE2 does not accept it.

    The cache bounds the memory of many rules; compiling again takes microseconds.
    """
    engine = _engine()
    options = engine.Options()
    options.log_errors = False  # By default RE2 prints errors to stderr.
    options.never_capture = not captures
    try:
        return engine.compile(_to_go_syntax(text), options)
    except engine.error as error:
        raise _refusal(text, error) from None
    except UnicodeEncodeError as error:
        raise InvalidReference(f"/{text}/: not a regular expression: a lone surrogate") from error


def _engine() -> Any:
    try:
        import re2  # pyright: ignore[reportMissingTypeStubs] # noqa: PLC0415 - only regular expressions need it
    except ImportError as error:
        raise UsageError(
            "a regular expression needs the library google-re2, which is not installed",
            remedy="pip install google-re2, or select tags with globs such as v1.*",
        ) from error
    return re2


def _to_go_syntax(text: str) -> str:
    r"""Return *text* with `\Z`, which earlier versions documented, as Go's `\z`; refuse the ambiguous `{,n}`."""

    def replace(token: re.Match[str]) -> str:
        if token["open_repetition"]:
            raise InvalidReference(
                f"/{text}/: {token[0]} is literal text in Go's syntax", remedy=f"write {{0{token[0][1:]}"
            )
        return r"\z" if token["end"] else token[0]

    return _TOKEN.sub(replace, text)


def _refusal(text: str, error: Exception) -> InvalidReference:
    detail: object = error.args[0] if error.args else ""
    reason = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
    for pattern, name, remedy in _REMEDIES:
        if pattern.match(reason):
            return InvalidReference(f"/{text}/: unsupported: {name} ({reason})", remedy=remedy)
    return InvalidReference(f"/{text}/: not a regular expression: {reason}")
