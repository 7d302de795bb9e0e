"""JSON from strangers."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.bounded_json import DEPTH_LIMIT, VALUES_LIMIT, parse_object, refuse_lookalikes
from image_syncer.errors import ImageSyncerError, ProtocolError, TooLarge

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_what_json_holds_is_read(document: dict[str, Any]) -> None:
    """Any object, however it is written."""
    for ascii_only in (True, False):
        try:
            content = json.dumps(document, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue  # Half a character.
        assert parse_object(content, "it") == document or not ascii_only


@given(st.binary(max_size=200))
def test_bytes_are_an_object_or_an_error_of_ours(content: bytes) -> None:
    """Nothing else comes out."""
    with suppress(ImageSyncerError):
        assert isinstance(parse_object(content, "it"), dict)


def nested(levels: int) -> bytes:
    """Return a document with so many levels."""
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_depth_has_a_limit() -> None:
    """Just below passes; far beyond does not meet the parser at all; brackets in texts do not count."""
    assert parse_object(nested(DEPTH_LIMIT), "it")
    for levels in (DEPTH_LIMIT + 1, 100_000, 1_000_000):
        with pytest.raises(TooLarge, match=f"it: .*nested deeper than {DEPTH_LIMIT} levels|more than"):
            parse_object(nested(levels), "it")
    assert parse_object(json.dumps({"a": "[" * 1000 + '\\"' + "{" * 1000}).encode(), "it")
    with pytest.raises(ProtocolError, match="not JSON"):
        parse_object(b'{"a":"' + b"[" * 100, "it")


def test_the_number_of_values_has_a_limit() -> None:
    """A few bytes for each value would become a hundred times as many."""
    assert len(parse_object(b'{"a":[' + b"0," * (VALUES_LIMIT - 3) + b"0]}", "it")["a"]) == VALUES_LIMIT - 2
    for filling in (b"0,", b"{},", b'"",'):
        with pytest.raises(TooLarge, match=f"it: a document with more than {VALUES_LIMIT} values"):
            parse_object(b'{"a":[' + filling * VALUES_LIMIT + b"0]}", "it")
    with pytest.raises(TooLarge, match="more than 2 values"):
        parse_object(b'{"a":[1,2]}', "it", values=2)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a":1,"a":2}', "a key that stands twice; refused as ambiguous"),
        (b'{"a":{"b":[{"c":1,"c":1}]}}', "a key that stands twice"),
        (b'{"a":NaN}', "NaN, which is no number"),
        (b'{"a":-Infinity}', "-Infinity, which is no number"),
        (rb'{"a":"\ud800"}', "half a character"),
        (rb'{"a\udfff":1}', "half a character"),
        ('{"a":1}'.encode("utf-16"), "not JSON"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON"),
        (b'{"a":"\xff"}', "not JSON"),
        (b'{"a":' + b"9" * 10_000 + b"}", "not JSON"),
        (b'{"a":1}{"b":2}', "not JSON"),
        (b"", "not JSON"),
        (b"[]", "no JSON object"),
        (b'"text"', "no JSON object"),
    ],
)
def test_what_readers_could_read_differently_is_refused(content: bytes, why: str) -> None:
    """Another reader's opinion of it could be another image."""
    with pytest.raises(ProtocolError, match=f"^it: {why}"):
        parse_object(content, "it")


def test_whole_characters_may_be_escaped() -> None:
    """Two halves make one."""
    assert parse_object(rb'{"a":"\ud83d\ude00"}', "it") == {"a": "\U0001f600"}


def test_a_key_that_go_would_take_for_another_is_refused() -> None:
    """Its readers do not look at the case."""
    refuse_lookalikes({"layers": 1, "Other": 2}, {"layers": "layers"}, "it")
    with pytest.raises(ProtocolError, match="it: a key 'Layers'; refused as ambiguous"):
        refuse_lookalikes({"layers": 1, "Layers": 2}, {"layers": "layers"}, "it")
