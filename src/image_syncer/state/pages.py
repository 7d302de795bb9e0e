"""Small things that every log of the state needs."""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

PAGE_LIMIT: Final = 1000
"""The most rows that one page holds."""

_CHUNK: Final = 500  # Well below the number of parameters that either database takes in one statement.

T = TypeVar("T")


def page_size(wanted: int) -> int:
    """Return *wanted* where it is between 1 and the limit; `ValueError` otherwise."""
    if not 1 <= wanted <= PAGE_LIMIT:
        raise ValueError(f"a page has 1 to {PAGE_LIMIT} entries, not {wanted}")
    return wanted


def chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield *items* in pieces that fit one statement."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
