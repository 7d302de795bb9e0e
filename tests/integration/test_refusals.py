"""Manifests that a target refuses permanently: sent once, then reported without a request until something changes."""

from collections.abc import AsyncGenerator
from random import Random

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.errors import CopyFailed, Denied, MissingContent, Refused, TagImmutable, TooLarge, Unavailable
from image_syncer.oci import Digest, Repository
from image_syncer.sync.refusals import REFUSED_SECONDS, ManifestRefusals, is_manifest_refusal
from image_syncer.sync.result import Outcome
from image_syncer.testing import FakeRegistry
from image_syncer.testing.images import multi, single
from support.clients import Fault, client
from support.runs import rule

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


def test_a_refusal_expires_and_the_oldest_are_forgotten() -> None:
    """The registry may be configured otherwise meanwhile."""
    now = [0.0]
    refusals, repository = ManifestRefusals(lambda: now[0]), Repository("r.test", "app")
    digests = [Digest.of(b"%d" % number) for number in range(10_001)]
    for digest in digests:
        refusals.record(repository, digest, failed(Refused("no", status=415, remedy="do this")))
    assert refusals.find(repository, digests[0]) is None
    found = refusals.find(repository, digests[1])
    assert found is not None
    assert (found.cause.message, found.remedy) == (
        "no (not sent again for 15 minutes, unless with --force)",
        "do this",
    )
    assert refusals.find(Repository("r.test", "other"), digests[1]) is None
    now[0] = REFUSED_SECONDS
    assert refusals.find(repository, digests[1]) is None
