"""Start-up cost: a run that finds nothing to do imports no slow library."""

import json
import subprocess
import sys

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from support.command_line import CommandLine

# Each takes 10 to 100 ms of CPU to import, and comparing a thousand tags needs none of them.
HEAVY = {
    *("aiohttp", "alembic", "croniter", "email.parser", "fastapi", "importlib.metadata", "jinja2", "multiprocessing"),
    *("procrastinate", "prometheus_client", "psycopg", "pydantic", "pygments", "rich", "sqlalchemy"),
    *("structlog", "uvicorn", "yarl", "zoneinfo"),
}
_LOOK = (
    "import sys; from image_syncer.cli.main import main; code = main(sys.argv[1:]);"
    "open('modules', 'w').write('\\n'.join(sys.modules)); sys.exit(code)"
)


def imported(cli: CommandLine, *arguments: str) -> set[str]:
    """Return the modules that a run with *arguments* imports; it finds one image unchanged."""
    command = [sys.executable, "-c", _LOOK, *arguments, "--output", "json"]
    done = subprocess.run(
        command, cwd=cli.directory, env=cli.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["summary"]["unchanged"] == 1, done.stderr
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
    """Common options change nothing about it. The test counts modules, since time depends on the machine."""
    rules = mirrored(cli, source, target)
    options = ("--quiet", "--proc", "8", "--retries", "1", "--no-progress", "--patience", "1m")
    modules = imported(cli, "sync", "--images", rules, *options)
    assert "image_syncer.registry.http.socket_transport" in modules
    assert modules & HEAVY == set()


def test_a_log_option_imports_the_logging_library(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Only a log needs it."""
    modules = imported(cli, "sync", "--images", mirrored(cli, source, target), "--log", "log.txt")
    assert modules & HEAVY >= {"structlog"}
    assert "run.finished" in cli.read("log.txt")
