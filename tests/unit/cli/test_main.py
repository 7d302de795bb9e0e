import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import click
import pytest

from image_syncer import __version__
from image_syncer.cli.main import _report_error as report_error  # pyright: ignore[reportPrivateUsage] - no other way in
from image_syncer.cli.main import main
from image_syncer.errors import NotFound

HEAVY = (
    "aiohttp",
    "asyncio",
    "importlib.metadata",
    "procrastinate",
    "psycopg",
    "pydantic",
    "rich",
    "ruamel",
    "structlog",
)


def imported_modules(*arguments: str) -> set[str]:
    """Return the modules that the command line imports for *arguments*."""
    code = "import sys; from image_syncer.cli.main import main; main(sys.argv[1:]); print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "No such option" not in done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("sync", "--help"),
        ("copy", "-h"),
        ("config", "validate", "--help"),
        ("jobs", "list", "--help"),
        ("help", "serve"),
        ("--show-completion", "zsh"),
    ],
)
def test_help_imports_no_slow_module(arguments: tuple[str, ...]) -> None:
    """Help answers at once. The test counts modules, since time depends on the machine."""
    imported = imported_modules(*arguments)
    assert "image_syncer.cli.main" in imported
    assert imported.isdisjoint(HEAVY)
    assert not {name for name in imported if name.startswith(("image_syncer.app", "image_syncer.registry"))}


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_imports_no_slow_module(option: str) -> None:
    """The version is a constant, since package metadata is slow to read."""
    assert imported_modules(option).isdisjoint(HEAVY)


def test_the_version_matches_the_package_metadata(capsys: pytest.CaptureFixture[str]) -> None:
    """The constant and the metadata agree."""
    assert main(["-V"]) == 0
    assert capsys.readouterr().out == f"image-syncer {version('image-syncer')}\n"
    assert __version__ == version("image-syncer")


def test_validating_files_imports_no_network_library(tmp_path: Path) -> None:
    """`config validate` contacts no server."""
    (tmp_path / "images.yaml").write_text("nginx: registry.example.com/nginx")
    imported = imported_modules("config", "validate", "--images", str(tmp_path / "images.yaml"))
    assert imported.isdisjoint({"aiohttp", "asyncio", "rich", "structlog"})


def test_an_unexpected_error_is_one_line_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """The text of an unforeseen error may hold anything, for instance a signed URL."""
    assert report_error(RuntimeError("https://x/?signature=hunter2"), debug=False) == 1
    assert capsys.readouterr().err == (
        "image-syncer: an unexpected RuntimeError (please report it, with the output of --debug)\n"
    )


def test_debug_shows_the_traceback_before_the_error_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters in a traceback are escaped, too."""
    assert report_error(RuntimeError("\x1b[2J"), debug=True) == 1
    shown = capsys.readouterr().err
    assert "RuntimeError: \\x1b[2J" in shown
    assert shown.splitlines()[-1].startswith("image-syncer: an unexpected RuntimeError")


def test_the_error_inside_exception_groups_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """A task group wraps errors; the user sees the first inner error."""
    inner = ExceptionGroup("inner", [NotFound("app: not found", remedy="look at the tags")])
    assert report_error(ExceptionGroup("outer", [inner]), debug=False) == 1
    assert capsys.readouterr().err == "image-syncer: app: not found (look at the tags)\n"


@pytest.mark.parametrize("error", [KeyboardInterrupt, click.Abort])
def test_an_interruption_exits_130(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C before the first task runs has the same exit code as later."""

    def interrupted(*_arguments: object) -> int:
        raise error

    monkeypatch.setattr("image_syncer.cli.configuration.schema", interrupted)
    assert main(["config", "schema"]) == 130


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--proc", "0"], "'--proc' / '-p': 0 is not in the range 1<=x<=1000 (see image-syncer --help)"),
        (["--proc", "many"], "'--proc' / '-p': 'many' is not a valid integer range (see image-syncer --help)"),
        (["--retries", "-1"], "'--retries' / '-r': -1 is not in the range 0<=x<=100 (see image-syncer --help)"),
        (["--output", "xml"], "'--output': 'xml' is not one of 'text', 'json' (see image-syncer --help)"),
        (["--imagse", "x"], "No such option '--imagse'."),
        (["--imagse", "x"], "'--images'"),
        (["snyc"], "No such command 'snyc'. Did you mean 'sync'? (see image-syncer --help)"),
        (["help", "snyc"], "No such command 'snyc'. Did you mean 'sync'? (see image-syncer --help)"),
        (["help", "jobs", "lst"], "No such command 'lst'. Did you mean 'list'? (see image-syncer jobs --help)"),
        (["help", "sync", "x"], "No such command 'x' (see image-syncer sync --help)"),
        (["copy", "nginx"], "Missing argument 'TARGET...' (see image-syncer copy --help)"),
        (["config"], "Missing command (see image-syncer config --help)"),
        (["--records", "f"], "--records was removed (leave it out: image-syncer asks the target which images it has)"),
        (["--registry", "r"], "--registry was removed (write the whole target into the images file"),
        (["--namespace=n"], "--namespace was removed (write the whole target into the images file"),
        (["--proc", "3", "sync"], "--proc must come after the command sync (write image-syncer sync --proc)"),
        (["-p", "5", "sync"], "--proc must come after the command sync (write image-syncer sync --proc)"),
        (["--dry-run", "jobs", "list"], "--dry-run must come after the command jobs"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line names the problem and the place of the help. Nothing goes to stdout."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("image-syncer: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_without_arguments_the_error_names_the_default_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without the daemon's default file there is nothing to do."""
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "image-syncer: nothing to do: no --images FILE, no --config FILE, and no configs/sync.yaml in this directory "
        "(image-syncer --auth auth.yaml --images images.yaml, or image-syncer --help)\n"
    )
