"""The commands `serve` and `worker`: the daemon of a native file with `server:`, or of the fork's sync.yaml."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import structlog

from image_syncer.cli.configuration import usual_file
from image_syncer.cli.console import complain, say, warn
from image_syncer.cli.options import Voice
from image_syncer.cli.signals import Signals, run
from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.daemon.reload import ConfigurationFile
from image_syncer.daemon.serve import DaemonControl, serve_for_ever, work_for_ever
from image_syncer.oci import PlatformFilter
from image_syncer.server.server_settings import Listen
from image_syncer.telemetry import LogOptions, logging_to


@dataclass(frozen=True, slots=True)
class _Daemon:
    """A daemon to be run: its file, what that says now, and how it speaks."""

    file: ConfigurationFile
    configuration: Configuration
    voice: Voice


def serve(file: Path | None, voice: Voice, environment: dict[str, str], *, allow_open: bool) -> int:
    """Serve what *file* (None: the daemon's usual one) says until a signal comes; 0 after a clean end by SIGTERM."""
    daemon = _prepare("serve", file, voice, environment, allow_open=allow_open)
    wishes = DaemonControl()

    def started(listen: Listen) -> None:
        structlog.get_logger().info("daemon.started", listen=str(listen), rules=len(daemon.configuration.rules))
        if not voice.quiet:
            say(f"listening at http://{listen}")

    served = serve_for_ever(daemon.file, daemon.configuration, wishes, started=started, allow_open=allow_open)
    return _run(daemon, wishes, served)


def work(file: Path | None, voice: Voice, environment: dict[str, str]) -> int:
    """Do the jobs of the fleet of *file* until a signal comes; 0 after a clean end by SIGTERM."""
    daemon = _prepare("worker", file, voice, environment, allow_open=True)  # Nobody is let in here.
    wishes = DaemonControl()

    def started() -> None:
        structlog.get_logger().info("worker.started", rules=len(daemon.configuration.rules))
        if not voice.quiet:
            say("at work")

    return _run(daemon, wishes, work_for_ever(daemon.file, daemon.configuration, wishes, started=started))


def _prepare(
    command: str, file: Path | None, voice: Voice, environment: dict[str, str], *, allow_open: bool
) -> _Daemon:
    path = file or usual_file(command)

    def load() -> Configuration:
        return load_file(path, platforms=PlatformFilter(), environment=environment, allow_open=allow_open)

    configuration = load()
    for text in configuration.warnings:
        warn(text)
    return _Daemon(ConfigurationFile(path, load), configuration, voice)


def _run(daemon: _Daemon, wishes: DaemonControl, work: Coroutine[Any, Any, None]) -> int:
    voice = daemon.voice

    def ask_to_stop() -> None:
        wishes.stop.set()
        if not voice.quiet:
            complain("stopping; what runs is finished or goes back into the queue; a second signal stops at once")

    async def watched() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, wishes.reload.set)
        await work

    with logging_to(_log_options(daemon.configuration, voice)):
        run(watched(), Signals(first=ask_to_stop, last=lambda: None))
    return 0


def _log_options(configuration: Configuration, voice: Voice) -> LogOptions:
    """Return where the log goes: the fork's file grows from start to start, a line of JSON for each event, as there.

    `--log` begins anew, in text unless JSON is asked for.
    """
    options = LogOptions(voice.log, as_json=voice.log_format == "json", debug=voice.debug, info=True)
    if voice.log is None and configuration.fork is not None and configuration.fork.log_file is not None:
        as_json = voice.log_format != "text"
        return replace(options, path=Path(configuration.fork.log_file), as_json=as_json, appended=True)
    return options
