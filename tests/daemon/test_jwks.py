"""The JWKS cache, over real HTTP: keys are fetched once, refreshed in time, and never at a stranger's will."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from image_syncer.config.model import TokenClaims
from image_syncer.daemon.jwks import IssuerKeys, token_check
from image_syncer.events.oidc import GOOGLE_ISSUERS, GOOGLE_KEYS, Jwt
from image_syncer.registry.http.json_fetch import JsonFetcher
from image_syncer.server.web_backend import BackendUnavailable
from support.clocks import ManualClock
from support.issuers import DISCOVERY, KEYS, Issuer, open_issuer

MINUTE, DAY = 60.0, 24 * 3600.0


@dataclass
class Bench:
    """An issuer, the cache of its keys, and the clock."""

    issuer: Issuer
    ring: IssuerKeys
    clock: ManualClock

    async def keys(self, kid: str = "k1") -> set[str]:
        """Return the ids of the known keys after a request for *kid*."""
        return set(await self.ring.keys_for(Jwt((self.issuer.url,), "us"), kid))

    async def refused(self) -> float:
        """Return the Retry-After of a request without keys."""
        with pytest.raises(BackendUnavailable) as error:
            await self.keys()
        return error.value.retry_after


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    """An issuer with the key k1, which has had no request yet."""
    clock = ManualClock(5.0)
    async with open_issuer() as issuer, JsonFetcher({}, seconds=10.0) as documents:
        yield Bench(issuer, IssuerKeys(documents, clock), clock)


async def test_keys_are_discovered_once_and_kept(bench: Bench) -> None:
    """One request for the description, one for the keys, however many tokens arrive."""
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(bench.keys()) for _ in range(50)]
    bench.clock.now += 59 * MINUTE
    assert await bench.keys() == {"k1"} == asking[-1].result()
    assert bench.issuer.requests == {DISCOVERY: 1, KEYS: 1}


async def test_a_configured_address_needs_no_discovery(bench: Bench) -> None:
    """Two hooks with one issuer share its keys."""
    for audience in ("one", "other"):
        await bench.ring.keys_for(Jwt(("issuer",), audience, keys=f"{bench.issuer.url}/own"), "k1")
    assert bench.issuer.requests == {"/own": 1}


async def test_a_rotated_key_is_fetched_on_first_use(bench: Bench) -> None:
    """A withdrawn key is forgotten by the same request."""
    await bench.keys()
    bench.clock.now += MINUTE
    bench.issuer.kids = ["k2"]
    assert await bench.keys("k2") == {"k2"}


async def test_a_flood_of_unknown_keys_is_one_request_a_minute(bench: Bench) -> None:
    """Strangers choose the key id; known keys stay valid."""
    await bench.keys()
    for minute in range(3):
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(bench.keys(f"stranger-{minute}-{number}"))
        bench.clock.now += 30
        assert await bench.keys("stranger") == {"k1"}
        bench.clock.now += 30
    assert bench.issuer.requests[KEYS] == 3


@pytest.mark.parametrize(
    ("control", "kept"), [("max-age=1", 5 * MINUTE), ("max-age=7200", 7200), ("max-age=999999999", DAY), ("", 3600)]
)
async def test_keys_are_refreshed_as_often_as_the_issuer_says(bench: Bench, control: str, kept: float) -> None:
    """Between five minutes and a day; after an hour without max-age."""
    bench.issuer.headers["Cache-Control"] = control
    await bench.keys()
    bench.clock.now += kept - 1
    await bench.keys()
    assert bench.issuer.requests[KEYS] == 1
    bench.clock.now += 2
    await bench.keys()
    assert bench.issuer.requests[KEYS] == 2


async def test_old_keys_stay_valid_for_a_day_while_the_issuer_is_down(bench: Bench) -> None:
    """With one request a minute; then no token is accepted."""
    await bench.keys()
    bench.issuer.status = 500
    bench.clock.now += 3600
    with capture_logs() as logs:
        assert await bench.keys() == await bench.keys() == {"k1"}
    assert [(line["event"], line["old_keys_kept"]) for line in logs] == [("keys.unavailable", True)]
    assert "answers 500" in logs[0]["error"]
    bench.clock.now += DAY - 1
    assert await bench.keys() == {"k1"}
    bench.clock.now += MINUTE
    await bench.refused()
    assert bench.issuer.requests[DISCOVERY] == 4


async def test_without_keys_no_token_is_accepted(bench: Bench) -> None:
    """The error says when to try again, and the issuer gets no request until then."""
    bench.issuer.status = 503
    assert await bench.refused() == 10
    bench.issuer.status = 200
    bench.clock.now += 4
    assert await bench.refused() == 6
    assert bench.issuer.requests == {DISCOVERY: 1}
    bench.clock.now += 6
    assert await bench.keys() == {"k1"}


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        (KEYS, b" " * (256 * 1024 + 1), "more than 262144 bytes"),
        (KEYS, b'{"keys": []}', "no usable key"),
        (KEYS, b'{"keys": [{"kid": "k", "kty": "RSA", "n": "", "e": ""}]}', "broken key"),
        (KEYS, b'{"keys":' + b"[" * 1000, "nested deeper"),
        (KEYS, b"nonsense", "not JSON"),
        (DISCOVERY, b"{}", "issuer is missing"),
        (DISCOVERY, b" " * (256 * 1024 + 1), "more than 262144 bytes"),
    ],
)
async def test_a_malformed_answer_of_the_issuer_gives_no_keys(
    bench: Bench, path: str, answer: bytes, reason: str
) -> None:
    """As if it were down; the log has the reason, the sender does not see it."""
    bench.issuer.answers[path] = answer
    with capture_logs() as logs:
        await bench.refused()
    assert reason in logs[0]["error"]


@pytest.mark.parametrize(
    ("discovery", "reason"),
    [
        ({"issuer": "https://stranger.example.com"}, "another issuer, 'https://stranger.example.com'"),
        ({"jwks_uri": "http://keys.example.com/"}, "is not https"),
        ({"jwks_uri": "ftp://keys.example.com/"}, "not an http or https address"),
        ({"jwks_uri": None}, "jwks_uri is missing"),
    ],
)
async def test_keys_come_from_the_configured_issuer_over_https(
    bench: Bench, discovery: dict[str, str], reason: str
) -> None:
    """The description must name that issuer and an address that cannot be forged."""
    bench.issuer.discovery = discovery
    with capture_logs() as logs:
        await bench.refused()
    assert reason in logs[0]["error"]
    assert bench.issuer.requests == {DISCOVERY: 1}


async def test_redirects_are_not_followed(bench: Bench) -> None:
    """Neither for the description nor for the keys."""
    bench.issuer.status, bench.issuer.headers["Location"] = 302, f"{bench.issuer.url}{KEYS}"
    await bench.refused()
    with pytest.raises(BackendUnavailable):
        await bench.ring.keys_for(Jwt(("issuer",), "us", keys=f"{bench.issuer.url}/moved"), "k1")
    assert bench.issuer.requests == {DISCOVERY: 1, "/moved": 1}


async def test_a_cancelled_caller_leaves_no_request_behind(bench: Bench) -> None:
    """The attempt counts, and the next one after its pause succeeds."""
    asking = asyncio.create_task(bench.keys())
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await bench.refused() == 10
    bench.clock.now += 10
    assert await bench.keys() == {"k1"}


def test_claims_become_a_check() -> None:
    """Google's issuer is built in; another issuer publishes its key address unless the configuration has it."""
    assert token_check(TokenClaims("a", "e")) == Jwt(GOOGLE_ISSUERS, "a", "e", GOOGLE_KEYS)
    assert token_check(TokenClaims("a", "e", keys="https://k")) == Jwt(GOOGLE_ISSUERS, "a", "e", "https://k")
    assert token_check(TokenClaims("a", None, "https://i")) == Jwt(("https://i",), "a")
    assert token_check(TokenClaims("a", None, "https://i", "https://k")) == Jwt(("https://i",), "a", keys="https://k")
