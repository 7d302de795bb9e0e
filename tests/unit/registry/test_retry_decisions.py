"""One table: each error, and the levels that retry it: the request, the run at its end, the daemon's queue."""

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

ALL, QUEUE, NONE = ("request", "run", "queue"), ("queue",), ()
READ, PUSH, UPLOAD = (
    ErrorContext("r.test/a:1", "r.test"),
    ErrorContext("r.test/a:1", "r.test", manifest=True),
    ErrorContext("r.test/a@sha256:0", "r.test", upload=True),
)
TLS = TlsPolicy("r.test")


def answered(status: int, code: str = "", context: ErrorContext = READ) -> StoreError:
    """Return the error for a response with *status* and *code*."""
    body = b'{"errors":[{"code":"%s","message":"words"}]}' % code.encode() if code else b""
    return failure(context, ErrorResponse(status, body))


def hung_up(kind: type[ssl.SSLError]) -> ssl.SSLError:
    """Return Python's error for a server that closes the connection during the TLS handshake."""
    error = kind(8, "closed")
    error.reason = ""
    return error


def levels(error: StoreError, side: Side = "target") -> tuple[str, ...]:
    """Return the levels that retry after the first *error*."""
    copy = CopyFailed(error, side=side, step="push manifest")
    again = {
        "request": RetryPolicy().wait_after(error, 1, Random(1)) is not None,
        "run": not copy.is_permanent and not isinstance(error, QuotaUsedUp),
        "queue": JobRetryPolicy().wait_after(copy, 1, Random(1)) is not None,
    }
    return tuple(who for who, repeats in again.items() if repeats)


@pytest.mark.parametrize("status", [408, 425, 499, 500, 502, 503, 504, 520, 521, 522, 523, 524])
def test_server_errors_are_retried_at_every_level(status: int) -> None:
    """They may be gone the next time, whatever the request was."""
    for context in (READ, PUSH, UPLOAD):
        error = answered(status, context=context)
        assert type(error) is Unavailable
        assert levels(error) == ALL


@pytest.mark.parametrize(
    ("error", "kind", "who"),
    [
        (answered(429), RateLimited, ALL),
        (answered(400, "TOOMANYREQUESTS"), RateLimited, ALL),
        (answered(403, "TOO_MANY_REQUEST"), RateLimited, ALL),
        (answered(401, "UNAUTHORIZED"), Unauthorized, NONE),
        (answered(403, "DENIED"), Denied, NONE),
        (answered(404, "NAME_UNKNOWN"), NotFound, NONE),
        (answered(404, "MANIFEST_UNKNOWN"), NotFound, NONE),
        (answered(400, "NAME_INVALID"), Refused, NONE),
        (answered(400, "MANIFEST_INVALID", PUSH), Refused, NONE),
        (answered(415, "MANIFEST_INVALID", PUSH), Refused, NONE),
        (answered(404, "MANIFEST_BLOB_UNKNOWN", PUSH), MissingContent, NONE),  # The copier looks at its parts once.
        (answered(412, "", PUSH), TagImmutable, NONE),
        (answered(409, "TAG_IMMUTABLE", PUSH), TagImmutable, NONE),
        (answered(413, "", UPLOAD), TooLarge, NONE),
        (answered(400, "DIGEST_INVALID", UPLOAD), ContentMismatch, ALL),  # The request once: damage heals.
        (answered(404, "BLOB_UPLOAD_UNKNOWN", UPLOAD), Unavailable, ALL),  # A new session can work.
        (answered(416, "RANGE_INVALID", UPLOAD), Unavailable, ALL),
        (answered(405, "UNSUPPORTED"), Refused, NONE),
        (answered(501, "UNSUPPORTED"), Refused, NONE),
        (answered(302), Refused, NONE),
        (Unavailable("reset"), Unavailable, ALL),
        (explain_connecting(OSError(errno.ECONNREFUSED, "refused"), "r.test", TLS), Unavailable, ALL),
        (explain_connecting(ConnectionResetError(), "r.test", TLS), Unavailable, ALL),
        (explain_connecting(hung_up(ssl.SSLEOFError), "r.test", TLS), HandshakeBroken, ALL),
        (explain_connecting(hung_up(ssl.SSLZeroReturnError), "r.test", TLS), HandshakeBroken, ALL),
        (explain_connecting(OSError(errno.ENETUNREACH, "unreachable"), "r.test", TLS), Unavailable, ALL),
        (InsecureConnection("its certificate is not trusted"), InsecureConnection, NONE),
        (explain_resolving(socket.gaierror(socket.EAI_AGAIN, "later"), "r.test"), Unavailable, ALL),
        (explain_resolving(socket.gaierror(socket.EAI_NONAME, "no such name"), "r.test"), UnknownHost, NONE),
        (ProtocolError("nonsense"), ProtocolError, NONE),
        (RegistryDown("down"), RegistryDown, ("run", "queue")),  # The request has been waited for.
        (QuotaUsedUp("used up", retry_after=900), QuotaUsedUp, QUEUE),
        (Interrupted("stopped"), Interrupted, NONE),
        (Unexpected(KeyError("x")), Unexpected, NONE),
    ],
    ids=str,
)
def test_each_error_is_retried_at_the_levels_that_can_help(
    error: StoreError, kind: type[StoreError], who: tuple[str, ...]
) -> None:
    """docs/adr/0004 and 0011, case by case."""
    assert isinstance(error, kind)
    assert levels(error) == who


@pytest.mark.parametrize("error", [NotFound("gone"), UnknownHost("no such host")])
def test_content_missing_at_a_source_is_retried_by_the_queue(error: StoreError) -> None:
    """By the queue only: an event may arrive before every replica has the image."""
    assert levels(error, "source") == QUEUE
