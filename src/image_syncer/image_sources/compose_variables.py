"""Variables in Compose files: `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:?error}`, `${NAME:+other}` and `$$`."""

import re
from collections.abc import Mapping
from typing import Final

_NAME: Final = "[A-Za-z_][A-Za-z0-9_]*"
_VARIABLE: Final = re.compile(
    rf"\$(?:(?P<escape>\$)|(?P<bare>{_NAME})"
    rf"|\{{(?P<name>{_NAME})(?:(?P<operator>:?[-?+])(?P<word>(?:[^{{}}$]|\$\{{{_NAME}(?::?-[^{{}}$]*)?\}}|\$)*))?\}})"
)
_ASSIGNMENT: Final = re.compile(rf"\s*(?:export\s+)?({_NAME})\s*=(.*)")
_LARGEST_DEPTH: Final = 4


def interpolate(text: str, variables: Mapping[str, str], depth: int = 0) -> str:
    """Return *text* with its variables replaced. A variable that is unset and has no default stays as `${NAME}`."""

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "$"
        name = match["bare"] or match["name"]
        operator, word = match["operator"] or "", match["word"] or ""
        found = variables.get(name)
        # With a colon, an empty value counts as unset.
        is_set = found is not None and not (operator.startswith(":") and not found)
        if operator.endswith("+"):
            return _word(word, variables, depth) if is_set else ""
        if is_set and found is not None:
            return found
        return _word(word, variables, depth) if operator.endswith("-") else f"${{{name}}}"

    return _VARIABLE.sub(value, text)


def read_env(text: str) -> dict[str, str]:
    """Return the variables of an `.env` file."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = _ASSIGNMENT.fullmatch(line)
        if match is None:
            continue
        value = match[2].strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = re.sub(r"(?:^|\s)#.*", "", value).strip()
        found[match[1]] = value
    return found


def _word(word: str, variables: Mapping[str, str], depth: int) -> str:
    return interpolate(word, variables, depth + 1) if depth < _LARGEST_DEPTH else word
