import json
from pathlib import Path
from typing import Any

import pytest
import structlog

from image_syncer.errors import UsageError
from image_syncer.sync.result import Outcome, Transferred
from image_syncer.telemetry import LogObserver, LogOptions, logging_to


def events(path: Path) -> list[dict[str, Any]]:
    """Return the events of a log in JSON."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def log() -> Any:
    """Return a logger as the code gets one."""
    return structlog.get_logger()


def test_a_log_file_is_emptied_at_each_start(tmp_path: Path) -> None:
    """The Go tool does the same."""
    path = tmp_path / "log"
    path.write_text("of yesterday\n")
    with logging_to(LogOptions(path, as_json=True)):
        log().info("run.started", proc=5)
    (event,) = events(path)
    assert (event["event"], event["level"], event["proc"]) == ("run.started", "info", 5)
    assert event["time"].endswith("Z")


def test_an_appended_log_file_keeps_its_lines(tmp_path: Path) -> None:
    """The fork does the same."""
    path = tmp_path / "log"
    for number in range(2):
        with logging_to(LogOptions(path, as_json=True, appended=True)):
            log().info("daemon.started", start=number)
    assert [event["start"] for event in events(path)] == [0, 1]


def test_a_new_log_file_that_is_appended_to_is_private(tmp_path: Path) -> None:
    """The fork's log names private images."""
    with logging_to(LogOptions(tmp_path / "log", appended=True)):
        log().info("daemon.started")
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("key", ["password", "token", "Authorization", "client_secret", "registry_password"])
def test_secrets_are_masked(tmp_path: Path, key: str) -> None:
    """A secret is masked as a value and inside a value, such as the headers of a request."""
    path = tmp_path / "log"
    with logging_to(LogOptions(path)):
        log().info(
            "request.sent", **{key: "hunter2"}, headers={key: "hunter2", "Accept": "x"}, parts=[{key: "hunter2"}]
        )
    assert "hunter2" not in path.read_text()
    assert "***" in path.read_text()


def test_a_text_line_cannot_be_forged(tmp_path: Path) -> None:
    """Text of a registry is quoted, with line breaks and control characters escaped."""
    path = tmp_path / "log"
    with logging_to(LogOptions(path)):
        log().warning("copy.failed", reason="x\n2025 error forged\x1b[2J\u202e", source="docker.io/library/a:1")
    (line,) = path.read_text().splitlines()
    assert line.isascii()
    assert "\x1b" not in line
    assert ' warning copy.failed reason="x\\n2025' in line
    assert "source=docker.io/library/a:1" in line


@pytest.mark.parametrize(
    ("options", "kept"),
    [({}, ["info", "warning"]), ({"debug": True}, ["debug", "info", "warning"]), ({"info": False}, ["warning"])],
)
def test_the_level_decides_which_events_are_written(tmp_path: Path, options: Any, kept: list[str]) -> None:
    """DEBUG needs an option; without a log option only warnings are written."""
    with logging_to(LogOptions(tmp_path / "log", as_json=True, **options)):
        for level in ("debug", "info", "warning"):
            getattr(log(), level)("thing.happened")
    assert [event["level"] for event in events(tmp_path / "log")] == kept


def test_without_a_file_the_log_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Stdout carries only the result."""
    with logging_to(LogOptions()):
        log().info("run.started")
    captured = capsys.readouterr()
    assert "info run.started" in captured.err
    assert captured.out == ""


def test_context_is_part_of_every_event(tmp_path: Path) -> None:
    """The context is bound once."""
    with logging_to(LogOptions(tmp_path / "log", as_json=True)), structlog.contextvars.bound_contextvars(rule="nginx"):
        log().info("copy.started")
    assert events(tmp_path / "log")[0]["rule"] == "nginx"


def test_an_exception_is_logged_with_its_traceback(tmp_path: Path) -> None:
    """The traceback follows the line."""
    with logging_to(LogOptions(tmp_path / "log")):
        log().error("run.broke", exc_info=LookupError("gone"))
    assert "LookupError: gone" in (tmp_path / "log").read_text()


def test_a_log_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    """The error comes before any request."""
    with (
        pytest.raises(UsageError, match=r"--log .*: cannot be written"),
        logging_to(LogOptions(tmp_path / "no" / "log")),
    ):
        pass


def test_each_copy_has_one_closing_event(tmp_path: Path, ran: Any, result: Any) -> None:
    """A failure that a retry repairs is no closing event; a lasting one gets its event at the end."""
    again, lost = result("a:1", Outcome.FAILED), result("b:1", Outcome.FAILED, reason="denied")
    good = result("a:1", transferred=Transferred(copied=5), seconds=1.5, attempts=2)
    with logging_to(LogOptions(tmp_path / "log", as_json=True)):
        observer = LogObserver()
        for each in (again, lost, good):
            observer.finished(each)
        observer.ended(ran(good, lost))
    closed = [event for event in events(tmp_path / "log") if event["event"] == "copy.finished"]
    keys = ("rule", "source", "target", "outcome", "bytes", "seconds", "reason")
    assert [[event[key] for key in keys] for event in closed] == [
        ["a:1", good.source, good.target, "copied", 5, 1.5, None],
        ["b:1", lost.source, lost.target, "failed", 0, 0.0, "denied"],
    ]
    assert events(tmp_path / "log")[-1]["event"] == "run.finished"
