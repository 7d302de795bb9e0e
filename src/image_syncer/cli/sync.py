"""One pass over rules, or a copy of one reference: the root command, `sync` and `copy`."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from image_syncer.app import Options, Syncer, open_app
from image_syncer.cli import files
from image_syncer.cli.configuration import load, load_logins, pick, platforms, timeouts
from image_syncer.cli.console import complain, say, warn, write_result
from image_syncer.cli.log import CommandLog, command_log, stderr_is_json
from image_syncer.cli.options import OutputOptions, ReportOptions, SourceOptions, TransferOptions
from image_syncer.cli.output import failures, show, success_map, summary
from image_syncer.cli.progress import (
    Display,
    NoDisplay,
    ObserverGroup,
    PlainLines,
    RegistryObserverGroup,
    RegistryWaits,
    Tally,
    refresh,
)
from image_syncer.cli.references import parse_source, parse_target
from image_syncer.cli.report import report_text
from image_syncer.cli.signals import Signals, run_with_signals
from image_syncer.cli.state_option import state_location
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.config.locations import StateSettings
from image_syncer.config.platform_warnings import platform_warnings
from image_syncer.errors import ImageSyncerError
from image_syncer.registry.settings import Timeouts
from image_syncer.structs import Struct, replace
from image_syncer.sync.referrer_settings import NO_REFERRERS
from image_syncer.sync.result import RunObserver, RunResult

Work = Callable[[Syncer, RunObserver, Shutdown], Awaitable[RunResult]]


def synchronise(
    source: SourceOptions,
    run: TransferOptions,
    report: ReportOptions,
    output: OutputOptions,
    names: Sequence[str] = (),
    *,
    may_serve: bool = False,
) -> int:
    """Run the rules once, only those called *names* if there are any, and return the exit code.

    With *may_serve* a file for the daemon starts the daemon.
    """
    configuration = load(source, platforms(run))
    if may_serve and configuration.server is not None:
        from image_syncer.extras import require_daemon  # noqa: PLC0415 - only the daemon needs its libraries

        require_daemon("server: in a file")
        from image_syncer.cli.daemon import serve  # noqa: PLC0415 - as above

        return serve(source.config, output, dict(os.environ), allow_open=False)
    rules = pick(configuration.rules, names)
    if run.referrers is False:
        rules = [replace(rule, referrers=replace(rule.referrers, enabled=False)) for rule in rules]
    options = Options(
        access=configuration.accounts,
        transfers=run.proc,
        retries=run.retries,
        state=state_location(run.state, configuration.state),
        keep_state=configuration.state.keep,
        host_limits=configuration.host_limits,
        same_as=configuration.same_as,
        timeouts=timeouts(run, configuration.timeouts),
        transports=configuration.transports,
        bandwidth=configuration.bandwidth,
        mirrors=configuration.mirrors,
        trust=configuration.trust,
    )
    one_shot = OneShotRun(options, report, output, configuration.warnings, dry_run=source.dry_run)
    return one_shot.execute(
        lambda syncer, observer, stop: syncer.sync(
            rules,
            dry_run=source.dry_run,
            force=run.force,
            observer=observer,
            stop=stop,
            referrers=run.referrers is True,
        )
    )


def copy(
    references: tuple[str, Sequence[str]],
    auth: Path | None,
    run: TransferOptions,
    report: ReportOptions,
    output: OutputOptions,
) -> int:
    """Copy the first of *references* to the others and return the exit code."""
    source = parse_source(references[0])
    targets = tuple(dict.fromkeys(parse_target(text, source) for text in references[1]))
    wanted = platforms(run)
    options = Options(
        access=load_logins(auth) if auth else (),
        transfers=run.proc,
        retries=run.retries,
        state=state_location(run.state, StateSettings()),
        timeouts=timeouts(run, Timeouts()),
    )
    return OneShotRun(options, report, output, platform_warnings(wanted), lists_copies=True).execute(
        lambda syncer, observer, stop: syncer.copy(
            source,
            targets,
            platforms=wanted,
            force=run.force,
            observer=observer,
            stop=stop,
            referrers=NO_REFERRERS if run.referrers is False else None,
            compare_referrers=run.referrers is True,
        )
    )


class OneShotRun(Struct):
    """A run in the foreground, with its progress, signals, report and exit code.

    *lists_copies*: the summary names each copied image.
    """

    options: Options
    report: ReportOptions
    output: OutputOptions
    warnings: Sequence[str] = ()
    lists_copies: bool = False
    dry_run: bool = False

    def execute(self, work: Work) -> int:
        """Do *work*, print the result, and return the exit code."""
        for path, option in (
            (self.report.report, "--report"),
            (self.report.output_success_images, "--output-success-images"),
        ):
            if path is not None:
                files.check_writable(path, option)
        with command_log(self.output, {"dry_run": True} if self.dry_run else {}) as log:
            self._warn([*self.warnings, *_format_warning(self.report)], log)
            result, exit_code, report_error = self._run(work, log)
            log.ended(result)
            self._warn(result.warnings)
            self._show(result)
            if report_error is not None:
                raise report_error
        return exit_code or int(result.failed)

    def _run(self, work: Work, log: CommandLog) -> tuple[RunResult, int | None, ImageSyncerError | None]:
        """Return the result, the exit code of the signal that ended it, and the error of a report file."""
        tally = Tally(time.monotonic, dry_run=self.dry_run)
        display, waits = _display(self.output, tally)
        stop = Shutdown(drain_seconds=self.options.drain_seconds)

        def request_stop() -> None:
            stop.requested.set()
            log.stopping(stop.drain_seconds)
            self._announce_stop(stop)

        signals = Signals(first=request_stop, second=stop.at_once.set, last=lambda: display.close(None))

        async def observed() -> tuple[RunResult, ImageSyncerError | None]:
            watcher = RegistryObserverGroup(waits, log)
            async with open_app(self.options, registry_observer=watcher) as syncer, asyncio.TaskGroup() as group:
                refreshing = group.create_task(refresh(display), name="progress")
                try:
                    result = await work(syncer, ObserverGroup(tally, log), stop)
                finally:
                    refreshing.cancel()
                # Before `open_app` closes, which may take seconds: a second signal must not lose the report.
                return result, self._report_error(result)

        try:
            result, report_error = run_with_signals(observed(), signals)
        except BaseException:
            display.close(None)
            raise
        finally:
            signals.disarm()
        display.close(result)
        return result, signals.exit_code, report_error

    def _warn(self, warnings: Sequence[str], log: CommandLog | None = None) -> None:
        """Print *warnings*, and log them where the log is a file or JSON."""
        for text in warnings:
            if not self.output.quiet and not stderr_is_json(self.output):
                warn(text)
            if log is not None and (self.output.log is not None or stderr_is_json(self.output)):
                log.warned(text)

    def _announce_stop(self, stop: Shutdown) -> None:
        if not self.output.quiet and not stderr_is_json(self.output):
            complain(
                f"stopping; running copies have {stop.drain_seconds:.0f} s to finish; a second signal stops at once"
            )

    def _report_error(self, result: RunResult) -> ImageSyncerError | None:
        """Write the report files and return the error of one that cannot be written."""
        try:
            self._write_reports(result)
        except ImageSyncerError as error:
            return error
        return None

    def _write_reports(self, result: RunResult) -> None:
        if self.report.report is not None:
            files.write(self.report.report, report_text(result))
        if self.report.output_success_images is not None:
            as_json = self.report.output_images_format == "json"
            files.write(self.report.output_success_images, success_map(result, as_json=as_json))

    def _show(self, result: RunResult) -> None:
        if self.output.output == "json":
            write_result(report_text(result))
        elif self.output.quiet:
            for line in failures(result):
                say(str(line))
        else:
            show(summary(result, lists_copies=self.lists_copies))


def _display(output: OutputOptions, tally: Tally) -> tuple[Display, RegistryWaits]:
    """Return the progress display, and the record of registry waits that it shows."""
    if output.quiet or stderr_is_json(output):
        return NoDisplay(), RegistryWaits(time.monotonic)
    if output.no_progress or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        waits = RegistryWaits(time.monotonic, say)
        return PlainLines(tally, waits, say), waits
    from image_syncer.cli.bars import ProgressBars  # noqa: PLC0415 - only a terminal needs Rich

    waits = RegistryWaits(time.monotonic)
    return ProgressBars(tally, waits), waits


def _format_warning(report: ReportOptions) -> list[str]:
    name = report.output_images_format
    return [] if name in {"yaml", "json"} else [f"--output-images-format {name}: unknown format; yaml is used"]
