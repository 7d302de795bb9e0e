"""Whether a request comes from who knows the secret: every scheme that senders have, pure and in constant time.

A check is made over the raw body, before anything of it is parsed (only the form of Gitea is decoded, because Gitea
signs the JSON inside). The answer names the rule that failed and never what was given or expected.
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
    """What a request shows: headers with lower-case names, values as latin-1 decodes them (as ASGI servers give them).

    *url_secret* is what stood in the path or query for it, empty where nothing did. *now* is in seconds since the epoch
    and *keys* are the token issuer's; both matter for `Jwt` alone.
    """

    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    url_secret: str = field(default="", repr=False)
    now: float = 0.0
    keys: SigningKeys = field(default_factory=dict[str, PyJWK], repr=False)


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether a request may pass; *problem* is the rule that failed, None where none did."""

    problem: str | None

    @property
    def passed(self) -> bool:
        """True where nothing stands against the request."""
        return self.problem is None


@dataclass(frozen=True, slots=True)
class Hmac:
    """A hex HMAC in the first of *headers* that is there, *prefix* before it (RFC 2104).

    With *over* "payload", where the body is a form, its field `payload` is what was signed.
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
    """A header that has to hold *value*, the whole of it (`Authorization: Bearer ...` included)."""

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
    """A secret in the path or query, for senders that can do nothing else."""

    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        _require(self.secret)


Check = Hmac | StaticHeader | Basic | Bearer | UrlSecret | Jwt


def signed(kind: str, secret: str) -> Hmac:
    """Return the check of the signature that senders of *kind* make; `UsageError` where they make none."""
    match kind:
        case "github" | "cloudevents":  # The latter has no scheme of its own; this one is the usual.
            return Hmac(secret, ("x-hub-signature-256",), prefix="sha256=")
        case "gitea":
            return Hmac(secret, ("x-gitea-signature", "x-forgejo-signature"), over="payload")
        case "jfrog":
            return Hmac(secret, ("x-jfrog-event-auth",))
        case "nexus":
            return Hmac(secret, ("x-nexus-webhook-signature",), algorithm="sha1")
        case _:
            raise UsageError(
                f"senders of the kind {kind!r} sign nothing", remedy="use a header, a login or a secret in the URL"
            )


def verify(checks: Sequence[Check], delivery: SignedDelivery) -> Verification:
    """Return whether one of *checks* passes; several let a secret be changed without a gap. None at all never pass."""
    problems = [_problem(check, delivery) for check in checks]
    if None in problems:
        return Verification(None)
    return Verification("; ".join(dict.fromkeys(filter(None, problems))) or "nothing is configured to verify it with")


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
        return f"{name} is over a form that cannot be read"
    expected = check.prefix + hmac.new(check.secret.encode(), content, check.algorithm).hexdigest()
    return None if _same(_wire(given), expected.encode()) else _wrong(given, name)


def _basic_problem(check: Basic, given: str) -> str | None:
    scheme, _, encoded = given.partition(" ")
    try:
        username, colon, password = base64.b64decode(_wire(encoded.strip()), validate=True).partition(b":")
    except ValueError:
        return "authorization: Basic is not base64"
    # Both are always compared, so that time does not tell which of them was wrong.
    is_right = _same(username, check.username.encode()) & _same(password, check.password.encode())
    return None if is_right and colon and scheme.lower() == "basic" else _wrong(given, "authorization: Basic")


def _authorization(delivery: SignedDelivery) -> tuple[str, str]:
    scheme, _, rest = _header(delivery, "authorization").partition(" ")
    return scheme.lower(), rest.strip()


def _header(delivery: SignedDelivery, name: str) -> str:
    """Return a header's value; one beyond our bound is as good as none."""
    value = delivery.headers.get(name.lower(), "")
    return value if len(value) <= _HEADER_LIMIT else ""


def _wire(value: str) -> bytes:
    """Return the bytes of a header as they came."""
    return value.encode("latin-1", "backslashreplace")


def _same(given: bytes, expected: bytes) -> bool:
    """Compare in a time that tells neither the contents nor, by way of the hashes, the length."""
    return hmac.compare_digest(hashlib.sha256(given).digest(), hashlib.sha256(expected).digest())


def _wrong(given: str, name: str) -> str:
    return f"{name} is wrong" if given else f"{name} is missing"


def _require(secret: str) -> None:
    if not secret:
        raise UsageError("an empty secret would let everybody in")
