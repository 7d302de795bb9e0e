"""Start-up cost: a short run imports no slow library, and takes little CPU and memory.

The tests count modules and not seconds, since time depends on the machine.
"""

import statistics
import subprocess
import sys

import pytest

from image_syncer import __version__
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from support.command_line import CommandLine

# Each takes 10 to 100 ms of CPU to import, and comparing a thousand tags needs none of them.
HEAVY = {
    *("aiohttp", "alembic", "croniter", "email.parser", "fastapi", "importlib.metadata", "jinja2", "multiprocessing"),
    *("procrastinate", "prometheus_client", "psycopg", "pydantic", "pygments", "rich", "sqlalchemy"),
    *("structlog", "uvicorn", "yarl", "zoneinfo"),
}
# A copy needs no rules, so it does not need these either; tables of characters and of dates cost memory too.
SLOW = HEAVY | {
    *("difflib", "email", "encodings.idna", "logging.config", "platformdirs", "re2", "ruamel", "shutil", "tempfile"),
    *("unicodedata", "image_syncer.config.load", "image_syncer.config.model"),
}
MOST_MODULES = 400
"""The standard library has 180 of them, click 15; the rest is our own. A library that slips in has dozens."""
MOST_MIB = 35
MOST_CPU_SECONDS = 0.5
"""Twice as much as a copy takes on a slow machine: a library that is imported by mistake takes more."""

_LOOK = """
import sys, time
from image_syncer.cli.main import main
code = main(sys.argv[1:])
with open("usage", "w") as usage, open("/proc/self/status") as status:
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    usage.write(f"{time.process_time()} {peak}")
with open("modules", "w") as modules:
    modules.write("\\n".join(sys.modules))
sys.exit(code)
"""


def imported(cli: CommandLine, *arguments: str) -> set[str]:
    """Return the modules that a run with *arguments* imports; it succeeds."""
    command = [sys.executable, "-c", _LOOK, *arguments]
    done = subprocess.run(
        command, cwd=cli.directory, env=cli.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(cli.read("modules").splitlines())


def mirrored(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> str:
    """Load the same image into both registries, write a rule, and return its file."""
    for registry in (source, target):
        registry.load("team/app", single("app"), "v1")
    cli.write("rules.yaml", f"{source.host}/team/app: {target.host}/team/app\n")
    return "rules.yaml"


def test_a_run_without_changes_imports_no_slow_library(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """Common options change nothing about it."""
    rules = mirrored(cli, source, target)
    options = ("--quiet", "--proc", "8", "--retries", "1", "--no-progress", "--patience", "1m")
    modules = imported(cli, "sync", "--images", rules, *options)
    assert "image_syncer.registry.http.socket_transport" in modules
    assert modules & HEAVY == set()


def test_rules_in_json_import_no_parser_of_yaml(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """The suffix of a file decides, as for the Go tool."""
    mirrored(cli, source, target)
    cli.write("rules.json", f'{{"{source.host}/team/app": "{target.host}/team/app"}}')
    modules = imported(cli, "sync", "--images", "rules.json")
    assert "image_syncer.config.documents.json_text" in modules
    assert not modules & {"ruamel", "ruamel.yaml", "image_syncer.config.documents.yaml_text"}


def copy_arguments(cli: CommandLine, source: FakeRegistry, target: FakeRegistry, name: str) -> list[str]:
    """Return the arguments that copy a small image to the repository *name* of *target*."""
    source.load("team/app", single("app"), "v1")
    hosts = (f'"{registry.host}": {{"insecure": true}}' for registry in (source, target))
    cli.write("auth.json", f"{{{', '.join(hosts)}}}")
    return ["copy", f"{source.host}/team/app:v1", f"{target.host}/{name}", "--auth", "auth.json"]


@pytest.mark.parametrize("state", ["none", "state.db"])
def test_a_copy_imports_few_modules(state: str, cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """The first one with a state creates it, the second one finds it."""
    for name in ("one", "two"):
        modules = imported(cli, *copy_arguments(cli, source, target, name), "--state", state)
        assert modules & SLOW == set()
        assert len(modules) <= MOST_MODULES
        assert ("sqlite3" in modules) == (state != "none")


def test_a_copy_takes_little_cpu_and_memory(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """With a new state for each; the bounds have room for slow machines."""
    seconds: list[float] = []
    for name in ("a", "b", "c"):
        imported(cli, *copy_arguments(cli, source, target, name), "--state", f"{name}.db")
        used, kibibytes = cli.read("usage").split()
        assert int(kibibytes) / 1024 <= MOST_MIB
        seconds.append(float(used))
    assert statistics.median(seconds) <= MOST_CPU_SECONDS


def test_a_log_option_imports_the_logging_library(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Only a log needs it."""
    modules = imported(cli, "sync", "--images", mirrored(cli, source, target), "--log", "log.txt")
    assert modules & HEAVY >= {"structlog"}
    assert "run.finished" in cli.read("log.txt")


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version_is_written_without_the_command_line(option: str, cli: CommandLine) -> None:
    """Scripts ask for it often; its output and its errors are those of the command line."""
    done = cli.shell(f"$it {option}; $it {option} > /dev/full; echo $?; PYTHONPROFILEIMPORTTIME=1 $it {option} 2>&1")
    first, code, *rest = done.stdout.splitlines()
    assert (first, code) == (f"image-syncer {__version__}", "1")
    assert done.stderr == "image-syncer: the result cannot be written: No space left on device\n"
    assert first in rest
    assert not any("click" in line or "asyncio" in line for line in rest)
