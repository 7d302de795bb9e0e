"""Maps status, headers and body of an error response to one of `errors`. Pure, without I/O.

distribution-spec, "Error Codes": a body should be `{"errors": [{"code", "message", "detail"}]}` and may be anything.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, cast

from image_syncer.errors import (
    ContentMismatch,
    Denied,
    MissingContent,
    NotFound,
    ProtocolError,
    RateLimited,
    Refused,
    StoreError,
    TagImmutable,
    TooLarge,
    Unauthorized,
    Unavailable,
)
from image_syncer.registry.limits.retry import seconds_until
from image_syncer.structs import Struct

LONGEST_RETRY_AFTER: Final = 600.0
"""The longest wait, in seconds, that a server can request."""

_LONGEST_NUMBER = 20  # Digits.

_SHOWN = 300
_TEXT_READ = 4096  # Characters of an unstructured body that are searched for a message.
_DIAGNOSTICS = 3

_CLIENT_ERRORS, _SERVER_ERRORS = 400, 500  # The classes of status codes begin here.
_RANGE_NOT_SATISFIABLE = 416
_RETRYABLE = frozenset({408, 425, 499})  # Time-out, too early, and nginx's "client closed request".
_RATE_CODES = frozenset({"TOOMANYREQUESTS", "TOO_MANY_REQUEST", "TOO_MANY_REQUESTS"})
_UNKNOWN_CODES = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND"})
_MISSING_CODES = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
# The upload session is gone; a new one can work.
_SESSION_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"})
# These say that the request was wrong or its object absent, whatever the status: some registries send them with a 5xx.
_REQUEST_CODES = frozenset(
    {
        "BLOB_UNKNOWN",
        "BLOB_UPLOAD_INVALID",
        "BLOB_UPLOAD_UNKNOWN",
        "DIGEST_INVALID",
        "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID",
        "MANIFEST_UNKNOWN",
        "MANIFEST_UNVERIFIED",
        "NAME_INVALID",
        "NAME_UNKNOWN",
        "SIZE_INVALID",
        "TAG_ALREADY_EXISTS",
        "TAG_IMMUTABLE",
        "TAG_INVALID",
    }
)
_CONTENT_CODES = frozenset({"DIGEST_INVALID", "SIZE_INVALID"})
_IMMUTABLE_CODES = frozenset({"TAG_IMMUTABLE", "TAG_ALREADY_EXISTS"})
_IMMUTABLE_STATUSES = frozenset({400, 403, 405, 409, 412})
_IMMUTABLE_TEXT = re.compile(r"immutable|already exists|cannot be overwritten|disallowed", re.IGNORECASE)

_Meaning = tuple[type[StoreError], str, str | None]  # The class, the condition, the remedy.

_TAG = re.compile(r"<[^<>]*>")
_QUERY = re.compile(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE)
_CREDENTIAL = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{20,}", re.IGNORECASE)


class ErrorContext(Struct):
    """What a request is about, for messages: *what* is the full reference, *registry* the registry that receives it.

    *manifest* or *upload* says that the request writes one, which changes the meaning of some responses.
    """

    what: str
    registry: str
    manifest: bool = False
    upload: bool = False


class ErrorResponse(Struct):
    """A response with an unexpected status.

    *retry_after* is in seconds. *answered_by* is the host that answered if it is not the registry: the storage of a
    redirect, or the host of an upload URL.
    """

    status: int
    body: bytes = b""
    retry_after: float | None = None
    answered_by: str = ""


class _ErrorBody(Struct):
    """The error codes in a response body, and its *text* for messages."""

    codes: tuple[str, ...]
    text: str

    @property
    def code(self) -> str | None:
        return self.codes[0] if self.codes else None

    def has_any(self, codes: frozenset[str]) -> bool:
        return not codes.isdisjoint(self.codes)


def failure(context: ErrorContext, refusal: ErrorResponse) -> StoreError:
    """Return the error that *refusal* means for *context*; its message has the reference and the server's text."""
    body = _parse_body(refusal.body)
    status = refusal.status
    if status == HTTPStatus.TOO_MANY_REQUESTS or body.has_any(_RATE_CODES):
        message = _message(context, refusal, body, "too many requests")
        return RateLimited(message, status=status, code=body.code, retry_after=refusal.retry_after)
    if status in _RETRYABLE or (is_server_error(status) and not body.has_any(_REQUEST_CODES)):
        message = _message(context, refusal, body, "not available")
        return Unavailable(message, status=status, code=body.code, retry_after=refusal.retry_after)
    if context.upload and (status == _RANGE_NOT_SATISFIABLE or body.has_any(_SESSION_CODES)):
        message = _message(context, refusal, body, "the upload was lost")
        return Unavailable(message, status=status, code=body.code)
    kind, condition, remedy = _special(context, refusal, body) or _general(context, status, body)
    return kind(_message(context, refusal, body, condition), status=status, code=body.code, remedy=remedy)


