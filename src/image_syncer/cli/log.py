"""The log of a command, opened only if an option asks for one: the logging library takes long to import."""

# ruff: noqa: PLC0415 - the imports inside the functions are the point

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Protocol

from image_syncer.cli.options import OutputOptions
from image_syncer.registry.observer import RegistryObserver, SilentObserver
from image_syncer.sync.result import RunObserver, RunResult, SilentRunObserver


class CommandLog(RunObserver, RegistryObserver, Protocol):
    """Log of a run: the events of both observers, and warnings, the request to stop and the end."""

    def warned(self, text: str) -> None:
        """Log the warning *text*."""
        ...

    def stopping(self, drain_seconds: float) -> None:
        """Log that a signal asked to stop, and that running copies have *drain_seconds* to finish."""
        ...

    def ended(self, result: RunResult) -> None:
        """Log the end of the run."""
        ...


class NoLog(SilentRunObserver, SilentObserver):
    """A log that drops everything."""

    def warned(self, text: str) -> None:
        """Ignore it."""

    def stopping(self, drain_seconds: float) -> None:
        """Ignore it."""

    def ended(self, result: RunResult) -> None:
        """Ignore it."""


def is_wanted(output: OutputOptions) -> bool:
    """Whether an option asks for a log."""
    return output.log is not None or output.log_format is not None or output.debug


def stderr_is_json(output: OutputOptions) -> bool:
    """Whether stderr carries log events in JSON and must have no other text."""
    return output.log is None and output.log_format == "json"


@contextmanager
def logging_for(output: OutputOptions) -> Generator[None]:
    """Send the log where *output* says; without a log option, only its warnings, to stderr."""
    from image_syncer.telemetry import LogOptions, logging_to

    with logging_to(LogOptions(output.log, output.log_format == "json", output.debug, info=is_wanted(output))):
        yield


@contextmanager
def command_log(output: OutputOptions, context: Mapping[str, object]) -> Generator[CommandLog]:
    """Open the log that *output* asks for, with *context* in every event; one that drops everything without a request.

    No event is lost then: in a one-shot run only this log writes events.
    """
    if not is_wanted(output):
        yield NoLog()
        return
    from structlog.contextvars import bound_contextvars

    from image_syncer.telemetry import LogObserver

    with logging_for(output), bound_contextvars(**context):
        yield LogObserver()
