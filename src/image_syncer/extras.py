"""Extras: libraries that only some users need, which are installed on request (`[project.optional-dependencies]`)."""

from importlib.util import find_spec
from typing import Final

from image_syncer.errors import UsageError

_OF_DAEMON: Final = ("alembic", "fastapi", "jinja2", "jwt", "procrastinate", "prometheus_client", "psycopg", "uvicorn")


def install_remedy(extra: str) -> str:
    """Return what a user does to install *extra*."""
    return f"install the extra {extra}: pip install '.[{extra}]' in the checkout"


def has_daemon() -> bool:
    """Whether the libraries of the daemon, its job queue and PostgreSQL are installed."""
    return all(find_spec(name) is not None for name in _OF_DAEMON)


def require_daemon(what: str) -> None:
    """Raise `UsageError` if *what*, such as a command, cannot work without the libraries of the daemon."""
    if not has_daemon():
        raise UsageError(
            f"{what} needs the libraries of the daemon, which are not installed", remedy=install_remedy("daemon")
        )
