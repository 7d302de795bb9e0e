"""The location of a database: a URL or path, validated and split, with a name for messages that holds no secret."""

import re
from pathlib import Path
from typing import Final, Never

from image_syncer.errors import UsageError
from image_syncer.structs import Struct, field

_HOSTS: Final = re.compile(r"[A-Za-z0-9._:,\[\]-]*|/[^@]*")
_REMEDY: Final = "write sqlite:///relative/path, sqlite:////absolute/path, a path, or postgresql://user@host/database"


class SqliteFile(Struct):
    """A file for any number of processes on one machine. Not on a network file system, where locks do not work."""

    path: Path

    def __str__(self) -> str:
        return f"state {self.path}"


class PostgresDatabase(Struct):
    """A database for a fleet. *conninfo* is libpq's URL, which may hold a password."""

    conninfo: str = field(repr=False)
    name: str

    def __str__(self) -> str:
        return f"state {self.name}"


DatabaseLocation = SqliteFile | PostgresDatabase


def parse_database_url(url: str) -> DatabaseLocation:
    """Return the location that *url* names; `UsageError` for an invalid one, which never quotes *url*."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return _file(url)
    if scheme == "sqlite":
        return _file(rest.removeprefix("/")) if rest.startswith("/") else _invalid("a SQLite URL names no host")
    if scheme in {"postgresql", "postgres"}:
        return _postgres(url)
    return _invalid("the scheme is neither sqlite nor postgresql")


def _file(path: str) -> SqliteFile:
    if not path or path == ":memory:" or "\0" in path or "?" in path:
        _invalid("a file is needed")
    return SqliteFile(Path(path).expanduser())


def _postgres(url: str) -> PostgresDatabase:
    from image_syncer.extras import require_daemon  # noqa: PLC0415 - a file needs none

    require_daemon("a state in PostgreSQL")
    import psycopg  # noqa: PLC0415 - takes 0.1 s of CPU, which a file does not need
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        # libpq's message may quote a part of the password.
        _invalid("libpq cannot read the postgresql URL; special characters in a password are written as %XX")
    host = str(parts.get("host") or parts.get("hostaddr") or "")
    if not _HOSTS.fullmatch(host):
        # An unescaped @ in a password moves its second half into the host, which messages contain.
        _invalid("the postgresql URL names no host; special characters in a password are written as %XX")
    host = host or "the local socket"
    return PostgresDatabase(url, f"{parts.get('dbname') or 'the default database'} at {host}")


def _invalid(why: str) -> Never:
    raise UsageError(f"state: {why}", remedy=_REMEDY)
