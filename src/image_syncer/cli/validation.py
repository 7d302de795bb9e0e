"""The command `config validate`: all problems of the files at once, as text or as JSON."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from image_syncer.cli.configuration import load
from image_syncer.cli.console import warn, write_result
from image_syncer.cli.formatting import number
from image_syncer.cli.options import FileOptions, OutputOptions
from image_syncer.config.documents.problems import ConfigErrors
from image_syncer.config.load import load_queue_kinds
from image_syncer.config.model import Configuration, QueueSettings
from image_syncer.errors import ConfigError, UsageError
from image_syncer.extras import has_daemon, install_remedy
from image_syncer.oci import PlatformFilter

_NO_SERVER = "the file has no server:, so image-syncer serve refuses it"


def validate(files: FileOptions, output: OutputOptions, *, daemon: bool) -> int:
    """Print whether the configuration is valid, for the daemon with *daemon*; `ConfigError` with all problems as text.

    As JSON the problems are part of the result, and the exit code is 2.
    """
    configuration: Configuration | None = None
    problems: list[ConfigError] = []
    try:
        configuration = load(files, PlatformFilter())
    except ConfigErrors as error:
        problems += error.errors
    except ConfigError as error:
        problems.append(error)
    if has_daemon():
        problems += _missing_libraries(files, configuration)
    elif daemon or (configuration is not None and configuration.server is not None):
        problems.append(_no_daemon(files))
    problems.sort(key=lambda problem: (problem.file, problem.line or 0))
    warnings = [] if configuration is None else [*configuration.warnings]
    if configuration is not None and configuration.server is None:
        if daemon:
            problems.append(_no_server(files))
        elif _needs_daemon(configuration):
            warnings.append(f"{_NO_SERVER}; image-syncer sync runs its rules once")
    if output.output == "json":
        write_result([json.dumps(_as_json(configuration, problems, warnings)), "\n"])
        return 2 if problems else 0
    if problems:
        raise problems[0] if len(problems) == 1 else ConfigErrors(problems)
    _print_valid(configuration, warnings, output)
    return 0


def _missing_libraries(files: FileOptions, configuration: Configuration | None) -> Iterator[ConfigError]:
    """Yield an error for each queue whose library is not installed, even if the file is not valid."""
    for queue in _queues(files) if configuration is None else configuration.queues:
        from image_syncer.queues import check_installed  # noqa: PLC0415 - only a file with queues needs it

        try:
            check_installed([queue])
        except UsageError as error:
            file, _, line = queue.origin.rpartition(":")
            message = error.message.removeprefix(f"{queue.origin}: ")
            yield ConfigError(message, file=file, line=int(line), remedy=error.remedy)


def _queues(files: FileOptions) -> Sequence[QueueSettings]:
    """Read the file again for the queues alone, since other parts of it are not valid."""
    return load_queue_kinds(files.config, os.environ) if files.config is not None else ()


def _no_server(files: FileOptions) -> ConfigError:
    return ConfigError(_NO_SERVER, file=_name(files), remedy="add server: with listen: and auth:, or server: {}")


def _no_daemon(files: FileOptions) -> ConfigError:
    message = "image-syncer serve needs the libraries of the daemon, which are not installed"
    return ConfigError(message, file=_name(files), remedy=install_remedy("daemon"))


def _name(files: FileOptions) -> str:
    return str(files.config or files.images or files.auth or Path())


def _needs_daemon(configuration: Configuration) -> bool:
    events = any(rule.triggers.events for rule in configuration.rules)
    return bool(configuration.hooks or configuration.queues or configuration.schedules or events)


def _print_valid(configuration: Configuration | None, warnings: list[str], output: OutputOptions) -> None:
    if output.quiet:
        return
    for warning in warnings:
        warn(warning)
    if configuration is not None:
        rules, logins = len(configuration.rules), _count_logins(configuration)
        write_result([f"valid: {number(rules, 'rule')}, {number(logins, 'login')}\n"])


def _count_logins(configuration: Configuration) -> int:
    """Return how many accounts log in: other sections of registries say only how to reach them."""
    return sum(account.credential is not None or account.cloud is not None for account in configuration.accounts)


def _as_json(configuration: Configuration | None, problems: list[ConfigError], warnings: list[str]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    if configuration is not None:
        counts = {"rules": len(configuration.rules), "logins": _count_logins(configuration)}
    return {
        "valid": not problems,
        **counts,
        "warnings": warnings,
        "problems": [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "message": problem.problem,
                "remedy": problem.remedy,
            }
            for problem in problems
        ],
    }
