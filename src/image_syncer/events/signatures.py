"""Verification of requests: every authentication scheme of the senders, pure and in constant time.

Checks use the raw body, before it is parsed (except Gitea's form, since Gitea signs the JSON inside). The result names
the failed rule and never the given or expected value.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from jwt import PyJWK

from image_syncer.errors import UsageError
from image_syncer.events.notification import MalformedNotification
from image_syncer.events.oidc import Jwt, SigningKeys, token_problem
from image_syncer.events.payload import payload

_HEADER_LIMIT: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class SignedDelivery:
    """A request to verify: headers with lower-case names and values decoded as latin-1 (as ASGI servers do).

    *url_secret* is the secret in path or query, empty without one. *now* (seconds since the epoch) and *keys* (of the
    token issuer) are for `Jwt`.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url_secret: str = field(default="", repr=False)
    now: float = 0.0
    keys: SigningKeys = field(default_factory=dict[str, PyJWK], repr=False)


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a verification; *problem* is the failed rule, None if it passed."""

    problem: str | None

    @property
    def passed(self) -> bool:
        """Whether the request is authentic."""
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Hmac:
    """A hexadecimal HMAC (RFC 2104) in the first present header of *headers*, after *prefix*.

    With *over* "payload", a form's field `payload` is signed instead of its body.
    """

    secret: str = field(repr=False)
    headers: tuple[str, ...]
    algorithm: Literal["sha256", "sha1"] = "sha256"
    prefix: str = ""
    over: Literal["body", "payload"] = "body"

    def __post_init__(self) -> None:
        _require(self.secret)


@dataclass(frozen=True, slots=True)
class StaticHeader:
    """A header whose whole value must be *value*, including a scheme such as `Bearer`."""

    value: str = field(repr=False)
    header: str = "authorization"

    def __post_init__(self) -> None:
        _require(self.value)


@dataclass(frozen=True, slots=True)
class Basic:
    """User and password in `Authorization: Basic` (RFC 7617)."""

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        _require(self.username)
        _require(self.password)


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token in `Authorization: Bearer`, the scheme in any case (RFC 6750 section 2.1)."""

    token: str = field(repr=False)

    def __post_init__(self) -> None:
        _require(self.token)


@dataclass(frozen=True, slots=True)
class UrlSecret:
    """A secret in path or query, for senders without another scheme."""

    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        _require(self.secret)


Check = Hmac | StaticHeader | Basic | Bearer | UrlSecret | Jwt


def signed(kind: str, secret: str) -> Hmac:
    """Return the signature check for senders of *kind*; `UsageError` if they do not sign."""
    match kind:
        case "github" | "cloudevents":  # CloudEvents define no scheme; this one is common.
            return Hmac(secret, ("x-hub-signature-256",), prefix="sha256=")
        case "gitea":
            return Hmac(secret, ("x-gitea-signature", "x-forgejo-signature"), over="payload")
        case "jfrog":
            return Hmac(secret, ("x-jfrog-event-auth",))
        case "nexus":
            return Hmac(secret, ("x-nexus-webhook-signature",), algorithm="sha1")
        case _:
            raise UsageError(
                f"senders of the kind {kind!r} do not sign", remedy="use a header, a login or a secret in the URL"
            )


def verify(checks: Sequence[Check], delivery: SignedDelivery) -> Verification:
    """Return whether one of *checks* passes; several allow secrets to rotate. Without checks it fails."""
    problems = [_problem(check, delivery) for check in checks]
    if None in problems:
        return Verification(None)
    return Verification("; ".join(dict.fromkeys(filter(None, problems))) or "no check is configured")


def verify_head(checks: Sequence[Check], delivery: SignedDelivery) -> Verification | None:
    """Return the result of `verify` if the head of the request decides it; None if the body has to be read.

    A signature covers the body, but without its header no body can fit it.
    """
    pending = any(isinstance(check, Hmac) and any(map(delivery.headers.get, check.headers)) for check in checks)
    by_head = [check for check in checks if not isinstance(check, Hmac)]
    verification = verify(by_head, delivery) if by_head else Verification(None)
    if by_head and verification.passed:
        return verification
    return None if pending else verify(checks, delivery)


def _problem(check: Check, delivery: SignedDelivery) -> str | None:
    match check:
        case Hmac():
            return _hmac_problem(check, delivery)
        case StaticHeader():
            given = _header(delivery, check.header)
            return None if _same(_wire(given), check.value.encode()) else _wrong(given, check.header)
        case Basic():
            return _basic_problem(check, _header(delivery, "authorization"))
        case Bearer():
            scheme, token = _authorization(delivery)
            is_right = _same(_wire(token), check.token.encode()) and scheme == "bearer"
            return None if is_right else _wrong(token, "authorization: Bearer")
        case UrlSecret():
            is_right = _same(delivery.url_secret.encode("utf-8", "backslashreplace"), check.secret.encode())
            return None if is_right else _wrong(delivery.url_secret, "the secret in the URL")
        case Jwt():
            scheme, token = _authorization(delivery)
            return token_problem(check, token if scheme == "bearer" else "", delivery.keys, delivery.now)


def _hmac_problem(check: Hmac, delivery: SignedDelivery) -> str | None:
    name = next((name for name in check.headers if name in delivery.headers), check.headers[0])
    given = _header(delivery, name)
    try:
        content = payload(delivery.headers, delivery.body) if check.over == "payload" else delivery.body
    except MalformedNotification:
        return f"{name} signs a form that cannot be read"
    expected = check.prefix + hmac.new(check.secret.encode(), content, check.algorithm).hexdigest()
    return None if _same(_wire(given), expected.encode()) else _wrong(given, name)


def _basic_problem(check: Basic, given: str) -> str | None:
    scheme, _, encoded = given.partition(" ")
    try:
        username, colon, password = base64.b64decode(_wire(encoded.strip()), validate=True).partition(b":")
    except ValueError:
        return "authorization: Basic is not base64"
    # Always compare both, so that the time does not reveal which one is wrong.
    is_right = _same(username, check.username.encode()) & _same(password, check.password.encode())
    return None if is_right and colon and scheme.lower() == "basic" else _wrong(given, "authorization: Basic")


def _authorization(delivery: SignedDelivery) -> tuple[str, str]:
    scheme, _, rest = _header(delivery, "authorization").partition(" ")
    return scheme.lower(), rest.strip()


def _header(delivery: SignedDelivery, name: str) -> str:
    """Return the value of a header; an overlong one counts as missing."""
    value = delivery.headers.get(name.lower(), "")
    return value if len(value) <= _HEADER_LIMIT else ""


def _wire(value: str) -> bytes:
    """Return the original bytes of a header."""
    return value.encode("latin-1", "backslashreplace")


def _same(given: bytes, expected: bytes) -> bool:
    """Compare in constant time; the hashes hide the length, too."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())


def _wrong(given: str, name: str) -> str:
    return f"{name} is wrong" if given else f"{name} is missing"


def _require(secret: str) -> None:
    if not secret:
        raise UsageError("an empty secret would accept every request")
