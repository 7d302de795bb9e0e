"""The command `config convert`, and files of other tools that `sync` and `serve` read with `--from`."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from image_syncer.cli.console import PROGRAM, say, write_result
from image_syncer.cli.formatting import number
from image_syncer.cli.options import OutputOptions
from image_syncer.config.convert.conversion import Converted
from image_syncer.config.convert.kinds import KINDS, guess_kind, write_native
from image_syncer.config.convert.kinds import convert as convert_files
from image_syncer.config.convert.load_converted import find_problems
from image_syncer.errors import ConfigError, UsageError

_SHOWN_PROBLEMS: Final = 20


def convert(files: Sequence[Path], kind: str | None, target: str | None, output: OutputOptions, *, strict: bool) -> int:
    """Print the native file for *files*, and on stderr what it lacks and what is not valid in it.

    1 if there is either and *strict*.
    """
    kind = kind or guess_kind(files[0])
    converted = convert_known(kind, files, target)
    native = f"# Converted from {kind}; check it with {PROGRAM} config validate.\n{write_native(converted)}"
    problems = find_problems(native)
    if output.output == "json":
        write_result([json.dumps(_as_json(kind, converted, problems)), "\n"])
    else:
        write_result([native])
        if not output.quiet:
            _print_findings(converted, problems)
    return 1 if strict and (converted.lost or problems) else 0


def convert_known(kind: str, files: Sequence[Path], target: str | None) -> Converted:
    """Return the native file for *files* of *kind*; `UsageError` for an unknown kind."""
    if kind not in KINDS:
        raise UsageError(f"--from {kind[:40]}: unknown", remedy=f"known: {', '.join(KINDS)}")
    return convert_files(kind, files, target)


def _print_findings(converted: Converted, problems: Sequence[ConfigError]) -> None:
    for finding in converted.findings:
        say(str(finding))
    for problem in problems[:_SHOWN_PROBLEMS]:
        say(f"not valid, line {problem.line} of the native file: {problem.problem}")
    if len(problems) > _SHOWN_PROBLEMS:
        say(f"and {len(problems) - _SHOWN_PROBLEMS} more lines that are not valid")
    rules = converted.document.get("rules")
    count = len(rules) if isinstance(rules, Sequence) else 0
    say(f"{number(count, 'rule')}; {len(converted.lost)} lost, {len(converted.findings) - len(converted.lost)} noted")


def _as_json(kind: str, converted: Converted, problems: Sequence[ConfigError]) -> dict[str, object]:
    return {
        "from": kind,
        "native": converted.document,
        "findings": [
            {"file": finding.file, "line": finding.line, "kind": finding.kind, "message": finding.message}
            for finding in converted.findings
        ],
        "problems": [{"line": problem.line, "message": problem.problem} for problem in problems],
    }
