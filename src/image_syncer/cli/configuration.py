"""Load rules and logins as the options of a command ask, without contacting any server; and `config validate`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from image_syncer.cli.console import write_result
from image_syncer.cli.options import FileOptions, TransferOptions
from image_syncer.config.duration import parse_duration
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.settings import RegistryAccount, Timeouts
from image_syncer.structs import replace

if TYPE_CHECKING:  # A copy of one image needs no rules.
    from image_syncer.config.model import Configuration
    from image_syncer.sync.rule import Rule

DEFAULT_FILES: Final = ("configs/sync.yaml", "configs/sync.yml", "configs/sync.json")


def load(options: FileOptions, wanted: PlatformFilter) -> "Configuration":
    """Return the configuration of the files in *options*, or of the daemon's default file without any."""
    from image_syncer.config.load import load_file, load_go_tool_files  # noqa: PLC0415 - a copy of one image needs none

    environment = os.environ
    if options.from_kind is not None or options.from_target is not None:
        return load_foreign(options.config, options.from_kind, options.from_target, wanted)
    if options.config is not None:
        configuration = load_file(options.config, platforms=wanted, environment=environment)
        if options.auth is None and options.images is None:
            return configuration
        return replace(
            configuration,
            warnings=("--auth and --images are ignored because --config is given", *configuration.warnings),
        )
    if options.auth is not None or options.images is not None:
        return load_go_tool_files(auth=options.auth, images=options.images, platforms=wanted, environment=environment)
    found = _find_default_file()
    if found is None:
        raise UsageError(
            f"nothing to do: no --images FILE, no --config FILE, and no {DEFAULT_FILES[0]} in this directory",
            remedy="image-syncer --auth auth.yaml --images images.yaml, or image-syncer --help",
        )
    return load_file(found, platforms=wanted, environment=environment)


def load_foreign(
    file: Path | None, kind: str | None, target: str | None, wanted: PlatformFilter, *, serves: bool = False
) -> "Configuration":
    """Return the configuration of *file*, which is of the tool *kind*; images go to *target* if it does not say.

    *serves*: with a server on the loopback address, if the file has none.
    """
    from image_syncer.config.convert.kinds import KINDS  # noqa: PLC0415 - as above
    from image_syncer.config.convert.load_converted import load_converted  # noqa: PLC0415 - as above

    if kind is None:
        raise UsageError("--target needs --from KIND", remedy="rules of image-syncer name their targets")
    if kind not in KINDS:
        raise UsageError(f"--from {kind[:40]}: unknown", remedy=f"known: {', '.join(KINDS)}")
    if file is None:
        raise UsageError("--from needs --config FILE", remedy=f"name the file of {kind}")
    return load_converted(kind, file, target, platforms=wanted, environment=os.environ, serves=serves)


def load_logins(auth: Path) -> tuple[RegistryAccount, ...]:
    """Return the registry accounts of the file of `--auth`."""
    from image_syncer.config.go_tool.auth_file import load_auth  # noqa: PLC0415 - as above

    return load_auth(auth, environment=os.environ)


def default_file(command: str) -> Path:
    """Return the daemon's default file; `UsageError` if there is none, with *command* and a file as the remedy."""
    found = _find_default_file()
    if found is None:
        raise UsageError(
            f"no --config FILE, and no {DEFAULT_FILES[0]} in this directory", remedy=f"image-syncer {command} -c FILE"
        )
    return found


def pick(rules: "Sequence[Rule]", names: Sequence[str]) -> "Sequence[Rule]":
    """Return the rules called *names*, or all without names; `UsageError` for an unknown name."""
    unknown = set(names) - {rule.name for rule in rules}
    if unknown:
        raise UsageError(
            f"--rule {min(unknown)}: no rule has this name",
            remedy="a rule's name is its name:, or in the Go tool's files its source as written",
        )
    return [rule for rule in rules if rule.name in names] if names else rules


def schema() -> int:
    """Write the JSON Schema of the native file to stdout."""
    import json  # noqa: PLC0415 - as above

    from image_syncer.config.schema import json_schema  # noqa: PLC0415 - pydantic is slow to import

    write_result([json.dumps(json_schema(), indent=2), "\n"])
    return 0


def platforms(run: TransferOptions) -> PlatformFilter:
    """Return the platform filter of `--os`, `--arch` and `--platform`."""
    return PlatformFilter.parse(run.os, run.arch, run.platform)


def timeouts(run: TransferOptions, configured: Timeouts) -> Timeouts:
    """Return the timeouts of the options *run*, or those *configured* in the file where an option is absent."""
    patience = _seconds(run.patience, "--patience", minimum=0.0)
    stall = _seconds(run.stall_timeout, "--stall-timeout", minimum=1.0)
    image = _seconds(run.image_timeout, "--image-timeout", minimum=1.0)
    return replace(
        configured,
        patience=configured.patience if patience is None else patience,
        stall=configured.stall if stall is None else stall,
        image=configured.image if image is None else image,
    )


def _seconds(text: str | None, option: str, *, minimum: float) -> float | None:
    if text is None:
        return None
    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise UsageError(f"{option}: {error}", remedy=f"{option} 10m") from error
    if seconds < minimum:
        raise UsageError(f"{option}: shorter than a second")
    return seconds


def _find_default_file() -> Path | None:
    return next((path for path in map(Path, DEFAULT_FILES) if path.is_file()), None)
