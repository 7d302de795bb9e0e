"""The log of a command: opened where somebody wants one, since the library that writes it takes long to import."""

# ruff: noqa: PLC0415 - the imports inside the functions are the point

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Protocol

from image_syncer.cli.options import Voice
from image_syncer.registry.observer import RegistryObserver, SilentObserver
from image_syncer.sync.result import Observer, RunResult, Silent


class RunLog(Observer, RegistryObserver, Protocol):
    """What is logged of a run: what an observer and a watcher are told, and what else happens to it."""

    def warned(self, text: str) -> None:
        """The user should know *text*."""
        ...

    def stopping(self, drain_seconds: float) -> None:
        """A signal came; what runs has so long to finish."""
        ...

    def ended(self, result: RunResult) -> None:
        """The run is over."""
        ...


class NoLog(Silent, SilentObserver):
    """Where nobody wants a log."""

    def warned(self, text: str) -> None:
        """Ignore it."""

    def stopping(self, drain_seconds: float) -> None:
        """Ignore it."""

    def ended(self, result: RunResult) -> None:
        """Ignore it."""


def is_wanted(voice: Voice) -> bool:
    """Whether any option asks for a log."""
    return voice.log is not None or voice.log_format is not None or voice.debug


def stderr_is_json(voice: Voice) -> bool:
    """Whether stderr belongs to a program that reads events, so that prose has no place there."""
    return voice.log is None and voice.log_format == "json"


@contextmanager
def logging_for(voice: Voice) -> Generator[None]:
    """Send the log where *voice* says; who did not ask for one gets its warnings on stderr."""
    from image_syncer.telemetry import LogOptions, logging_to

    with logging_to(LogOptions(voice.log, voice.log_format == "json", voice.debug, info=is_wanted(voice))):
        yield


@contextmanager
def run_log(voice: Voice, context: Mapping[str, object]) -> Generator[RunLog]:
    """Open the log that *voice* wants, with *context* in every event; one that takes nothing if it wants none.

    Nothing on a run's way logs by itself, so nothing is lost then.
    """
    if not is_wanted(voice):
        yield NoLog()
        return
    from structlog.contextvars import bound_contextvars

    from image_syncer.telemetry import LogObserver

    with logging_for(voice), bound_contextvars(**context):
        yield LogObserver()
