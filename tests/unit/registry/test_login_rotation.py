"""Quotas and several logins, at registries that count what they are asked."""

import asyncio
from dataclasses import replace
from random import Random

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.errors import QuotaUsedUp, Unauthorized
from image_syncer.registry.limits.retry import Clock, RetryPolicy
from image_syncer.registry.observer import Wait
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, Limits, RegistryAccount
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import PULL, Account, Accounts, FakeRegistry, faults, profiles
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile, QuotaProfile
from support.clients import FakeTime, Told, client
from support.runs import rule

IMPATIENT = RetryPolicy.patient(600)
ACCOUNTS = Accounts({name: Account(f"{name}-secret", {"*": PULL}) for name in ("ann", "bob", "eve")})


def hub(pulls: int, *, retry_after: bool = False) -> Profile:
    """Return Docker Hub with few pulls."""
    return replace(
        profiles.DOCKER_HUB, quota=QuotaProfile(pulls, 21_600, retry_after=retry_after), blobs_elsewhere=False
    )


def logins(fake: FakeRegistry, *names: str, wrong: str = "") -> RegistryAccount:
    """Return the access to *fake* with several logins; that of *wrong* has a wrong password."""
    first, *others = (
        RegistryAccount(fake.host, Credential(name, "nonsense" if name == wrong else f"{name}-secret"))
        for name in names
    )
    return replace(first, further=tuple(others))


async def mirror(registries: Registries, fake: FakeRegistry, target: FakeRegistry, count: int) -> list[CopyResult]:
    """Copy *count* tags of *fake* to *target*."""
    for number in range(count):
        fake.load("team/app", single(f"seed {number}", layers=(700,)), f"v{number}")
    rules = [rule(f"v{n}", target.repository("copy"), source=fake.repository("team/app")) for n in range(count)]
    result = await Syncer(registries, Options(retries=2), in_memory(), rng=Random(1)).sync(rules)
    return list(result.results)


async def test_a_used_up_quota_is_no_flood_of_refusals() -> None:
    """20 images, 7 pulls: 7 images are copied, the others fail at once with the reason, and nobody was refused."""
    async with FakeRegistry(hub(7)) as fake, FakeRegistry() as target, client(policy=IMPATIENT) as registries:
        results = await mirror(registries, fake, target, 20)
        statuses = [request.status for request in fake.requests]
    failed = [result for result in results if result.outcome is Outcome.FAILED]
    assert len(results) - len(failed) == 7
    assert 429 not in statuses
    assert {result.reason for result in failed} == {
        f"{fake.host}: quota used up (7 per 6 h), the next request may be made in 15 min"
    }
    assert {result.remedy for result in failed} == {
        f"log in to {fake.host}, since an account has a quota of its own, or wait longer with --patience"
    }
    assert {(result.side, result.step, result.attempts) for result in failed} == {("source", "read manifest", 1)}


async def test_what_is_unchanged_is_found_so_without_a_quota() -> None:
    """HEADs are not counted."""
    async with FakeRegistry(hub(3)) as fake, FakeRegistry() as target, client() as registries:
        await mirror(registries, fake, target, 3)
        assert {result.outcome for result in await mirror(registries, fake, target, 3)} == {Outcome.UNCHANGED}


@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_run_waits_for_the_window_unless_it_is_told_otherwise(*, retry_after: bool) -> None:
    """The run goes on when it has turned, fails nothing, and tells what it waits for, again and again."""
    time, told = FakeTime(), Told()
    async with (
        FakeRegistry(hub(2, retry_after=retry_after)) as fake,
        FakeRegistry() as target,
        client(time) as registries,
    ):
        registries.observer = told

        async def turn() -> None:
            while time.seconds < 1000 + 800:  # noqa: ASYNC110 - a clock that others move
                await asyncio.sleep(0)
            fake.turn_quota()

        async with asyncio.TaskGroup() as group:
            group.create_task(turn())
            results = await mirror(registries, fake, target, 4)
        assert 429 not in [request.status for request in fake.requests]
    assert {result.outcome for result in results} == {Outcome.COPIED}
    assert told.waits[0] == Wait(fake.host, 900, "quota used up (2 per 6 h)")
    assert len(told.waits) == 3  # Every five minutes.
    assert told.going == [fake.host]


