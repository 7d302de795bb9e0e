"""Logs: structured events as text or JSON."""

import json
import logging
import re
import sys
from collections.abc import Generator, Mapping, MutableMapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO, cast

import structlog

from image_syncer.concurrency.lossy_writer import DroppedLines, LossyWriter
from image_syncer.errors import ImageSyncerError, RegistryDown, Unexpected, UsageError
from image_syncer.registry.observer import Wait
from image_syncer.structs import Struct
from image_syncer.sync.plan import Copy
from image_syncer.sync.result import CopyResult, Outcome, RunResult
from image_syncer.text import printable

_SECRET = re.compile(r"passw|token|authorization|secret|credential|cookie", re.IGNORECASE)
_PLAIN = re.compile(r"[^\s\"'=\\\x00-\x20\x7f-\U0010ffff]+")
_DEPTH_LIMIT = 5

Event = MutableMapping[str, Any]


class LogOptions(Struct):
    """Destination (*path*; None: stderr), format and level of the log: *debug*, *info*, or WARNING.

    A file is truncated unless *appended*. With *dropped*, writing never blocks or fails (for the daemon), and lines
    that cannot be written are counted there.
    """

    path: Path | None = None
    as_json: bool = False
    debug: bool = False
    info: bool = True
    appended: bool = False
    dropped: DroppedLines | None = None


