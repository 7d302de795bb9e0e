"""The way of an image: which one is chosen, reported, announced by a dry run, and switched off."""

import pytest

from image_syncer.app import Options, open_app
from image_syncer.oci import Digest, Reference, Repository
from image_syncer.registry.settings import RegistryAccount
from image_syncer.roles import ALL_WAYS, EVERY_WAY, ImageContent, Way, Ways
from image_syncer.structs import Struct, replace
from image_syncer.sync.pairing import single_copy
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.referrer_settings import ReferrerSettings
from image_syncer.sync.result import CopyResult, RunResult
from image_syncer.sync.rule import Rule, RuleTarget, TagNames
from image_syncer.sync.way_choice import WayCandidate, allowed_ways, choose_way, expected_way
from image_syncer.testing import FakeRegistry, Profile, profiles
from image_syncer.testing.images import artifact, single

SOURCE, TARGET = Repository("source.test", "app"), Repository("target.test", "mirror/app")
COPY = single_copy(SOURCE.tag("v1"), TARGET.tag("v1"), None, None, None)
WITHOUT_MOUNTS = ALL_WAYS - {Way.MOUNT}
IMAGE = single("ways", layers=(1000, 300_000))


class Offer(Struct):
    """A way of a vendor, in name only."""

    way: Way
    requests: int = 2
    wait_seconds: float | None = None

    def offers(self, digest: Digest, manifests: int) -> bool:
        """Offer it for everything."""
        del digest, manifests
        return True

    async def copy(self, content: ImageContent) -> None:
        """Fail the test: a choice performs nothing."""
        raise AssertionError(content)


def test_bytes_decide_before_requests_and_then_the_order() -> None:
    """A way without bytes wins against a stream with fewer requests."""
    stream, poll, few = WayCandidate(Way.STREAM, 1, 1), WayCandidate(Way.IMPORT, 0, 9), WayCandidate(Way.MOUNT, 0, 3)
    assert choose_way([stream, poll, few]) == few
    assert choose_way([stream, poll]) == poll
    assert choose_way([poll, replace(few, requests=9)]) == poll


@pytest.mark.parametrize(
    ("allowed", "can_mount", "expected"),
    [
        (ALL_WAYS, True, Way.MOUNT),
        (ALL_WAYS, False, Way.IMPORT),
        (WITHOUT_MOUNTS, True, Way.IMPORT),
        ({Way.HYDRATE, Way.STREAM}, True, Way.HYDRATE),
        ({Way.STREAM}, True, Way.STREAM),
    ],
)
def test_only_allowed_ways_are_candidates(allowed: set[Way], can_mount: bool, expected: Way) -> None:
    """The stream is always left."""
    vendor = [Offer(Way.IMPORT), Offer(Way.HYDRATE, requests=3)]
    ways, copy = Ways(vendor=vendor), replace(COPY, ways=frozenset(allowed))
    assert expected_way(ways, copy, is_one_registry=can_mount) is expected


def test_rule_and_registry_must_both_allow_a_way() -> None:
    """Either of them can switch a way off."""
    copies = [COPY, replace(COPY, ways=frozenset({Way.MOUNT, Way.STREAM}))]
    assert allowed_ways(EVERY_WAY, copies) == {Way.MOUNT, Way.STREAM}
    assert allowed_ways(Ways(WITHOUT_MOUNTS), copies) == {Way.STREAM}
    assert allowed_ways(EVERY_WAY, [COPY]) == ALL_WAYS


def test_a_vendor_is_not_expected_to_copy_a_part_of_an_image() -> None:
    """Layers with `urls` and a platform filter need our own copy."""
    ways = Ways(vendor=[Offer(Way.IMPORT)])
    assert expected_way(ways, COPY, is_one_registry=False) is Way.IMPORT
    part = replace(COPY, nondistributable_layers=True)
    assert expected_way(ways, part, is_one_registry=False) is Way.STREAM


async def run(target: str, rule: Rule, *access: RegistryAccount, dry_run: bool = False) -> CopyResult:
    """Return the result of *rule*, which copies one image to the registry *target*."""
    async with open_app(Options(access, retries=0)) as syncer:
        result: RunResult = await syncer.sync([rule], dry_run=dry_run)
    (entry,) = result.results
    assert entry.target.startswith(target)
    return entry


