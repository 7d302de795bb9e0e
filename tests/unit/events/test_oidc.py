"""Tokens pass only with the issuer's signature and the right audience, account and time."""

import base64
import json
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import UsageError
from image_syncer.events import MalformedNotification
from image_syncer.events.oidc import GOOGLE_ISSUERS, Jwt, SigningKeys, key_id, parse_keys
from image_syncer.events.signatures import SignedDelivery, verify

NOW = 1_777_885_953.0
RULES = Jwt(GOOGLE_ISSUERS, "https://sync.example.com/hooks/gar", "push@p.iam.gserviceaccount.com")
CLAIMS: dict[str, Any] = {
    "iss": "https://accounts.google.com",
    "aud": RULES.audience,
    "email": RULES.email,
    "email_verified": True,
    "iat": NOW - 10,
    "exp": NOW + 3600,
}


@cache
def private_key() -> rsa.RSAPrivateKey:
    """Return the issuer's key, made once."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def key_set(**changes: Any) -> bytes:
    """Return the issuer's published key (RFC 7518, section 6.3.1), its members changed."""
    numbers = private_key().public_key().public_numbers()
    public = {"kty": "RSA", "kid": "k1", "alg": "RS256", "n": encoded(numbers.n), "e": encoded(numbers.e)}
    return json.dumps({"keys": [public | changes]}).encode()


def encoded(number: int) -> str:
    """Return *number* in the base64 of keys."""
    return base64.urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).decode().rstrip("=")


def token(kid: str = "k1", **changes: Any) -> str:
    """Return a token with changed claims; a claim that is None is left out."""
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, private_key(), algorithm="RS256", headers={"kid": kid})


def problem(text: str, *, keys: SigningKeys | None = None, rules: Jwt = RULES) -> str | None:
    """Return what there is against the bearer token *text*."""
    headers = {"authorization": f"Bearer {text}"}
    return verify(
        [rules], SignedDelivery(headers, b"{}", now=NOW, keys=parse_keys(key_set()) if keys is None else keys)
    ).problem


def test_the_right_token_passes() -> None:
    """Signed by the issuer, for our audience, from the configured account."""
    assert problem(token()) is None


def test_without_an_email_any_account_of_the_issuer_passes() -> None:
    """Entra ID's tokens for Event Grid have none."""
    assert problem(token(email=None), rules=Jwt(GOOGLE_ISSUERS, RULES.audience)) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "https://other.example.com"}, "another audience"),
        ({"aud": None}, "lacks"),
        ({"iss": "https://stranger.example.com"}, "another issuer"),
        ({"iss": None}, "lacks"),
        ({"exp": None}, "lacks"),
        ({"exp": NOW - 61}, "expired"),
        ({"exp": True}, "not numbers"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"iat": NOW + 3000}, "not valid yet"),
        ({"email": "other@p.iam.gserviceaccount.com"}, "another account"),
        ({"email_verified": False}, "another account"),
        ({"email": None}, "another account"),
        ({"kid": "k2"}, "does not publish"),
    ],
)
def test_an_invalid_token_fails(changes: dict[str, Any], reason: str) -> None:
    """The result names the rule."""
    assert reason in (problem(token(**changes)) or "")


def test_clocks_may_differ_by_a_minute() -> None:
    """Before `nbf` and after `exp`."""
    assert problem(token(exp=NOW - 59, nbf=NOW + 59)) is None


def test_a_changed_token_does_not_pass() -> None:
    """Claims of one token with the signature of another."""
    head, _, signature = token().split(".")
    claims = token(email="other@example.com").split(".")[1]
    assert problem(f"{head}.{claims}.{signature}") == "the token's signature is wrong"


def test_a_token_never_chooses_its_algorithm() -> None:
    """Neither none nor an HMAC with the public key as its secret."""
    secret = "a public key as text would do, if we let it; it is long enough for the library"
    with_hmac = jwt.encode(CLAIMS, secret, algorithm="HS256", headers={"kid": "k1"})
    without = jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": "k1"})
    for text in (with_hmac, without):
        assert problem(text) == "the token is not signed with RS256 and a named key"


def test_a_deep_header_is_no_token() -> None:
    """It is read with our bounds before the library reads it."""
    head = base64.urlsafe_b64encode(b"[" * 4000).decode()
    assert key_id(f"{head}.e30.e30") is None
    assert key_id("x" * 9000 + "..") is None


@given(st.text())
def test_any_text_is_a_problem_and_never_an_error(text: str) -> None:
    """For any text after `Bearer`."""
    assert problem(text, keys={})


def test_a_missing_token_is_reported_as_missing() -> None:
    """Another scheme is no token."""
    found = verify([RULES], SignedDelivery({"authorization": "Basic eDp5"}, b"{}", now=NOW))
    assert found.problem == "the token is missing"


def test_the_key_of_a_token_can_be_known_before_its_keys() -> None:
    """So an unknown one can be fetched."""
    assert key_id(token("k7")) == "k7"


def test_keys_of_other_types_and_without_names_are_left_out() -> None:
    """An issuer may publish more than we use."""
    assert parse_keys(key_set(kty="EC")) == {}
    assert parse_keys(key_set(kid="")) == {}


@pytest.mark.parametrize("body", [key_set(n=""), key_set(n="%"), key_set(e=""), key_set(n=5), b"[]", b'{"keys": 5}'])
def test_a_broken_key_set_is_malformed(body: bytes) -> None:
    """It is refused as a whole."""
    with pytest.raises(MalformedNotification):
        parse_keys(body)


def test_a_key_set_is_bounded() -> None:
    """At most 64 keys are read."""
    with pytest.raises(MalformedNotification, match="64"):
        parse_keys(json.dumps({"keys": [{}] * 65}).encode())


def test_a_token_without_issuer_or_audience_would_prove_nothing() -> None:
    """Any customer of the same issuer could make one."""
    with pytest.raises(UsageError):
        Jwt((), "x")
    with pytest.raises(UsageError):
        Jwt(GOOGLE_ISSUERS, "")
