"""Writes request heads and parses response heads (RFC 9112). Pure.

Request smuggling relies on heads that two programs read differently. So this parser repairs nothing: it refuses folded
lines, bare line feeds and ambiguous body lengths.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from image_syncer.errors import ProtocolError
from image_syncer.registry.http.messages import Headers
from image_syncer.registry.http.urls import Origin
from image_syncer.structs import Struct

HEAD_BYTES: Final = 32 * 1024  # Signed URLs of storage services and challenges are long.
FIELDS_LIMIT: Final = 256  # A response to a push of many tags has one field for each.
_END: Final = b"\r\n\r\n"
_STATUS: Final = re.compile(r"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_FIELD: Final = re.compile(r"^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\r\n", re.MULTILINE)
_LENGTH: Final = re.compile(r"[0-9]{1,18}")
_TARGET: Final = re.compile(r"[\x21-\x7e]+")
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNSENDABLE: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_WITH_CONTENT: Final = frozenset({"POST", "PUT", "PATCH"})
_BODILESS: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})


class NotHttp(Exception):
    """The received bytes are no HTTP/1 response, or an ambiguous one."""


class Head(Struct):
    """The head of a response.

    *length* is the Content-Length in bytes, None without one. *keep_alive*: the server keeps the connection open.
    """

    status: int
    headers: Headers
    length: int | None
    chunked: bool
    keep_alive: bool

    @property
    def is_informational(self) -> bool:
        """Whether this is an interim response (1xx), which another head follows."""
        return self.status < HTTPStatus.OK

    def has_body(self, method: str) -> bool:
        """Whether a body follows in the response to a *method* request (RFC 9112, 6.3)."""
        return method != "HEAD" and self.status not in _BODILESS and not self.is_informational


def request_head(
    method: str, url: str, origin: Origin, fields: bytes, length: int | None, *, is_chunked: bool = False
) -> bytes:
    """Return the head of a request for *url* at *origin*, with *fields* from `header_fields`.

    *length* of the body in bytes, None without one; it has none either if it *is_chunked*, as *fields* say. Raises
    `ProtocolError` for a URL with characters that would end a line.
    """
    return _first_line(method, url, origin) + fields + (b"\r\n" if is_chunked else _last_lines(method, length))


def _first_line(method: str, url: str, origin: Origin) -> bytes:
    target = url[url.index("//") + 2 :].partition("#")[0]
    start = target.find("/")
    query = target.find("?")
    target = (
        "/" + target[query:] if 0 <= query < start or (start < 0 <= query) else target[start:] if start >= 0 else "/"
    )
    if not _TARGET.fullmatch(target) or not _NAME.fullmatch(method):
        raise ProtocolError(f"{origin}: a URL with invalid characters")
    return f"{method} {target} HTTP/1.1\r\n".encode()


def header_fields(origin: Origin, headers: Mapping[str, str]) -> bytes:
    """Return the lines of *headers* in a request to *origin*, Host first.

    Raises `ProtocolError` for a header with control characters, or with characters that have no encoding.
    """
    lines = [f"Host: {origin}"]
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or _UNSENDABLE.search(value):
            raise ProtocolError(f"{origin}: a header with control characters cannot be sent")
        lines.append(f"{name}: {value}")
    lines.append("")
    try:
        return "\r\n".join(lines).encode()
    except UnicodeEncodeError as error:
        raise ProtocolError(f"{origin}: a header that is not valid Unicode cannot be sent") from error


def _last_lines(method: str, length: int | None) -> bytes:
    if length is None and method not in _WITH_CONTENT:
        return b"\r\n"
    return f"Content-Length: {length or 0}\r\n\r\n".encode()


def take_head(received: bytearray) -> Head | None:
    """Remove the first head from *received* and return it, None while it is incomplete; raises `NotHttp`."""
    end = received.find(_END)
    if end < 0:
        if len(received) > HEAD_BYTES or b"HTTP/1."[: len(received)] != bytes(received[:7]):
            raise NotHttp
        return None
    if end > HEAD_BYTES:
        raise NotHttp
    text = received[: end + 2].decode("utf-8", "surrogateescape")
    del received[: end + 4]
    return _parsed(text)


def _parsed(text: str) -> Head:
    status = _STATUS.match(text)
    lines = text.count("\n")
    if status is None or lines > FIELDS_LIMIT + 1 or text.count("\r") != lines or text.count("\r\n") != lines:
        raise NotHttp
    fields = _FIELD.findall(text, status.end())
    if len(fields) != lines - 1:
        raise NotHttp
    if " \r" in text or "\t\r" in text:
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    headers = Headers(fields)
    old = status[1] == "0"
    chunked = _is_chunked(headers, old=old)
    length = _length(headers)
    if (chunked and length is not None) or status[2] == "101":  # We never ask for an upgrade.
        raise NotHttp
    return Head(int(status[2]), headers, length, chunked, keep_alive=not old and not _closes(headers))


def _length(headers: Headers) -> int | None:
    values = set(headers.all("Content-Length"))
    if not values:
        return None
    value = values.pop()
    if values or not _LENGTH.fullmatch(value):
        raise NotHttp
    return int(value)


def _is_chunked(headers: Headers, *, old: bool) -> bool:
    codings = headers.all("Transfer-Encoding")
    if codings and (old or len(codings) > 1 or codings[0].lower() != "chunked"):
        raise NotHttp
    return bool(codings)


def _closes(headers: Headers) -> bool:
    connection = headers.all("Connection")
    return any(token.strip().lower() == "close" for line in connection for token in line.split(","))
