"""Environment variables in values: `${NAME}`, `$NAME` and `$$`.

The Go tool puts nothing in place of an unset variable, which eats `$x` from a Harbor robot's name. Here an unset
`$NAME` stays as written, and an unset `${NAME}` is an error, since nobody writes braces by accident.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from image_syncer.errors import UsageError

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_BOTH_FORMS: Final = re.compile(
    rf"\$(?:(?P<escape>\$)|\{{(?P<braced>{_NAME})\}}|(?P<broken>\{{)|(?P<bare>{_NAME}))",
)
_BRACES_ONLY: Final = re.compile(rf"\$(?:(?P<escape>\$)(?=\{{)|\{{(?P<braced>{_NAME})\}}|(?P<broken>\{{))")


@dataclass(frozen=True, slots=True)
class Substitution:
    """Puts variables in place of their names, once: a value that holds a `$` is not looked at again.

    With *bare_names* both forms count and `$$` is a `$`. Without, only `${NAME}` does; any other `$` stays as it is,
    and `$${` is a literal `${`.
    """

    environment: Mapping[str, str] = field(repr=False)
    bare_names: bool = True

    def apply(self, text: str) -> str:
        """Return *text* with its variables; `UsageError`, which never quotes *text*, for an unset `${NAME}`."""
        if "$" not in text:
            return text
        return (_BOTH_FORMS if self.bare_names else _BRACES_ONLY).sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        if match["broken"]:
            raise UsageError("'${' without a variable name and '}'", remedy="write '$${' for a literal '${'")
        name = match["braced"]
        if name is None:
            return self.environment.get(match["bare"], match.group())
        if name not in self.environment:
            raise UsageError(f"the environment variable {name} is not set", remedy=f"set it, or write $${{{name}}}")
        return self.environment[name]