def ping_failure(name: str, status: int, retry_after: float | None) -> StoreError | None:
    """Return the error that *status* in response to `GET /v2/` means; None if a registry answers so."""
    match status:
        case HTTPStatus.OK | HTTPStatus.UNAUTHORIZED | HTTPStatus.FORBIDDEN | 301 | 302 | 303 | 307 | 308:
            return None
        case HTTPStatus.NOT_FOUND:
            return ProtocolError(f"{name}: not a registry (no /v2/ there)", status=status)
        case HTTPStatus.TOO_MANY_REQUESTS:
            return RateLimited(f"{name}: too many requests", status=status, retry_after=retry_after)
        case _ if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return Unavailable(f"{name}: answers {status} to GET /v2/", status=status, retry_after=retry_after)
        case _:
            return ProtocolError(f"{name}: not a registry (answers {status} to GET /v2/)", status=status)


def is_server_error(status: int) -> bool:
    """Whether *status* says that the server failed; 501 says that it will never do that."""
    return status >= _SERVER_ERRORS and status != HTTPStatus.NOT_IMPLEMENTED


def is_about_request(code: str | None) -> bool:
    """Whether the error *code* concerns one request, so that it says nothing about the registry as a whole."""
    return code in _REQUEST_CODES


def parse_retry_after(
    value: str | None, now: Callable[[], datetime], *, longest: float = LONGEST_RETRY_AFTER
) -> float | None:
    """Return the seconds that a Retry-After header requests, at most *longest*; None without a valid one.

    RFC 9110, 10.2.3: a number of seconds or a date. Some servers send a Unix time, in seconds or milliseconds.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(seconds_until(float(text[:_LONGEST_NUMBER]), now), longest)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - slow to import, and rarely needed

    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000" leaves the zone open; HTTP dates are always UTC.
        date = date.replace(tzinfo=UTC)
    return min(max((date - now()).total_seconds(), 0.0), longest)


def _special(context: ErrorContext, refusal: ErrorResponse, body: _ErrorBody) -> _Meaning | None:
    """Return the meaning that applies to this kind of request only; None if the general rules apply."""
    if refusal.answered_by and refusal.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _elsewhere(context, refusal)
    too_large = refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE  # Also with the code SIZE_INVALID.
    if context.upload and body.has_any(_CONTENT_CODES) and not too_large:
        return ContentMismatch, "the registry reports another digest or size than announced", None
    if not context.manifest or refusal.status == HTTPStatus.UNAUTHORIZED:
        return _read_only(context) if context.upload and refusal.status == HTTPStatus.METHOD_NOT_ALLOWED else None
    if body.has_any(_MISSING_CODES):
        return MissingContent, "refers to content that the registry does not have", None
    fixed = refusal.status == HTTPStatus.PRECONDITION_FAILED or body.has_any(_IMMUTABLE_CODES)
    if fixed or (refusal.status in _IMMUTABLE_STATUSES and _IMMUTABLE_TEXT.search(body.text)):
        return TagImmutable, "the tag is immutable", f"delete the tag at {context.registry} or copy to another one"
    if refusal.status == HTTPStatus.METHOD_NOT_ALLOWED:
        return _read_only(context)
    if refusal.status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
        return _unsupported_type(context)
    return None


def _read_only(context: ErrorContext) -> _Meaning:
    remedy = (
        f"{context.registry} is read-only or a pull-through cache: push to the registry behind it,"
        " or turn its read-only mode off"
    )
    return Refused, "the registry accepts no pushes", remedy


def _unsupported_type(context: ErrorContext) -> _Meaning:
    remedy = (
        f"{context.registry} accepts other manifest types only; for Docker's types set"
        ' "http": {"compat": ["docker2s2"]} in the configuration of zot'
    )
    return Refused, "the registry does not accept this media type", remedy


def _general(context: ErrorContext, status: int, body: _ErrorBody) -> _Meaning:
    match status:
        case HTTPStatus.UNAUTHORIZED:
            # Registries with tokens also answer 401 to a valid login without the right.
            right = "push to" if context.upload or context.manifest else "read"
            remedy = f"check the login of {context.registry}, and that it may {right} this repository"
            return Unauthorized, "not authorised", remedy
        case HTTPStatus.FORBIDDEN:
            return Denied, "denied", f"check what the account may do at {context.registry}, and its quota"
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            remedy = "raise the limit of the registry or of the proxy in front of it"
            return TooLarge, "larger than the registry accepts", remedy
        case _ if status == HTTPStatus.NOT_FOUND or body.has_any(_UNKNOWN_CODES):
            return NotFound, "not found", _missing_remedy(context)
        case _ if status < _CLIENT_ERRORS:
            return Refused, "unexpected response", f"check the address {context.registry}"
        case _:
            return Refused, "refused", None


def _missing_remedy(context: ErrorContext) -> str:
    if context.upload or context.manifest:
        return f"create the repository or project at {context.registry} first, or check the right to push there"
    return "check the name and the tag; some registries also answer 404 when you lack access"


def _elsewhere(context: ErrorContext, refusal: ErrorResponse) -> _Meaning:
    cause = "its external URL, or the proxy in front of it" if context.upload else "its storage"
    remedy = f"{context.registry} redirects to {refusal.answered_by}, which never gets its credentials; check {cause}"
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        return Unauthorized, "not authorised at another host", remedy
    return Denied, "denied at another host", remedy


def _message(context: ErrorContext, refusal: ErrorResponse, body: _ErrorBody, condition: str) -> str:
    host = refusal.answered_by or context.registry
    detail = f": {body.text}" if body.text else ""
    return f"{context.what}: {condition}; {host} answered {refusal.status}{detail}"


def _parse_body(content: bytes) -> _ErrorBody:
    try:
        document: object = json.loads(content)
    except (ValueError, RecursionError):
        return _ErrorBody((), _shown(_plain(content)))
    if not isinstance(document, dict):
        return _ErrorBody((), _shown(document) if isinstance(document, str) else "")
    found = list(_diagnostics(cast("Mapping[str, Any]", document)))[:_DIAGNOSTICS]
    codes = tuple(code for code, _ in found if code)
    texts = [f"{code}: {text}" if code and text else code or text for code, text in found]
    return _ErrorBody(codes, _shown("; ".join(text for text in texts if text)))


def _diagnostics(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (code, message) of every error in *document*, in any of the known formats."""
    errors: object = document.get("errors")
    entries = cast("list[object]", errors) if isinstance(errors, list) else [document]
    for entry in entries[:_DIAGNOSTICS]:
        if isinstance(entry, dict):
            yield _diagnostic(cast("Mapping[str, Any]", entry))
        elif isinstance(entry, str):
            yield "", entry


