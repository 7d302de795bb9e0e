"""Bytes of strangers on their way to stdout."""

import io
import sys

import pytest

from image_syncer.cli.console import write_bytes

CONTENT = b'{"note": "\x9b31m\xe2\x80\xae \x1b[2J"}\r\n' + b"x" * 5000


class Terminal(io.TextIOWrapper):
    """A stream that says whether it is a terminal."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        """Say so."""
        return self._terminal

    @property
    def written(self) -> bytes:
        """What came."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


def test_bytes_stay_as_they_are_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their digest is looked at there."""
    stream = Terminal(terminal=False)
    monkeypatch.setattr(sys, "stdout", stream)
    write_bytes(CONTENT)
    assert stream.written == CONTENT


def test_bytes_steer_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are shown, and none does anything."""
    stream = Terminal(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    write_bytes(CONTENT)
    lines = stream.written.decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[0] == r'{"note": "\x9b31m\u202e \x1b[2J"}'
    assert lines[1] == "x" * 5000
