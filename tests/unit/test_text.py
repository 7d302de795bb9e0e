"""Untrusted text, wherever it goes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import ConfigError, CopyFailed, StoreError, Unavailable
from image_syncer.telemetry import as_text
from image_syncer.text import SHOWN_LIMIT, printable


@given(st.text(alphabet=st.characters(), max_size=100))
def test_printable_text_is_visible_and_can_be_written_anywhere(text: str) -> None:
    """Any input gives one line of valid Unicode without control characters. Harmless text stays unchanged."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    io.StringIO().write(shown.encode().decode())
    assert printable(shown) == shown


def test_a_long_text_is_cut_at_the_limit() -> None:
    """A text of exactly that length stays whole."""
    assert printable("x" * SHOWN_LIMIT) == "x" * SHOWN_LIMIT
    assert printable("x" * (SHOWN_LIMIT + 1)) == "x" * SHOWN_LIMIT + " ..."


@pytest.mark.parametrize("kind", [StoreError, Unavailable])
def test_an_error_escapes_untrusted_text_when_it_is_created(kind: type[StoreError]) -> None:
    """Message, remedy and code are safe to print everywhere, also inside the error of a failed copy."""
    error = kind("\x1b[2J\u202e\nimage-syncer: all is well\ud800", remedy="\x07", code="\x9bA")
    assert str(error) == "\\x1b[2J\\u202e\\x0aimage-syncer: all is well\\ud800 (\\x07)"
    assert error.code == "\\x9bA"
    assert str(CopyFailed(error, side="source", step="resolve")).isprintable()


def test_an_error_in_a_file_keeps_its_line_breaks() -> None:
    """Its text is our own, one line per fault."""
    assert ConfigError("one\ntwo", file="a.yaml", line=1).message == "a.yaml:1: one\ntwo"


def test_a_logged_traceback_is_escaped() -> None:
    """An exception may quote anything; its line breaks stay."""
    line = as_text(None, "", {"event": "it.broke", "exception": "Traceback:\n  ValueError: \x1b[31m\x00"})
    assert line.splitlines()[1:] == ["Traceback:", "  ValueError: \\x1b[31m\\x00"]
