import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import (
    ContentMismatch,
    Denied,
    MissingContent,
    NotFound,
    RateLimited,
    Refused,
    StoreError,
    TagImmutable,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from image_syncer.registry.error_mapping import ErrorContext, ErrorResponse, failure, parse_retry_after

READ = ErrorContext("r.io/app:1", "r.io")
PUT = ErrorContext("r.io/app:1", "r.io", manifest=True)
UPLOAD = ErrorContext("r.io/app@sha256:1", "r.io", upload=True)

KEYS = st.sampled_from(["errors", "code", "message", "detail", "error"])
ODD_JSON = st.recursive(st.none() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)).map(
    lambda value: json.dumps(value).encode()
)


def body(code: str, message: str = "a reason") -> bytes:
    """Return an error body as specified."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": None}]}).encode()


def meant(status: int, content: bytes = b"", context: ErrorContext = READ) -> StoreError:
    """Return the error that a response maps to."""
    return failure(context, ErrorResponse(status, content))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, Unauthorized), (403, Denied), (404, NotFound), (413, TooLarge), (429, RateLimited),
        (408, Unavailable), (425, Unavailable), (499, Unavailable), (500, Unavailable), (502, Unavailable),
        (503, Unavailable), (504, Unavailable), (522, Unavailable),
        (400, Refused), (405, Refused), (415, Refused), (501, Refused), (301, Refused), (307, Refused), (204, Refused),
    ],
)  # fmt: skip
def test_the_status_alone_selects_an_error_class(status: int, kind: type[StoreError]) -> None:
    """Also with an empty body."""
    assert type(meant(status)) is kind
    assert meant(status).status == status


@pytest.mark.parametrize(
    ("context", "status", "code", "kind"),
    [
        (READ, 400, "NAME_UNKNOWN", NotFound),
        (READ, 403, "TOOMANYREQUESTS", RateLimited),
        (READ, 400, "TOO_MANY_REQUEST", RateLimited),
        (PUT, 400, "MANIFEST_BLOB_UNKNOWN", MissingContent),
        (PUT, 404, "MANIFEST_BLOB_UNKNOWN", MissingContent),
        (PUT, 404, "BLOB_UNKNOWN", MissingContent),
        (PUT, 404, "MANIFEST_UNKNOWN", MissingContent),
        (PUT, 404, "NAME_UNKNOWN", NotFound),
        (PUT, 400, "MANIFEST_INVALID", Refused),
        (PUT, 409, "TAG_IMMUTABLE", TagImmutable),
        (PUT, 409, "TAG_ALREADY_EXISTS", TagImmutable),
        (PUT, 412, "PRECONDITION", TagImmutable),
        (READ, 412, "PRECONDITION", Refused),
        (UPLOAD, 404, "BLOB_UPLOAD_UNKNOWN", Unavailable),
        (UPLOAD, 404, "BLOB_UPLOAD_INVALID", Unavailable),
        (UPLOAD, 416, "RANGE_INVALID", Unavailable),
        (UPLOAD, 400, "DIGEST_INVALID", ContentMismatch),
        (UPLOAD, 400, "SIZE_INVALID", ContentMismatch),
        (UPLOAD, 413, "SIZE_INVALID", TooLarge),
        (READ, 400, "DIGEST_INVALID", Refused),
        (READ, 500, "MANIFEST_UNKNOWN", NotFound),
        (READ, 503, "NAME_UNKNOWN", NotFound),
        (READ, 500, "UNKNOWN", Unavailable),
        (READ, 500, "DENIED", Unavailable),
        (PUT, 500, "MANIFEST_BLOB_UNKNOWN", MissingContent),
        (PUT, 500, "BLOB_UNKNOWN", MissingContent),
        (PUT, 502, "MANIFEST_INVALID", Refused),
        (PUT, 500, "MANIFEST_UNVERIFIED", Refused),
        (PUT, 500, "TAG_INVALID", Refused),
        (PUT, 500, "TAG_IMMUTABLE", TagImmutable),
        (PUT, 500, "UNAVAILABLE", Unavailable),
        (UPLOAD, 500, "DIGEST_INVALID", ContentMismatch),
        (UPLOAD, 500, "BLOB_UPLOAD_UNKNOWN", Unavailable),
        (UPLOAD, 404, "NAME_UNKNOWN", NotFound),
    ],
)
def test_a_code_overrides_the_status(context: ErrorContext, status: int, code: str, kind: type[StoreError]) -> None:
    """Its meaning depends on the request."""
    error = meant(status, body(code), context)
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize("status", [400, 403, 405, 409, 412])
@pytest.mark.parametrize(
    "text", ["tag is Immutable", "v1 already exists", "cannot be overwritten", "The operation is disallowed"]
)
def test_an_immutable_tag_is_recognised_by_its_message(status: int, text: str) -> None:
    """Vendors agree on neither status nor code."""
    assert type(meant(status, body("DENIED", text), PUT)) is TagImmutable
    assert type(meant(status, body("DENIED", text), READ)) is not TagImmutable


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (body("DENIED", "no right"), "DENIED: no right"),
        (b'{"errors": [{"code": "A"}, {"message": "b"}]}', "A; b"),
        (b'{"errors": [{"code": "A", "message": "m", "detail": {"digest": "sha256:12"}}]}', "A: m sha256:12"),
        (b'{"message": "quota is full"}', "quota is full"),
        (b'{"details": "incorrect username"}', "incorrect username"),
        (b'{"error": "invalid_scope"}', "invalid_scope"),
        (b'{"error": {"code": "X", "message": "y"}}', "X: y"),
        (b'{"errors": ["plain"]}', "plain"),
        (b'"just text"', "just text"),
        (b"<html><head><title>502 Bad\nGateway</title></head><body>nginx</body>", "502 Bad Gateway"),
        (b"<!DOCTYPE html><p>Out of <b>order</b></p>", "Out of order"),
        (b"upstream timed out\r\n", "upstream timed out"),
        (b"\x1b[31mred\x00\x07\xe2\x80\xae alert", "[31mred alert"),
        (b"\xff\xfe", "\ufffd\ufffd"),
    ],
)
def test_error_bodies_of_any_shape_become_one_clean_line(content: bytes, shown: str) -> None:
    """The user sees the server's text, and it cannot affect the terminal."""
    assert meant(400, content).message == f"r.io/app:1: refused; r.io answered 400: {shown}"


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"errors": {}}', b"null", b'{"errors": [[], 3, null]}', b"[" * 9000]
)
def test_a_body_without_text_adds_nothing(content: bytes) -> None:
    """The message has the status only."""
    assert meant(404, content).message.startswith("r.io/app:1: not found; r.io answered 404")
    assert len(meant(404, content).message) < 400