async def test_a_refusal_parks_the_whole_registry_and_no_other() -> None:
    """Another process has used the quota up: one refusal, then nothing is asked there; the other source is copied."""
    async with (
        FakeRegistry(hub(50)) as fake,
        FakeRegistry() as other,
        FakeRegistry() as target,
        client(policy=IMPATIENT) as registries,
    ):
        empty = {"ratelimit-limit": "50;w=21600", "ratelimit-remaining": "0;w=21600", "Retry-After": "5000"}
        fake.faults.add(faults.answer(429, headers=empty, code="TOOMANYREQUESTS"), method="GET", kind="manifest")
        fake.load("team/app", single("one"), "v1", "v2")
        other.load("app", single("two"), "v1")
        source = registries.source(fake.repository("team/app"))
        with pytest.raises(QuotaUsedUp) as used_up:
            await source.manifest("v1")
        asked = fake.requests.count()
        with pytest.raises(QuotaUsedUp):
            await source.resolve("v2")
        assert fake.requests.count() == asked
        assert used_up.value.retry_after == pytest.approx(5000)
        await mirror(registries, other, target, 1)


async def test_logins_are_used_in_turn_when_their_quota_is_used_up() -> None:
    """Three accounts with 5 pulls each: 15 images, no wait, no refusal, and who watches is told whose turn it is."""
    told = Told()
    async with FakeRegistry(replace(hub(5), auth="bearer", accounts=ACCOUNTS)) as fake, FakeRegistry() as target:
        access = logins(fake, "ann", "bob", "eve")
        async with client(Clock(), policy=IMPATIENT, access=[access]) as registries:
            registries.observer = told
            results = await mirror(registries, fake, target, 16)
        assert 429 not in [request.status for request in fake.requests]
    outcomes = [result.outcome for result in results]
    assert (outcomes.count(Outcome.COPIED), outcomes.count(Outcome.FAILED)) == (15, 1)
    turns = [user for host, user in told.logins if host == fake.host]
    assert (turns[:3], len(turns)) == (["ann", "bob", "eve"], 4)  # At the end the first again, for what is not counted.
    (failed,) = [result for result in results if result.outcome is Outcome.FAILED]
    assert failed.remedy == f"give further logins of {fake.host}, or wait longer with --patience"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_login_that_is_refused_is_passed_over(auth: str) -> None:
    """The next one does it; the wrong password is not tried again and again."""
    told = Told()
    async with FakeRegistry(Profile(auth=auth, accounts=ACCOUNTS)) as fake, FakeRegistry() as target:  # pyright: ignore[reportArgumentType] - from the table above
        async with client(access=[logins(fake, "ann", "bob", wrong="ann")]) as registries:
            registries.observer = told
            results = await mirror(registries, fake, target, 10)
        refused = [request for request in fake.requests if request.status == 401 and request.authorization == "basic"]
    assert {result.outcome for result in results} == {Outcome.COPIED}
    assert len(refused) <= 10  # What was on its way with it when it was first refused.
    assert told.logins[0] == (fake.host, "ann")


async def test_a_right_that_one_login_lacks_another_may_have() -> None:
    """DENIED is about a repository: for others the first login stays the first."""
    accounts = Accounts({"ann": Account("ann-secret", {"mine": PULL}), "bob": Account("bob-secret", {"theirs": PULL})})
    async with FakeRegistry(Profile(auth="basic", accounts=accounts)) as fake:
        for path in ("mine", "theirs"):
            fake.load(path, single(path), "v1")
        async with client(access=[logins(fake, "ann", "bob")]) as registries:
            for path in ("theirs", "mine"):
                await registries.source(fake.repository(path)).resolve("v1")


async def test_where_none_is_let_in_the_remedy_says_so() -> None:
    """And no password is in it."""
    async with FakeRegistry(Profile(auth="basic", accounts=Accounts({}))) as fake:
        access = logins(fake, "ann", "bob")
        async with client(access=[access]) as registries:
            with pytest.raises(Unauthorized) as refused:
                await registries.source(fake.repository("team/app")).resolve("v1")
    assert refused.value.remedy == f"none of the 2 logins of {fake.host} has access; check their rights"
    assert "secret" not in repr(refused.value)


async def test_a_login_is_shown_to_its_own_registry_alone() -> None:
    """Another registry never sees one of them, however many there are."""
    async with FakeRegistry(Profile(auth="basic", accounts=ACCOUNTS)) as other, FakeRegistry() as fake:
        async with client(access=[logins(fake, "ann", "bob")], limits=Limits()) as registries:
            with pytest.raises(Unauthorized):
                await registries.source(other.repository("team/app")).resolve("v1")
        assert {request.authorization for request in other.requests} == {""}
