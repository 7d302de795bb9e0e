"""The summary of a run as text, and the map of copied images that the Go tool writes."""

import json
import re
import sys
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from image_syncer.cli.console import write_result
from image_syncer.cli.formatting import duration, number, printable, size
from image_syncer.structs import Struct
from image_syncer.sync.referrer_report import ReferrerReport
from image_syncer.sync.result import CopyResult, Outcome, RunResult

_FAILED_SHOWN = 50
_SKIPPED_SHOWN = 10
_REFUSED_SHOWN = 10
_STYLES = {
    Outcome.COPIED: "green",
    Outcome.UNCHANGED: "dim",
    Outcome.SKIPPED: "yellow",
    Outcome.FAILED: "bold red",
}
_DRY_RUN_NAMES = {
    Outcome.COPIED: "would be copied",
    Outcome.UNCHANGED: "unchanged",
    Outcome.SKIPPED: "would be skipped",
    Outcome.FAILED: "failed",
}
_PLAIN_YAML = re.compile(r"[a-z0-9][A-Za-z0-9._/:@-]*[A-Za-z0-9_-]")


class Line(Struct):
    """One line of text: parts with Rich styles ("" is plain), indented by *indent* columns."""

    parts: tuple[tuple[str, str], ...] = ()
    indent: int = 2

    def __str__(self) -> str:
        text = "".join(part for part, _ in self.parts)
        return " " * self.indent + text if text else ""


def summary(result: RunResult, *, lists_copies: bool) -> Iterator[Line]:
    """Yield counts, bytes, requests and time, then refused referrers, skipped and failed images with their reasons.

    With *lists_copies*, and always in a dry run, it names each copied image.
    """
    yield Line()
    if result.dry_run:
        yield Line((("Dry run: nothing was changed.", "bold"),))
        yield Line()
    yield from _counts(result)
    if lists_copies or result.dry_run:
        yield from _copied(result)
    yield from _refused(result)
    yield from _skipped(result)
    yield from failures(result)
    yield Line()


def show(lines: Iterator[Line]) -> None:
    """Write *lines* to stdout: on a terminal in colour and wrapped at its width, else plain."""
    if not sys.stdout.isatty():
        write_result(f"{line}\n" for line in lines)
        return
    from rich.console import Console, Group  # noqa: PLC0415 - only a terminal needs it
    from rich.padding import Padding  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(highlight=False, markup=False)
    group = Group(*(Padding(Text.assemble(*line.parts), (0, 0, 0, line.indent)) for line in lines))
    with console.capture() as captured:
        console.print(group)
    write_result([captured.get()])


def success_map(result: RunResult, *, as_json: bool) -> Iterator[str]:
    """Yield a map from each copied source to its targets, as YAML or JSON; empty in a dry run."""
    pushed: dict[str, list[str]] = {}
    for image in result.results:
        if image.outcome is Outcome.COPIED and not result.dry_run:
            pushed.setdefault(image.source, []).append(image.target)
    if as_json:
        yield json.dumps(pushed, sort_keys=True) + "\n"
        return
    if not pushed:
        yield "{}\n"
    for source, targets in sorted(pushed.items()):
        yield f"{_yaml(source)}:\n"
        yield from (f"- {_yaml(target)}\n" for target in targets)


def arrow(image: CopyResult) -> str:
    """Return source and target of a copy as one printable text."""
    return f"{printable(image.source)} \u2192 {printable(image.target)}"


def _counts(result: RunResult) -> Iterator[Line]:
    counts = result.counts
    width = len(str(max(counts.values())))
    transferred = result.transferred
    amounts = (
        (size(transferred.copied), transferred.copied or counts[Outcome.COPIED]),
        (f"{size(transferred.mounted)} mounted", transferred.mounted),
        (f"{size(transferred.existing)} already at the target", transferred.existing),
    )
    shown = "" if result.dry_run else ", ".join(text for text, is_shown in amounts if is_shown)
    names = {outcome: _DRY_RUN_NAMES[outcome] if result.dry_run else outcome.value for outcome in counts}
    longest = max(map(len, names.values()))
    for outcome, count in counts.items():
        note = f"   {shown}" if outcome is Outcome.COPIED and shown else ""
        style = _STYLES[outcome] if count else "dim"
        yield Line(((f"{names[outcome]:<{longest}}  {count:>{width}}", style), (note, "dim")))
    requests = f"{result.requests.get('source', 0)} at the source, {result.requests.get('target', 0)} at the target"
    seconds = (result.finished_at - result.started_at).total_seconds()
    yield Line()
    yield from _referrers(result)
    yield Line(((f"{duration(seconds)}, requests: {requests}", "dim"),))


