from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from image_syncer.cli.options import Papers, Work, given, grouped


@dataclass(frozen=True, slots=True)
class Group:
    """Two options."""

    count: Annotated[int, typer.Option("--count", "-n")] = 1
    names: Annotated[list[str], typer.Option("--name")] = field(default_factory=list[str])


def run(*arguments: str) -> list[Any]:
    """Run a command that takes an argument, a group and an option, and return what it got."""
    got: list[Any] = []
    app = typer.Typer()

    @app.command()
    @grouped
    def command(target: str, group: Group, loud: bool = False) -> int:  # noqa: FBT002 - Typer's way
        got.extend([target, group, loud])
        return 0

    outcome = CliRunner().invoke(app, list(arguments))
    assert outcome.exit_code == 0, outcome.output
    return got


def test_a_group_arrives_as_one_value() -> None:
    """Its fields are options of the command, beside those that stand alone."""
    assert run("x", "-n", "3", "--name", "a", "--name", "b", "--loud") == ["x", Group(3, ["a", "b"]), True]


def test_a_group_that_nobody_touched_is_the_default_one() -> None:
    """So it can be told whether anything was given."""
    assert run("x") == ["x", Group(), False]
    assert given(run("x")[1]) == []


def test_lists_of_two_calls_are_two_lists() -> None:
    """A default is not shared."""
    run("x")[1].names.append("left over")
    assert run("x")[1].names == []


@pytest.mark.parametrize(
    ("group", "options"),
    [
        (Work(), []),
        (Work(proc=3, arch=["arm64"]), ["--proc", "--arch"]),
        (Papers(output_images_format="json"), ["--output-images-format"]),
    ],
)
def test_options_that_were_given_are_named_as_they_are_written(group: Any, options: list[str]) -> None:
    """A message can point at them."""
    assert given(group) == options