def _diagnostic(entry: Mapping[str, Any]) -> tuple[str, str]:
    inner: object = entry.get("error")
    if isinstance(inner, dict):
        return _diagnostic(cast("Mapping[str, Any]", {**inner, "error": None}))
    code: object = entry.get("code")
    keys = ("message", "details", "detail", "error_description", "error", "title")
    text = next((value for key in keys if isinstance(value := entry.get(key), str) and value.strip()), "")
    detail: object = entry.get("detail")
    digest: object = cast("Mapping[str, Any]", detail).get("digest") if isinstance(detail, dict) else None
    if isinstance(digest, str):  # The digest of the missing blob.
        text = f"{text} {digest}"
    return (_shown(code)[:64] if isinstance(code, str) else ""), text


def _plain(content: bytes) -> str:
    """Return a body that is not JSON as text: the title of an HTML page, or the text without tags."""
    text = content[:_TEXT_READ].decode("utf-8", "replace")
    lowered = text.lower()
    if "<html" not in lowered and "<!doctype" not in lowered and "<?xml" not in lowered:
        return text
    start, end = lowered.find("<title>"), lowered.find("</title>")
    return text[start + len("<title>") : end] if 0 <= start < end else _TAG.sub(" ", text)


def _shown(text: str) -> str:
    """Return *text* for a message: one short line of printable characters, without URL queries and credentials."""
    printable = "".join(character if character.isprintable() else " " for character in text[:_TEXT_READ])
    line = " ".join(_CREDENTIAL.sub(r"\1 ***", _QUERY.sub(r"\1?...", printable)).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
