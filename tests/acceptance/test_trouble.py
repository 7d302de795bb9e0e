"""What goes wrong, tried as a new user would: one clear line, the right exit code, nothing half-written."""

import asyncio
import errno
import json
import os
import pty
import signal
from dataclasses import replace

import pytest
from aiohttp import web

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
    """Let uploads to *target* take for ever, except for what belongs to the first image."""
    fine = {str(digest) for digest in single("app0").blobs}

    async def intercept(request: web.Request) -> None:
        if request.method == "PUT" and request.query.get("digest", "") not in fine | {""}:
            await asyncio.sleep(60)

    target.intercept.append(intercept)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("images.yaml", None, "image-syncer: images.yaml: "),
        ("images.yaml", "a: b\n  c: d\n", "image-syncer: images.yaml:2: "),
        ("images.yaml", "nginx: registry.example.com/nginx\nnginx: other.example.com/nginx\n", "images.yaml:2: "),
        ("images.yaml", "nginx: registry.example.com/Nginx\n", "images.yaml:1: "),
        ("images.txt", "nginx: registry.example.com/nginx\n", "image-syncer: images.txt: "),
    ],
)
def test_a_file_that_cannot_be_understood_is_one_line_with_its_place(
    cli: CommandLine, name: str, text: str | None, said: str
) -> None:
    """Exit code 2, nothing on stdout."""
    if text is not None:
        cli.write(name, text)
    done = cli.run("--images", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_several_faults_have_a_line_each(cli: CommandLine) -> None:
    """A user corrects them in one go."""
    cli.write("images.yaml", "Nginx: registry.example.com/nginx\nredis: registry.example.com/Redis\n")
    first, second = cli.run("--images", "images.yaml").stderr.splitlines()
    assert first.startswith("image-syncer: images.yaml:1: ")
    assert second.startswith("  images.yaml:2: ")


def test_a_daemon_without_a_login_is_not_started(cli: CommandLine) -> None:
    """The fork's file is found without arguments; its hook open to everybody must be wanted."""
    (cli.directory / "configs").mkdir()
    cli.write("configs/sync.yaml", "app:\n  port: :8080\n")
    done = cli.run()
    assert done.returncode == 2
    assert "auth" in done.stderr


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("option", ["--report", "--output-success-images", "--log"])
def test_a_file_that_cannot_be_written_is_found_out_before_anything_is_contacted(
    cli: CommandLine, source: FakeRegistry, option: str
) -> None:
    """Exit code 2, and no request was made."""
    done = cli.run(*FILES, option, "missing/file")
    assert done.returncode == 2
    assert done.stderr.startswith(f"image-syncer: {option} missing/file: cannot be written: ")
    assert source.requests.count() == 0


@pytest.mark.usefixtures("rules")
def test_one_missing_tag_fails_alone_and_the_report_says_so(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """Exit code 1; the others are copied."""
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
def test_a_registry_that_is_not_there_is_a_failure_that_names_it(cli: CommandLine, target: FakeRegistry) -> None:
    """Exit code 1, and no traceback."""
    cli.write("images.yaml", f"127.0.0.1:1/team/app:v1: {target.host}/mirror/app\n")
    done = cli.run(*FILES, "--retries", "0")
    assert done.returncode == 1
    assert "source: resolve: " in done.stdout
    assert "127.0.0.1:1" in done.stdout


def test_a_wrong_password_is_told_without_the_password(cli: CommandLine, target: FakeRegistry) -> None:
    """Neither on the streams nor in the log, however much is logged."""
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
def test_what_a_registry_says_cannot_steer_the_terminal(cli: CommandLine, source: FakeRegistry) -> None:
    """An error text with escape sequences is shown harmless, on both streams."""

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
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_drains_reports_and_can_be_run_again(
    cli: CommandLine, target: FakeRegistry, number: signal.Signals, code: int
) -> None:
    """What was not finished is skipped as interrupted and has no tag; the next run copies it."""
    stall_uploads(target)
    process = cli.start(*FILES, "--report", "report.json")
    wait_until(lambda: target.manifest("mirror/app", "v0") is not None)
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    report = json.loads(cli.read("report.json"))
    assert process.returncode == code
    assert "stopping; what runs has 10 s to finish" in err
    assert "Traceback" not in err
    assert (report["summary"]["copied"], report["summary"]["skipped"]) == (1, 5)
    assert {image["reason"] for image in report["images"]} == {None, "interrupted"}
    assert "interrupted: 5 images" in out
    assert target.manifest("mirror/app", "v1") is None
    target.intercept.clear()
    again = cli.run(*FILES, "--output", "json")
    assert json.loads(again.stdout)["summary"] | {"copied": 5, "unchanged": 1} == json.loads(again.stdout)["summary"]


@pytest.mark.usefixtures("rules")
def test_a_second_signal_stops_at_once_and_the_report_is_written(cli: CommandLine, target: FakeRegistry) -> None:
    """No drain is waited for; what was not finished is named, and the next run copies it."""
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


def test_looking_stops_at_the_first_signal(cli: CommandLine, source: FakeRegistry) -> None:
    """Nothing has to be finished; nothing is said."""

    async def never(_request: web.Request) -> None:
        await asyncio.sleep(60)

    source.intercept.append(never)
    process = cli.start("tags", f"{source.host}/team/app")
    wait_until(lambda: source.requests.count() > 0)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 143


@pytest.mark.usefixtures("rules")
def test_a_full_disk_under_stdout_is_one_line(cli: CommandLine) -> None:
    """The run itself was carried out, and its report is there."""
    done = cli.shell("$it --auth auth.yaml --images images.yaml -q --report report.json > /dev/full; echo $?")
    assert done.stdout == "1\n"
    assert done.stderr == "image-syncer: the result cannot be written: No space left on device\n"
    assert json.loads(cli.read("report.json"))["summary"]["copied"] == 6


@pytest.mark.usefixtures("rules")
def test_closed_streams_do_not_stop_a_run(cli: CommandLine, target: FakeRegistry) -> None:
    """As a daemon or a careless script starts programs."""
    done = cli.shell("$it --auth auth.yaml --images images.yaml >&- 2>&-; echo $?")
    assert (done.stdout, done.stderr) == ("0\n", "")
    assert target.manifest("mirror/app", "v5") is not None


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize("more", [[], ["--no-progress"]])
def test_bars_are_drawn_on_a_terminal_alone_and_leave_it_clean(cli: CommandLine, more: list[str]) -> None:
    """They hide the cursor and show it again; with --no-progress there are plain lines."""
    screen = run_on_terminal(cli, *FILES, *more)
    drawn = "\x1b[?25l" in screen
    assert drawn is not bool(more)
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l") or not drawn
    assert ("Now 6/6 tasks" in screen) is bool(more)


def run_on_terminal(cli: CommandLine, *arguments: str) -> str:
    """Run with stderr on a terminal and return all that was written there."""
    cli.environment["TERM"] = "xterm-256color"
    ours, theirs = pty.openpty()
    process = cli.start(*arguments, stderr=theirs)
    os.close(theirs)
    written = b""
    while chunk := read_terminal(ours):
        written += chunk
    os.close(ours)
    assert process.wait(timeout=10) == 0
    return written.decode()


def read_terminal(descriptor: int) -> bytes:
    """Return what comes next; empty once nobody writes any more, which Linux calls an input/output error."""
    try:
        return os.read(descriptor, 65536)
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        return b""


def refuse_one_upload(target: FakeRegistry, seconds: int) -> None:
    """Let *target* refuse the first upload, and ask for *seconds* of quiet."""
    refusals = iter([web.Response(status=429, headers={"Retry-After": str(seconds)})])

    async def intercept(request: web.Request) -> web.Response | None:
        return next(refusals, None) if request.method == "POST" else None

    target.intercept.append(intercept)


@pytest.mark.usefixtures("rules")
def test_who_waits_is_told_for_what(cli: CommandLine, target: FakeRegistry) -> None:
    """One line that names the registry and the seconds, in the log as well; the run fails nothing."""
    refuse_one_upload(target, 3)
    done = cli.run(*FILES, "--log", "log.txt", "--retries", "0")
    assert done.returncode == 0
    assert done.stderr.splitlines().count(f"{target.host}: asked to wait, next request in 3 s") == 1
    assert f"registry.waiting registry={target.host} seconds=3.0" in cli.read("log.txt")


@pytest.mark.usefixtures("rules")
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--patience", "soon", "--patience: expected a duration with its unit, such as 90s, 10m, 1h30m or 7d"),
        ("--image-timeout", "60", "--image-timeout: expected a duration with its unit"),
        ("--stall-timeout", "10ms", "--stall-timeout: shorter than a second"),
    ],
)
def test_a_time_that_is_none_is_said_before_anything_is_contacted(
    cli: CommandLine, source: FakeRegistry, option: str, value: str, said: str
) -> None:
    """Exit code 2, one line."""
    done = cli.run(*FILES, option, value)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(f"image-syncer: {said}")
    assert source.requests.count() == 0


@pytest.mark.parametrize("patience", ["1s", "5m"])
def test_a_used_up_quota_is_waited_for_or_told(cli: CommandLine, target: FakeRegistry, patience: str) -> None:
    """Who has no patience sees what to do; who has sees how long it takes, and gets everything. Nobody is refused."""
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
def test_quiet_means_quiet_while_a_registry_makes_us_wait(cli: CommandLine, target: FakeRegistry) -> None:
    """Nothing on stderr."""
    refuse_one_upload(target, 2)
    done = cli.run(*FILES, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
