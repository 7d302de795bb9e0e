"""A log stream neither blocks nor fails its writers."""

import os
import select
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from image_syncer.concurrency.lossy_writer import BUFFER_LIMIT_BYTES, DroppedLines, LossyWriter


@pytest.fixture
def pipe() -> Generator[tuple[int, int]]:
    """A pipe: the ends for reading and writing."""
    reader, writer = os.pipe()
    yield reader, writer
    for descriptor in (reader, writer):
        try:
            os.close(descriptor)
        except OSError:
            continue  # The test has closed it.


def open_writer(descriptor: int, dropped: DroppedLines) -> tuple[LossyWriter, list[int]]:
    """Return a writer, and the numbers that it reports after a recovery."""
    recovered: list[int] = []
    return LossyWriter(descriptor, dropped, recovered.append), recovered


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds, for at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_lines_arrive_in_order(tmp_path: Path) -> None:
    """All of them are written before the writer is closed."""
    with (tmp_path / "log").open("w") as file:
        writer, _ = open_writer(file.fileno(), DroppedLines())
        for number in range(1000):
            writer.write(f"line {number}\n")
        writer.close()
    assert (tmp_path / "log").read_text().splitlines() == [f"line {number}" for number in range(1000)]


def test_a_pipe_without_a_reader_does_not_block(pipe: tuple[int, int]) -> None:
    """Lines beyond the buffer are dropped and counted; closing waits for a bounded time."""
    dropped = DroppedLines()
    writer, _ = open_writer(pipe[1], dropped)
    line = "x" * 999 + "\n"
    began = time.monotonic()
    lines = 3 * BUFFER_LIMIT_BYTES // len(line)
    for _ in range(lines):
        writer.write(line)
    assert time.monotonic() - began < 2
    assert lines - 1200 < dropped.count + BUFFER_LIMIT_BYTES // len(line) <= lines
    writer.close()
    assert time.monotonic() - began < 5


def test_a_slow_reader_gets_every_line_of_a_burst(pipe: tuple[int, int]) -> None:
    """The buffer takes more than the pipe."""
    dropped = DroppedLines()
    writer, _ = open_writer(pipe[1], dropped)
    for number in range(5000):
        writer.write(f"line {number:04} {'x' * 60}\n")
    read: list[bytes] = []

    def read_all() -> None:
        while chunk := os.read(pipe[0], 65536):
            read.append(chunk)

    thread = threading.Thread(target=read_all)
    thread.start()
    writer.close()
    os.close(pipe[1])
    thread.join()
    assert (b"".join(read).count(b"\n"), dropped.count) == (5000, 0)


def test_a_broken_pipe_drops_and_counts(pipe: tuple[int, int]) -> None:
    """The reader has gone: no exception reaches the caller."""
    os.close(pipe[0])
    dropped = DroppedLines()
    writer, recovered = open_writer(pipe[1], dropped)
    writer.write("one\n")
    writer.write("two\n")
    writer.close()
    assert (dropped.count, recovered) == (2, [])


def test_a_full_device_drops_and_counts() -> None:
    """`/dev/full` fails each write with "no space left"."""
    dropped = DroppedLines()
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        writer, _ = open_writer(full.fileno(), dropped)
        writer.write("one\n")
        writer.close()
    assert dropped.count == 1


def test_a_recovery_reports_the_dropped_lines(pipe: tuple[int, int]) -> None:
    """The reader comes back after the buffer was full; it may catch up in steps, each with its number."""
    dropped = DroppedLines()
    writer, recovered = open_writer(pipe[1], dropped)
    for _ in range(2 * BUFFER_LIMIT_BYTES // 1000):
        writer.write("x" * 999 + "\n")
    lost = dropped.count
    assert lost > 0

    def is_caught_up() -> bool:
        if select.select([pipe[0]], [], [], 0.01)[0]:
            os.read(pipe[0], 65536)
        return sum(recovered) == lost

    wait_until(is_caught_up)
    assert dropped.count == lost
