"""Surroundings of hardened containers and full machines: no home, no threads, no directory, odd variables."""

import base64
import os
import pwd
import shutil
import threading
from pathlib import Path

import pytest
from aiohttp import web

from image_syncer.cli.main import main
from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import single
from support.command_line import CommandLine


@pytest.fixture(autouse=True)
def app(source: FakeRegistry) -> None:
    """Load an image into the source."""
    source.load("team/app", single("app"), "v1")


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Run as a user without a passwd entry, in an empty directory."""

    def unknown(_user: int) -> None:
        raise KeyError

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in [name for name in os.environ if name.startswith("XDG_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("homeless")
@pytest.mark.parametrize("home", [None, ""])
@pytest.mark.parametrize("state", [(), ("--state", "none")])
def test_a_user_without_a_home_directory_can_copy(  # noqa: PLR0913, PLR0917 - fixtures
    home: str | None,
    state: tuple[str, ...],
    source: FakeRegistry,
    target: FakeRegistry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The run has no default state and no logins of docker. It leaves no directory called ~."""
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    assert main(["copy", *state, f"{source.host}/team/app:v1", f"{target.host}/copy/app"]) == 0
    assert main(["tags", f"{target.host}/copy/app"]) == 0
    captured = capsys.readouterr()
    assert captured.out.endswith("v1\n")
    assert "warning" not in captured.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("homeless")
def test_a_daemon_without_a_home_directory_needs_a_named_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its state must survive, so it does not start without one."""
    monkeypatch.delenv("HOME", raising=False)
    (tmp_path / "d.yaml").write_text("version: 1\nserver: {listen: '127.0.0.1:0'}\nrules: []\n")
    assert main(["jobs", "list", "-c", "d.yaml"]) == 2
    assert main(["serve", "-c", "d.yaml"]) == 2
    assert capsys.readouterr().err.count("there is no directory for the state, since HOME is not set") == 2


def test_a_log_on_a_full_disk_is_named_after_the_run(
    cli: CommandLine, source: FakeRegistry, target: FakeRegistry
) -> None:
    """The image is copied, and the report is complete; only the log is not."""
    ends = (f"{source.host}/team/app:v1", f"{target.host}/copy/app")
    done = cli.run("copy", "--log", "/dev/full", "--report", "report.json", *ends)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "image-syncer: --log /dev/full: cannot be written: No space left on device (the log is incomplete)"
    )
    assert target.manifest("copy/app", "v1") is not None
    assert '"copied": 1' in cli.read("report.json")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--report", "report.json"), 2, "--report report.json: cannot be written: the working directory was removed"),
        (("--log", "log.txt"), 2, "--log log.txt: cannot be written: "),
        ((), 0, ""),
    ],
)
def test_a_removed_working_directory_is_named(  # noqa: PLR0913, PLR0917 - fixtures
    options: tuple[str, ...],
    code: int,
    message: str,
    source: FakeRegistry,
    target: FakeRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A run that needs no relative path works there."""
    (tmp_path / "gone").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path / "gone")
    shutil.rmtree(tmp_path / "gone")
    assert main(["copy", *options, f"{source.host}/team/app:v1", f"{target.host}/copy/app"]) == code
    assert message in capsys.readouterr().err


def test_refused_threads_are_named(
    source: FakeRegistry, target: FakeRegistry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit of processes makes the system refuse threads."""

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert main(["copy", f"{source.host}/team/app:v1", f"{target.host}/copy/app"]) == 1
    assert "the system refuses to start another thread (raise the limit of processes: ulimit -u" in (
        capsys.readouterr().err
    )


def test_a_password_that_is_not_utf_8_is_sent_as_it_is(cli: CommandLine, source: FakeRegistry) -> None:
    """The environment holds bytes; the registry gets the same ones."""
    seen: list[str] = []

    async def record(request: web.Request) -> web.Response | None:
        seen.append(request.headers.get("Authorization", ""))
        if seen[-1]:
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    source.intercept.append(record)
    cli.environment["SECRET"] = os.fsdecode(b"p\xff\xe4ss")
    cli.write("auth.yaml", f"{source.host}: {{username: u, password: '${{SECRET}}'}}\n")
    done = cli.run("tags", "--auth", "auth.yaml", f"{source.host}/team/app")
    assert (done.returncode, done.stdout) == (0, "v1\n")
    login = base64.b64encode(b"u:p\xff\xe4ss").decode()
    assert f"Basic {login}" in seen


@pytest.mark.parametrize(
    "section",
    [
        "server: {auth: {basic: {username: u, password: '${SECRET}'}}}",
        "server: {auth: {tokens: ['${SECRET}']}}",
        "hooks: {h: {kind: github, secret: '${SECRET}'}}",
        "state: {path: '${SECRET}'}",
    ],
)
def test_other_values_that_are_not_utf_8_are_refused(cli: CommandLine, section: str) -> None:
    """A caller could not send them, and a database could not be named by them."""
    cli.environment["SECRET"] = os.fsdecode(b"p\xff\xe4ss")
    cli.write("n.yaml", f"version: 1\nrules: []\n{section}\n")
    done = cli.run("config", "validate", "-c", "n.yaml")
    assert done.returncode == 2
    assert "n.yaml:3:" in done.stderr
    assert "the value of its variable is not UTF-8" in done.stderr
