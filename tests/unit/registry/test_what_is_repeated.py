"""One table: what can go wrong, and who tries again: the request, the run at its end, the daemon's queue."""

import errno
import socket
import ssl
from random import Random

import pytest

from image_syncer.errors import (
    ContentMismatch,
    CopyFailed,
    Denied,
    InsecureConnection,
    Interrupted,
    MissingContent,
    NotFound,
    ProtocolError,
    QuotaUsedUp,
    RateLimited,
    Refused,
    RegistryDown,
    Side,
    StoreError,
    TagImmutable,
    TooLarge,
    Unauthorized,
    Unavailable,
    Unexpected,
    UnknownHost,
)
from image_syncer.jobs import JobRetryPolicy
from image_syncer.registry.error_mapping import ErrorContext, ErrorResponse, failure
from image_syncer.registry.http.connect_errors import HandshakeBroken, explain_connecting, explain_resolving
from image_syncer.registry.http.tls import TlsPolicy
from image_syncer.registry.limits.retry import RetryPolicy

ALL, QUEUE, NOBODY = ("request", "run", "queue"), ("queue",), ()
READ, PUSH, UPLOAD = (
    ErrorContext("r.test/a:1", "r.test"),
    ErrorContext("r.test/a:1", "r.test", manifest=True),
    ErrorContext("r.test/a@sha256:0", "r.test", upload=True),
)
TLS = TlsPolicy("r.test")


def answered(status: int, code: str = "", asked: ErrorContext = READ) -> StoreError:
    """Return what an answer with *status* and *code* means."""
    body = b'{"errors":[{"code":"%s","message":"words"}]}' % code.encode() if code else b""
    return failure(asked, ErrorResponse(status, body))


def hung_up(kind: type[ssl.SSLError]) -> ssl.SSLError:
    """Return what Python says where a server hangs up instead of shaking hands."""
    error = kind(8, "closed")
    error.reason = ""
    return error


def who_repeats(error: StoreError, side: Side = "target") -> tuple[str, ...]:
    """Return who tries again after *error*, when it came for the first time."""
    copy = CopyFailed(error, side=side, step="push manifest")
    again = {
        "request": RetryPolicy().wait_after(error, 1, Random(1)) is not None,
        "run": not copy.is_permanent and not isinstance(error, QuotaUsedUp),
        "queue": JobRetryPolicy().wait_after(copy, 1, Random(1)) is not None,
    }
    return tuple(who for who, repeats in again.items() if repeats)


@pytest.mark.parametrize("status", [408, 425, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_what_a_server_says_of_itself_is_repeated_by_all(status: int) -> None:
    """It may be different the next time, whatever was asked."""
    for asked in (READ, PUSH, UPLOAD):
        error = answered(status, asked=asked)
        assert type(error) is Unavailable
        assert who_repeats(error) == ALL


@pytest.mark.parametrize(
    ("error", "kind", "who"),
    [
        (answered(429), RateLimited, ALL),
        (answered(400, "TOOMANYREQUESTS"), RateLimited, ALL),
        (answered(403, "TOO_MANY_REQUEST"), RateLimited, ALL),
        (answered(401, "UNAUTHORIZED"), Unauthorized, NOBODY),
        (answered(403, "DENIED"), Denied, NOBODY),
        (answered(404, "NAME_UNKNOWN"), NotFound, NOBODY),
        (answered(404, "MANIFEST_UNKNOWN"), NotFound, NOBODY),
        (answered(400, "NAME_INVALID"), Refused, NOBODY),
        (answered(400, "MANIFEST_INVALID", PUSH), Refused, NOBODY),
        (answered(415, "MANIFEST_INVALID", PUSH), Refused, NOBODY),
        (answered(404, "MANIFEST_BLOB_UNKNOWN", PUSH), MissingContent, NOBODY),  # The copier looks at its parts once.
        (answered(412, "", PUSH), TagImmutable, NOBODY),
        (answered(409, "TAG_IMMUTABLE", PUSH), TagImmutable, NOBODY),
        (answered(413, "", UPLOAD), TooLarge, NOBODY),
        (answered(400, "DIGEST_INVALID", UPLOAD), ContentMismatch, ALL),  # The request once: damage heals.
        (answered(404, "BLOB_UPLOAD_UNKNOWN", UPLOAD), Unavailable, ALL),  # A new session can work.
        (answered(416, "RANGE_INVALID", UPLOAD), Unavailable, ALL),
        (answered(405, "UNSUPPORTED"), Refused, NOBODY),
        (answered(501, "UNSUPPORTED"), Refused, NOBODY),
        (answered(302), Refused, NOBODY),
        (Unavailable("reset"), Unavailable, ALL),
        (explain_connecting(OSError(errno.ECONNREFUSED, "refused"), "r.test", TLS), Unavailable, ALL),
        (explain_connecting(ConnectionResetError(), "r.test", TLS), Unavailable, ALL),
        (explain_connecting(hung_up(ssl.SSLEOFError), "r.test", TLS), HandshakeBroken, ALL),
        (explain_connecting(hung_up(ssl.SSLZeroReturnError), "r.test", TLS), HandshakeBroken, ALL),
        (explain_connecting(OSError(errno.ENETUNREACH, "unreachable"), "r.test", TLS), Unavailable, ALL),
        (InsecureConnection("its certificate is not trusted"), InsecureConnection, NOBODY),
        (explain_resolving(socket.gaierror(socket.EAI_AGAIN, "later"), "r.test"), Unavailable, ALL),
        (explain_resolving(socket.gaierror(socket.EAI_NONAME, "no such name"), "r.test"), UnknownHost, NOBODY),
        (ProtocolError("nonsense"), ProtocolError, NOBODY),
        (RegistryDown("down"), RegistryDown, ("run", "queue")),  # The request has been waited for.
        (QuotaUsedUp("used up", retry_after=900), QuotaUsedUp, QUEUE),
        (Interrupted("stopped"), Interrupted, NOBODY),
        (Unexpected(KeyError("x")), Unexpected, NOBODY),
    ],
    ids=str,
)
def test_what_can_help_is_tried(error: StoreError, kind: type[StoreError], who: tuple[str, ...]) -> None:
    """docs/adr/0004 and 0011, case by case."""
    assert isinstance(error, kind)
    assert who_repeats(error) == who


@pytest.mark.parametrize("error", [NotFound("gone"), UnknownHost("nobody")])
def test_what_a_source_lacks_may_appear_yet(error: StoreError) -> None:
    """For the queue alone: a push is announced before every replica has it."""
    assert who_repeats(error, "source") == QUEUE