@contextmanager
def logging_to(options: LogOptions) -> Generator[None]:
    """Write the log according to *options* inside the block; `UsageError` if the file cannot be opened."""
    with ExitStack() as stack:
        if options.dropped is not None:
            stack.enter_context(_lossy_stderr(options.dropped))
        stream: TextIO | _Stderr | _LogFile | LossyWriter = _Stderr()
        if options.path is not None:
            file = stack.enter_context(_opened(options.path, appended=options.appended))
            if options.dropped is None:
                stream = stack.enter_context(_checked(file, options.path))
            else:
                stream = stack.enter_context(_lossy(file, options.dropped))
        level = logging.DEBUG if options.debug else logging.INFO if options.info else logging.WARNING
        structlog.configure(
            processors=[
                structlog.contextvars.merge_contextvars,
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
                structlog.processors.format_exc_info,
                mask_secrets,
                as_json if options.as_json else as_text,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(level),
            logger_factory=structlog.WriteLoggerFactory(file=stream),  # pyright: ignore[reportArgumentType] - write and flush are all it needs
            cache_logger_on_first_use=False,
        )
        stack.callback(structlog.reset_defaults)
        yield


@contextmanager
def _opened(path: Path, *, appended: bool) -> Generator[TextIO]:
    try:
        if appended:
            path.touch(mode=0o600)  # A new log of the daemon is its owner's alone, since it names private images.
        file = path.open("a" if appended else "w", encoding="utf-8", buffering=1)
    except OSError as error:
        raise UsageError(f"--log {path}: cannot be written: {error.strerror}") from error
    try:
        yield file
    finally:
        with suppress(OSError):  # A failed write was noted when it happened.
            file.close()


class _LogFile:
    """A log file. After a failed write it drops all lines, so that a full disk does not end a run in its middle."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, text: str) -> None:
        """Write *text*, or note the error."""
        if self.error is None:
            try:
                self._file.write(text)
                self._file.flush()
            except OSError as error:
                self.error = error

    def flush(self) -> None:
        """Do nothing: each write is flushed."""


@contextmanager
def _checked(file: TextIO, path: Path) -> Generator[_LogFile]:
    """Yield a log file; at the end of the block raise `ImageSyncerError` if a line could not be written."""
    log_file = _LogFile(file)
    yield log_file
    if log_file.error is not None:
        raise ImageSyncerError(
            f"--log {path}: cannot be written: {log_file.error.strerror}", remedy="the log is incomplete"
        ) from log_file.error


@contextmanager
def _lossy_stderr(dropped: DroppedLines) -> Generator[None]:
    """Replace `sys.stderr`, so that messages beside the log cannot block or fail either."""
    original = sys.stderr
    try:
        original.flush()
        original.fileno()
    except OSError:  # No file, or nothing can be written: then a write cannot block.
        yield
        return
    with _lossy(original, dropped) as writer:
        sys.stderr = writer
        try:
            yield
        finally:
            sys.stderr = original


@contextmanager
def _lossy(file: TextIO, dropped: DroppedLines) -> Generator[LossyWriter]:
    def report(lines: int) -> None:
        structlog.get_logger().warning("log.lines_dropped", lines=lines)

    writer = LossyWriter(file.fileno(), dropped, report)
    try:
        yield writer
    finally:
        writer.close()


class LogWatcher:
    """Logs waits for registries and changes of logins (a `RegistryObserver`)."""

    def __init__(self) -> None:
        self._log: Any = structlog.get_logger()

    def on_wait(self, wait: Wait) -> None:
        """Log the start of a wait, with its length and reason."""
        self._log.info("registry.waiting", registry=wait.registry, seconds=round(wait.seconds, 1), reason=wait.reason)

    def on_resume(self, registry: str) -> None:
        """Log that a wait for *registry* ended early."""
        self._log.info("registry.going_on", registry=registry)

    def on_warning(self, text: str) -> None:
        """Log a warning for the user."""
        self._log.warning("run.warned", warning=text)

    def on_login(self, registry: str, user: str) -> None:
        """Log the login that is used from now on."""
        self._log.debug("registry.login", registry=registry, user=user or None)


class LogObserver(LogWatcher):
    """Also logs the copies of a run (an `Observer`): one closing event per copy.

    A failed copy may be retried, so a failure is logged as `copy.failed`, and `ended` logs its closing event.
    """

    def listed(self, registry: str, count: int) -> None:
        """Log that *count* repositories of *registry* were listed so far."""
        self._log.debug("repositories.listed", registry=registry, count=count)

    def selected(self, count: int) -> None:
        """Log that *count* more copies were selected."""
        self._log.debug("copies.selected", count=count)

    def started(self, copy: Copy) -> None:
        """Log the start of *copy*."""
        self._log.debug("copy.started", rule=copy.rule, source=str(copy.source), target=str(copy.target))

    def found(self, size_bytes: int) -> None:
        """Ignore it."""

    def moved(self, size_bytes: int) -> None:
        """Ignore it."""

    def finished(self, result: CopyResult) -> None:
        """Log the end of one copy."""
        log_copy(self._log, result)
        if result.failure is not None and isinstance(result.failure.cause, Unexpected):
            self._log.debug("copy.mistaken", target=result.target, exc_info=result.failure.cause.__cause__)

    def warned(self, text: str) -> None:
        """Log a warning for the user."""
        self._log.warning("run.warned", warning=text)

    def stopping(self, drain_seconds: float) -> None:
        """Log that the run was asked to stop."""
        self._log.warning("run.stopping", drain_seconds=drain_seconds)

    def ended(self, result: RunResult) -> None:
        """Log the copies that failed for good, and the end of the run."""
        for image in result.results:
            if image.outcome is Outcome.FAILED:
                self._log.error("copy.finished", **_fields(image))
        for warning in result.warnings:
            self.warned(warning)
        self._log.info(
            "run.finished",
            **{outcome.value: count for outcome, count in result.counts.items()},
            bytes=result.transferred.copied,
            seconds=round((result.finished_at - result.started_at).total_seconds(), 3),
        )


def log_copy(log: Any, result: CopyResult) -> None:
    """Log the end of one attempt of a copy to *log*: `copy.finished`, or `copy.failed` as a warning.

    A registry that is down has a warning of its own, so its copies are logged at DEBUG.
    """
    if result.outcome is not Outcome.FAILED:
        log.info("copy.finished", **_fields(result))
        return
    is_outage = result.failure is not None and isinstance(result.failure.cause, RegistryDown)
    say = log.debug if is_outage else log.warning
    say("copy.failed", **_fields(result), remedy=result.remedy, attempts=result.attempts)


def mask_secrets(_logger: object, _method: str, event: Event) -> Event:
    """Mask every value whose key suggests a secret, as a safety net (a structlog processor)."""
    return {key: _masked(key, value, _DEPTH_LIMIT) for key, value in event.items()}


def as_json(_logger: object, _method: str, event: Event) -> str:
    """Return *event* as one line of JSON (a structlog renderer)."""
    return json.dumps(_ordered(event), default=str)


def as_text(_logger: object, _method: str, event: Event) -> str:
    """Return *event* as one line of `time level event key=value ...` (a structlog renderer).

    Values with anything but visible ASCII are quoted as JSON, so that untrusted text cannot forge a line.
    """
    ordered = _ordered(event)
    head = [str(ordered.pop(key, "")) for key in ("time", "level")]
    trace = ordered.pop("exception", None)
    name = _value(ordered.pop("event", ""))
    line = " ".join([*head, name, *(f"{key}={_value(value)}" for key, value in ordered.items())])
    return "\n".join([line, *map(printable, str(trace).splitlines())]) if trace else line


def _fields(result: CopyResult) -> Mapping[str, Any]:
    return {
        "rule": result.rule,
        "source": result.source,
        "target": result.target,
        "outcome": result.outcome.value,
        "bytes": result.transferred.copied,
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
    }


def _masked(key: object, value: Any, depth: int) -> Any:
    if isinstance(key, str) and _SECRET.search(key):
        return "***"
    if not depth:
        return "..."
    if isinstance(value, Mapping):
        inner = cast("Mapping[object, Any]", value)
        return {name: _masked(name, part, depth - 1) for name, part in inner.items()}
    if isinstance(value, list | tuple):
        return [_masked(None, part, depth - 1) for part in cast("list[Any]", value)]
    return value


def _ordered(event: Event) -> dict[str, Any]:
    """Return *event* with time, level and name first."""
    front = {key: event[key] for key in ("time", "level", "event") if key in event}
    return front | dict(event)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if not isinstance(value, str) or _PLAIN.fullmatch(text) else json.dumps(text)


class _Stderr:
    """Writes to the current `sys.stderr`, which a progress bar replaces while it is drawn."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()
