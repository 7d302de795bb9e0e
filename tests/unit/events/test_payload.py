"""Bodies: bounded before they are parsed, and read without surprises."""

import time
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.events import MalformedNotification, Oversized
from image_syncer.events.payload import BODY_LIMIT, DEPTH_LIMIT, parse_base64, parse_form, parse_json, payload

FORM = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}


def test_depth_is_bounded_exactly() -> None:
    """32 levels are read, 33 are not; brackets in texts do not count."""
    assert parse_json(b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT)
    assert parse_json(b'"' + b"[" * 100 + b'\\"{"') == "[" * 100 + '"{'
    with pytest.raises(MalformedNotification, match="deeper than 32"):
        parse_json(b"[" * (DEPTH_LIMIT + 1) + b"]" * (DEPTH_LIMIT + 1))


def test_size_is_bounded_exactly() -> None:
    """1 MiB is read, one byte more is not."""
    assert parse_json(b'"' + b"x" * (BODY_LIMIT - 2) + b'"')
    with pytest.raises(Oversized, match="1048577 bytes"):
        parse_json(b" " * (BODY_LIMIT + 1))


@pytest.mark.parametrize("body", [b"NaN", b"[Infinity]", b'{"a":-Infinity}', b'{"a":1,}', b"{'a':1}", b"\xef\xbb\xbf"])
def test_a_body_that_is_not_json_is_malformed(body: bytes) -> None:
    """The grammar is that of the standard, without Python's extensions."""
    with pytest.raises(MalformedNotification, match="not JSON"):
        parse_json(body)


def test_oddities_of_senders_are_read() -> None:
    """A byte order mark, a repeated key, a number of five thousand digits."""
    assert parse_json(b'\xef\xbb\xbf{"a":1,"a":2}') == {"a": 2.0}
    assert parse_json(b"9" * 5000) == float("inf")


def test_an_endless_string_is_found_at_once() -> None:
    """A million escaped quotes do not cost a million searches."""
    started = time.process_time()
    with pytest.raises(MalformedNotification, match="Unterminated string starting at character 0"):
        parse_json(b'"' + b'\\"' * 500_000)
    assert time.process_time() - started < 1


@given(st.dictionaries(st.text(), st.text(), max_size=5))
def test_a_form_round_trips(fields: dict[str, str]) -> None:
    """Encoded as browsers and curl do."""
    assert parse_form(urlencode(fields, errors="replace").encode()) == {
        key.encode(errors="replace").decode(): value.encode(errors="replace").decode() for key, value in fields.items()
    }


def test_the_first_of_equal_fields_counts() -> None:
    """As in Go, where the plain form comes from."""
    assert parse_form(b"tag=1&tag=2&name=") == {"tag": "1", "name": ""}


@pytest.mark.parametrize("body", [b"a=1&" * 100, b"a=\xff", "a=ü".encode()])
def test_a_form_is_bounded_and_ascii(body: bytes) -> None:
    """At most 64 fields; what is not ASCII has to be escaped."""
    with pytest.raises(MalformedNotification):
        parse_form(body)


def test_a_payload_is_the_body_or_the_field_of_a_form() -> None:
    """By the content type alone."""
    assert payload({}, b"payload=x") == b"payload=x"
    assert payload(FORM, b"payload=%7B%7D") == b"{}"
    with pytest.raises(MalformedNotification, match="'payload'"):
        payload(FORM, b"other=1")


@pytest.mark.parametrize("text", ["%", "YQ", "ü", "YQ==\n"])
def test_invalid_base64_is_malformed(text: str) -> None:
    """Without padding, or with anything between."""
    with pytest.raises(MalformedNotification):
        parse_base64(text)
