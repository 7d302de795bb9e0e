"""The commands `serve` and `worker`: run the daemon of a native file with `server:`, or of the fork's sync.yaml."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from image_syncer.cli.configuration import default_file, load_foreign
from image_syncer.cli.console import complain, say, warn
from image_syncer.cli.options import OutputOptions
from image_syncer.cli.signals import DAEMON_END_SIGNALS, Signals, run_with_signals
from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.daemon.reload import ConfigurationFile
from image_syncer.daemon.serve import DaemonControl, serve_forever, work_forever
from image_syncer.oci import PlatformFilter
from image_syncer.server.server_settings import Listen
from image_syncer.structs import replace
from image_syncer.telemetry import LogOptions, logging_to


@dataclass(frozen=True, slots=True)
class _PreparedDaemon:
    """A daemon before its start: its file, the content of the file, and its output options."""

    file: ConfigurationFile
    configuration: Configuration
    output: OutputOptions


def serve(
    file: Path | None,
    output: OutputOptions,
    environment: dict[str, str],
    *,
    allow_open: bool,
    foreign: tuple[str | None, str | None] | None = None,
) -> int:
    """Serve *file* (None: the default file) until a signal; return 0 after an orderly end by SIGTERM.

    *foreign* is the tool that *file* belongs to, and the target of its images if it does not say.
    """
    daemon = _prepare("serve", file, output, environment, allow_open=allow_open, foreign=foreign)
    control = DaemonControl()

    def started(listen: Listen) -> None:
        structlog.get_logger().info("daemon.started", listen=str(listen), rules=len(daemon.configuration.rules))
        if not output.quiet:
            say(f"listening at http://{listen}")

    served = serve_forever(daemon.file, daemon.configuration, control, started=started, allow_open=allow_open)
    return _run(daemon, control, served)


def work(file: Path | None, output: OutputOptions, environment: dict[str, str]) -> int:
    """Run a worker for the queue of *file* until a signal; return 0 after an orderly end by SIGTERM."""
    # A worker has no routes, so it needs no logins for them.
    daemon = _prepare("worker", file, output, environment, allow_open=True)
    control = DaemonControl()

    def started() -> None:
        structlog.get_logger().info("worker.started", rules=len(daemon.configuration.rules))
        if not output.quiet:
            say("worker started")

    return _run(daemon, control, work_forever(daemon.file, daemon.configuration, control, started=started))


def _prepare(
    command: str,
    file: Path | None,
    output: OutputOptions,
    environment: dict[str, str],
    *,
    allow_open: bool,
    foreign: tuple[str | None, str | None] | None = None,
) -> _PreparedDaemon:
    path = file or (Path() if foreign is not None else default_file(command))

    def load() -> Configuration:
        if foreign is not None:
            return load_foreign(file, *foreign, PlatformFilter(), serves=True)
        return load_file(path, platforms=PlatformFilter(), environment=environment, allow_open=allow_open)

    return _PreparedDaemon(ConfigurationFile(path, load), load(), output)


def _run(daemon: _PreparedDaemon, control: DaemonControl, work: Coroutine[Any, Any, None]) -> int:
    output = daemon.output

    def request_stop() -> None:
        control.stop.set()
        if not output.quiet:
            complain("stopping; running jobs finish or return to the queue; a second signal stops at once")

    async def reloadable() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, control.reload.set)
        await work

    with logging_to(replace(_log_options(daemon.configuration, output), dropped=control.dropped_lines)):
        for text in daemon.configuration.warnings:
            warn(text)
        run_with_signals(reloadable(), Signals(first=request_stop, last=lambda: None, numbers=DAEMON_END_SIGNALS))
    return 0


def _log_options(configuration: Configuration, output: OutputOptions) -> LogOptions:
    """Return the log's file and format.

    The fork's log file is appended to, with a JSON object per event, as the fork does. `--log` starts a new file, in
    text unless the options ask for JSON.
    """
    options = LogOptions(output.log, as_json=output.log_format == "json", debug=output.debug, info=True)
    if output.log is None and configuration.fork is not None and configuration.fork.log_file is not None:
        as_json = output.log_format != "text"
        return replace(options, path=Path(configuration.fork.log_file), as_json=as_json, appended=True)
    return options
