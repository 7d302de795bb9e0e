"""Faults between a client and a `FakeRegistry`, and the script that selects the requests.

registry.faults.add(faults.answer(429, headers={"Retry-After": "2"}), method="GET", kind="blob", times=3)
registry.faults.add(faults.cut(after_bytes=1_000_000), method="PATCH")
registry.faults.add(faults.drip(bytes_per_second=1_000), kind="blob", chance=0.05, rng=Random(7))
"""

from collections.abc import Mapping
from http import HTTPStatus

from image_syncer.testing.fake.fault_injection import (
    Altered,
    Answered,
    Cut,
    Dripping,
    Fault,
    Lost,
    OtherHeaders,
    Redirected,
    Silent,
)
from image_syncer.testing.fake.fault_script import Fired, Rule, Script

__all__ = [
    "Fault",
    "Fired",
    "Rule",
    "Script",
    "altered",
    "answer",
    "cut",
    "drip",
    "headers",
    "lost",
    "redirect",
    "silence",
    "without",
]


def answer(
    status: int,
    *,
    headers: Mapping[str, str] | None = None,
    code: str = "",
    body: bytes | str | None = None,
    early: bool = False,
) -> Fault:
    """Return a fault that responds with *status*; the registry never sees the request.

    The body is *body* if given, else the specification's error document with *code*, or the usual code for *status*.
    With *early* the response comes before the request's body was read, while a client may still be sending.
    """
    text = body.encode() if isinstance(body, str) else body
    return Answered(status, dict(headers or {}), code, text, early)


def redirect(to: str, *, status: int = HTTPStatus.TEMPORARY_REDIRECT) -> Fault:
    """Return a fault that redirects authorized requests to the URL *to*.

    If *to* has no path (`http://other:5000`), the request's own path and query are added.
    """
    return Redirected(to, status)


def cut(after_bytes: int) -> Fault:
    """Return a fault that resets the connection after *after_bytes* bytes of a body.

    For POST, PATCH and PUT these are bytes of the request's body, which the registry has received; otherwise bytes of
    the response's body, which were sent. A shorter body passes; 0 resets before the first byte of a body.
    """
    return Cut(after_bytes)


def lost() -> Fault:
    """Return a fault that resets the connection instead of responding: the registry has processed the request."""
    return Lost()


def drip(bytes_per_second: float) -> Fault:
    """Return a fault that limits the response's body to *bytes_per_second*."""
    return Dripping(bytes_per_second)


def silence(seconds: float, *, after_bytes: int | None = None) -> Fault:
    """Return a fault that pauses for *seconds* before the registry sees the request.

    With *after_bytes* the pause is in the response's body, after that many bytes.
    """
    return Silent(seconds, after_bytes)


def altered(at: int = 0) -> Fault:
    """Return a fault that alters the byte *at* (from 0) of the response's body; its length stays."""
    return Altered(at)


def without(*names: str) -> Fault:
    """Return a fault that removes the headers *names* from the response."""
    return OtherHeaders(taken=names)


def headers(values: Mapping[str, str]) -> Fault:
    """Return a fault that sets the headers *values* in the response, replacing those of the same names."""
    return OtherHeaders(given=dict(values))
