"""Faults: what goes wrong between a client and a `FakeRegistry`, and the script that says with which requests.

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
    """Return the fault that answers *status* in the registry's place, which never sees the request.

    The body is *body* where it is given; else the specification's errors with *code*, or with the one that is usual
    for *status*. With *early* it is said before the request's body is read, which a client may still be sending.
    """
    text = body.encode() if isinstance(body, str) else body
    return Answered(status, dict(headers or {}), code, text, early)


def redirect(to: str, *, status: int = HTTPStatus.TEMPORARY_REDIRECT) -> Fault:
    """Return the fault that sends whom the registry lets in to the URL *to*.

    Without a path in *to* (`http://other:5000`) the request's own path and query are added.
    """
    return Redirected(to, status)


def cut(after_bytes: int) -> Fault:
    """Return the fault that resets the connection once *after_bytes* bytes of a body have passed.

    Of the request's body with POST, PATCH and PUT: the registry has got them. Of the answer's with everything else:
    they were sent. A shorter body passes unharmed; 0 breaks before the first byte, where there is a body.
    """
    return Cut(after_bytes)


def lost() -> Fault:
    """Return the fault that resets the connection in place of an answer: the registry has done what was wanted."""
    return Lost()


def drip(bytes_per_second: float) -> Fault:
    """Return the fault that sends the answer's body no faster than *bytes_per_second*."""
    return Dripping(bytes_per_second)


def silence(seconds: float, *, after_bytes: int | None = None) -> Fault:
    """Return the fault that lets no byte pass for *seconds*; then all goes on as usual.

    The request is not looked at that long. With *after_bytes* the pause is in the answer's body, behind so many.
    """
    return Silent(seconds, after_bytes)


def altered(at: int = 0) -> Fault:
    """Return the fault that alters the byte *at* (from 0) of the answer's body; its length stays."""
    return Altered(at)


def without(*names: str) -> Fault:
    """Return the fault that takes the headers *names* from the answer."""
    return OtherHeaders(taken=names)


def headers(values: Mapping[str, str]) -> Fault:
    """Return the fault that gives the answer the headers *values*, in place of its own of these names."""
    return OtherHeaders(given=dict(values))
