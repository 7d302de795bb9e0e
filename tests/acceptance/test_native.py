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
    """A scheduled rule runs now; a rule for events prints a warning, until it may list repositories."""
    source.load("team/app", multi("app"), "v1", "w1")
    cli.write("n.yaml", native(source, target))
    done = cli.run("sync", "-c", "n.yaml", "--report", "report.json")
    assert done.returncode == 0
    assert target.manifest("mirror/team/app", "v1-copy") == multi("app").manifests[-1]
    assert "rest has a pattern as its source: there is nothing to do without an event" in done.stderr
    report = json.loads(cli.read("report.json"))
    assert [(image["rule"], image["outcome"]) for image in report["images"]] == [("app", "copied")]
    source.load("team/new", multi("app"), "v1")
    cli.write("n.yaml", native(source, target).replace("on: event}", "on: event, list: true, exclude: team/app}"))
    assert cli.run("sync", "-c", "n.yaml").returncode == 0
    assert target.manifest("team/new", "v1") == multi("app").manifests[-1]
    assert target.manifest("team/app", "v1") is None


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
    assert "pip install '.[queues]'" in done.stderr
    assert not (cli.directory / "kept").exists()


def test_a_native_file_is_validated(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Every problem has its line."""
    text = native(source, target)
    cli.write("n.yaml", text)
    assert cli.run("config", "validate", "-c", "n.yaml").stdout == "valid: 2 rules, 0 logins\n"
    cli.write("n.yaml", text.replace("every: 10m", "every: 10") + "hoks: {}\n")
    done = cli.run("config", "validate", "-c", "n.yaml")
    assert done.returncode == 2
    assert "n.yaml:9:4: rules[0].every: expected a duration" in done.stderr
    assert "n.yaml:13:1: unknown key 'hoks' (did you mean hooks?)" in done.stderr


def test_all_problems_are_reported_at_once(cli: CommandLine) -> None:
    """Structure, meaning and missing libraries are one round, as text and as JSON; every rule keeps its number."""
    cli.write("hidden/sitecustomize.py", "import sys\nsys.modules['nats'] = None\n")  # As if not installed.
    cli.environment["PYTHONPATH"] = str(cli.directory / "hidden")
    cli.write(
        "n.yaml",
        "version: 1\nrules:\n"
        " - {name: one, source: q.io/a, targets: t.io/a, evry: 5m}\n"
        " - {name: two, source: q.io/A, targets: t.io/a}\n"
        " - {name: three, source: q.io/b, targets: t.io/b, tags: '/(?=a)/'}\n"
        " - {name: four, source: q.io/b, targets: t.io/b}\n"
        " - {name: four, source: q.io/c, targets: t.io/c}\n"
        "queues:\n q: {kind: nats, urls: 'nats://h:4222', queue: a/b, prefetch: 0}\n"
        "hooks:\n h: {kind: quay}\n"
        "server: {listen: ':8080'}\nstate: {keep: 1h}\nhoks: {}\n",
    )
    done = cli.run("config", "validate", "-c", "n.yaml")
    report = json.loads(cli.run("config", "validate", "-c", "n.yaml", "--output", "json").stdout)
    assert done.returncode == 2
    assert [(problem["line"], problem["message"].partition(":")[0]) for problem in report["problems"]] == [
        (3, "rules[0]"),
        (4, "'q.io/A'"),
        (5, "/(?=a)/"),
        (7, "rules[4].name"),
        (9, "queues.q.prefetch"),
        (9, "a queue of nats needs nats, which is not installed"),
        (11, "hooks.h"),
        (12, "server"),
        (13, "state.keep"),
        (14, "unknown key 'hoks'"),
    ]
    assert done.stderr.count("\n") == len(report["problems"]) == 10
    assert (report["valid"], report["warnings"]) == (False, [])
    assert {name: report["problems"][8][name] for name in ("file", "line")} == {"file": "n.yaml", "line": 13}
    assert report["problems"][8]["remedy"] == "write 1d or longer; the default is 30d"


def test_a_file_that_serve_refuses_is_not_valid_for_the_daemon(cli: CommandLine) -> None:
    """Without server: the rules can be run once, so only --daemon makes it an error."""
    rules = "rules: [{name: a, source: q.io/a, targets: t.io/a, every: 1h}]\n"
    cli.write("n.yaml", f"version: 1\n{rules}")
    once = cli.run("config", "validate", "-c", "n.yaml")
    assert (once.returncode, once.stdout) == (0, "valid: 1 rule, 0 logins\n")
    assert "the file has no server:, so image-syncer serve refuses it" in once.stderr
    daemon = cli.run("config", "validate", "--daemon", "-c", "n.yaml")
    assert daemon.returncode == 2
    assert daemon.stderr.startswith("image-syncer: n.yaml: the file has no server:")
    served = cli.run("serve", "-c", "n.yaml")
    assert served.returncode == 2
    cli.write("n.yaml", f"version: 1\nserver: {{}}\n{rules}")
    valid = cli.run("config", "validate", "--daemon", "-c", "n.yaml", "--output", "json")
    assert json.loads(valid.stdout) == {"valid": True, "rules": 1, "logins": 0, "warnings": [], "problems": []}


def test_the_schema_is_written_to_stdout(cli: CommandLine) -> None:
    """Editors use it to complete and check keys."""
    done = cli.run("config", "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["properties"].keys() >= {"version", "rules", "registries", "hooks"}
