"""What a registry's refusal means: status, headers and body become one of `errors`. Pure; nothing here talks.

distribution-spec, "Error Codes": a body should be `{"errors": [{"code", "message", "detail"}]}` and may be anything.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, cast

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

LONGEST_RETRY_AFTER: Final = 600.0
"""Seconds; what a server may make us wait at most."""

_SHOWN = 300
_TEXT_READ = 4096  # Characters of a body without structure that are looked at.
_DIAGNOSTICS = 3

_CLIENT_ERRORS, _SERVER_ERRORS = 400, 500  # The classes of status codes begin here.
_RANGE_NOT_SATISFIABLE = 416
_RETRYABLE = frozenset({408, 425, 499})  # Time-out, too early, and nginx's "client closed request".
_RATE_CODES = frozenset({"TOOMANYREQUESTS", "TOO_MANY_REQUEST", "TOO_MANY_REQUESTS"})
_UNKNOWN_CODES = frozenset({"NAME_UNKNOWN", "MANIFEST_UNKNOWN", "BLOB_UNKNOWN", "NOT_FOUND"})
_MISSING_CODES = frozenset({"MANIFEST_BLOB_UNKNOWN", "BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
# The upload session is gone; a new one can work.
_SESSION_CODES = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID", "RANGE_INVALID"})
_CONTENT_CODES = frozenset({"DIGEST_INVALID", "SIZE_INVALID"})
_IMMUTABLE_CODES = frozenset({"TAG_IMMUTABLE", "TAG_ALREADY_EXISTS"})
_IMMUTABLE_STATUSES = frozenset({400, 403, 405, 409, 412})
_IMMUTABLE_TEXT = re.compile(r"immutable|already exists|cannot be overwritten|disallowed", re.IGNORECASE)

_Meaning = tuple[type[StoreError], str, str | None]  # The class, the condition, the remedy.

_TAG = re.compile(r"<[^<>]*>")
_QUERY = re.compile(r"(https?://[^\s?\"'<>]*)\?[^\s\"'<>]*", re.IGNORECASE)
_CREDENTIAL = re.compile(r"\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{20,}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ErrorContext:
    """What a request was about: *what* as people write it (a full reference), and the registry that was asked.

    *manifest* and *upload* say what was being put, since the same answer means another thing then.
    """

    what: str
    registry: str
    manifest: bool = False
    upload: bool = False


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """An answer that was not expected.

    *retry_after* is in seconds. *answered_by* names the server where it is not the registry itself: a storage that it
    redirected to, or another host that it wanted an upload to go to.
    """

    status: int
    body: bytes = b""
    retry_after: float | None = None
    answered_by: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a body tells: the error codes in it, and all of it as text to show."""

    codes: tuple[str, ...]
    text: str

    @property
    def code(self) -> str | None:
        return self.codes[0] if self.codes else None

    def names(self, codes: frozenset[str]) -> bool:
        return not codes.isdisjoint(self.codes)


def failure(asked: ErrorContext, refusal: ErrorResponse) -> StoreError:
    """Return the error that *refusal* means for *asked*; its text names the reference and what the server said."""
    said = _said(refusal.body)
    status = refusal.status
    if status == HTTPStatus.TOO_MANY_REQUESTS or said.names(_RATE_CODES):
        message = _message(asked, refusal, said, "too many requests")
        return RateLimited(message, status=status, code=said.code, retry_after=refusal.retry_after)
    if status in _RETRYABLE or (status >= _SERVER_ERRORS and status != HTTPStatus.NOT_IMPLEMENTED):
        message = _message(asked, refusal, said, "not available")
        return Unavailable(message, status=status, code=said.code, retry_after=refusal.retry_after)
    if asked.upload and (status == _RANGE_NOT_SATISFIABLE or said.names(_SESSION_CODES)):
        message = _message(asked, refusal, said, "the upload was lost")
        return Unavailable(message, status=status, code=said.code)
    kind, condition, remedy = _special(asked, refusal, said) or _general(asked, status, said)
    return kind(_message(asked, refusal, said, condition), status=status, code=said.code, remedy=remedy)


