"""The native file as a process reads it: one pass, the validation, and the schema."""

import asyncio
import json

from aiohttp import web

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import multi
from support.command_line import CommandLine


def native(source: FakeRegistry, target: FakeRegistry) -> str:
    """Return a file with a rule to run and one that waits for events."""
    return (
        "version: 1\nregistries:\n"
        f"  {source.host}: {{insecure: true}}\n  {target.host}: {{insecure: true}}\n"
        f"rules:\n - name: app\n   source: {source.host}/team/app\n   tags: 'v*'\n   every: 10m\n"
        f"   targets: '{target.host}/mirror/{{repository}}:{{tag}}-copy'\n"
        f" - {{name: rest, source: {source.host}/**, targets: '{target.host}/{{repository}}', on: event}}\n"
        "server: {}\n"
    )


def test_sync_runs_the_rules_of_a_native_file(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """A scheduled rule runs now; a rule for events prints a warning."""
    source.load("team/app", multi("app"), "v1", "w1")
    cli.write("n.yaml", native(source, target))
    done = cli.run("sync", "-c", "n.yaml", "--report", "report.json")
    assert done.returncode == 0
    assert target.manifest("mirror/team/app", "v1-copy") == multi("app").manifests[-1]
    assert "rest has a pattern as its source: there is nothing to do without an event" in done.stderr
    report = json.loads(cli.read("report.json"))
    assert [(image["rule"], image["outcome"]) for image in report["images"]] == [("app", "copied")]


def test_the_limits_of_a_registry_apply_to_one_pass(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """With a limit of one request, the registry never has two at once."""
    active = [0, 0]

    async def count(request: web.Request) -> web.StreamResponse | None:
        active[0] += 1
        active[1] = max(active)
        try:
            await asyncio.sleep(0.01)
            return await request.match_info.handler(request)
        finally:
            active[0] -= 1

    target.intercept.append(count)
    source.load("team/app", multi("app"), "v1", "v2")
    text = native(source, target).replace(
        f"{target.host}: {{insecure: true}}", f"{target.host}: {{limits: {{transfers: 1, requests: 1}}}}"
    )
    cli.write("n.yaml", text)
    assert cli.run("sync", "-c", "n.yaml").returncode == 0
    assert active == [0, 1]


def test_a_queue_without_its_extra_is_an_early_error(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """The error has the line of the file and the command to install it; no state and no request is made."""
    cli.write("hidden/sitecustomize.py", "import sys\nsys.modules['aio_pika'] = None\n")  # As if not installed.
    cli.environment["PYTHONPATH"] = str(cli.directory / "hidden")
    queue = "queues:\n  pushes: {kind: rabbitmq, urls: ['amqp://guest:guest@127.0.0.1:1/'], queue: images}\n"
    cli.write("n.yaml", native(source, target) + queue + "state: {path: kept}\n")
    done = cli.run("-c", "n.yaml")
    assert (done.returncode, source.requests.count()) == (2, 0)
    assert "n.yaml:14: a queue of rabbitmq needs aio_pika, which is not installed" in done.stderr
    assert "pip install 'image-syncer[queues]'" in done.stderr
    assert not (cli.directory / "kept").exists()


def test_a_native_file_is_validated(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Every problem has its line."""
    text = native(source, target)
    cli.write("n.yaml", text)
    assert cli.run("config", "validate", "-c", "n.yaml").stdout == "valid: 2 rules, 2 logins\n"
    cli.write("n.yaml", text.replace("every: 10m", "every: 10") + "hoks: {}\n")
    done = cli.run("config", "validate", "-c", "n.yaml")
    assert done.returncode == 2
    assert "n.yaml:9: rules[0].every: expected a duration" in done.stderr
    assert "n.yaml:13: unknown key 'hoks' (did you mean hooks?)" in done.stderr


def test_the_schema_is_written_to_stdout(cli: CommandLine) -> None:
    """Editors use it to complete and check keys."""
    done = cli.run("config", "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["properties"].keys() >= {"version", "rules", "registries", "hooks"}
