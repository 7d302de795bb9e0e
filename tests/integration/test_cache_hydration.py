"""A pull-through cache fetches what is read: no byte of a blob comes through us, and the tag is put by us."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from image_syncer.app import Options, open_app
from image_syncer.registry.settings import ControlAccess, RegistryAccount
from image_syncer.roles import Way
from image_syncer.structs import replace
from image_syncer.sync.result import Outcome, RunResult
from image_syncer.sync.rule import Rule, RuleTarget, TagNames
from image_syncer.testing import FakeRegistry
from image_syncer.testing.fake.pull_through import CacheBehaviour, PullThrough
from image_syncer.testing.images import multi, single

IMAGE = multi("hydrate")


@asynccontextmanager
async def registries() -> AsyncGenerator[tuple[FakeRegistry, FakeRegistry, PullThrough]]:
    """Run a source with `team/app:v1`, and a registry that caches it below `hub`."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("team/app", IMAGE, "v1")
        yield source, target, target.cache("hub/", source)


def account(source: FakeRegistry, target: FakeRegistry) -> RegistryAccount:
    """Return the account of the cache."""
    control = ControlAccess(wait_seconds=1.0)
    return RegistryAccount(f"{target.host}/hub", control=control, pulls_from=source.host)


def rule(source: FakeRegistry, target: FakeRegistry, path: str = "hub/team/app") -> Rule:
    """Return the rule that copies `team/app:v1` to *path*."""
    return Rule("rule", source.repository("team/app"), TagNames(("v1",)), (RuleTarget(target.repository(path)),))


async def run(rule: Rule, *accounts: RegistryAccount, dry_run: bool = False) -> RunResult:
    """Return the result of *rule*."""
    async with open_app(Options(accounts, retries=0)) as syncer:
        return await syncer.sync([rule], dry_run=dry_run)


def assert_copied(result: RunResult, target: FakeRegistry, path: str = "hub/team/app") -> None:
    """Check that *target* has the image under its tag, with every manifest and blob."""
    (entry,) = result.results
    assert entry.outcome is Outcome.COPIED, entry.reason
    content = target.content(path)
    assert content.tags == {"v1": IMAGE.digest}
    assert {raw.digest for raw in IMAGE.manifests} <= set(content.manifests)
    assert {blob.digest for blob in IMAGE.blobs.values()} <= content.blobs


@pytest.mark.parametrize("behaviour", ["whole", "lazy"])
async def test_no_byte_comes_through_us(behaviour: CacheBehaviour) -> None:
    """Manifests are read; a blob that does not come with them is read by one byte. The only write is the tag."""
    async with registries() as (source, target, cache):
        cache.behaviour = behaviour
        wanted = rule(source, target)
        assert (await run(wanted, account(source, target), dry_run=True)).results[0].way is Way.HYDRATE
        assert not target.content("hub/team/app").manifests
        result = await run(wanted, account(source, target))
        assert_copied(result, target)
        (entry,) = result.results
        writes = [one for one in target.requests if one.method not in {"GET", "HEAD"}]
        assert [(one.method, one.path.rpartition("/")[2]) for one in writes] == [("PUT", "v1")]
        reads = [one for one in target.requests if one.method == "GET" and one.kind == "blob"]
        assert sum(one.bytes_out for one in reads) == (len(IMAGE.blobs) if behaviour == "lazy" else 0)
        assert not [one for one in source.requests if one.kind == "blob" and one.headers["user-agent"] != "cache"]
    assert (entry.way, entry.transferred.copied, entry.transferred.mounted) == (Way.HYDRATE, 0, IMAGE.size_bytes)
    assert not result.warnings


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("refuses", "MANIFEST"), ("slow", "within 1 s"), ("lies", "BLOB_UNKNOWN")]
)
async def test_the_stream_follows_what_fails(behaviour: CacheBehaviour, reason: str) -> None:
    """The image is complete, streamed by us, and a warning says why."""
    async with registries() as (source, target, cache):
        cache.behaviour = behaviour
        target.load("hub/team/app", single("old"), "v1")  # So child manifests are looked for before they are pushed.
        result = await run(rule(source, target), account(source, target))
        assert_copied(result, target)
    (entry,), (warning,) = result.results, result.warnings
    assert (entry.way, entry.transferred.copied) == (Way.STREAM, IMAGE.size_bytes)
    assert "hydrate from" in warning
    assert reason in warning


@pytest.mark.parametrize("case", ["other path", "other source", "not a cache"])
async def test_only_the_image_that_is_cached_is_read(case: str) -> None:
    """The repository is the same below the prefix, or nothing is read."""
    async with registries() as (source, target, _):
        entry, path = account(source, target), "hub/team/app"
        match case:
            case "other path":
                path = "hub/other/app"
            case "other source":
                entry = replace(entry, pulls_from="docker.io/team")
            case _:
                entry = replace(entry, pulls_from="")
        result = await run(rule(source, target, path), entry)
        assert_copied(result, target, path)
        assert not [one for one in target.requests if one.method == "GET" and one.kind == "manifest"]
    assert result.results[0].way is Way.STREAM
