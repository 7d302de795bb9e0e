"""Verification: a request without the secret fails, and the answer reveals nothing about it."""

import base64
import hmac
from functools import partial
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.errors import UsageError
from image_syncer.events.signatures import (
    Basic,
    Bearer,
    Check,
    Hmac,
    SignedDelivery,
    StaticHeader,
    UrlSecret,
    signed,
    verify,
)

SECRET = "correct horse battery staple"
BODY = b'{"action":"published"}'
LOGIN = Basic("sync", SECRET)


def mac(algorithm: str = "sha256", body: bytes = BODY, secret: str = SECRET) -> str:
    """Return the hex HMAC that a sender would make."""
    return hmac.new(secret.encode(), body, algorithm).hexdigest()


def basic(user: str = "sync", password: str = SECRET) -> str:
    """Return the header of HTTP Basic."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def problem(check: Check, headers: dict[str, str] | None = None, **delivery: Any) -> str | None:
    """Return what *check* has against a request."""
    return verify([check], SignedDelivery(headers or {}, delivery.pop("body", BODY), **delivery)).problem


RIGHT: list[tuple[Check, dict[str, str]]] = [
    (signed("github", SECRET), {"x-hub-signature-256": f"sha256={mac()}"}),
    (signed("gitea", SECRET), {"x-gitea-signature": mac()}),
    (signed("gitea", SECRET), {"x-forgejo-signature": mac()}),
    (signed("jfrog", SECRET), {"x-jfrog-event-auth": mac()}),
    (signed("nexus", SECRET), {"x-nexus-webhook-signature": mac("sha1")}),
    (signed("cloudevents", SECRET), {"x-hub-signature-256": f"sha256={mac()}"}),
    (Hmac(SECRET, ("x-hub-signature",), algorithm="sha1", prefix="sha1="), {"x-hub-signature": f"sha1={mac('sha1')}"}),
    (StaticHeader(SECRET), {"authorization": SECRET}),
    (StaticHeader(SECRET, "X-Gitlab-Token"), {"x-gitlab-token": SECRET}),
    (LOGIN, {"authorization": basic()}),
    (LOGIN, {"authorization": basic().replace("Basic", "basic")}),
    (Bearer(SECRET), {"authorization": f"bearer {SECRET}"}),
]
WRONG: list[tuple[Check, dict[str, str]]] = [
    (signed("github", SECRET), {"x-hub-signature-256": mac()}),
    (signed("github", SECRET), {"x-hub-signature-256": f"sha256={mac(secret='other')}"}),
    (signed("github", SECRET), {"x-hub-signature-256": f"sha256={mac(body=b'other')}"}),
    (signed("github", SECRET), {"x-hub-signature-256": "sha256=" + "0" * 64}),
    (signed("gitea", SECRET), {"x-gitea-signature": f"sha256={mac()}"}),
    (signed("gitea", SECRET), {"x-gitea-signature": mac(secret="")}),
    (signed("nexus", SECRET), {"x-nexus-webhook-signature": mac()}),
    (StaticHeader(SECRET), {"authorization": SECRET[:-1]}),
    (StaticHeader(SECRET), {"authorization": f"{SECRET} "}),
    (StaticHeader(SECRET), {"authorization": "\U0001f511"}),
    (LOGIN, {"authorization": basic(password="")}),
    (LOGIN, {"authorization": basic(user="other")}),
    (LOGIN, {"authorization": "Basic %%%"}),
    (LOGIN, {"authorization": basic().replace("Basic", "Bearer")}),
    (Bearer(SECRET), {"authorization": f"Basic {SECRET}"}),
    (Bearer(SECRET), {"authorization": "x" * 20_000}),
]


@pytest.mark.parametrize(("check", "headers"), RIGHT)
def test_a_request_with_the_secret_passes(check: Check, headers: dict[str, str]) -> None:
    """Each scheme in the header and the form in which its senders use it."""
    assert problem(check, headers) is None


@pytest.mark.parametrize(("check", "headers"), WRONG)
def test_a_request_without_the_secret_fails(check: Check, headers: dict[str, str]) -> None:
    """The answer names the header, never the secret or what was given."""
    found = problem(check, headers)
    assert found is not None
    assert next(iter(headers)) in found
    assert not any(text in found for text in [SECRET, mac(), mac("sha1"), *headers.values()])


@pytest.mark.parametrize("check", [*dict.fromkeys(check for check, _ in RIGHT), UrlSecret(SECRET)])
def test_a_missing_secret_is_reported_as_missing(check: Check) -> None:
    """So an operator can tell a sender without a secret from one with a wrong secret."""
    assert "missing" in (problem(check) or "")


@pytest.mark.parametrize("check", [*dict.fromkeys(check for check, _ in RIGHT), UrlSecret(SECRET)])
def test_no_secret_is_in_a_repr(check: Check) -> None:
    """A check may be logged."""
    assert SECRET not in repr(check)


def test_a_delivery_has_no_content_in_its_repr() -> None:
    """Headers and bodies hold secrets of others."""
    assert SECRET not in repr(SignedDelivery({"authorization": SECRET}, SECRET.encode(), SECRET))


def test_a_secret_in_the_url_is_compared_whole() -> None:
    """Neither a beginning nor odd characters pass."""
    check = UrlSecret(SECRET)
    assert problem(check, url_secret=SECRET) is None
    assert problem(check, url_secret=SECRET[:-1]) == "the secret in the URL is wrong"
    assert problem(check, url_secret="\ud800") is not None


def test_one_of_several_checks_is_enough() -> None:
    """A secret is changed without a gap: both are accepted for a while."""
    old, new = StaticHeader("old"), StaticHeader("new")
    assert verify([old, new], SignedDelivery({"authorization": "new"}, BODY)).passed
    assert verify([old, new], SignedDelivery({"authorization": "x"}, BODY)).problem == "authorization is wrong"


def test_without_any_check_nothing_passes() -> None:
    """A mistake in the configuration grants no access."""
    assert not verify([], SignedDelivery({}, BODY)).passed


def test_gitea_signs_the_json_inside_a_form() -> None:
    """Its signature is over the payload, whichever way that is sent."""
    headers = {"content-type": "application/x-www-form-urlencoded", "x-gitea-signature": mac()}
    assert problem(signed("gitea", SECRET), headers, body=b"payload=" + quote(BODY).encode()) is None
    assert "cannot be read" in (problem(signed("gitea", SECRET), headers, body=b"other=1") or "")


def test_github_signs_the_form_itself() -> None:
    """Its signature is over the raw body."""
    body = b"payload=" + quote(BODY).encode()
    headers = {"content-type": "application/x-www-form-urlencoded", "x-hub-signature-256": f"sha256={mac(body=body)}"}
    assert problem(signed("github", SECRET), headers, body=body) is None


def test_a_secret_may_have_any_letters() -> None:
    """Servers decode headers as latin-1, senders write UTF-8."""
    header = "geheimnis-ä-密".encode().decode("latin-1")
    assert problem(StaticHeader("geheimnis-ä-密"), {"authorization": header}) is None
    assert problem(Basic("ü", "密:x"), {"authorization": basic("ü", "密:x")}) is None


@pytest.mark.parametrize("make", [StaticHeader, Bearer, UrlSecret, partial(signed, "github")])
def test_an_empty_secret_is_refused(make: Any) -> None:
    """It would accept every request."""
    with pytest.raises(UsageError, match="empty secret"):
        make("")


def test_a_kind_that_signs_nothing_is_refused() -> None:
    """The remedy names what its senders can do instead."""
    with pytest.raises(UsageError, match="use a header"):
        signed("dockerhub", SECRET)


@given(st.text(), st.binary(max_size=50))
def test_no_guess_passes_or_raises(guess: str, body: bytes) -> None:
    """For any headers and URL."""
    names = ("authorization", "x-hub-signature-256", "x-gitea-signature", "x-nexus-webhook-signature")
    checks = [
        LOGIN,
        Bearer(SECRET),
        *(signed(kind, SECRET) for kind in ("github", "gitea", "nexus")),
        UrlSecret(SECRET),
    ]
    assert not verify(checks, SignedDelivery(dict.fromkeys(names, guess), body, guess)).passed


def test_digests_are_of_the_named_algorithm() -> None:
    """A known answer: RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    headers = {"x-gitea-signature": expected}
    assert problem(signed("gitea", "Jefe"), headers, body=b"what do ya want for nothing?") is None


@pytest.mark.parametrize(("check", "headers"), RIGHT)
def test_secrets_are_compared_in_constant_time(
    check: Check, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Always as hashes of one length, however much or little of a guess is right."""
    lengths: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def spy(given: bytes, expected: bytes) -> bool:
        lengths.append((len(given), len(expected)))
        return compare(given, expected)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    [(name, right)] = headers.items()
    seen: list[int] = []
    for guess in (right, right[:-4], "x" * 3000):
        before = len(lengths)
        problem(check, {name: guess})
        seen.append(len(lengths) - before)
    assert set(lengths) == {(32, 32)}
    assert seen[0] >= 1
    assert seen[0] == seen[1]
