"""Errors as a user sees them: one clear line, the right exit code, no half-written file."""

import asyncio
import errno
import json
import os
import pty
import signal

import pytest
from aiohttp import web

from image_syncer.structs import replace
from image_syncer.testing import profiles
from image_syncer.testing.accounts import PULL, Account, Accounts
from image_syncer.testing.fake_registry import FakeRegistry, Profile
from image_syncer.testing.images import single
from image_syncer.testing.profile import QuotaProfile
from support.command_line import CommandLine, wait_until

FILES = ("--auth", "auth.yaml", "--images", "images.yaml")


@pytest.fixture
def rules(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """Write a rule for six tags."""
    for number in range(6):
        source.load("team/app", single(f"app{number}"), f"v{number}")
    cli.write("auth.yaml", "{}\n")
    cli.write("images.yaml", f"{source.host}/team/app: {target.host}/mirror/app\n")


def stall_uploads(target: FakeRegistry) -> None:
    """Stall uploads to *target*, except for the blobs of the first image."""
    allowed = {str(digest) for digest in single("app0").blobs}

    async def intercept(request: web.Request) -> None:
        if "/blobs/" in request.path and request.query.get("digest", "") not in allowed | {""}:
            await asyncio.sleep(60)

    target.intercept.append(intercept)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("images.yaml", None, "image-syncer: images.yaml: "),
        ("images.yaml", "a: b\n  c: d\n", "image-syncer: images.yaml:2:4: "),
        ("images.yaml", "nginx: registry.example.com/nginx\nnginx: other.example.com/nginx\n", "images.yaml:2:1: "),
        ("images.yaml", "nginx: registry.example.com/Nginx\n", "images.yaml:1:8: "),
        ("images.txt", "nginx: registry.example.com/nginx\n", "image-syncer: images.txt: "),
    ],
)
def test_a_wrong_file_is_one_line_with_file_and_line_number(
    cli: CommandLine, name: str, text: str | None, message: str
) -> None:
    """The exit code is 2, and stdout is empty."""
    if text is not None:
        cli.write(name, text)
    done = cli.run("--images", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_each_problem_of_a_file_has_a_line(cli: CommandLine) -> None:
    """A user can correct all of them at once."""
    cli.write("images.yaml", "Nginx: registry.example.com/nginx\nredis: registry.example.com/Redis\n")
    first, second = cli.run("--images", "images.yaml").stderr.splitlines()
    assert first.startswith("image-syncer: images.yaml:1:1: ")
    assert second.startswith("  images.yaml:2:8: ")


def test_the_daemon_refuses_a_hook_without_a_login(cli: CommandLine) -> None:
    """An open hook in the fork's default file needs the option --allow-open."""
    (cli.directory / "configs").mkdir()
    cli.write("configs/sync.yaml", "app:\n  port: :8080\n")
    done = cli.run()
    assert done.returncode == 2
    assert "auth" in done.stderr


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("option", ["--report", "--output-success-images", "--log"])
def test_an_output_file_that_cannot_be_written_is_an_early_error(
    cli: CommandLine, source: FakeRegistry, option: str
) -> None:
    """The exit code is 2, and no request is made."""
    done = cli.run(*FILES, option, "missing/file")
    assert done.returncode == 2
    assert done.stderr.startswith(f"image-syncer: {option} missing/file: cannot be written: ")
    assert source.requests.count() == 0


@pytest.mark.usefixtures("rules")
def test_a_missing_tag_fails_only_its_own_image(cli: CommandLine, source: FakeRegistry, target: FakeRegistry) -> None:
    """The exit code is 1; the report has the failure, and the other tags are copied."""
    rules = f"{source.host}/team/app:v1,v9,v2: {target.host}/mirror/app\n"
    cli.write("images.yaml", rules)
    done = cli.run(*FILES, "--report", "report.json")
    report = json.loads(cli.read("report.json"))
    assert done.returncode == 1
    assert (report["summary"]["copied"], report["summary"]["failed"]) == (2, 1)
    (failed,) = [image for image in report["images"] if image["outcome"] == "failed"]
    assert failed["source"] == f"{source.host}/team/app:v9"
    assert (failed["side"], failed["step"]) == ("source", "resolve")
    assert done.stderr.splitlines()[-1].startswith("Synchronization finished, 1 tasks failed")


@pytest.mark.usefixtures("rules")
def test_an_unreachable_registry_is_named(cli: CommandLine, target: FakeRegistry) -> None:
    """The exit code is 1."""
    cli.write("images.yaml", f"127.0.0.1:1/team/app:v1: {target.host}/mirror/app\n")
    done = cli.run(*FILES, "--retries", "0")
    assert done.returncode == 1
    assert "source: resolve: " in done.stdout
    assert "127.0.0.1:1" in done.stdout


def test_an_error_about_a_wrong_password_does_not_show_it(cli: CommandLine, target: FakeRegistry) -> None:
    """The streams, the log and the report do not have it, even with --debug."""
    accounts = Accounts({"reader": Account("right", {"*": PULL})})
    with FakeRegistry.in_thread(Profile(auth="basic", accounts=accounts)) as closed:
        closed.load("team/app", single("app"), "v1")
        cli.write("auth.yaml", f"{closed.host}: {{username: reader, password: hunter2}}\n")
        cli.write("images.yaml", f"{closed.host}/team/app:v1: {target.host}/mirror/app\n")
        done = cli.run(*FILES, "--log", "log", "--debug", "--report", "report.json")
    assert done.returncode == 1
    assert closed.host in done.stdout
    for text in (done.stdout, done.stderr, cli.read("log"), cli.read("report.json")):
        assert "hunter2" not in text


@pytest.mark.usefixtures("rules")
def test_control_characters_of_a_registry_are_escaped(cli: CommandLine, source: FakeRegistry) -> None:
    """Escape sequences in an error text reach neither stream."""

    async def evil(_request: web.Request) -> web.Response:
        error = {"code": "DENIED", "message": "\x1b[2J\x1b]0;owned\x07 no \u202eway"}
        return web.json_response({"errors": [error]}, status=403)

    source.intercept.append(evil)
    done = cli.run(*FILES, "--retries", "0")
    tags = cli.run("tags", f"{source.host}/team/app")
    assert (done.returncode, tags.returncode) == (1, 1)
    for text in (done.stdout, done.stderr, tags.stderr):
        assert not {"\x1b", "\x07", "\u202e"} & set(text)


@pytest.mark.slow
@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_an_interrupted_run_drains_reports_and_can_be_run_again(
    cli: CommandLine, target: FakeRegistry, number: signal.Signals, code: int
) -> None:
    """An unfinished image is skipped as interrupted and has no tag; the next run copies it."""
    stall_uploads(target)
    process = cli.start(*FILES, "--report", "report.json")
    wait_until(lambda: target.manifest("mirror/app", "v0") is not None)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    report = json.loads(cli.read("report.json"))
    assert process.returncode == code
    assert "stopping; running copies have 10 s to finish" in err
    assert "Traceback" not in err
    assert (report["summary"]["copied"], report["summary"]["skipped"]) == (1, 5)
    assert {image["reason"] for image in report["images"]} == {None, "interrupted"}
    assert "interrupted: 5 images" in out
    assert target.manifest("mirror/app", "v1") is None
    target.intercept.clear()
    again = cli.run(*FILES, "--output", "json")
    assert json.loads(again.stdout)["summary"] | {"copied": 5, "unchanged": 1} == json.loads(again.stdout)["summary"]


@pytest.mark.usefixtures("rules")
def test_a_second_signal_stops_at_once_with_a_report(cli: CommandLine, target: FakeRegistry) -> None:
    """The run does not drain. The report names unfinished images, and the next run copies them."""
    cli.write("report.json", "of yesterday")
    stall_uploads(target)
    process = cli.start(*FILES, "--report", "report.json")
    wait_until(lambda: target.manifest("mirror/app", "v0") is not None)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert any("stopping" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    report = json.loads(cli.read("report.json"))
    assert (report["summary"]["copied"], report["summary"]["skipped"]) == (1, 5)
    assert {image["reason"] for image in report["images"]} == {None, "interrupted"}
    target.intercept.clear()
    assert json.loads(cli.run(*FILES, "--output", "json").stdout)["summary"]["copied"] == 5


def test_tags_stops_at_the_first_signal(cli: CommandLine, source: FakeRegistry) -> None:
    """It has nothing to finish and prints nothing."""

    async def never(_request: web.Request) -> None:
        await asyncio.sleep(60)

    source.intercept.append(never)
    process = cli.start("tags", f"{source.host}/team/app")
    wait_until(lambda: source.requests.count() > 0)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 143


@pytest.mark.usefixtures("rules")
def test_a_full_disk_under_stdout_is_one_error_line(cli: CommandLine) -> None:
    """The run is complete, and its report exists."""
    done = cli.shell(
        "$it --auth auth.yaml --images images.yaml -q --output json --report report.json > /dev/full; echo $?"
    )
    assert done.stdout == "1\n"
    assert done.stderr == "image-syncer: the result cannot be written: No space left on device\n"
    assert json.loads(cli.read("report.json"))["summary"]["copied"] == 6


@pytest.mark.usefixtures("rules")
def test_closed_streams_do_not_stop_a_run(cli: CommandLine, target: FakeRegistry) -> None:
    """Some scripts and daemons start programs without streams."""
    done = cli.shell("$it --auth auth.yaml --images images.yaml >&- 2>&-; echo $?")
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert target.manifest("mirror/app", "v5") is not None


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("more", [[], ["--no-progress"]])
def test_progress_bars_are_drawn_only_on_a_terminal(cli: CommandLine, more: list[str]) -> None:
    """They hide the cursor and show it again; --no-progress prints plain lines."""
    screen = run_on_terminal(cli, *FILES, *more)
    drawn = "\x1b[?25l" in screen
    assert drawn is not bool(more)
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l") or not drawn
    assert ("Now 6/6 tasks" in screen) is bool(more)


def run_on_terminal(cli: CommandLine, *arguments: str) -> str:
    """Run with stderr on a terminal and return its output."""
    cli.environment["TERM"] = "xterm-256color"
    reader, terminal = pty.openpty()
    process = cli.start(*arguments, stderr=terminal)
    os.close(terminal)
    written = b""
    while chunk := read_terminal(reader):
        written += chunk
    os.close(reader)
    assert process.wait(timeout=10) == 0
    return written.decode()


def read_terminal(descriptor: int) -> bytes:
    """Return the next bytes; empty after the last writer has gone, which Linux reports as EIO."""
    try:
        return os.read(descriptor, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def refuse_one_upload(target: FakeRegistry, seconds: int) -> None:
    """Refuse the first upload to *target* with a Retry-After of *seconds*."""
    refusals = iter([web.Response(status=429, headers={"Retry-After": str(seconds)})])

    async def intercept(request: web.Request) -> web.Response | None:
        return next(refusals, None) if request.method == "POST" else None

    target.intercept.append(intercept)


@pytest.mark.usefixtures("rules")
def test_a_wait_for_a_registry_is_announced(cli: CommandLine, target: FakeRegistry) -> None:
    """One line and one log event name the registry and the seconds. No image fails."""
    refuse_one_upload(target, 3)
    done = cli.run(*FILES, "--log", "log.txt", "--retries", "0")
    assert done.returncode == 0
    assert done.stderr.splitlines().count(f"{target.host}: asked to wait, next request in 3 s") == 1
    assert f"registry.waiting registry={target.host} seconds=3.0" in cli.read("log.txt")


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--patience", "soon", "--patience: expected a duration with its unit, such as 90s, 10m, 1h30m or 7d"),
        ("--image-timeout", "60", "--image-timeout: expected a duration with its unit"),
        ("--stall-timeout", "10ms", "--stall-timeout: shorter than a second"),
    ],
)
def test_a_wrong_duration_is_an_early_error(
    cli: CommandLine, source: FakeRegistry, option: str, value: str, message: str
) -> None:
    """The exit code is 2, and no request is made."""
    done = cli.run(*FILES, option, value)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"image-syncer: {message}")
    assert source.requests.count() == 0


