"""Forwards the logs of Procrastinate and of the connection pool as log events, without tracebacks."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import structlog

_LOGGERS: Final = ("procrastinate", "psycopg.pool")
# The end of an attempt has a log event of its own with more fields.
_SKIPPED: Final = frozenset({"job_error", "job_error_retry", "job_aborted", "job_aborted_retry", "job_success"})


class _Forwarder(logging.Handler):
    """Passes warnings and errors on to structlog."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._log: Any = structlog.get_logger()

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "action", None) in _SKIPPED:
            return
        kind = record.exc_info[0] if record.exc_info else None
        fields = {} if kind is None else {"error": kind.__name__}
        self._log.warning("jobs.library_warned", logger=record.name, message=record.getMessage()[:500], **fields)


@contextmanager
def library_logs_forwarded() -> Generator[None]:
    """Forward the libraries' warnings inside the block; without a handler Python prints them to stderr."""
    handler = _Forwarder()
    for name in _LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeHandler(handler)
