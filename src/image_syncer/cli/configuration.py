"""From the options of a command to rules and logins, without contacting anybody; and `config validate`."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from image_syncer.cli.console import warn, write_result
from image_syncer.cli.formatting import number
from image_syncer.cli.options import Files, Voice, Work
from image_syncer.config.duration import parse_duration
from image_syncer.config.load import load_file, load_seed
from image_syncer.config.model import Configuration
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import Timeouts
from image_syncer.sync.rule import Rule

DEFAULT_FILES: Final = ("configs/sync.yaml", "configs/sync.yml", "configs/sync.json")


def load(given: Files, wanted: PlatformFilter) -> Configuration:
    """Return the configuration of the files that were *given*, or of the daemon's usual file if none was."""
    environment = os.environ
    if given.config is not None:
        configuration = load_file(given.config, platforms=wanted, environment=environment)
        if given.auth is None and given.images is None:
            return configuration
        ignored = "--config is given: --auth and --images are ignored"
        return replace(configuration, warnings=(ignored, *configuration.warnings))
    if given.auth is not None or given.images is not None:
        return load_seed(auth=given.auth, images=given.images, platforms=wanted, environment=environment)
    found = _found()
    if found is None:
        raise UsageError(
            f"nothing to do: no --images FILE, no --config FILE, and no {DEFAULT_FILES[0]} here",
            remedy="image-syncer --auth auth.yaml --images images.yaml, or image-syncer --help",
        )
    return load_file(found, platforms=wanted, environment=environment)


def usual_file(command: str) -> Path:
    """Return the daemon's usual file; `UsageError`, which shows *command* with a file, where there is none."""
    found = _found()
    if found is None:
        raise UsageError(f"no --config FILE, and no {DEFAULT_FILES[0]} here", remedy=f"image-syncer {command} -c FILE")
    return found


def pick(rules: Sequence[Rule], names: Sequence[str]) -> Sequence[Rule]:
    """Return the rules with these *names*, all if there are none; `UsageError` for a name that no rule has."""
    unknown = set(names) - {rule.name for rule in rules}
    if unknown:
        raise UsageError(
            f"--rule {min(unknown)}: there is no such rule",
            remedy="a rule is named by its name:, in the Go tool's files by its source as written",
        )
    return [rule for rule in rules if rule.name in names] if names else rules


def schema() -> int:
    """Write the JSON Schema of the native file to stdout."""
    from image_syncer.config.schema import json_schema  # noqa: PLC0415 - pydantic is slow to import

    write_result([json.dumps(json_schema(), indent=2), "\n"])
    return 0


def platforms(work: Work) -> PlatformFilter:
    """Return the platform filter of `--os`, `--arch` and `--platform`."""
    return PlatformFilter.parse(work.os, work.arch, work.platform)


def timeouts(work: Work, written: Timeouts) -> Timeouts:
    """Return how long is waited for what: as the options of *work* say, else as it is *written* in the file."""
    patience = _seconds(work.patience, "--patience", least=0.0)
    stall = _seconds(work.stall_timeout, "--stall-timeout", least=1.0)
    image = _seconds(work.image_timeout, "--image-timeout", least=1.0)
    return replace(
        written,
        patience=written.patience if patience is None else patience,
        stall=written.stall if stall is None else stall,
        image=written.image if image is None else image,
    )


def _seconds(text: str | None, option: str, *, least: float) -> float | None:
    if text is None:
        return None
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}", remedy=f"{option} 10m") from error
    if seconds < least:
        raise UsageError(f"{option}: shorter than a second")
    return seconds


def validate(given: Files, voice: Voice) -> int:
    """Say whether the configuration can be understood; a fault comes out as `ConfigError`."""
    configuration = load(given, PlatformFilter())
    if not voice.quiet:
        for warning in configuration.warnings:
            warn(warning)
    rules, logins = len(configuration.rules), len(configuration.access)
    if voice.output == "json":
        write_result([json.dumps({"valid": True, "rules": rules, "logins": logins}), "\n"])
    else:
        write_result([f"valid: {number(rules, 'rule')}, {number(logins, 'login')}\n"])
    return 0


def _found() -> Path | None:
    return next((path for path in map(Path, DEFAULT_FILES) if path.is_file()), None)
