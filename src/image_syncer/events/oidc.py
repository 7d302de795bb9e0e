"""Signed tokens (JWT, RFC 7519) of senders that authenticate with OpenID Connect.

Google Pub/Sub does, and Azure Event Grid with Entra ID. The issuer's keys and the time are arguments.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt

from image_syncer.errors import UsageError
from image_syncer.events.notification import MalformedNotification, quoted
from image_syncer.events.payload import at, list_at, parse_json, parse_object, required_text, text_at

ALGORITHM: Final = "RS256"  # The algorithm of Google and Microsoft; the token does not choose it.
GOOGLE_ISSUERS: Final = ("https://accounts.google.com", "accounts.google.com")
GOOGLE_KEYS: Final = "https://www.googleapis.com/oauth2/v3/certs"
_LEEWAY_SECONDS: Final = 60.0
_TOKEN_LIMIT: Final = 8 * 1024
_KEYS_LIMIT: Final = 64

SigningKeys = Mapping[str, jwt.PyJWK]
"""The keys of an issuer by key id (`kid`)."""


@dataclass(frozen=True, slots=True)
class Jwt:
    """Requires a token of one of *issuers* for *audience*, and for the account *email* unless None.

    *keys* is the URL of the JWK set; None: discovered from the first issuer (OpenID Connect Discovery).
    """

    issuers: tuple[str, ...]
    audience: str
    email: str | None = None
    keys: str | None = None

    def __post_init__(self) -> None:
        if not (self.issuers and self.audience):
            raise UsageError("a token check needs an issuer and an audience")


def parse_keys(body: bytes) -> SigningKeys:
    """Return the RSA keys of a JWK set (RFC 7517); `MalformedNotification` if it is none or holds a broken key."""
    entries = list_at(parse_object(body), "keys")
    if len(entries) > _KEYS_LIMIT:
        raise MalformedNotification(f"a key set of more than {_KEYS_LIMIT} keys")
    keys: dict[str, jwt.PyJWK] = {}
    for entry in entries:
        kid = text_at(entry, "kid")
        if not kid or text_at(entry, "kty") != "RSA":
            continue
        public = {"kty": "RSA", "kid": kid, "n": text_at(entry, "n"), "e": text_at(entry, "e")}
        try:
            keys[kid] = jwt.PyJWK(public, ALGORITHM)
        except (jwt.PyJWTError, ValueError) as error:
            raise MalformedNotification("a key set with a broken key") from error
    return keys


def discovery_address(issuer: str) -> str:
    """Return the URL of the discovery document of *issuer* (OpenID Connect Discovery 1.0, section 4)."""
    return f"{issuer.rstrip('/')}/.well-known/openid-configuration"


def parse_discovery(issuer: str, body: bytes) -> str:
    """Return the address of the JWK set in the discovery document *body*.

    `MalformedNotification` if the document is of another issuer.
    """
    document = parse_object(body)
    named = required_text(document, "issuer")
    if named != issuer:
        raise MalformedNotification(f"the discovery document of another issuer, {quoted(named)}")
    return required_text(document, "jwks_uri")


def key_id(token: str) -> str | None:
    """Return the unverified key id of *token*, None if it is not a token that can be verified.

    An unknown id means that the issuer's keys must be fetched again: keys rotate.
    """
    if len(token) > _TOKEN_LIMIT or token.count(".") != len(("header", "claims")):
        return None
    head = token.partition(".")[0]
    try:
        # Parsed here first, since the library does not bound the depth of the header.
        header = parse_json(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        named, algorithm = text_at(header, "kid"), text_at(header, "alg")
    except (MalformedNotification, ValueError):
        return None
    return named if named and algorithm == ALGORITHM else None


def token_problem(rules: Jwt, token: str, keys: SigningKeys, now: float) -> str | None:
    """Return the first rule that *token* breaks at *now* (seconds since the epoch), None if it is valid."""
    if not token:
        return "the token is missing"
    named = key_id(token)
    if named is None:
        return f"the token is not signed with {ALGORITHM} and a named key"
    key = keys.get(named)
    if key is None:
        return "the token is signed with a key that its issuer does not publish"
    try:
        claims = _decode(rules, token, key)
    except jwt.InvalidAudienceError:
        return "the token is for another audience"
    except jwt.InvalidIssuerError:
        return "the token is from another issuer"
    except jwt.MissingRequiredClaimError:
        return "the token lacks one of exp, iss and aud"
    except jwt.PyJWTError:
        return "the token's signature is wrong"
    return _time_problem(claims, now) or _account_problem(rules, claims)


def _decode(rules: Jwt, token: str, key: jwt.PyJWK) -> dict[str, Any]:
    """Return the verified claims, except those about time, for which the library would use its own clock."""
    return jwt.decode(
        token,
        key,
        algorithms=[ALGORITHM],
        audience=rules.audience,
        issuer=rules.issuers,
        options={"require": ["exp", "iss", "aud"], "verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )


def _time_problem(claims: dict[str, Any], now: float) -> str | None:
    times = [claims["exp"], claims.get("nbf", 0), claims.get("iat", 0)]
    if any(isinstance(time, bool) or not isinstance(time, (int, float)) for time in times):
        return "the token's times are not numbers"
    expires, *starts = times
    if now >= expires + _LEEWAY_SECONDS:
        return "the token has expired"
    return "the token is not valid yet" if now < max(starts) - _LEEWAY_SECONDS else None


def _account_problem(rules: Jwt, claims: dict[str, Any]) -> str | None:
    if rules.email is None:
        return None
    is_right = at(claims, "email") == rules.email and at(claims, "email_verified") is True
    return None if is_right else "the token is for another account"
