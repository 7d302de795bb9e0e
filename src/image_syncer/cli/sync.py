"""One pass over rules, or over one reference: the root command, `sync` and `copy`."""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from image_syncer.app import Options, Syncer, open_app
from image_syncer.cli import files
from image_syncer.cli.configuration import load, pick, platforms, timeouts
from image_syncer.cli.console import complain, say, warn, write_result
from image_syncer.cli.log import RunLog, run_log, stderr_is_json
from image_syncer.cli.options import Papers, Rules, Voice, Work
from image_syncer.cli.output import closing, show, success_map
from image_syncer.cli.progress import Display, Lines, Nothing, Several, Tally, Waits, Watchers, keep_ticking
from image_syncer.cli.references import parse_source, parse_target
from image_syncer.cli.report import report
from image_syncer.cli.signals import Signals, run
from image_syncer.cli.state_option import wanted_state
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.config.load import load_auth
from image_syncer.config.model import Configuration
from image_syncer.errors import ImageSyncerError
from image_syncer.registry.settings import Timeouts
from image_syncer.sync.result import Observer, RunResult


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be done: *perform* does it, with what *options* say. *listed* names every copied image at the end."""

    options: Options
    perform: Callable[[Syncer, Observer, Shutdown], Awaitable[RunResult]]
    warnings: Sequence[str] = ()
    listed: bool = False
    dry_run: bool = False


def synchronise(
    rules: Rules, work: Work, papers: Papers, voice: Voice, names: Sequence[str] = (), *, may_serve: bool = False
) -> int:
    """Carry out the rules (with *names*: only those) once and return the exit code.

    With *may_serve* the file decides whether it is for one pass or for the daemon.
    """
    configuration = load(rules, platforms(work))
    if may_serve and configuration.server is not None:
        from image_syncer.cli.daemon import serve  # noqa: PLC0415 - the daemon's libraries are needed for it alone

        return serve(rules.config, voice, dict(os.environ), allow_open=False)
    wanted = pick(configuration.rules, names)
    state = wanted_state(work.state, configuration)

    def perform(syncer: Syncer, observer: Observer, stop: Shutdown) -> Awaitable[RunResult]:
        return syncer.sync(wanted, dry_run=rules.dry_run, force=work.force, observer=observer, stop=stop)

    options = Options(
        access=configuration.access,
        proc=work.proc,
        retries=work.retries,
        state=state,
        keep=configuration.state.keep,
        host_limits=configuration.host_limits,
        timeouts=timeouts(work, configuration.timeouts),
    )
    return carry_out(Order(options, perform, configuration.warnings, dry_run=rules.dry_run), papers, voice)


def copy(ends: tuple[str, Sequence[str]], auth: Path | None, work: Work, papers: Papers, voice: Voice) -> int:
    """Copy one reference, the first of *ends*, to the others and return the exit code."""
    source = parse_source(ends[0])
    targets = tuple(dict.fromkeys(parse_target(text, source) for text in ends[1]))
    wanted = platforms(work)

    def perform(syncer: Syncer, observer: Observer, stop: Shutdown) -> Awaitable[RunResult]:
        return syncer.copy(source, targets, platforms=wanted, force=work.force, observer=observer, stop=stop)

    access = load_auth(auth, environment=os.environ) if auth else ()
    state = wanted_state(work.state, Configuration(access, ()))
    options = Options(
        access=access, proc=work.proc, retries=work.retries, state=state, timeouts=timeouts(work, Timeouts())
    )
    return carry_out(Order(options, perform, listed=True), papers, voice)


def carry_out(order: Order, papers: Papers, voice: Voice) -> int:
    """Do what *order* says, tell about it as *papers* and *voice* want it, and return the exit code."""
    for path, option in ((papers.report, "--report"), (papers.output_success_images, "--output-success-images")):
        if path is not None:
            files.check_writable(path, option)
    with run_log(voice, {"dry_run": True} if order.dry_run else {}) as log:
        _warn([*order.warnings, *_format_warning(papers)], voice, log)
        result, interrupted, trouble = _run(order, papers, voice, log)
        log.ended(result)
        _warn(result.warnings, voice)
        _show(result, order, voice)
        if trouble is not None:
            raise trouble
    return interrupted or int(result.failed)


def _run(
    order: Order, papers: Papers, voice: Voice, log: RunLog
) -> tuple[RunResult, int | None, ImageSyncerError | None]:
    """Return the result, the exit code of the signal that cut it short, and why a paper could not be written."""
    tally = Tally(time.monotonic)
    display, waits = _display(voice, tally)
    stop = Shutdown(drain_seconds=order.options.drain_seconds)

    def ask_to_stop() -> None:
        stop.requested.set()
        _note_interruption(voice, log, stop)

    signals = Signals(first=ask_to_stop, second=stop.at_once.set, last=lambda: display.close(None))

    async def work() -> tuple[RunResult, ImageSyncerError | None]:
        async with open_app(order.options, watcher=Watchers(waits, log)) as syncer, asyncio.TaskGroup() as group:
            ticking = group.create_task(keep_ticking(display), name="progress")
            try:
                result = await order.perform(syncer, Several(tally, log), stop)
            finally:
                ticking.cancel()
            return result, _papers_trouble(result, papers)  # First of all: closing down may take its time.

    try:
        result, trouble = run(work(), signals)
    except BaseException:
        display.close(None)
        raise
    finally:
        signals.disarm()
    display.close(result)
    return result, signals.exit_code, trouble


def _display(voice: Voice, tally: Tally) -> tuple[Display, Waits]:
    """Return what shows how things stand, and what knows who makes us wait."""
    if voice.quiet or stderr_is_json(voice):
        return Nothing(), Waits(time.monotonic)
    if voice.no_progress or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        waits = Waits(time.monotonic, say)
        return Lines(tally, waits, say), waits
    from image_syncer.cli.bars import Bars  # noqa: PLC0415 - Rich is needed on a terminal only

    waits = Waits(time.monotonic)
    return Bars(tally, waits), waits


def _warn(warnings: Sequence[str], voice: Voice, log: RunLog | None = None) -> None:
    """Say *warnings*, and log them too where the log is not what people look at anyway."""
    for text in warnings:
        if not voice.quiet and not stderr_is_json(voice):
            warn(text)
        if log is not None and (voice.log is not None or stderr_is_json(voice)):
            log.warned(text)


def _note_interruption(voice: Voice, log: RunLog, stop: Shutdown) -> None:
    log.stopping(stop.drain_seconds)
    if not voice.quiet and not stderr_is_json(voice):
        complain(f"stopping; what runs has {stop.drain_seconds:.0f} s to finish; a second signal stops at once")


def _format_warning(papers: Papers) -> list[str]:
    form = papers.output_images_format
    return [] if form in {"yaml", "json"} else [f"--output-images-format {form}: neither yaml nor json; taken as yaml"]


def _papers_trouble(result: RunResult, papers: Papers) -> ImageSyncerError | None:
    """Write the papers about *result* and return why one could not be written, None where all were."""
    try:
        _write_papers(result, papers)
    except ImageSyncerError as error:
        return error
    return None


def _write_papers(result: RunResult, papers: Papers) -> None:
    if papers.report is not None:
        files.write(papers.report, report(result))
    if papers.output_success_images is not None:
        as_json = papers.output_images_format == "json"
        files.write(papers.output_success_images, success_map(result, as_json=as_json))


def _show(result: RunResult, order: Order, voice: Voice) -> None:
    if voice.output == "json":
        write_result(report(result))
    else:
        show(closing(result, listed=order.listed))
