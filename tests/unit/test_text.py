"""Foreign text, wherever it goes."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import ConfigError, CopyFailed, StoreError, Unavailable
from image_syncer.telemetry import as_text
from image_syncer.text import SHOWN_LIMIT, printable


@given(st.text(alphabet=st.characters(), max_size=100))
def test_what_is_shown_is_visible_and_can_be_written_anywhere(text: str) -> None:
    """Whatever comes in: one line, nothing that steers, and valid Unicode. What was harmless stays as it was."""
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    io.StringIO().write(shown.encode().decode())
    assert printable(shown) == shown


def test_a_text_is_cut_at_its_limit() -> None:
    """Just fitting is whole."""
    assert printable("x" * SHOWN_LIMIT) == "x" * SHOWN_LIMIT
    assert printable("x" * (SHOWN_LIMIT + 1)) == "x" * SHOWN_LIMIT + " ..."


@pytest.mark.parametrize("kind", [StoreError, Unavailable])
def test_an_error_from_a_registry_is_harmless_from_its_birth(kind: type[StoreError]) -> None:
    """Message, remedy and code: nobody further on has to think of it, a failed copy included."""
    error = kind("\x1b[2J\u202e\nimage-syncer: all is well\ud800", remedy="\x07", code="\x9bA")
    assert str(error) == "\\x1b[2J\\u202e\\x0aimage-syncer: all is well\\ud800 (\\x07)"
    assert error.code == "\\x9bA"
    assert str(CopyFailed(error, side="source", step="resolve")).isprintable()


def test_faults_of_a_file_keep_their_lines() -> None:
    """They are our own words, one line each."""
    assert ConfigError("one\ntwo", file="a.yaml", line=1).message == "a.yaml:1: one\ntwo"


def test_a_logged_traceback_steers_nothing() -> None:
    """An exception may quote anything; its lines stay lines."""
    line = as_text(None, "", {"event": "it.broke", "exception": "Traceback:\n  ValueError: \x1b[31m\x00"})
    assert line.splitlines()[1:] == ["Traceback:", "  ValueError: \\x1b[31m\\x00"]
