"""Shows values in messages as the file has them, with their variables: the value of a variable may be a secret."""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from image_syncer.config.documents.node import ListNode, MapNode, Node, Scalar
from image_syncer.config.environment import Substitution
from image_syncer.errors import ConfigError, UsageError
from image_syncer.structs import Struct

_LEAST: Final = 4
"""Shortest part of a value that is a secret; shorter ones are in many words."""

_NO_WORD: Final = 8
"""Shortest part that is replaced within a longer word too."""

_QUOTED: Final = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"")
_PARTS: Final = re.compile(r"[^/:@?&=#,\s]+")


class Replaced(Struct):
    """A text as *written* in the file, and its variables with their values."""

    written: str
    variables: tuple[tuple[str, str], ...]


def replaced_texts(nodes: Iterable[Node], substitution: Substitution) -> Iterator[Replaced]:
    """Yield each text in *nodes* and below that has variables."""
    for node in nodes:
        match node:
            case MapNode():
                yield from replaced_texts((entry.value for entry in node.entries), substitution)
            case ListNode():
                yield from replaced_texts(node.items, substitution)
            case Scalar():
                variables = substitution.variables_in(node.text) if "$" in node.text else ()
                if variables:
                    yield Replaced(node.text, variables)


def show_written(error: UsageError, texts: Iterable[Replaced]) -> UsageError:
    """Return *error* without values of variables in *texts*."""
    known = list(texts)
    if not known:
        return error
    remedy = None if error.remedy is None else _written(error.remedy, known)
    if isinstance(error, ConfigError):
        problem = _written(error.problem, known)
        return ConfigError(problem, file=error.file, line=error.line, column=error.column, remedy=remedy)
    return UsageError(_written(error.message, known), remedy=remedy)


def _written(message: str, texts: Iterable[Replaced]) -> str:
    for text in texts:
        message = _QUOTED.sub(_quoted_text(text), message)
        for name, value in text.variables:
            for part in sorted({value, *_PARTS.findall(value)}, key=len, reverse=True):
                if len(part) >= _LEAST:
                    pattern = re.escape(part) if len(part) >= _NO_WORD else rf"(?<!\w){re.escape(part)}(?!\w)"
                    message = re.sub(pattern, lambda _, name=name: name, message, flags=re.IGNORECASE)
    return message


def _quoted_text(text: Replaced) -> Callable[[re.Match[str]], str]:
    """Return what replaces a quoted text: it may be the value, a part of it, cut, in lower case, or with escapes."""

    def replace(match: re.Match[str]) -> str:
        shown = match[0][1:-1].lower()
        shares = (_share(shown, value.lower()) for _, value in text.variables)
        return f"'{text.written}'" if any(shares) else match[0]

    return replace


def _share(shown: str, value: str) -> bool:
    """Whether *shown* has a part of *value* that is long enough to tell something about it."""
    size = min(_LEAST, len(value))
    if not size:
        return False
    if len(shown) < size:
        return bool(shown) and shown in value
    parts = {shown[at : at + size] for at in range(len(shown) - size + 1)}
    return any(value[at : at + size] in parts for at in range(len(value) - size + 1))
