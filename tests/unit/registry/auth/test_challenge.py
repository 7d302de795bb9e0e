"""Challenges, friendly and hostile."""

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
def test_one_challenge_is_read_however_it_is_written(line: str) -> None:
    """Quotes, blanks, case and empty list items do not matter."""
    assert parse_challenges([line]) == [BEARER]


def test_a_quoted_comma_ends_nothing() -> None:
    """Scopes hold commas, and some registries put several scopes into one parameter."""
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
    """Several challenges in one header, or several headers: Bearer is preferred."""
    assert preferred(parse_challenges(lines)) == Challenge("bearer", (("realm", "r"), ("service", "s")))


@pytest.mark.parametrize(
    ("line", "scheme"), [('Basic realm="x"', "basic"), ("Basic", "basic"), ("Bearer", None), ("Negotiate", None)]
)
def test_only_what_can_be_answered_is_preferred(line: str, scheme: str | None) -> None:
    """A Bearer challenge without a realm leads nowhere."""
    challenge = preferred(parse_challenges([line]))
    assert (challenge and challenge.scheme) == scheme


@given(st.lists(st.text(alphabet='Bear realm="\\,\t x=é\x00', max_size=60), max_size=4))
def test_any_text_is_survived(lines: list[str]) -> None:
    """Headers come from strangers; nothing in them raises."""
    assert all(challenge.scheme for challenge in parse_challenges(lines))


def test_hostile_headers_are_bounded() -> None:
    """Neither time nor memory grows with what a stranger sends."""
    started = time.perf_counter()
    many = parse_challenges(["Bearer a=b, " * 100_000] * 1000)
    (long,) = parse_challenges(["Bearer " + "a=b," * 100_000])[:1]
    unterminated = parse_challenges(['Bearer realm="' + "\\" * 1_000_000])
    assert len(many) <= 16
    assert len(long.parameters) <= 32
    assert preferred(unterminated) is None
    assert len(Challenge("bearer", (("scope", "a " * 1000),)).scopes) <= 64
    assert time.perf_counter() - started < 2


def test_scopes_are_joined_by_resource() -> None:
    """One resource is asked for once, with all that is to be done to it."""
    merged = merge_scopes(["repository:b:pull"], ["repository:a:pull,push", "repository:b:push", "repository:b:pull"])
    assert merged == ("repository:a:pull,push", "repository:b:pull,push")
    assert merge_scopes(merged) == merged
    assert merge_scopes(["registry:catalog:*"], ["odd"]) == ("odd", "registry:catalog:*")
