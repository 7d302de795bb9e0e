"""Parses authentication challenges (RFC 9110 section 11.6.1; distribution auth/token.md)."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from image_syncer.structs import Struct, field

_TEXT_LIMIT: Final = 16 * 1024
_CHALLENGES_LIMIT: Final = 16
_PARAMETERS_LIMIT: Final = 32
_SCOPES_LIMIT: Final = 64

_SEPARATORS = re.compile(r"[\s,]*")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PARAMETER = re.compile(
    r"""(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*
        (?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"=][^\s,"]*))""",
    re.VERBOSE | re.DOTALL,
)
_TOKEN68 = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


class Challenge(Struct):
    """One challenge: its scheme in lower case (`bearer`, `basic`, ...) and its parameters, names in lower case."""

    scheme: str
    parameters: tuple[tuple[str, str], ...] = field(default=())

    def get(self, name: str) -> str:
        """Return the first parameter *name*, empty if there is none."""
        return next((value for key, value in self.parameters if key == name), "")

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes in the challenge; some registries put several into one parameter."""
        return tuple(self.get("scope").split()[:_SCOPES_LIMIT])


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """Return the challenges of all `WWW-Authenticate` lines, in order. A syntax error ends its line."""
    challenges: list[Challenge] = []
    for value in values[:_CHALLENGES_LIMIT]:
        challenges += _parse_line(value[:_TEXT_LIMIT])
    return challenges[:_CHALLENGES_LIMIT]


def preferred(challenges: Iterable[Challenge]) -> Challenge | None:
    """Return the challenge to answer, Bearer before Basic; None if there is neither."""
    known = [challenge for challenge in challenges if challenge.scheme in {"bearer", "basic"}]
    usable = [challenge for challenge in known if challenge.scheme == "basic" or challenge.get("realm")]
    return min(usable, key=lambda challenge: challenge.scheme != "bearer", default=None)


def merge_scopes(*groups: Iterable[str]) -> tuple[str, ...]:
    """Return the union of scopes, sorted; the actions of one resource are joined (`repository:a:pull,push`)."""
    actions: dict[str, set[str]] = {}
    for scope in (scope for group in groups for scope in group):
        resource, _, named = scope.rpartition(":")
        actions.setdefault(resource, set()).update(named.split(","))
    return tuple(
        sorted(
            f"{resource}:{','.join(sorted(named))}" if resource else ",".join(sorted(named))
            for resource, named in actions.items()
        )
    )


def _parse_line(text: str) -> list[Challenge]:
    challenges: list[Challenge] = []
    position = _skip(text, 0)
    while position < len(text) and len(challenges) < _CHALLENGES_LIMIT:
        scheme = _TOKEN.match(text, position)
        if scheme is None:
            break
        parameters, position = _parse_parameters(text, scheme.end())
        challenges.append(Challenge(scheme.group().lower(), parameters))
    return challenges


def _parse_parameters(text: str, position: int) -> tuple[tuple[tuple[str, str], ...], int]:
    """Return the parameters that follow a scheme, and the position of the next challenge."""
    parameters: list[tuple[str, str]] = []
    position = _skip(text, position)
    while len(parameters) < _PARAMETERS_LIMIT and (match := _PARAMETER.match(text, position)):
        quoted = match["quoted"]
        value = match["plain"] if quoted is None else _ESCAPE.sub(r"\1", quoted)
        parameters.append((match["name"].lower(), value))
        position = _skip(text, match.end())
    if not parameters and (blob := _TOKEN68.match(text, position)) and "=" in blob.group():
        position = _skip(text, blob.end())
    return tuple(parameters), position


def _skip(text: str, position: int) -> int:
    match = _SEPARATORS.match(text, position)
    return position if match is None else match.end()
