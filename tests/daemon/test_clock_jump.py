"""A daemon whose clock jumps 30 days ahead and back, as after a wrong answer of a time server."""

from pathlib import Path

import pytest

from image_syncer.testing import FakeRegistry, faults
from image_syncer.testing.images import single
from support.daemons import run_daemon, wait_for
from support.ports import free_port

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)

FILE = """
version: 1
registries: {{127.0.0.1: {{insecure: true}}}}
rules: [{{name: app, source: '{source}/app', targets: '{target}/app', every: 10s}}]
timeouts: {{patience: 0s}}
server: {{listen: 127.0.0.1:{port}}}
"""


class FakedClock:
    """The clock of a daemon: that of this machine plus what *file* says."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set_ahead("+0")

    def set_ahead(self, offset: str) -> None:
        """Set the clock ahead by *offset*, such as `+30d`."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n", encoding="ascii")
        new.replace(self._file)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that makes a process read it; monotonic clocks stay right, as on a real machine."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }


def count(log: Path, event: str) -> int:
    """Return how often *event* is in the log."""
    return log.read_text(encoding="utf-8").count(event)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")
def test_a_clock_that_jumps_ahead_and_back_delays_no_schedule_and_no_retry(tmp_path: Path) -> None:
    """The rule is due ten seconds later, and a copy that failed meanwhile is retried within seconds, not in 30 days."""
    clock, log, port = FakedClock(tmp_path / "clock"), tmp_path / "log", free_port()
    with FakeRegistry.in_thread() as source, FakeRegistry.in_thread() as target:
        source.load("app", single("before"), "v1")
        (tmp_path / "sync.yaml").write_text(FILE.format(source=source.host, target=target.host, port=port))
        with run_daemon(tmp_path, port, "serve", "-c", "sync.yaml", "--log", "log", **clock.variables):
            wait_for(lambda: "v1" in target.content("app").tags)
            clock.set_ahead("+30d")
            target.faults.add(faults.answer(500), method="PUT")
            source.load("app", single("after"), "v2")
            due, postponed = count(log, "rule.due"), count(log, "job.postponed")
            wait_for(lambda: count(log, "rule.due") > due and count(log, "job.postponed") > postponed)
            clock.set_ahead("+0")
            target.faults.clear()
            due = count(log, "rule.due")
            wait_for(lambda: count(log, "rule.due") > due)
            wait_for(lambda: "v2" in target.content("app").tags)
        assert "schedule.repaired" in log.read_text(encoding="utf-8")
