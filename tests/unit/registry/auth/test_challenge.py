"""Parsing of challenges, valid and hostile."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from image_syncer.registry.auth.challenge import Challenge, merge_scopes, parse_challenges, preferred

BEARER = Challenge("bearer", (("realm", "https://auth.example/token"), ("service", "registry.example")))


@pytest.mark.parametrize(
    "line",
    [
        'Bearer realm="https://auth.example/token",service="registry.example"',
        'bearer  realm = "https://auth.example/token" , SERVICE=registry.example',
        "Bearer realm=https://auth.example/token,service=registry.example",
        ', Bearer realm="https:\\/\\/auth.example/token",, service="registry.example",',
    ],
)
def test_a_challenge_is_parsed_in_every_spelling(line: str) -> None:
    """Quotes, spaces, case and empty list items make no difference."""
    assert parse_challenges([line]) == [BEARER]


def test_a_quoted_comma_does_not_end_a_parameter() -> None:
    """Scopes contain commas, and some registries put several scopes into one parameter."""
    line = 'Bearer realm="r",scope="repository:a:pull,push repository:b:pull",error="insufficient_scope"'
    (challenge,) = parse_challenges([line])
    assert challenge.scopes == ("repository:a:pull,push", "repository:b:pull")
    assert (challenge.get("error"), challenge.get("service")) == ("insufficient_scope", "")


@pytest.mark.parametrize(
    "lines",
    [
        ['Basic realm="x", Bearer realm="r",service="s"'],
        ['Bearer realm="r",service="s", Basic realm="x"'],
        ["Negotiate", 'Basic realm="x"', 'Bearer realm="r",service="s"'],
        ['Negotiate YII0a+b/c==, Basic realm="x", Bearer realm="r",service="s"'],
        ['Digest realm="d", nonce="n, m", qop=auth, Bearer realm="r",service="s"'],
    ],
)
def test_bearer_is_found_among_others(lines: list[str]) -> None:
    """Bearer is preferred among several challenges, in one header or in several."""
    assert preferred(parse_challenges(lines)) == Challenge("bearer", (("realm", "r"), ("service", "s")))


@pytest.mark.parametrize(
    ("line", "scheme"), [('Basic realm="x"', "basic"), ("Basic", "basic"), ("Bearer", None), ("Negotiate", None)]
)
def test_a_challenge_that_cannot_be_answered_is_ignored(line: str, scheme: str | None) -> None:
    """A Bearer challenge without a realm names no token server."""
    challenge = preferred(parse_challenges([line]))
    assert (challenge and challenge.scheme) == scheme


@given(st.lists(st.text(alphabet='Bear realm="\\,\t x=é\x00', max_size=60), max_size=4))
def test_any_text_is_parsed_without_an_exception(lines: list[str]) -> None:
    """Headers are untrusted input."""
    assert all(challenge.scheme for challenge in parse_challenges(lines))


def test_hostile_headers_are_bounded() -> None:
    """Time and memory stay bounded, whatever the header holds."""
    started = time.process_time()
    many = parse_challenges(["Bearer a=b, " * 100_000] * 1000)
    (long,) = parse_challenges(["Bearer " + "a=b," * 100_000])[:1]
    unterminated = parse_challenges(['Bearer realm="' + "\\" * 1_000_000])
    assert len(many) <= 16
    assert len(long.parameters) <= 32
    assert preferred(unterminated) is None
    assert len(Challenge("bearer", (("scope", "a " * 1000),)).scopes) <= 64
    assert time.process_time() - started < 2


def test_scopes_are_joined_by_resource() -> None:
    """Each resource occurs once, with all its actions."""
    merged = merge_scopes(["repository:b:pull"], ["repository:a:pull,push", "repository:b:push", "repository:b:pull"])
    assert merged == ("repository:a:pull,push", "repository:b:pull,push")
    assert merge_scopes(merged) == merged
    assert merge_scopes(["registry:catalog:*"], ["odd"]) == ("odd", "registry:catalog:*")
