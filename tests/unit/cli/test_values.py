"""Values that are plainly right never reach Typer's check, and come out as they would from there."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from typer.main import get_command

from image_syncer.cli.values import spare


def given(*arguments: str, spared: bool = True) -> dict[str, Any]:
    """Return what a command with an option of every kind gets for *arguments*."""
    got: dict[str, Any] = {}
    app = typer.Typer()

    @app.command()
    def command(
        names: Annotated[list[str], typer.Argument()],
        file: Annotated[Path | None, typer.Option()] = None,
        count: Annotated[int, typer.Option(min=1, max=1000)] = 5,
        form: Literal["text", "json"] = "text",
        also: Annotated[list[str] | None, typer.Option()] = None,
        loud: Annotated[bool, typer.Option("--loud")] = False,  # noqa: FBT002 - Typer's way
    ) -> None:
        got.update(names=names, file=file, count=count, form=form, also=also, loud=loud)

    made = get_command(app)
    if spared:
        spare(made)
    made.main(list(arguments), standalone_mode=False)
    return got


@pytest.mark.parametrize(
    "arguments",
    [
        ("a",),
        ("a", "b", "--file", "x/y", "--count", "1", "--form", "json", "--also", "p", "--also", "q"),
        ("a", "--count", "1000", "--loud"),
    ],
)
def test_plain_values_come_out_as_typer_has_them(arguments: tuple[str, ...]) -> None:
    """Types included: a path is a path, and a number a number."""
    assert given(*arguments) == given(*arguments, spared=False)


def test_plain_values_do_not_need_the_library_that_checks() -> None:
    """The library is taken away meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delitem(sys.modules, "typer._adapters", raising=False)
        patch.setitem(sys.modules, "pydantic", None)
        assert given("a", "--file", "x", "--count", "7", "--form", "json")["count"] == 7
        with pytest.raises(ImportError):
            given("a", "--count", "seven")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--count", "0"), ("--count", "1001"), ("--count", "seven"), ("--count", "٣"), ("--count", "-1"), ("--form", "x")],
)
def test_doubtful_values_are_refused_as_typer_refuses_them(option: str, value: str) -> None:
    """In the same words, where it refuses them."""
    told: list[str] = []
    for spared in (True, False):
        try:
            told.append(str(given("a", option, value, spared=spared)))
        except typer.TyperException as error:
            told.append(error.format_message())
    assert told[0] == told[1]


def test_a_path_of_which_something_is_demanded_is_checked() -> None:
    """None of our options demands anything of a path; one that does must not be believed."""
    app = typer.Typer()

    @app.command()
    def command(file: Annotated[Path, typer.Option(exists=True)]) -> None:
        raise AssertionError(file)

    made = get_command(app)
    spare(made)
    with pytest.raises(typer.BadParameter, match="does not exist"):
        made.main(["--file", "/no/such/file"], standalone_mode=False)
