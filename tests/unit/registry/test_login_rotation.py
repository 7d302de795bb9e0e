"""Quotas and several logins, at registries that count requests."""

import asyncio
from random import Random

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.errors import QuotaUsedUp, Unauthorized
from image_syncer.registry.limits.retry import Clock, RetryPolicy
from image_syncer.registry.observer import Wait
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, Limits, RegistryAccount
from image_syncer.structs import replace
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import PULL, Account, Accounts, FakeRegistry, faults, profiles
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile, QuotaProfile
from support.clients import FakeTime, RecordingObserver, client
from support.runs import rule

IMPATIENT = RetryPolicy.patient(600)
ACCOUNTS = Accounts({name: Account(f"{name}-secret", {"*": PULL}) for name in ("ann", "bob", "eve")})


def hub(pulls: int, *, retry_after: bool = False) -> Profile:
    """Return the Docker Hub profile with a small quota."""
    return replace(
        profiles.DOCKER_HUB, quota=QuotaProfile(pulls, 21_600, retry_after=retry_after), blobs_elsewhere=False
    )


def logins(fake: FakeRegistry, *names: str, wrong: str = "") -> RegistryAccount:
    """Return the account for *fake* with several logins; *wrong* has a wrong password."""
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


async def test_an_exhausted_quota_causes_no_refused_requests() -> None:
    """20 images, 7 pulls: 7 images are copied, the others fail at once with the reason, and no request is refused."""
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


async def test_unchanged_images_need_no_quota() -> None:
    """HEADs are not counted."""
    async with FakeRegistry(hub(3)) as fake, FakeRegistry() as target, client() as registries:
        await mirror(registries, fake, target, 3)
        assert {result.outcome for result in await mirror(registries, fake, target, 3)} == {Outcome.UNCHANGED}


@pytest.mark.parametrize("retry_after", [False, True])
async def test_a_run_waits_for_the_quota_window_by_default(*, retry_after: bool) -> None:
    """It continues after the reset, fails no image, and announces the wait repeatedly."""
    time, observer = FakeTime(), RecordingObserver()
    async with (
        FakeRegistry(hub(2, retry_after=retry_after)) as fake,
        FakeRegistry() as target,
        client(time) as registries,
    ):
        registries.observer = observer

        async def turn() -> None:
            while time.seconds < 1000 + 800:  # noqa: ASYNC110 - a clock that others move
                await asyncio.sleep(0)
            fake.turn_quota()

        async with asyncio.TaskGroup() as group:
            group.create_task(turn())
            results = await mirror(registries, fake, target, 4)
        assert 429 not in [request.status for request in fake.requests]
    assert {result.outcome for result in results} == {Outcome.COPIED}
    assert observer.waits[0] == Wait(fake.host, 900, "quota used up (2 per 6 h)")
    assert len(observer.waits) == 3  # Every five minutes.
    assert observer.resumed == [fake.host]


async def test_a_quota_refusal_holds_back_its_registry_only() -> None:
    """Another process used the quota up: after one refusal nothing is sent there; the other source is copied."""
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
        before = fake.requests.count()
        with pytest.raises(QuotaUsedUp):
            await source.resolve("v2")
        assert fake.requests.count() == before
        assert used_up.value.retry_after == pytest.approx(5000)
        await mirror(registries, other, target, 1)


async def test_logins_rotate_when_their_quota_is_used_up() -> None:
    """Three accounts with 5 pulls each: 15 images, no wait, no refusal, and the observer receives each login."""
    observer = RecordingObserver()
    async with FakeRegistry(replace(hub(5), auth="bearer", accounts=ACCOUNTS)) as fake, FakeRegistry() as target:
        access = logins(fake, "ann", "bob", "eve")
        async with client(Clock(), policy=IMPATIENT, access=[access]) as registries:
            registries.observer = observer
            results = await mirror(registries, fake, target, 16)
        assert 429 not in [request.status for request in fake.requests]
    outcomes = [result.outcome for result in results]
    assert (outcomes.count(Outcome.COPIED), outcomes.count(Outcome.FAILED)) == (15, 1)
    turns = [user for host, user in observer.logins if host == fake.host]
    assert (turns[:3], len(turns)) == (["ann", "bob", "eve"], 4)  # At the end the first again, for what is not counted.
    (failed,) = [result for result in results if result.outcome is Outcome.FAILED]
    assert failed.remedy == f"give further logins of {fake.host}, or wait longer with --patience"


@pytest.mark.parametrize("auth", ["basic", "bearer"])
async def test_a_refused_login_is_skipped(auth: str) -> None:
    """The next one is used; the wrong password is not tried again and again."""
    observer = RecordingObserver()
    async with FakeRegistry(Profile(auth=auth, accounts=ACCOUNTS)) as fake, FakeRegistry() as target:  # pyright: ignore[reportArgumentType] - from the table above
        async with client(access=[logins(fake, "ann", "bob", wrong="ann")]) as registries:
            registries.observer = observer
            results = await mirror(registries, fake, target, 10)
        refused = [request for request in fake.requests if request.status == 401 and request.authorization == "basic"]
    assert {result.outcome for result in results} == {Outcome.COPIED}
    assert len(refused) <= 10  # What was on its way with it when it was first refused.
    assert observer.logins[0] == (fake.host, "ann")


async def test_another_login_may_have_a_right_that_the_first_lacks() -> None:
    """DENIED concerns one repository: for others the first login stays preferred."""
    accounts = Accounts({"ann": Account("ann-secret", {"mine": PULL}), "bob": Account("bob-secret", {"theirs": PULL})})
    async with FakeRegistry(Profile(auth="basic", accounts=accounts)) as fake:
        for path in ("mine", "theirs"):
            fake.load(path, single(path), "v1")
        async with client(access=[logins(fake, "ann", "bob")]) as registries:
            for path in ("theirs", "mine"):
                await registries.source(fake.repository(path)).resolve("v1")


async def test_the_remedy_says_when_no_login_has_access() -> None:
    """It contains no password."""
    async with FakeRegistry(Profile(auth="basic", accounts=Accounts({}))) as fake:
        access = logins(fake, "ann", "bob")
        async with client(access=[access]) as registries:
            with pytest.raises(Unauthorized) as refused:
                await registries.source(fake.repository("team/app")).resolve("v1")
    assert refused.value.remedy == f"none of the 2 logins of {fake.host} has access; check their rights"
    assert "secret" not in repr(refused.value)


async def test_a_login_is_sent_to_its_own_registry_only() -> None:
    """Another registry never receives one, however many there are."""
    async with FakeRegistry(Profile(auth="basic", accounts=ACCOUNTS)) as other, FakeRegistry() as fake:
        async with client(access=[logins(fake, "ann", "bob")], limits=Limits()) as registries:
            with pytest.raises(Unauthorized):
                await registries.source(other.repository("team/app")).resolve("v1")
        assert {request.authorization for request in other.requests} == {""}
