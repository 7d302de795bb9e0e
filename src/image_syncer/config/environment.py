"""Environment variables in values: `${NAME}`, `$NAME` and `$$`.

The Go tool replaces an unset variable by nothing, which breaks Harbor robot names such as `robot$x`. Here an unset
`$NAME` stays as written. An unset `${NAME}` is an error, since braces are intended.
"""

import re
from collections.abc import Mapping
from typing import Final

from image_syncer.errors import UsageError
from image_syncer.structs import Struct, field

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_BOTH_FORMS: Final = re.compile(
    rf"\$(?:(?P<escape>\$)|\{{(?P<braced>{_NAME})\}}|(?P<broken>\{{)|(?P<bare>{_NAME}))",
)
_BRACES_ONLY: Final = re.compile(rf"\$(?:(?P<escape>\$)(?=\{{)|\{{(?P<braced>{_NAME})\}}|(?P<broken>\{{))")


class Substitution(Struct):
    """Replaces variables by their values, once: a `$` in a value is not replaced again.

    With *bare_names* it replaces both forms, and `$$` is a `$`. Without, it replaces only `${NAME}`; any other `$`
    stays, and `$${` is a literal `${`.
    """

    environment: Mapping[str, str] = field(repr=False)
    bare_names: bool = True

    def apply(self, text: str) -> str:
        """Return *text* with its variables replaced; `UsageError`, without *text*, for an unset `${NAME}`."""
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
