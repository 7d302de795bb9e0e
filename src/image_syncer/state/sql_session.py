"""SQL text in a transaction, over the standard library's sqlite3 or over SQLAlchemy.

The caches use few statements, which SQLite and PostgreSQL read alike. So a one-shot run executes them without importing
SQLAlchemy, and the daemon executes the same ones in its own database.
"""

import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

STATEMENT_ROWS: Final = 500
"""The most values of a list in one statement; both databases take many more."""

T = TypeVar("T")
Item = TypeVar("Item")
Row = Sequence[Any]
Values = Mapping[str, object]


class SqlSession(Protocol):
    """A transaction. Parameters are written `:name`."""

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """Return the rows that *sql* selects."""
        ...

    def change(self, sql: str, values: Values) -> int:
        """Execute *sql* and return the number of rows that it changed."""
        ...

    def change_each(self, sql: str, many: Sequence[Values]) -> None:
        """Execute *sql* once for each of *many*."""
        ...


SqlWork = Callable[[SqlSession], T]


class SqlDatabase(Protocol):
    """Runs functions in transactions of their own. Failures become `StateUnavailable` or `StateUnusable`."""

    async def read_sql(self, work: SqlWork[T]) -> T:
        """Return the result of *work*, which changes nothing."""
        ...

    async def write_sql(self, work: SqlWork[T]) -> T:
        """Return the result of *work* once its transaction is durable."""
        ...


class SqliteSession:
    """`SqlSession` over a connection of the standard library."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, values: Values) -> Sequence[Row]:
        """Return the rows that *sql* selects."""
        return self._connection.execute(sql, values).fetchall()

    def change(self, sql: str, values: Values) -> int:
        """Execute *sql* and return the number of rows that it changed."""
        return self._connection.execute(sql, values).rowcount

    def change_each(self, sql: str, many: Sequence[Values]) -> None:
        """Execute *sql* once for each of *many*."""
        self._connection.executemany(sql, many)


def parameters(name: str, values: Collection[object]) -> tuple[str, dict[str, object]]:
    """Return the text of a list of parameters, and their values: `:tag0, :tag1`."""
    named = {f"{name}{number}": value for number, value in enumerate(values)}
    return ", ".join(f":{key}" for key in named), named


def chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Yield *items* in slices that fit into one statement."""
    for start in range(0, len(items), STATEMENT_ROWS):
        yield items[start : start + STATEMENT_ROWS]
