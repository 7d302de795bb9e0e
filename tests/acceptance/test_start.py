"""What a run takes to start: a run that finds nothing to do is over before heavy libraries would be imported."""

import json
import subprocess
import sys

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from support.command_line import CommandLine

# Each of them takes 10 to 100 ms of CPU to import, and none is needed to compare a thousand tags.
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
    """Return what is imported by a run with *arguments* that finds one image unchanged."""
    command = [sys.executable, "-c", _LOOK, *arguments, "--output", "json"]
    done = subprocess.run(
        command, cwd=cli.directory, env=cli.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert json.loads(done.stdout)["summary"]["unchanged"] == 1, done.stderr
    return set(cli.read("modules").splitlines())


def mirrored(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> str:
    """Let both have the same image, write the rule, and return its file."""
    for registry in (source, target):
        registry.load("team/app", single("app"), "v1")
    cli.write("rules.yaml", f"{source.host}/team/app: {target.host}/team/app\n")
    return "rules.yaml"


def test_a_run_that_finds_nothing_to_do_imports_nothing_heavy(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """With options that people give, checked ones among them; counted in modules, since time depends on the machine."""
    rules = mirrored(cli, source, target)
    options = ("--quiet", "--proc", "8", "--retries", "1", "--no-progress", "--patience", "1m")
    modules = imported(cli, "sync", "--images", rules, *options)
    assert "image_syncer.registry.http.socket_transport" in modules
    assert modules & HEAVY == set()


def test_a_log_is_worth_its_library(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Whoever asks for one gets it, and pays for it."""
    modules = imported(cli, "sync", "--images", mirrored(cli, source, target), "--log", "log.txt")
    assert modules & HEAVY >= {"structlog"}
    assert "run.finished" in cli.read("log.txt")
