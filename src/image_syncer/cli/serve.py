"""The command `serve`: the daemon of a native file with `server:`, or of the fork's sync.yaml."""

import asyncio
from dataclasses import replace
from pathlib import Path

import structlog

from image_syncer.cli.configuration import DEFAULT_FILES
from image_syncer.cli.console import complain, say, warn
from image_syncer.cli.flags import Voice
from image_syncer.cli.run import Signals, run
from image_syncer.config.load import load_file
from image_syncer.config.model import Configuration
from image_syncer.daemon.serve import serve_for_ever
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.server.settings import Listen
from image_syncer.telemetry import LogOptions, logging_to


def serve(file: Path | None, voice: Voice, environment: dict[str, str], *, allow_open: bool) -> int:
    """Serve what *file* (None: the daemon's usual one) says until a signal comes; 0 after a clean end by SIGTERM."""
    configuration = load_file(
        file or _usual_file(), platforms=PlatformFilter(), environment=environment, allow_open=allow_open
    )
    for text in configuration.warnings:
        warn(text)
    with logging_to(_log_options(configuration, voice)):
        return _serve(configuration, voice, allow_open=allow_open)


def _log_options(configuration: Configuration, voice: Voice) -> LogOptions:
    """Return where the log goes: the fork's file grows from start to start, as it does there; `--log` begins anew."""
    options = LogOptions(voice.log, as_json=voice.log_format == "json", debug=voice.debug)
    if voice.log is None and configuration.fork is not None and configuration.fork.log_file is not None:
        return replace(options, path=Path(configuration.fork.log_file), appended=True)
    return options


def _serve(configuration: Configuration, voice: Voice, *, allow_open: bool) -> int:
    stop = asyncio.Event()

    def ask_to_stop() -> None:
        stop.set()
        if not voice.quiet:
            complain("stopping; what runs is finished or goes back into the queue; a second signal stops at once")

    def started(listen: Listen) -> None:
        structlog.get_logger().info("daemon.started", listen=str(listen), rules=len(configuration.rules))
        if not voice.quiet:
            say(f"listening at http://{listen}")

    signals = Signals(first=ask_to_stop, last=lambda: None)
    run(serve_for_ever(configuration, stop=stop, started=started, allow_open=allow_open), signals)
    return 0


def _usual_file() -> Path:
    found = next((path for path in map(Path, DEFAULT_FILES) if path.is_file()), None)
    if found is None:
        raise UsageError(f"no --config FILE, and no {DEFAULT_FILES[0]} here", remedy="image-syncer serve -c FILE")
    return found
