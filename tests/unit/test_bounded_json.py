"""JSON from untrusted peers: what the strict reader refuses, and what the lenient one accepts."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.bounded_json import (
    DEPTH_LIMIT,
    VALUES_LIMIT,
    InvalidJson,
    parse_object,
    read_json,
    refuse_lookalikes,
)
from image_syncer.errors import ImageSyncerError, ProtocolError, TooLarge

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_any_object_is_read_back(document: dict[str, Any]) -> None:
    """With and without escapes."""
    for ascii_only in (True, False):
        try:
            content = json.dumps(document, ensure_ascii=ascii_only).encode()
        except UnicodeEncodeError:
            continue  # A lone surrogate.
        assert parse_object(content, "it") == document or not ascii_only


@given(st.binary(max_size=200))
def test_any_bytes_give_an_object_or_one_of_our_errors(content: bytes) -> None:
    """No other exception and no other type comes out."""
    with suppress(ImageSyncerError):
        assert isinstance(parse_object(content, "it"), dict)


def nested(levels: int) -> bytes:
    """Return a document with *levels* levels."""
    return b'{"a":' * (levels - 1) + b"{}" + b"}" * (levels - 1)


def test_depth_has_a_limit() -> None:
    """64 levels pass; the parser never sees a million levels; brackets inside strings do not count."""
    assert parse_object(nested(DEPTH_LIMIT), "it")
    for levels in (DEPTH_LIMIT + 1, 100_000, 1_000_000):
        with pytest.raises(TooLarge, match=f"it: .*nested deeper than {DEPTH_LIMIT} levels|more than"):
            parse_object(nested(levels), "it")
    assert parse_object(json.dumps({"a": "[" * 1000 + '\\"' + "{" * 1000}).encode(), "it")
    with pytest.raises(ProtocolError, match="not JSON"):
        parse_object(b'{"a":"' + b"[" * 100, "it")


def test_the_number_of_values_has_a_limit() -> None:
    """Each value takes a few bytes of JSON and a hundred times as much memory."""
    assert len(parse_object(b'{"a":[' + b"0," * (VALUES_LIMIT - 3) + b"0]}", "it")["a"]) == VALUES_LIMIT - 2
    for filling in (b"0,", b"{},", b'"",'):
        with pytest.raises(TooLarge, match=f"it: a document with more than {VALUES_LIMIT} values"):
            parse_object(b'{"a":[' + filling * VALUES_LIMIT + b"0]}", "it")
    with pytest.raises(TooLarge, match="more than 2 values"):
        parse_object(b'{"a":[1,2]}', "it", values=2)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'{"a":1,"a":2}', "a duplicate key; refused as ambiguous"),
        (b'{"a":{"b":[{"c":1,"c":1}]}}', "a duplicate key; refused as ambiguous"),
        (b'{"a":NaN}', "not JSON: NaN is not a number"),
        (b'{"a":-Infinity}', "not JSON: -Infinity is not a number"),
        (rb'{"a":"\ud800"}', "a lone surrogate; refused as ambiguous"),
        (rb'{"a\udfff":1}', "a lone surrogate; refused as ambiguous"),
        ('{"a":1}'.encode("utf-16"), "not JSON: the text is not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "not JSON: Unexpected UTF-8 BOM"),
        (b'{"a":"\xff"}', "not JSON: the text is not UTF-8"),
        (b'{"a":' + b"9" * 10_000 + b"}", "not JSON: an integer with too many digits"),
        (b'{"a":1}{"b":2}', "not JSON: Extra data at character 7"),
        (b'{"a":"', "not JSON: Unterminated string starting at character 5"),
        (b"", "not JSON: Expecting value at character 0"),
        (b"[]", "not a JSON object"),
        (b'"text"', "not a JSON object"),
    ],
)
def test_a_text_that_parsers_read_differently_is_refused(content: bytes, why: str) -> None:
    """Another parser could find another image in it."""
    with pytest.raises(ProtocolError, match=f"^it: {why}"):
        parse_object(content, "it")


def test_an_escaped_surrogate_pair_is_one_character() -> None:
    """Only a lone surrogate is refused."""
    assert parse_object(rb'{"a":"\ud83d\ude00"}', "it") == {"a": "\U0001f600"}


def test_a_key_that_differs_from_a_known_one_in_case_only_is_refused() -> None:
    """Go's parsers ignore case."""
    refuse_lookalikes({"layers": 1, "Other": 2}, {"layers": "layers"}, "it")
    with pytest.raises(ProtocolError, match="it: a key 'Layers'; refused as ambiguous"):
        refuse_lookalikes({"layers": 1, "Layers": 2}, {"layers": "layers"}, "it")


def test_the_lenient_reader_accepts_what_webhook_senders_write() -> None:
    """A byte order mark, duplicate keys, lone surrogates and huge numbers; its bounds are those of the caller."""
    body = b'\xef\xbb\xbf{"a":1,"a":2,"b":"\\ud800","c":' + b"9" * 5000 + b"}"
    assert read_json(body, depth=1, strict=False) == {"a": 2.0, "b": "\ud800", "c": float("inf")}
    with pytest.raises(InvalidJson, match="nested deeper than 2 levels"):
        read_json(b"[[[]]]", depth=2, strict=False)
    with pytest.raises(InvalidJson, match="more than 1 values"):
        read_json(b"[1,2]", depth=2, values=1, strict=False)
