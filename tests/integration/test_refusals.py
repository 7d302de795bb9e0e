"""Manifests that a target refuses permanently: sent once, then reported without a request until something changes."""

import re
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from image_syncer.app import Options, Syncer, open_app
from image_syncer.cache import MemoryHostFacts, in_memory
from image_syncer.errors import CopyFailed, Denied, MissingContent, Refused, TagImmutable, TooLarge, Unavailable
from image_syncer.oci import Digest, Repository
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.sync.plan import Action, Copy, PlannedCopy
from image_syncer.sync.refusals import REFUSED_SECONDS, ManifestRefusals, is_manifest_refusal
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import multi, single
from support.clients import Fault, client
from support.runs import SOURCE, rule

IMAGE = single("image")
TAGS = ("v1", "v2", "v3", "v4")


@pytest.fixture
async def source() -> AsyncGenerator[FakeRegistry]:
    """A registry with four tags of one image."""
    async with FakeRegistry() as fake:
        fake.load("app", IMAGE, *TAGS)
        yield fake


@pytest.fixture
async def target() -> AsyncGenerator[FakeRegistry]:
    """A registry that refuses every manifest, as zot does with Docker's types."""
    async with FakeRegistry() as fake:
        fake.intercept.append(Fault(415, "PUT", "manifest", code="MANIFEST_INVALID", times=10_000))
        yield fake


@pytest.mark.parametrize("tags", [TAGS[:1], TAGS])
async def test_a_refused_manifest_is_sent_once_in_and_across_runs(
    source: FakeRegistry, target: FakeRegistry, tags: tuple[str, ...]
) -> None:
    """Whatever the number of its tags, of retries and of runs; the reason and the remedy stay."""
    async with client() as registries:
        syncer = Syncer(registries, Options(retries=3), in_memory(), rng=Random(1))
        rules = [rule(tag, target.repository("copy"), source=source.repository("app")) for tag in tags]
        for _ in range(3):
            results = (await syncer.sync(rules)).results
            assert {(one.outcome, one.step) for one in results} == {(Outcome.FAILED, "push manifest")}
            assert all("does not accept this media type" in (one.reason or "") for one in results)
            assert all("compat" in (one.remedy or "") for one in results)
        assert target.requests.count(method="PUT", kind="manifest") == 1
        assert target.requests.count(method="POST") == len(IMAGE.blobs)  # The first run only.
        await syncer.sync(rules, force=True)
        assert target.requests.count(method="PUT", kind="manifest") == 2


async def test_another_image_is_pushed_as_ever(source: FakeRegistry, target: FakeRegistry) -> None:
    """The refusal was about the other one."""
    async with client() as registries:
        syncer = Syncer(registries, Options(retries=0), in_memory(), rng=Random(1))
        rules = [rule("v1", target.repository("copy"), source=source.repository("app"))]
        await syncer.sync(rules)
        target.intercept.clear()
        source.load("app", single("newer"), "v1")
        (result,) = (await syncer.sync(rules)).results
    assert result.outcome is Outcome.COPIED


async def test_a_refused_part_of_an_index_refuses_the_index(target: FakeRegistry) -> None:
    """Its children are not sent again either."""
    index = multi("index")
    async with FakeRegistry() as source, client() as registries:
        source.load("app", index, "v1")
        syncer = Syncer(registries, Options(retries=1), in_memory(), rng=Random(1))
        rules = [rule("v1", target.repository("copy"), source=source.repository("app"))]
        await syncer.sync(rules)
        sent = target.requests.count(method="PUT", kind="manifest")
        assert sent <= len(index.manifests)
        (result,) = (await syncer.sync(rules)).results
        assert target.requests.count(method="PUT", kind="manifest") == sent
    assert result.outcome is Outcome.FAILED


def failed(error: Refused | Denied | Unavailable, step: str = "push manifest") -> CopyFailed:
    """Return the failure of a copy."""
    return CopyFailed(error, side="target", step=step)


@pytest.mark.parametrize(
    ("failure", "is_refusal"),
    [
        (failed(Refused("x", status=415)), True),
        (failed(Refused("x", status=400, code="MANIFEST_INVALID")), True),
        (failed(TooLarge("x", status=413)), True),
        (failed(Refused("x", status=405)), False),  # A read-only mode ends some day.
        (failed(Refused("x", status=400)), False),
        (failed(TagImmutable("x", status=415)), False),
        (failed(MissingContent("x", status=400, code="MANIFEST_INVALID")), False),
        (failed(Denied("x", status=403)), False),
        (failed(Unavailable("x", status=503)), False),
        (failed(Refused("x", status=415), "push blob"), False),
    ],
)
def test_only_refusals_of_the_manifest_itself_count(failure: CopyFailed, *, is_refusal: bool) -> None:
    """A retry may help with all others."""
    assert is_manifest_refusal(failure) is is_refusal


def planned(repository: Repository, content: str, *, nondistributable_layers: bool = False) -> PlannedCopy:
    """Return the copy of *content* to *repository*."""
    digest = Digest.of(content.encode())
    target = repository.tag("v1")
    copy = Copy("rule", SOURCE.tag("v1"), target, nondistributable_layers=nondistributable_layers)
    return PlannedCopy(copy, Action.COPY, digest, digest)


