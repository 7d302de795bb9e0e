"""The command `check`: what a login can do at registries, and what to do about what it cannot."""

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any, Final

from image_syncer.app_check import check_registries
from image_syncer.app_options import Options
from image_syncer.cli.check_selection import named, of_rules, select
from image_syncer.cli.configuration import load
from image_syncer.cli.console import warn, write_result
from image_syncer.cli.formatting import printable
from image_syncer.cli.log import command_log
from image_syncer.cli.options import FileOptions, OutputOptions
from image_syncer.cli.output import Line, show
from image_syncer.cli.signals import run_unless_interrupted
from image_syncer.config.go_tool.auth_file import load_auth
from image_syncer.errors import UsageError
from image_syncer.oci import PlatformFilter
from image_syncer.registry.checks.check_values import CheckStep, RegistryReport, RegistryToCheck
from image_syncer.registry.settings import Timeouts

_STYLES: Final = {"ok": "green", "note": "dim", "warning": "yellow", "failed": "bold red", "skipped": "dim"}
_IMPATIENT: Final = Timeouts(connect=10.0, stall=30.0, patience=0.0)
"""A check waits for no registry that is down or throttles: it says so."""


def check(files: FileOptions, names: Sequence[str], output: OutputOptions, *, pushes: bool, writes: bool) -> int:
    """Check the registries of the rules in *files*, or those called *names*; the exit code is 1 if a step fails."""
    options, wanted = _wanted(files, names, output, pushes=pushes or writes)
    with command_log(output, {}):
        reports = run_unless_interrupted(check_registries(options, wanted, writes=writes))
    if output.output == "json":
        write_result([json.dumps([_as_json(report) for report in reports], indent=2), "\n"])
    else:
        show(_as_text(reports))
    return int(any(report.has_failed for report in reports))


def _wanted(
    files: FileOptions, names: Sequence[str], output: OutputOptions, *, pushes: bool
) -> tuple[Options, list[RegistryToCheck]]:
    """Return how to reach the registries, and which to check."""
    has_rules = files.config is not None or files.images is not None
    if names and not has_rules:
        access = load_auth(files.auth, environment=os.environ) if files.auth else ()
        return Options(access=access, timeouts=_IMPATIENT), named(names, pushes=pushes)
    configuration = load(files, PlatformFilter())
    for warning in () if output.quiet else configuration.warnings:
        warn(warning)
    wanted = select(of_rules(configuration.rules, configuration.accounts), names)
    if not wanted:
        raise UsageError("no rule names a registry", remedy="name one: image-syncer check registry.example.com")
    options = Options(
        access=configuration.accounts,
        host_limits=configuration.host_limits,
        timeouts=_IMPATIENT,
        transports=configuration.transports,
    )
    return options, wanted


def _as_text(reports: Sequence[RegistryReport]) -> Iterator[Line]:
    width = max((len(step.name) for report in reports for step in report.steps), default=0)
    for report in reports:
        yield Line()
        yield Line(((printable(report.checked.registry), "bold"),), indent=0)
        for step in report.steps:
            yield from _step_lines(step, width)
    yield Line()


def _step_lines(step: CheckStep, width: int) -> Iterator[Line]:
    style = _STYLES[step.status]
    yield Line(((f"{step.name:<{width}}  ", ""), (f"{step.status:<7}  ", style), (printable(step.text), "")))
    if step.remedy:
        yield Line((("\u2192 ", "dim"), (printable(step.remedy), "")), indent=width + 13)


def _as_json(report: RegistryReport) -> dict[str, Any]:
    checked = report.checked
    return {
        "registry": checked.registry,
        "source": None if checked.source is None else str(checked.source),
        "target": None if checked.target is None else str(checked.target),
        "failed": report.has_failed,
        "steps": [
            {"name": step.name, "status": step.status, "text": step.text, "remedy": step.remedy}
            for step in report.steps
        ],
    }