def parse_retry_after(
    value: str | None, now: Callable[[], datetime], *, longest: float = LONGEST_RETRY_AFTER
) -> float | None:
    """Return the seconds that a Retry-After header asks for, at most *longest*; None without a usable one.

    RFC 9110, 10.2.3: a number of seconds or a date.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdecimal():
        return min(float(text), longest)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if date.tzinfo is None:  # "-0000" names no zone; HTTP dates are always UTC.
        date = date.replace(tzinfo=UTC)
    return min(max((date - now()).total_seconds(), 0.0), longest)


def _special(asked: ErrorContext, refusal: ErrorResponse, said: _Said) -> _Meaning | None:
    """Return what only this kind of request makes of the answer; None where the general rules hold."""
    if refusal.answered_by and refusal.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return _elsewhere(asked, refusal)
    too_large = refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE  # Also with the code SIZE_INVALID.
    if asked.upload and said.names(_CONTENT_CODES) and not too_large:
        return ContentMismatch, "the registry says that the bytes are not what was promised", None
    if not asked.manifest or refusal.status == HTTPStatus.UNAUTHORIZED:
        return None
    if said.names(_MISSING_CODES):
        return MissingContent, "names content that the registry does not hold", None
    fixed = refusal.status == HTTPStatus.PRECONDITION_FAILED or said.names(_IMMUTABLE_CODES)
    if fixed or (refusal.status in _IMMUTABLE_STATUSES and _IMMUTABLE_TEXT.search(said.text)):
        return TagImmutable, "the tag is immutable", f"delete the tag at {asked.registry} or copy to another one"
    return None


def _general(asked: ErrorContext, status: int, said: _Said) -> _Meaning:
    match status:
        case HTTPStatus.UNAUTHORIZED:
            # Registries with tokens say so as well to a login that is right and lacks the right.
            right = "push to" if asked.upload or asked.manifest else "read"
            remedy = f"check the login of {asked.registry}, and that it may {right} this repository"
            return Unauthorized, "not authorised", remedy
        case HTTPStatus.FORBIDDEN:
            return Denied, "denied", f"check what the account may do at {asked.registry}, and its quota"
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return TooLarge, "larger than the registry takes", "raise the limit of the registry or of a proxy before it"
        case _ if status == HTTPStatus.NOT_FOUND or said.names(_UNKNOWN_CODES):
            return NotFound, "not found", _missing_remedy(asked)
        case _ if status < _CLIENT_ERRORS:
            return Refused, "not the answer that was expected", f"check the address {asked.registry}"
        case _:
            return Refused, "refused", None


def _missing_remedy(asked: ErrorContext) -> str:
    if asked.upload or asked.manifest:
        return f"create the repository or project at {asked.registry} first, or check the right to push there"
    return "check the name and the tag; some registries answer so as well to whom they do not let in"


def _elsewhere(asked: ErrorContext, refusal: ErrorResponse) -> _Meaning:
    wrong = "the external address that is configured at it, or at a proxy before it" if asked.upload else "its storage"
    remedy = f"{asked.registry} sent us to {refusal.answered_by}, which never gets its credentials; check {wrong}"
    if refusal.status == HTTPStatus.UNAUTHORIZED:
        return Unauthorized, "not authorised at another host", remedy
    return Denied, "denied at another host", remedy


def _message(asked: ErrorContext, refusal: ErrorResponse, said: _Said, condition: str) -> str:
    who = refusal.answered_by or asked.registry
    words = f": {said.text}" if said.text else ""
    return f"{asked.what}: {condition}; {who} answered {refusal.status}{words}"


def _said(body: bytes) -> _Said:
    try:
        document: object = json.loads(body)
    except (ValueError, RecursionError):
        return _Said((), _shown(_plain(body)))
    if not isinstance(document, dict):
        return _Said((), _shown(document) if isinstance(document, str) else "")
    found = list(_diagnostics(cast("Mapping[str, Any]", document)))[:_DIAGNOSTICS]
    codes = tuple(code for code, _ in found if code)
    texts = [f"{code}: {text}" if code and text else code or text for code, text in found]
    return _Said(codes, _shown("; ".join(text for text in texts if text)))


def _diagnostics(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (code, message) of every error in *document*, whoever's dialect it is."""
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
    if isinstance(digest, str):  # Which of all blobs it is that is unknown.
        text = f"{text} {digest}"
    return (_shown(code)[:64] if isinstance(code, str) else ""), text


def _plain(body: bytes) -> str:
    """Return a body that is no JSON as text: of a page of HTML its title, or what is left without its tags."""
    text = body[:_TEXT_READ].decode("utf-8", "replace")
    lowered = text.lower()
    if "<html" not in lowered and "<!doctype" not in lowered and "<?xml" not in lowered:
        return text
    start, end = lowered.find("<title>"), lowered.find("</title>")
    return text[start + len("<title>") : end] if 0 <= start < end else _TAG.sub(" ", text)


def _shown(text: str) -> str:
    """Return *text* as it may stand in a message: one line, nothing unprintable, no queries, no credentials, short."""
    printable = "".join(character if character.isprintable() else " " for character in text[:_TEXT_READ])
    line = " ".join(_CREDENTIAL.sub(r"\1 ***", _QUERY.sub(r"\1?...", printable)).split())
    return line if len(line) <= _SHOWN else f"{line[: _SHOWN - 3]}..."