@pytest.mark.parametrize("patience", ["1s", "5m"])
def test_a_used_up_quota_is_waited_for_within_the_patience(
    cli: CommandLine, target: FakeRegistry, patience: str
) -> None:
    """A short patience fails the image with a remedy; a long one copies all. The registry never answers 429."""
    hub = replace(profiles.DOCKER_HUB, quota=QuotaProfile(2, 8), blobs_elsewhere=False)
    with FakeRegistry.in_thread(hub) as source:
        for number in range(3):
            source.load("team/app", single(f"app{number}"), f"v{number}")
        cli.write("images.yaml", f"{source.host}/team/app: {target.host}/mirror/app\n")
        done = cli.run("--images", "images.yaml", "--patience", patience, "--report", "report.json")
        assert 429 not in [request.status for request in source.requests]
    report = json.loads(cli.read("report.json"))
    if patience == "5m":
        assert (done.returncode, report["summary"]["copied"]) == (0, 3)
        assert f"{source.host}: quota used up (2 per 8 s), next request in 8 s" in done.stderr
        return
    assert (done.returncode, report["summary"]["copied"]) == (1, 2)
    (failed,) = [image for image in report["images"] if image["outcome"] == "failed"]
    assert failed["reason"].startswith(f"{source.host}: quota used up (2 per 8 s), the next request may be made in ")
    assert "--patience" in failed["remedy"]


@pytest.mark.usefixtures("rules")
def test_quiet_hides_the_wait_for_a_registry(cli: CommandLine, target: FakeRegistry) -> None:
    """Stderr is empty."""
    refuse_one_upload(target, 2)
    done = cli.run(*FILES, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
