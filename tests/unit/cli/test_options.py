"""Groups of options: a command gets each group as one value."""

from typing import Any

import click
import pytest
from click.testing import CliRunner

from image_syncer.cli.options import (
    OutputOptions,
    ReportOptions,
    SourceOptions,
    TransferOptions,
    given_options,
    output_options,
    report_options,
    run_options,
    source_options,
)


def run(*arguments: str) -> dict[str, Any]:
    """Run a command with an argument and every group, and return the values that it gets."""
    got: dict[str, Any] = {}

    @click.command()
    @click.argument("name")
    @source_options
    @run_options
    @report_options
    @output_options
    @click.pass_context
    def command(context: click.Context, **values: Any) -> int:
        got.update(values, given=given_options(context))
        return 0

    outcome = CliRunner().invoke(command, list(arguments))
    assert outcome.exit_code == 0, outcome.output
    return got


def test_without_options_each_group_has_its_defaults() -> None:
    """The defaults of the dataclass and of its options are the same."""
    assert run("x") == {
        "name": "x",
        "source": SourceOptions(),
        "run": TransferOptions(),
        "report": ReportOptions(),
        "output": OutputOptions(),
        "given": [],
    }


def test_options_arrive_in_their_group() -> None:
    """Types included: a number is a number, and a repeatable option a tuple."""
    values = run("x", "-p", "3", "--arch", "arm64", "--arch", "arm", "--dry-run", "--output", "json", "-q")
    assert values["run"] == TransferOptions(proc=3, arch=("arm64", "arm"))
    assert values["source"] == SourceOptions(dry_run=True)
    assert values["output"] == OutputOptions(output="json", quiet=True)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["-p", "3", "--arch", "arm64"], ["--proc", "--arch"]),
        (["-p", "5"], ["--proc"]),
        (["--output-images-format", "json", "-q"], ["--output-images-format", "--quiet"]),
    ],
)
def test_given_options_have_their_long_names(arguments: list[str], options: list[str]) -> None:
    """An option with its default value counts as given, too."""
    assert run("x", *arguments)["given"] == options