def rule(source: FakeRegistry, target: FakeRegistry, ways: frozenset[Way] = ALL_WAYS) -> Rule:
    """Return a rule that copies `c/s:v1` to `x/s`."""
    to = RuleTarget(Reference.parse(f"{target.host}/x/s").repository)
    return replace(Rule("rule", source.repository("c/s"), TagNames(("v1",)), (to,)), ways=ways)


def mounts(registry: FakeRegistry) -> int:
    """Return how many mounts were asked for."""
    return sum(any(name == "mount" for name, _ in request.query) for request in registry.requests)


@pytest.mark.parametrize("by", ["rule", "registry"])
async def test_the_way_is_announced_and_reported(by: str) -> None:
    """Within one registry all blobs are mounted, and with `ways: [stream]` none is."""
    only = frozenset({Way.STREAM})
    async with FakeRegistry() as registry:
        registry.load("c/s", IMAGE, "v1")
        mounting = rule(registry, registry)
        assert (await run(registry.host, mounting, dry_run=True)).way is Way.MOUNT
        streaming = rule(registry, registry, only) if by == "rule" else mounting
        access = () if by == "rule" else (RegistryAccount(registry.host, ways=only),)
        assert (await run(registry.host, streaming, *access, dry_run=True)).way is Way.STREAM
        streamed = await run(registry.host, streaming, *access)
        assert (streamed.way, streamed.transferred.copied, mounts(registry)) == (Way.STREAM, IMAGE.size_bytes, 0)
        assert (await run(registry.host, mounting)).way is None
    async with FakeRegistry() as registry:
        registry.load("c/s", IMAGE, "v1")
        mounted = await run(registry.host, rule(registry, registry))
    assert (mounted.way, mounted.transferred.copied) == (Way.MOUNT, 0)


async def test_an_image_whose_blobs_are_there_has_no_way() -> None:
    """The tag moved to another image of the same blobs, or went."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("c/s", IMAGE, "v1")
        target.load("x/s", IMAGE, "old")
        copied = await run(target.host, rule(source, target))
    assert (copied.outcome, copied.way, copied.transferred.existing) == ("copied", None, IMAGE.size_bytes)


async def test_what_is_attached_obeys_the_rule_and_does_not_name_the_way() -> None:
    """The image is mounted, its SBOM streams from elsewhere; and without mounts neither is mounted."""
    sbom = artifact("sbom", "application/spdx+json", subject=IMAGE)
    async with FakeRegistry() as registry, FakeRegistry() as other:
        registry.load("c/s", IMAGE, "v1")
        other.load("sboms", sbom)
        elsewhere = ReferrerSettings(source=TargetTemplate.parse(f"{other.host}/sboms"))
        mounted = await run(registry.host, replace(rule(registry, registry), referrers=elsewhere))
    assert (mounted.way, mounted.transferred.copied) == (Way.MOUNT, sbom.size_bytes)
    async with FakeRegistry() as registry:
        registry.load("c/s", IMAGE, "v1")
        registry.load("c/s", sbom)
        streamed = await run(registry.host, rule(registry, registry, frozenset({Way.STREAM})))
        assert mounts(registry) == 0
    assert (streamed.way, streamed.transferred.copied) == (Way.STREAM, IMAGE.size_bytes + sbom.size_bytes)


@pytest.mark.parametrize("profile", profiles.ALL, ids=lambda profile: profile.name)
async def test_within_a_registry_of_each_vendor(profile: Profile) -> None:
    """No byte comes through us where the vendor mounts; the image is the same in any case."""
    async with FakeRegistry(profile) as registry:
        registry.load("c/s", IMAGE, "v1")
        entry = await run(registry.host, rule(registry, registry))
        assert registry.manifest("x/s", "v1") == IMAGE.root
        assert set(IMAGE.blobs) <= registry.content("x/s").blobs
    if profile.mount == "never":
        assert (entry.way, entry.transferred.copied) == (Way.STREAM, IMAGE.size_bytes)
    else:
        assert (entry.way, entry.transferred.copied) == (Way.MOUNT, 0)
