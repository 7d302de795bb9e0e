"""How values are stored in columns, the same in SQLite and PostgreSQL."""

from datetime import UTC, datetime, timedelta
from typing import Final

WORD_LIMIT: Final = 40
REFERENCE_LIMIT: Final = 512
PROSE_LIMIT: Final = 2000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def microseconds(instant: datetime) -> int:
    """Return *instant* (aware) as microseconds since 1970 in UTC: exact, and the same in both databases."""
    return (instant - _EPOCH) // _MICROSECOND


def instant_of(stored: int) -> datetime:
    """Return the instant in UTC that `microseconds` made *stored* from."""
    return _EPOCH + stored * _MICROSECOND


def words(text: str, limit: int = REFERENCE_LIMIT) -> str:
    """Return *text* as both databases can store it, with at most *limit* characters.

    Text from senders and registries may hold NUL, which PostgreSQL refuses, or half a surrogate pair, which has no
    UTF-8. Both become the replacement character, so that they cannot prevent a row from being written.
    """
    if len(text) <= limit and text.isascii() and "\0" not in text:
        return text
    storable = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", "\ufffd")
    return storable if len(storable) <= limit else storable[: limit - 1] + "…"
