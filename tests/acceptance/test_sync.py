"""One-shot runs as a process, with the files and flags of the Go tool."""

import json
from typing import Any

import pytest
from ruamel.yaml import YAML

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import multi, single
from support.command_line import CommandLine

FILES = ("--auth", "auth.yaml", "--images", "images.yaml")


@pytest.fixture(autouse=True)
def mirror(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Write rules for two repositories with three tags."""
    source.load("team/app", multi("app"), "v1", "v2")
    source.load("team/tool", single("tool"), "v1")
    cli.write("auth.yaml", "{}\n")
    cli.write(
        "images.yaml",
        f"{source.host}/team/app: {target.host}/mirror/app\n{source.host}/team/tool:v1: {target.host}/mirror/tool\n",
    )


def test_the_flags_of_the_go_tool_copy_all_images_and_a_second_run_none(cli: CommandLine, target: FakeRegistry) -> None:
    """Both exit with 0; the second run finds the three images unchanged."""
    first = cli.run(*FILES, "--proc", "3", "-r", "1")
    assert first.returncode == 0
    assert "copied     3" in first.stdout
    assert target.manifest("mirror/app", "v2") == multi("app").manifests[-1]
    second = cli.run(*FILES)
    assert second.returncode == 0
    assert "unchanged  3" in second.stdout
    assert target.requests.count(method="PUT", kind="manifest") == 1 + 4 + 1


def test_stdout_has_the_result_and_stderr_the_progress(cli: CommandLine) -> None:
    """Neither has colours in a pipe."""
    done = cli.run("sync", *FILES)
    *_, last, end = done.stderr.splitlines()
    assert last.startswith("Now 3/3 tasks have been processed (3 copied, 0 unchanged, 0 failed; ")
    assert end.startswith("Synchronization finished, 0 tasks failed, cost ")
    assert "Now" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_quiet_prints_errors_only(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """A cron job that succeeds prints nothing; a failure goes to stderr. JSON is still printed."""
    done = cli.run(*FILES, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    cli.write("images.yaml", f"{source.host}/team/app:v1,v9: {target.host}/mirror/app\n")
    failed = cli.run(*FILES, "--quiet", "--retries", "0")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"{source.host}/team/app:v9 → {target.host}/mirror/app:v9" in failed.stderr
    assert "source: resolve: " in failed.stderr
    assert "v1" not in failed.stderr
    assert json.loads(cli.run(*FILES, "-q", "--output", "json").stdout)["summary"]["failed"] == 1


def test_json_output_is_the_report(cli: CommandLine) -> None:
    """Stdout and the report file have the same content."""
    done = cli.run(*FILES, "--output", "json", "--report", "report.json")
    assert done.stdout == cli.read("report.json")
    report = json.loads(done.stdout)
    assert report["summary"]["copied"] == 3
    assert {image["outcome"] for image in report["images"]} == {"copied"}


def test_a_dry_run_names_all_images_and_changes_none(cli: CommandLine, target: FakeRegistry) -> None:
    """It makes no PUT and no POST."""
    done = cli.run("sync", *FILES, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.count("→") == 3
    assert "  would be copied   3\n" in done.stdout
    assert "Now 3/3 tasks have been checked (3 to copy, 0 unchanged, 0 failed)" in done.stderr
    assert "Dry run finished" in done.stderr
    assert "copied" not in done.stderr
    assert target.requests.count(method="PUT") + target.requests.count(method="POST") == 0


def test_the_option_rule_selects_one_rule(cli: CommandLine, source: FakeRegistry) -> None:
    """The name of a rule is its source; an unknown name is a usage error."""
    done = cli.run("sync", *FILES, "--rule", f"{source.host}/team/tool:v1")
    assert "copied     1" in done.stdout
    wrong = cli.run("sync", *FILES, "--rule", "tool")
    assert wrong.returncode == 2
    assert "--rule tool: no rule has this name" in wrong.stderr


@pytest.mark.parametrize("form", ["yaml", "json", "toml"])
def test_the_map_of_copied_images_is_that_of_the_go_tool(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry, form: str
) -> None:
    """It maps sources to targets; an unknown format means YAML, with a warning."""
    done = cli.run(*FILES, "--output-success-images", "done", "--output-images-format", form)
    reader: Any = YAML(typ="safe", pure=True)
    written = json.loads(cli.read("done")) if form == "json" else reader.load(cli.read("done"))
    assert written[f"{source.host}/team/tool:v1"] == [f"{target.host}/mirror/tool:v1"]
    assert len(written) == 3
    assert ("--output-images-format toml: unknown format" in done.stderr) is (form == "toml")


def test_a_single_file_with_auth_and_images_is_read(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """With --config a warning says that the other two options are ignored."""
    config = {"auth": {}, "images": {f"{source.host}/team/app:v1": f"{target.host}/one/app"}}
    cli.write("config.json", json.dumps(config))
    done = cli.run("-c", "config.json", "--images", "images.yaml")
    assert "copied     1" in done.stdout
    assert "--auth and --images are ignored because --config is given" in done.stderr


def test_without_an_auth_file_there_is_one_warning(cli: CommandLine) -> None:
    """The run continues anonymously."""
    done = cli.run("--images", "images.yaml")
    assert done.returncode == 0
    assert done.stderr.count("warning: ") == 1
    assert "no auth file is given" in done.stderr


def test_the_log_has_the_outcome_of_each_copy(cli: CommandLine) -> None:
    """Each copy has one closing event; progress still goes to stderr."""
    done = cli.run(*FILES, "--log", "log.json", "--log-format", "json")
    events = [json.loads(line) for line in cli.read("log.json").splitlines()]
    assert [event["outcome"] for event in events if event["event"] == "copy.finished"] == ["copied"] * 3
    assert events[-1]["event"] == "run.finished"
    assert "Synchronization finished" in done.stderr


def test_a_json_log_on_stderr_has_only_json(cli: CommandLine) -> None:
    """Every line is an event, warnings included."""
    done = cli.run("--images", "images.yaml", "--log-format", "json")
    names = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert names.count("copy.finished") == 3
    assert {"run.warned", "run.finished"} <= set(names)


def test_options_select_platforms(cli: CommandLine, source: FakeRegistry) -> None:
    """The report has the digest of the filtered index."""
    done = cli.run(
        "sync", *FILES, "--rule", f"{source.host}/team/app", "--arch", "amd64", "--os", "linux", "--output", "json"
    )
    for image in json.loads(done.stdout)["images"]:
        assert image["outcome"] == "copied"
        assert image["source_digest"] != image["target_digest"]