async def test_a_refusal_is_about_one_image_repository_login_and_setting() -> None:
    """Everything else is sent; the failure says when it was remembered, and how to send it again."""
    now, users = [0.0], ["robot"]
    facts = MemoryHostFacts(lambda: now[0], lambda: datetime(2026, 5, 1, 12, 30, tzinfo=UTC))
    refusals, repository = ManifestRefusals(facts, lambda _repository: users), Repository("r.test", "app")
    refusals.learn(planned(repository, "a"), [failed(Refused("no", status=415, remedy="do this"))], forced=False)
    found = await refusals.find(planned(repository, "a"))
    assert found is not None
    until = "not sent again for 24 hours, unless image, rule or login change, or with --force"
    assert found.cause.message == f"no (remembered from 2026-05-01 12:30 UTC; {until})"
    assert (found.cause.status, found.remedy, found.is_permanent) == (415, "do this", True)
    assert await refusals.find(planned(repository, "b")) is None
    assert await refusals.find(planned(Repository("r.test", "other"), "a")) is None
    assert await refusals.find(planned(Repository("other.test", "app"), "a")) is None
    assert await refusals.find(planned(repository, "a", nondistributable_layers=True)) is None
    users[0] = "admin"
    assert await refusals.find(planned(repository, "a")) is None
    users[0] = "robot"
    now[0] = REFUSED_SECONDS
    assert await refusals.find(planned(repository, "a")) is None


async def test_a_success_with_force_ends_a_refusal() -> None:
    """The registry accepts the manifest now; a success without force was not preceded by a refusal."""
    refusals, copy = ManifestRefusals(MemoryHostFacts(), lambda _repository: ()), planned(SOURCE, "a")
    refusals.learn(copy, [failed(Refused("no", status=415))], forced=False)
    refusals.learn(copy, [failed(Unavailable("down", status=503))], forced=True)
    assert await refusals.find(copy) is not None
    refusals.learn(copy, [], forced=True)
    assert await refusals.find(copy) is None


async def test_a_long_reason_is_cut_and_stays_readable() -> None:
    """A fact has at most 2000 characters, whatever the registry says."""
    facts = MemoryHostFacts()
    refusals, copy = ManifestRefusals(facts, lambda _repository: ()), planned(SOURCE, "a")
    refusals.learn(copy, [failed(Refused('"\\' * 4000, status=415, remedy='"' * 4000))], forced=False)
    found = await refusals.find(copy)
    assert found is not None
    assert found.cause.message.startswith('"')


@pytest.mark.parametrize("text", ["", "[]", "{", '{"message": 1}', '{"message": "no", "status": "x"}'])
async def test_an_unreadable_refusal_is_none(text: str) -> None:
    """The manifest is sent then."""
    facts = MemoryHostFacts()
    refusals, copy = ManifestRefusals(facts, lambda _repository: ()), planned(SOURCE, "a")
    refusals.learn(copy, [failed(Refused("no", status=415))], forced=False)
    ((host, key),) = facts._facts  # pyright: ignore[reportPrivateUsage] - the key is a digest
    facts.remember(host, key, text, seconds=60)
    assert await refusals.find(copy) is None


async def run_once(
    source: FakeRegistry, target: FakeRegistry, state: Path, *, user: str = "", force: bool = False
) -> CopyResult:
    """Copy v1 in a process-like run of its own with the file *state*."""
    account = RegistryAccount(target.host, Credential(user, "secret")) if user else RegistryAccount(target.host)
    options = Options((account,), retries=2, state=str(state), environment={}, home=state.parent)
    async with open_app(options) as syncer:
        wanted = rule("v1", target.repository("copy"), source=source.repository("app"))
        (result,) = (await syncer.sync([wanted], force=force)).results
    return result


async def test_later_runs_with_the_same_state_do_not_send_it_again(
    source: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    """They fail with the same reason and remedy, and say since when it is remembered."""
    state = tmp_path / "state.db"
    first, second, third = [await run_once(source, target, state) for _ in range(3)]
    assert target.requests.count(method="PUT", kind="manifest") == 1
    assert target.requests.count(method="POST") == len(IMAGE.blobs)
    assert [one.outcome for one in (first, second, third)] == [Outcome.FAILED] * 3
    assert (first.remedy, first.step) == (second.remedy, second.step)
    assert first.reason is not None
    assert second.reason is not None
    assert second.reason.startswith(first.reason)
    assert re.search(r"remembered from 20\d\d-\d\d-\d\d \d\d:\d\d UTC; .* or with --force", second.reason)
    assert third.reason == second.reason


async def test_later_runs_send_it_again_after_a_change(
    source: FakeRegistry, target: FakeRegistry, tmp_path: Path
) -> None:
    """Another login; `--force`, which sees that the registry accepts it now, so that the refusal is over."""
    state = tmp_path / "state.db"
    await run_once(source, target, state)
    await run_once(source, target, state, user="robot")
    assert target.requests.count(method="PUT", kind="manifest") == 2
    target.intercept.clear()
    assert (await run_once(source, target, state)).outcome is Outcome.FAILED
    assert (await run_once(source, target, state, force=True)).outcome is Outcome.COPIED
    target.content("copy").tags.clear()
    assert (await run_once(source, target, state)).outcome is Outcome.COPIED
