import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from image_syncer import __version__
from image_syncer.cli.main import _explain as main_explains  # pyright: ignore[reportPrivateUsage] - no other way in
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


def modules_of(*arguments: str) -> set[str]:
    """Return what is imported while the command line runs with *arguments*."""
    code = "import sys; from image_syncer.cli.main import main; main(sys.argv[1:]); print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert "No such option" not in done.stderr
    return set(done.stdout.splitlines())


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("sync", "--help"), ("copy", "-h"), ("config", "validate", "--help"), ("jobs", "list", "--help")],
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """So it answers at once; counted in modules, since time depends on the machine."""
    imported = modules_of(*arguments)
    assert "image_syncer.cli.main" in imported
    assert imported.isdisjoint(HEAVY)
    assert not {name for name in imported if name.startswith(("image_syncer.app", "image_syncer.registry"))}


def test_help_names_the_whole_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Groups included, so that the line can be typed as it stands."""
    assert main(["jobs", "list", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: image-syncer jobs list [OPTIONS]\n")


def test_the_version_imports_no_library() -> None:
    """Not even the one that looks into the metadata of packages."""
    assert modules_of("--version").isdisjoint(HEAVY)


def test_the_version_is_that_of_the_package() -> None:
    """It stands in two places, since to look into the metadata takes long."""
    assert __version__ == version("image-syncer")


def test_checking_files_imports_no_network_library(tmp_path: Path) -> None:
    """What talks to nobody starts without what it takes to talk."""
    (tmp_path / "images.yaml").write_text("nginx: registry.example.com/nginx")
    imported = modules_of("config", "validate", "--images", str(tmp_path / "images.yaml"))
    assert imported.isdisjoint({"aiohttp", "asyncio", "rich", "structlog"})


def test_an_unexpected_error_is_one_line_without_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    """The text of an error that nobody foresaw may hold anything, a signed address for instance."""
    assert main_explains(RuntimeError("https://x/?signature=hunter2"), debug=False) == 1
    assert capsys.readouterr().err == (
        "image-syncer: an unexpected RuntimeError (please report it, with what --debug shows)\n"
    )


def test_with_debug_an_error_shows_where_it_arose(capsys: pytest.CaptureFixture[str]) -> None:
    """The line is still there, as the last one; control characters are harmless here too."""
    assert main_explains(RuntimeError("\x1b[2J"), debug=True) == 1
    shown = capsys.readouterr().err
    assert "RuntimeError: \\x1b[2J" in shown
    assert shown.splitlines()[-1].startswith("image-syncer: an unexpected RuntimeError")


def test_an_error_inside_task_groups_is_the_one_that_counts(capsys: pytest.CaptureFixture[str]) -> None:
    """What a task group wraps around it is of no interest to a user."""
    inner = ExceptionGroup("inner", [NotFound("app: not found", remedy="look at the tags")])
    assert main_explains(ExceptionGroup("outer", [inner]), debug=False) == 1
    assert capsys.readouterr().err == "image-syncer: app: not found (look at the tags)\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--proc", "0"], "'--proc' / '-p': Input should be greater than or equal to 1 (see image-syncer --help)"),
        (
            ["--retries", "-1"],
            "'--retries' / '-r': Input should be greater than or equal to 0 (see image-syncer --help)",
        ),
        (["--output", "xml"], "'--output'"),
        (["--imagse", "x"], "No such option: --imagse"),
        (["snyc"], "No such command 'snyc'. Did you mean 'sync'? (see image-syncer --help)"),
        (["copy", "nginx"], "Missing argument 'TARGET...' (see image-syncer copy --help)"),
        (["config"], "Missing command (see image-syncer config --help)"),
        (["--records", "f"], "--records was removed (leave it out; what a target has is found by asking it)"),
        (["--registry", "r"], "--registry was removed (write the whole target into the images file"),
        (["--namespace=n"], "--namespace was removed (write the whole target into the images file"),
        (["--proc", "3", "sync"], "--proc stands before sync (write image-syncer sync --proc)"),
    ],
)
def test_a_slip_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is wrong and where to look, in our name; nothing on stdout."""
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("image-syncer: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_without_arguments_it_says_what_it_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The daemon's usual file is not there: exit code 2 and a hint."""
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert capsys.readouterr().err == (
        "image-syncer: nothing to do: no --images FILE, no --config FILE, and no configs/sync.yaml here "
        "(image-syncer --auth auth.yaml --images images.yaml, or image-syncer --help)\n"
    )
