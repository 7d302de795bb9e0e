"""Keys of token issuers, over real HTTP: fetched once, renewed in time, and never at a stranger's will."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from image_syncer.config.model import TokenClaims
from image_syncer.daemon.jwks import IssuerKeys, token_check
from image_syncer.events.oidc import GOOGLE_ISSUERS, GOOGLE_KEYS, Jwt
from image_syncer.registry.http.json_fetch import JsonFetcher
from image_syncer.server.backend import BackendUnavailable
from support.issuers import DISCOVERY, KEYS, Issuer, open_issuer

MINUTE, DAY = 60.0, 24 * 3600.0


@dataclass
class Clock:
    """Monotonic seconds, moved by the test."""

    now: float = 5.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass
class Bench:
    """An issuer, our keys of it, and the time."""

    issuer: Issuer
    ring: IssuerKeys
    clock: Clock

    async def keys(self, kid: str = "k1") -> set[str]:
        """Return the ids of the keys that are known when *kid* is asked for."""
        return set(await self.ring.keys_for(Jwt((self.issuer.url,), "us"), kid))

    async def refused(self) -> float:
        """Return when to come again, since there are no keys."""
        with pytest.raises(BackendUnavailable) as error:
            await self.keys()
        return error.value.retry_after


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    """An issuer with the key k1 that nobody has asked yet."""
    clock = Clock()
    async with open_issuer() as issuer, JsonFetcher({}, seconds=10.0) as documents:
        yield Bench(issuer, IssuerKeys(documents, clock), clock)


async def test_keys_are_found_by_discovery_and_kept(bench: Bench) -> None:
    """One request for the description, one for the keys, however many tokens come at once and later."""
    async with asyncio.TaskGroup() as group:
        asking = [group.create_task(bench.keys()) for _ in range(50)]
    bench.clock.now += 59 * MINUTE
    assert await bench.keys() == {"k1"} == asking[-1].result()
    assert bench.issuer.asked == {DISCOVERY: 1, KEYS: 1}


async def test_a_configured_address_needs_no_discovery(bench: Bench) -> None:
    """Two hooks with one issuer share its keys."""
    for audience in ("one", "other"):
        await bench.ring.keys_for(Jwt(("issuer",), audience, keys=f"{bench.issuer.url}/own"), "k1")
    assert bench.issuer.asked == {"/own": 1}


async def test_a_new_key_is_known_when_it_is_used(bench: Bench) -> None:
    """An issuer that rotates its keys needs nobody here; a withdrawn one is forgotten with that."""
    await bench.keys()
    bench.clock.now += MINUTE
    bench.issuer.kids = ["k2"]
    assert await bench.keys("k2") == {"k2"}


async def test_a_flood_of_unknown_keys_is_one_request_a_minute(bench: Bench) -> None:
    """Strangers choose the id; what is known goes on to be known."""
    await bench.keys()
    for minute in range(3):
        async with asyncio.TaskGroup() as group:
            for number in range(200):
                group.create_task(bench.keys(f"stranger-{minute}-{number}"))
        bench.clock.now += 30
        assert await bench.keys("stranger") == {"k1"}
        bench.clock.now += 30
    assert bench.issuer.asked[KEYS] == 3


@pytest.mark.parametrize(
    ("control", "kept"), [("max-age=1", 5 * MINUTE), ("max-age=7200", 7200), ("max-age=999999999", DAY), ("", 3600)]
)
async def test_keys_are_read_anew_when_the_issuer_says_so(bench: Bench, control: str, kept: float) -> None:
    """Within five minutes and a day, and after an hour where it says nothing."""
    bench.issuer.headers["Cache-Control"] = control
    await bench.keys()
    bench.clock.now += kept - 1
    await bench.keys()
    assert bench.issuer.asked[KEYS] == 1
    bench.clock.now += 2
    await bench.keys()
    assert bench.issuer.asked[KEYS] == 2


async def test_old_keys_stay_while_the_issuer_is_down_but_not_for_ever(bench: Bench) -> None:
    """For a day beyond their time, and it is asked once a minute; then nothing is believed."""
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
    assert bench.issuer.asked[DISCOVERY] == 4


async def test_without_keys_nothing_is_believed_until_there_are_some(bench: Bench) -> None:
    """The sender is told when to come again, and the issuer is left in peace until then."""
    bench.issuer.status = 503
    assert await bench.refused() == 10
    bench.issuer.status = 200
    bench.clock.now += 4
    assert await bench.refused() == 6
    assert bench.issuer.asked == {DISCOVERY: 1}
    bench.clock.now += 6
    assert await bench.keys() == {"k1"}


@pytest.mark.parametrize(
    ("path", "answer", "reason"),
    [
        (KEYS, b" " * (256 * 1024 + 1), "more than 262144 bytes"),
        (KEYS, b'{"keys": []}', "without a key that we could use"),
        (KEYS, b'{"keys": [{"kid": "k", "kty": "RSA", "n": "", "e": ""}]}', "broken key"),
        (KEYS, b'{"keys":' + b"[" * 1000, "nested deeper"),
        (KEYS, b"nonsense", "not JSON"),
        (DISCOVERY, b"{}", "issuer is missing"),
        (DISCOVERY, b" " * (256 * 1024 + 1), "more than 262144 bytes"),
    ],
)
async def test_an_issuer_that_answers_nonsense_gives_no_keys(
    bench: Bench, path: str, answer: bytes, reason: str
) -> None:
    """It is the same as one that is down; the log says why, the sender is not told."""
    bench.issuer.answers[path] = answer
    with capture_logs() as logs:
        await bench.refused()
    assert reason in logs[0]["error"]


@pytest.mark.parametrize(
    ("discovery", "reason"),
    [
        ({"issuer": "https://stranger.example.com"}, "another issuer, 'https://stranger.example.com'"),
        ({"jwks_uri": "http://keys.example.com/"}, "not at an https address"),
        ({"jwks_uri": "ftp://keys.example.com/"}, "not an http or https address"),
        ({"jwks_uri": None}, "jwks_uri is missing"),
    ],
)
async def test_keys_come_from_where_nobody_can_change_them(
    bench: Bench, discovery: dict[str, str], reason: str
) -> None:
    """The issuer must be the one that we know, and say an address that cannot be forged."""
    bench.issuer.discovery = discovery
    with capture_logs() as logs:
        await bench.refused()
    assert reason in logs[0]["error"]
    assert bench.issuer.asked == {DISCOVERY: 1}


async def test_a_redirect_leads_nowhere(bench: Bench) -> None:
    """Neither for the description nor for the keys."""
    bench.issuer.status, bench.issuer.headers["Location"] = 302, f"{bench.issuer.url}{KEYS}"
    await bench.refused()
    with pytest.raises(BackendUnavailable):
        await bench.ring.keys_for(Jwt(("issuer",), "us", keys=f"{bench.issuer.url}/moved"), "k1")
    assert bench.issuer.asked == {DISCOVERY: 1, "/moved": 1}


async def test_who_gives_up_waiting_leaves_nothing_behind(bench: Bench) -> None:
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
    """Google is known by name; another issuer is asked where its keys are, unless that is configured."""
    assert token_check(TokenClaims("a", "e")) == Jwt(GOOGLE_ISSUERS, "a", "e", GOOGLE_KEYS)
    assert token_check(TokenClaims("a", "e", keys="https://k")) == Jwt(GOOGLE_ISSUERS, "a", "e", "https://k")
    assert token_check(TokenClaims("a", None, "https://i")) == Jwt(("https://i",), "a")
    assert token_check(TokenClaims("a", None, "https://i", "https://k")) == Jwt(("https://i",), "a", keys="https://k")
