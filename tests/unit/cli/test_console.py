"""Untrusted bytes on stdout."""

import io
import sys

import pytest

from image_syncer.cli.console import write_bytes

CONTENT = b'{"note": "\x9b31m\xe2\x80\xae \x1b[2J"}\r\n' + b"x" * 5000


class Terminal(io.TextIOWrapper):
    """A stream with a settable `isatty`."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8", errors="backslashreplace", newline="")
        self._terminal = terminal

    def isatty(self) -> bool:
        """Return the setting."""
        return self._terminal

    @property
    def written(self) -> bytes:
        """The bytes written so far."""
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue()


def test_a_pipe_gets_the_bytes_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may compute their digest."""
    stream = Terminal(terminal=False)
    monkeypatch.setattr(sys, "stdout", stream)
    write_bytes(CONTENT)
    assert stream.written == CONTENT


def test_a_terminal_gets_control_characters_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte is lost."""
    stream = Terminal(terminal=True)
    monkeypatch.setattr(sys, "stdout", stream)
    write_bytes(CONTENT)
    lines = stream.written.decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[0] == r'{"note": "\x9b31m\u202e \x1b[2J"}'
    assert lines[1] == "x" * 5000
