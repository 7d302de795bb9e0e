"""The main job as its users run it: a process with the Go tool's files and flags."""

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


def test_the_seeds_flags_copy_everything_and_the_second_run_nothing(cli: CommandLine, target: FakeRegistry) -> None:
    """Exit code 0 twice; the first run copies three images, the second finds them unchanged."""
    first = cli.run(*FILES, "--proc", "3", "-r", "1")
    assert first.returncode == 0
    assert "copied     3" in first.stdout
    assert target.manifest("mirror/app", "v2") == multi("app").manifests[-1]
    second = cli.run(*FILES)
    assert second.returncode == 0
    assert "unchanged  3" in second.stdout
    assert target.requests.count(method="PUT", kind="manifest") == 1 + 4 + 1


def test_stdout_has_the_result_and_stderr_the_progress(cli: CommandLine) -> None:
    """Each can be kept without the other, and neither has colours where no terminal is."""
    done = cli.run("sync", *FILES)
    *_, last, end = done.stderr.splitlines()
    assert last.startswith("Now 3/3 tasks have been processed (3 copied, 0 unchanged, 0 failed; ")
    assert end.startswith("Synchronization finished, 0 tasks failed, cost ")
    assert "Now" not in done.stdout
    assert "\x1b" not in done.stdout + done.stderr


def test_quiet_says_nothing_but_the_result(cli: CommandLine) -> None:
    """A cron job that succeeds has nothing on stderr."""
    done = cli.run(*FILES, "--quiet")
    assert done.stderr == ""
    assert "copied     3" in done.stdout


def test_json_output_is_the_report(cli: CommandLine) -> None:
    """What a program reads from stdout is what it would read from the file."""
    done = cli.run(*FILES, "--output", "json", "--report", "report.json")
    assert done.stdout == cli.read("report.json")
    report = json.loads(done.stdout)
    assert report["summary"]["copied"] == 3
    assert {image["outcome"] for image in report["images"]} == {"copied"}


def test_a_dry_run_changes_nothing_and_tells_all(cli: CommandLine, target: FakeRegistry) -> None:
    """It names every image that a run would copy."""
    done = cli.run("sync", *FILES, "--dry-run")
    assert done.returncode == 0
    assert done.stdout.count("→") == 3
    assert target.requests.count(method="PUT") + target.requests.count(method="POST") == 0


def test_one_rule_can_be_run_alone(cli: CommandLine, source: FakeRegistry) -> None:
    """By its name, which is its source; another name is a slip."""
    done = cli.run("sync", *FILES, "--rule", f"{source.host}/team/tool:v1")
    assert "copied     1" in done.stdout
    slip = cli.run("sync", *FILES, "--rule", "tool")
    assert slip.returncode == 2
    assert "--rule tool: there is no such rule" in slip.stderr


@pytest.mark.parametrize("form", ["yaml", "json", "toml"])
def test_the_map_of_copied_images_is_written_as_the_seed_does(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry, form: str
) -> None:
    """Source to targets; any other word than json means yaml, with a warning."""
    done = cli.run(*FILES, "--output-success-images", "done", "--output-images-format", form)
    reader: Any = YAML(typ="safe", pure=True)
    written = json.loads(cli.read("done")) if form == "json" else reader.load(cli.read("done"))
    assert written[f"{source.host}/team/tool:v1"] == [f"{target.host}/mirror/tool:v1"]
    assert len(written) == 3
    assert ("--output-images-format toml: neither yaml nor json" in done.stderr) is (form == "toml")


def test_the_single_file_of_old_is_read(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """With --config the other two are ignored, which is said."""
    config = {"auth": {}, "images": {f"{source.host}/team/app:v1": f"{target.host}/one/app"}}
    cli.write("config.json", json.dumps(config))
    done = cli.run("-c", "config.json", "--images", "images.yaml")
    assert "copied     1" in done.stdout
    assert "--config is given: --auth and --images are ignored" in done.stderr


def test_without_an_auth_file_there_is_one_warning(cli: CommandLine) -> None:
    """And the run goes on anonymously."""
    done = cli.run("--images", "images.yaml")
    assert done.returncode == 0
    assert done.stderr.count("warning: ") == 1
    assert "no auth file is given" in done.stderr


def test_a_log_file_tells_how_each_copy_ended(cli: CommandLine) -> None:
    """One closing event for each, beside the progress on stderr."""
    done = cli.run(*FILES, "--log", "log.json", "--log-format", "json")
    events = [json.loads(line) for line in cli.read("log.json").splitlines()]
    assert [event["outcome"] for event in events if event["event"] == "copy.finished"] == ["copied"] * 3
    assert events[-1]["event"] == "run.finished"
    assert "Synchronization finished" in done.stderr


def test_json_on_stderr_is_nothing_but_json(cli: CommandLine) -> None:
    """A collector that reads events finds no prose between them."""
    done = cli.run("--images", "images.yaml", "--log-format", "json")
    names = [json.loads(line)["event"] for line in done.stderr.splitlines()]
    assert names.count("copy.finished") == 3
    assert {"run.warned", "run.finished"} <= set(names)


def test_platforms_can_be_chosen(cli: CommandLine, source: FakeRegistry) -> None:
    """The trimmed index has a digest of its own, and the report says so."""
    done = cli.run(
        "sync", *FILES, "--rule", f"{source.host}/team/app", "--arch", "amd64", "--os", "linux", "--output", "json"
    )
    for image in json.loads(done.stdout)["images"]:
        assert image["outcome"] == "copied"
        assert image["source_digest"] != image["target_digest"]