def _referrers(result: RunResult) -> Iterator[Line]:
    """Yield the numbers of referrers that were copied or not, and of unchanged images whose referrers are unknown."""
    reports = _reports(result)
    refused = sum(len(report.refused) for report in reports)
    amounts = (
        (sum(report.copied for report in reports), "copied", "dim"),
        (refused, "refused", "yellow"),
        (sum(len(report.not_carried) for report in reports), "not carried", "dim"),
    )
    shown = [(f"{count} {name}", style) for count, name, style in amounts if count]
    if shown:
        parts = [("referrers: ", "dim")]
        for position, part in enumerate(shown):
            parts += [(", ", "dim"), part] if position else [part]
        yield Line(tuple(parts))
    if result.unchecked_referrers:
        images = number(result.unchecked_referrers, "unchanged image")
        yield Line(((f"referrers of {images} not compared; --referrers or a state does that", "dim"),))


def _reports(result: RunResult) -> Collection[ReferrerReport]:
    """Return one report for each manifest and target repository: tags of one image share its referrers."""
    reports: dict[tuple[str, str], ReferrerReport] = {}
    for image in result.results:
        if (report := image.referrers) is None:
            continue
        manifest = str(image.source_digest) if image.source_digest else image.source
        key = (image.target.rpartition(":")[0], manifest)
        if key not in reports or report.copied > reports[key].copied:
            reports[key] = report
    return reports.values()


def _refused(result: RunResult) -> Iterator[Line]:
    """Yield the referrers that the target refused, below their images."""
    images = [image for image in result.results if image.referrers is not None and image.referrers.refused]
    if images:
        yield Line()
        yield Line((("referrers refused", "yellow"),))
    for image in images[:_REFUSED_SHOWN]:
        yield Line(((arrow(image), ""),), indent=4)
        problems = image.referrers.refused if image.referrers else ()
        for problem in problems[:_REFUSED_SHOWN]:
            yield Line(((f"{problem.kind} {problem.digest}: ", "dim"), (printable(problem.reason), "")), indent=6)
        yield from _more(problems, _REFUSED_SHOWN, indent=6)
    yield from _more(images, _REFUSED_SHOWN, indent=4)


def _copied(result: RunResult) -> Iterator[Line]:
    images = [image for image in result.results if image.outcome is Outcome.COPIED]
    if images:
        yield from _heading("would be copied" if result.dry_run else "copied", Outcome.COPIED)
    for image in images:
        digest = f"  {image.target_digest}" if image.target_digest else ""
        way = f"  {image.way}" if image.way else ""
        yield Line(((arrow(image), ""), (digest + way, "dim")), indent=4)


def _skipped(result: RunResult) -> Iterator[Line]:
    """Yield the skipped images by reason: an interrupted run skips many for the same one."""
    images = [image for image in result.results if image.outcome is Outcome.SKIPPED]
    if images:
        yield from _heading("would be skipped" if result.dry_run else "skipped", Outcome.SKIPPED)
    for reason, same in groupby(sorted(images, key=_reason), key=_reason):
        group = list(same)
        yield Line(((f"{reason}: {number(len(group), 'image')}", ""),), indent=4)
        yield from (Line(((arrow(image), "dim"),), indent=6) for image in group[:_SKIPPED_SHOWN])
        yield from _more(group, _SKIPPED_SHOWN, indent=6)


def failures(result: RunResult) -> Iterator[Line]:
    """Yield the failed images by reason: a registry that is down fails many for the same one."""
    images = [image for image in result.results if image.outcome is Outcome.FAILED]
    if images:
        yield from _heading("failed", Outcome.FAILED)
    groups: dict[tuple[str | None, ...], list[CopyResult]] = {}
    for image in images[:_FAILED_SHOWN]:
        groups.setdefault((image.side, image.step, image.reason, image.remedy), []).append(image)
    for group in groups.values():
        yield from (Line(((arrow(image), ""),), indent=4) for image in group)
        yield from _explanation(group[0])
    yield from _more(images, _FAILED_SHOWN, indent=4)


def _explanation(image: CopyResult) -> Iterator[Line]:
    where = ": ".join(part for part in (image.side, image.step) if part)
    yield Line(((f"{where}: " if where else "", "dim"), (_reason(image), "red")), indent=6)
    if image.remedy:
        yield Line((("\u2192 ", "dim"), (printable(image.remedy), "")), indent=6)


def _heading(text: str, outcome: Outcome) -> Iterator[Line]:
    yield Line()
    yield Line(((text, _STYLES[outcome]),))


def _more(items: Sequence[object], shown: int, *, indent: int) -> Iterator[Line]:
    if len(items) > shown:
        yield Line(((f"and {len(items) - shown} more; --report FILE lists them all", "dim"),), indent=indent)


def _reason(image: CopyResult) -> str:
    return printable(image.reason or "unknown reason")


def _yaml(text: str) -> str:
    """Return *text* as a YAML scalar: plain if that is safe, else in quotes."""
    return text if _PLAIN_YAML.fullmatch(text) else json.dumps(text)
