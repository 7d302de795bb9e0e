"""The statements that create the tables of a state in SQLite, from the tables that the code uses.

python tools/state_schema.py > src/image_syncer/state/schema.sql

A new file is created with them, since SQLAlchemy takes longer to import than a short run takes. Run this tool after a
change of `state/tables.py`; `tests/state/test_database.py` fails as long as the two differ.
"""

import textwrap
from collections.abc import Iterator

from sqlalchemy import Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from image_syncer.state.migrate import VERSION
from image_syncer.state.tables import SQLITE_TRIGGERS, metadata


def schema() -> str:
    """Return the statements, with an empty line between two of them."""
    tables = [*metadata.sorted_tables, VERSION]
    statements = [*(statement for table in tables for statement in _of(table)), *SQLITE_TRIGGERS]
    return "\n\n".join(f"{_plain(statement)};" for statement in statements) + "\n"


def _of(table: Table) -> Iterator[str]:
    dialect = sqlite.dialect()
    yield str(CreateTable(table).compile(dialect=dialect))
    for index in sorted(table.indexes, key=lambda index: str(index.name)):
        yield str(CreateIndex(index).compile(dialect=dialect))


def _plain(statement: str) -> str:
    """Return *statement* without empty lines, and without the indentation of the code that it comes from."""
    lines = [line.rstrip() for line in statement.replace("\t", "    ").splitlines() if line.strip()]
    return textwrap.dedent("\n".join(lines))


if __name__ == "__main__":
    print(schema(), end="")