def test_secrets_in_a_body_are_not_shown() -> None:
    """Signed queries and credentials that a server echoes stay out of messages."""
    text = "no access to https://s3.example/x?X-Amz-Signature=abc with Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6 today"
    message = meant(403, text.encode()).message
    assert "abc" not in message
    assert "eyJ" not in message
    assert message.endswith("no access to https://s3.example/x?... with Bearer *** today")


@given(st.binary(max_size=2000) | ODD_JSON)
def test_any_body_gives_a_short_printable_message(content: bytes) -> None:
    """Also random bytes and nested JSON."""
    message = meant(400, content, PUT).message
    assert message.isprintable()
    assert len(message) < 400


def test_remedies_name_the_registry() -> None:
    """For 401 and 403."""
    assert "check the login of r.io" in (meant(401).remedy or "")
    assert "at r.io" in (meant(403).remedy or "")


@pytest.mark.parametrize("context", [PUT, UPLOAD])
@pytest.mark.parametrize("content", [b"", body("UNSUPPORTED", "The operation is unsupported.")])
def test_a_read_only_registry_or_cache_is_named_as_such(context: ErrorContext, content: bytes) -> None:
    """Distribution in read-only mode or as a proxy, zot's and Harbor's pull-through targets answer 405 to a push."""
    error = meant(405, content, context)
    assert (type(error), error.retryable) == (Refused, False)
    assert "the registry accepts no pushes" in error.message
    assert error.remedy == (
        "r.io is read-only or a pull-through cache: push to the registry behind it, or turn its read-only mode off"
    )
    assert meant(405, content, READ).remedy is None


def test_an_unsupported_manifest_type_has_a_remedy() -> None:
    """Zot answers 415 to Docker's types unless it is configured to accept them."""
    error = meant(415, body("MANIFEST_INVALID", "manifest invalid"), PUT)
    assert (type(error), error.retryable) == (Refused, False)
    assert "the registry does not accept this media type" in error.message
    assert error.remedy == (
        'r.io accepts other manifest types only; for Docker\'s types set "http": {"compat": ["docker2s2"]}'
        " in the configuration of zot"
    )
    assert meant(415, b"", UPLOAD).remedy is None  # A refused upload method is no refused manifest type.


@pytest.mark.parametrize(("status", "kind"), [(401, Unauthorized), (403, Denied)])
def test_a_refusal_from_another_host_names_it(status: int, kind: type[StoreError]) -> None:
    """Credentials never go there, so the registry's own external address must be wrong."""
    error = failure(UPLOAD, ErrorResponse(status, answered_by="inner:5000"))
    assert type(error) is kind
    assert "r.io redirects to inner:5000, which never gets its credentials" in str(error)


def test_retry_after_is_part_of_the_error() -> None:
    """For 429 and 503."""
    for status in (429, 503):
        error = failure(READ, ErrorResponse(status, retry_after=7))
        assert isinstance(error, RateLimited | Unavailable)
        assert error.retry_after == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), (" 12 ", 12), ("99999", 600), ("9" * 5000, 600),
        ("1767268830", 30), ("1767268830000", 30), ("1767268000", 0), ("1893456000", 600), ("999999999", 600),
        ("Thu, 01 Jan 2026 12:00:30 GMT", 30), ("Thu, 01 Jan 2026 12:00:30 -0000", 30),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0), ("Fri, 02 Jan 2026 12:00:00 GMT", 600),
        ("soon", None), ("-5", None), ("1.5", None), ("\u0663", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_every_form(value: str | None, seconds: float | None) -> None:
    """Seconds, a date or a Unix time, at most ten minutes; anything else is ignored."""
    assert parse_retry_after(value, lambda: datetime(2026, 1, 1, 12, 0, tzinfo=UTC)) == seconds
