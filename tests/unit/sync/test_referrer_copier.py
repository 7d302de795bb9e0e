"""What is attached to images goes with them, and before their tags: whole runs over stores in memory."""

import json
from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random

import pytest

from image_syncer.cache import MemoryBlobLocations, MemoryReferrerCache
from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.errors import LeaseLost, NotFound, NotTrusted, Refused, Unavailable
from image_syncer.oci import Descriptor, Digest, Index, PlatformFilter, RawManifest, Repository
from image_syncer.oci.referrer import ReferrerKind, legacy_tags, merge_referrers, referrer_entry, referrers_tag
from image_syncer.roles import ConfirmedCopy, GatedImage, MadeReferrer, ReferrerCache, ReferrerCheck
from image_syncer.structs import replace
from image_syncer.sync.copier import Copier
from image_syncer.sync.manifest_reader import ManifestReader
from image_syncer.sync.pattern import TargetTemplate
from image_syncer.sync.planner import Planner
from image_syncer.sync.referrer_discovery import blobs_of
from image_syncer.sync.referrer_rechecks import has_come
from image_syncer.sync.referrer_settings import ReferrerSettings
from image_syncer.sync.result import CopyResult, Outcome, SilentRunObserver
from image_syncer.sync.rule import AllTags, Rule
from image_syncer.sync.rule_trust import ReferrerAccess, RuleTrust
from image_syncer.sync.run import Run, RunOptions
from image_syncer.sync.transfer_probe import TransferRange
from image_syncer.testing.content import Blob
from image_syncer.testing.images import Image, artifact, attested, cosign_signature, multi, single
from image_syncer.testing.memory_store import MemoryStore, MemoryStores
from support.runs import SOURCE, TARGET, rule

SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
SBOM = "application/spdx+json"
OTHER = Repository("other.test", "mirror/app")
DAY = 24 * 3600.0

Execute = Callable[..., Awaitable[CopyResult]]


@pytest.fixture
def stores() -> MemoryStores:
    """Empty stores."""
    return MemoryStores()


@pytest.fixture
def source(stores: MemoryStores) -> MemoryStore:
    """The source."""
    return stores.store(SOURCE)


@pytest.fixture(params=[True, False], ids=["api", "tag-schema"])
def target(request: pytest.FixtureRequest, stores: MemoryStores) -> MemoryStore:
    """The target, with the referrers API and without."""
    store = stores.store(TARGET)
    store.referrers_api = request.param
    return store


async def execute(
    stores: MemoryStores,
    *rules: Rule,
    cache: ReferrerCache | None = None,
    has_history: bool = True,
    trust: dict[str, RuleTrust] | None = None,
    options: RunOptions | None = None,
) -> Run:
    """Execute *rules* once, by default that of tag v1."""
    reader = ManifestReader(stores)
    copier = Copier(
        stores,
        reader,
        observer=SilentRunObserver(),
        locations=MemoryBlobLocations(),
        transfers=lambda _registry: TransferRange(5, 5),
        referrers=ReferrerAccess(stores, cache, trust or {}, has_history),
    )
    options = options or RunOptions(retries=0)
    planner = Planner(stores, reader, width=8)
    run = Run(planner, copier, SilentRunObserver(), options=options, clock=lambda: 0.0, rng=Random(0))
    await run.execute(rules or (rule("v1"),), stop=Shutdown())
    return run


async def copy(stores: MemoryStores, *rules: Rule, **wanted: object) -> CopyResult:
    """Execute one rule, and return its only result."""
    (result,) = (await execute(stores, *rules, **wanted)).results  # pyright: ignore[reportArgumentType]
    return result


def with_settings(**settings: object) -> Rule:
    """Return the rule of tag v1 with these settings of referrers."""
    return replace(rule("v1"), referrers=ReferrerSettings(**settings))  # pyright: ignore[reportArgumentType]


def signed(source: MemoryStore, image: Image, *, seed: str = "signature") -> Image:
    """Attach a signature to *image* at the source; return it."""
    one = artifact(seed, SIGNATURE, subject=image)
    source.load(one)
    return one


def pushes(store: MemoryStore) -> list[str]:
    """Return what was pushed at manifests' paths, in order."""
    return [call.identifier for call in store.operations if call.step in {"push_manifest", "list_referrers"}]


async def test_referrers_arrive_before_the_tag(stores: MemoryStores, source: MemoryStore, target: MemoryStore) -> None:
    """The root by its digest, the SBOM, its signature, and then the tag."""
    image = multi("graph")
    source.load(image, "v1")
    sbom = artifact("sbom", SBOM, subject=image)
    source.load(sbom)
    signature = signed(source, sbom)
    result = await copy(stores)
    assert result.outcome is Outcome.COPIED, result.reason
    order = pushes(target)
    assert order[-1] == "v1"
    positions = [order.index(str(one.digest)) for one in (image, sbom, signature)]
    assert positions == sorted(positions)
    assert [one.digest for one in target.attached(image.digest)] == [sbom.digest]
    assert [one.digest for one in target.attached(sbom.digest)] == [signature.digest]
    assert {*sbom.blobs, *signature.blobs} <= set(target.blobs)
    assert result.referrers is not None
    assert result.referrers.source == ((ReferrerKind.SIGNATURE, 1), (ReferrerKind.SBOM, 1))
    assert (result.referrers.target, result.referrers.copied) == (result.referrers.source, 2)


async def test_referrers_of_platforms_arrive(stores: MemoryStores, source: MemoryStore, target: MemoryStore) -> None:
    """A signature of one platform goes with the index."""
    image = multi("platforms")
    source.load(image, "v1")
    child = image.manifests[0]
    one = artifact("child", SIGNATURE, subject=Image(child, (child,), {}))
    source.load(one)
    await copy(stores)
    assert [entry.digest for entry in target.attached(child.digest)] == [one.digest]


async def test_an_image_with_nothing_attached_costs_no_request_at_the_target(
    stores: MemoryStores, source: MemoryStore, target: MemoryStore
) -> None:
    """Its only manifest is put once, at the tag."""
    image = single("plain")
    source.load(image, "v1")
    result = await copy(stores)
    assert pushes(target) == ["v1"]
    assert (source.count("referrers"), source.count("legacy_tags")) == (1, 1)
    assert result.referrers is not None
    assert result.referrers.total == 0


async def test_an_unchanged_image_costs_no_look(stores: MemoryStores, source: MemoryStore, target: MemoryStore) -> None:
    """Two requests for a tag, with and without a state."""
    image = single("noop")
    source.load(image, "v1")
    signed(source, image)
    cache = MemoryReferrerCache()
    await copy(stores, cache=cache)
    for known in (cache, None):
        source.operations.clear()
        target.operations.clear()
        run = await execute(stores, cache=known)
        assert [result.outcome for result in run.results] == [Outcome.UNCHANGED]
        assert [call.step for call in (*source.operations, *target.operations)] == ["resolve", "resolve"]
        assert run.unchecked_referrers == (0 if known is cache else 1)


@pytest.mark.parametrize("number", [0, 3])
async def test_the_requests_of_a_cold_copy(
    number: int, stores: MemoryStores, source: MemoryStore, target: MemoryStore
) -> None:
    """At the source one look for each manifest; at the target one PUT for each, and one index without the API."""
    image = single("cold")
    source.load(image, "v1")
    for each in range(number):
        signed(source, image, seed=str(each))
    await copy(stores)
    looks = 1 + number
    assert (source.count("referrers"), source.count("legacy_tags")) == (looks, looks)
    assert source.count("manifest") == 1 + number
    assert target.count("push_referrer") == number
    assert target.count("list_referrers") == (1 if number and not target.referrers_api else 0)
    assert target.count("push_manifest") == number + (2 if number else 1)
    assert (target.count("referrers"), target.count("legacy_tags")) == (0, 0)


async def test_two_targets_share_the_search(stores: MemoryStores, source: MemoryStore) -> None:
    """A fan-out asks the source once."""
    image = single("fan")
    source.load(image, "v1")
    signed(source, image)
    await execute(stores, rule("v1", TARGET, OTHER))
    assert source.count("referrers") == 2
    for where in (TARGET, OTHER):
        assert len(stores.store(where).attached(image.digest)) == 1


async def test_referrers_of_a_trimmed_index_are_not_carried(stores: MemoryStores, source: MemoryStore) -> None:
    """The index has another digest at the target; the signature of the platform that is kept goes along."""
    image = multi("trimmed")
    source.load(image, "v1")
    root = signed(source, image)
    kept = {raw.digest: artifact(str(raw.digest), SBOM, subject=Image(raw, (raw,), {})) for raw in image.manifests[:-1]}
    for one in kept.values():
        source.load(one)
    wanted = replace(rule("v1"), platforms=PlatformFilter.parse(["linux"], ["amd64"]))
    result = await copy(stores, wanted)
    assert result.outcome is Outcome.COPIED, result.reason
    report, target = result.referrers, stores.store(TARGET)
    assert report is not None
    assert [(one.digest, one.reason) for one in report.not_carried] == [(root.digest, "subject changed")]
    assert root.digest not in target.manifests
    there = {raw: one for raw, one in kept.items() if one.digest in target.manifests}
    assert len(there) == report.copied == 1
    assert set(there) <= set(target.manifests)


async def test_a_refused_referrer_leaves_the_image_copied(
    stores: MemoryStores, source: MemoryStore, target: MemoryStore
) -> None:
    """ECR answers 405 to some manifests with a subject; the report says which."""
    image = single("ecr")
    source.load(image, "v1")
    good, bad = signed(source, image), signed(source, image, seed="bad")
    target.fail("push_referrer", bad.digest, Refused("not supported", status=405), times=9)
    result = await copy(stores)
    assert result.outcome is Outcome.COPIED
    assert target.tags["v1"] == image.digest
    assert result.referrers is not None
    assert [(one.digest, one.reason) for one in result.referrers.refused] == [(bad.digest, "not supported")]
    assert result.referrers.target == ((ReferrerKind.SIGNATURE, 1),)
    assert [one.digest for one in target.attached(image.digest)] == [good.digest]


async def test_a_required_referrer_fails_the_image(
    stores: MemoryStores, source: MemoryStore, target: MemoryStore
) -> None:
    """The tag does not move."""
    image = single("required")
    source.load(image, "v1")
    bad = signed(source, image)
    target.fail("push_referrer", bad.digest, Refused("not supported", status=405), times=9)
    result = await copy(stores, with_settings(required=True))
    assert (result.outcome, result.side, result.step) == (Outcome.FAILED, "target", "push referrer")
    assert "not supported" in (result.reason or "")
    assert "v1" not in target.tags


@pytest.mark.parametrize("side", ["source", "target"])
async def test_temporary_trouble_is_tried_again(
    side: str, stores: MemoryStores, source: MemoryStore, target: MemoryStore
) -> None:
    """The tag waits for its signature."""
    image = single("trouble")
    source.load(image, "v1")
    one = signed(source, image)
    if side == "source":
        source.fail("referrers", image.digest, times=1)
    else:
        target.fail("push_referrer", one.digest, Unavailable("down", status=503), times=1)
    failed = await copy(stores)
    assert failed.outcome is Outcome.FAILED
    assert "v1" not in target.tags
    assert (await copy(stores)).outcome is Outcome.COPIED
    assert len(target.attached(image.digest)) == 1


async def test_a_list_at_the_target_has_what_the_manifests_say(stores: MemoryStores, source: MemoryStore) -> None:
    """Type and annotations, though the source's list has neither (distribution-spec, end-7)."""
    target = stores.store(TARGET)
    source.referrers_api = target.referrers_api = False
    image = single("bare")
    one = artifact("sbom", SBOM, subject=image, annotations={"org.example.note": "from the manifest"})
    index = merge_referrers(None, [replace(referrer_entry(one.root), annotations={}, artifact_type="")])
    assert index is not None
    source.load(image, "v1")
    source.load(one)
    source.load(Image(index, (index,), {}), referrers_tag(image.digest))
    result = await copy(stores)
    assert target.attached(image.digest) == (referrer_entry(one.root),)
    assert result.referrers is not None
    assert result.referrers.target == ((ReferrerKind.SBOM, 1),)


async def test_a_listed_manifest_of_another_subject_is_ignored(
    stores: MemoryStores, source: MemoryStore, target: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GitLab lists what is no referrer; the report has the reason."""
    image, other = single("image"), single("other")
    source.load(image, "v1")
    stranger = signed(source, other)
    entry = source.attached(other.digest)

    def answer(subject: Digest) -> tuple[Descriptor, ...]:
        return entry if subject == image.digest else ()

    monkeypatch.setattr(source, "attached", answer)
    result = await copy(stores)
    assert result.outcome is Outcome.COPIED
    assert result.referrers is not None
    ((digest, reason),) = [(one.digest, one.reason) for one in result.referrers.not_carried]
    assert digest == stranger.digest
    assert "which it does not name" in reason
    assert stranger.digest not in target.manifests


async def test_a_lost_lease_writes_no_index_and_no_tag(stores: MemoryStores, source: MemoryStore) -> None:
    """The index of the tag schema is a tag, and the fence guards it."""
    target = stores.store(TARGET)
    target.referrers_api = False
    image = single("fenced")
    source.load(image, "v1")
    signed(source, image)

    class Lost:
        async def check(self) -> None:
            raise LeaseLost("gone")

    result = await copy(stores, options=RunOptions(retries=0, fence=Lost()))
    assert result.outcome is Outcome.FAILED
    assert target.tags == {}


class TestLegacyTags:
    """Cosign's tags."""

    @staticmethod
    def tag(image: Image) -> str:
        """Return the tag of the image's signature."""
        return legacy_tags(image.digest)[0]

    async def test_they_are_copied(self, stores: MemoryStores, source: MemoryStore, target: MemoryStore) -> None:
        """Before the image's own tag, by one PUT."""
        image, signature = single("legacy"), single("sig")
        source.load(image, "v1")
        source.load(signature, self.tag(image))
        cache = MemoryReferrerCache()
        result = await copy(stores, cache=cache)
        assert target.tags == {"v1": image.digest, self.tag(image): signature.digest}
        assert pushes(target) == [str(image.digest), self.tag(image), "v1"]
        assert result.referrers is not None
        assert result.referrers.target == ((ReferrerKind.SIGNATURE, 1),)
        assert await cache.written_tags(TARGET) == {self.tag(image): signature.digest}

    async def test_one_that_the_target_changed_is_kept(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """A team signed the image at the target."""
        image, ours, theirs = single("legacy"), single("sig"), single("their sig")
        source.load(image, "v1")
        source.load(ours, self.tag(image))
        target.load(theirs, self.tag(image))
        result = await copy(stores, cache=MemoryReferrerCache())
        assert result.outcome is Outcome.COPIED
        assert target.tags[self.tag(image)] == theirs.digest
        assert result.referrers is not None
        assert [one.digest for one in result.referrers.refused] == [ours.digest]

    async def test_one_that_this_tool_wrote_is_replaced(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """The state says so."""
        image, old, new = single("legacy"), single("sig"), single("new sig")
        source.load(image, "v1")
        source.load(new, self.tag(image))
        target.load(old, self.tag(image))
        cache = MemoryReferrerCache()
        cache.record_written_tag(TARGET, self.tag(image), old.digest)
        await copy(stores, cache=cache)
        assert target.tags[self.tag(image)] == new.digest

    async def test_one_whose_layers_the_source_has_is_replaced(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """The source's tag has one signature more."""
        image = single("legacy")
        old, new = single("sig", layers=(10,)), single("sig", layers=(10, 20))
        layers = [[blob.digest for blob in blobs_of(one.root)][1:] for one in (old, new)]
        assert set(layers[0]) < set(layers[1])
        source.load(image, "v1")
        source.load(new, self.tag(image))
        target.load(old, self.tag(image))
        await copy(stores)
        assert target.tags[self.tag(image)] == new.digest


class TestLateSignatures:
    """Unchanged images whose referrers changed."""

    async def test_a_forced_look_copies_what_is_missing(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """Without a state; the image counts as copied, for that reason."""
        image = single("late")
        source.load(image, "v1")
        first = signed(source, image)
        await copy(stores)
        late = signed(source, image, seed="late")
        target.operations.clear()
        result = await copy(stores, options=RunOptions(retries=0, referrers=True))
        assert (result.outcome, result.reason) == (Outcome.COPIED, "referrers")
        assert result.transferred.copied > 0
        assert {one.digest for one in target.attached(image.digest)} == {first.digest, late.digest}
        assert target.count("push_referrer") == 1
        again = await copy(stores, options=RunOptions(retries=0, referrers=True))
        assert again.outcome is Outcome.UNCHANGED
        assert again.referrers is not None
        assert again.referrers.target == ((ReferrerKind.SIGNATURE, 2),)

    async def test_an_image_that_is_due_is_looked_at(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """With equal lists the source alone is asked."""
        image = single("due")
        source.load(image, "v1")
        signed(source, image)
        cache = MemoryReferrerCache()
        wanted = with_settings(recheck_seconds=0.0)
        await copy(stores, wanted, cache=cache)
        target.operations.clear()
        result = await copy(stores, wanted, cache=cache)
        assert result.outcome is Outcome.UNCHANGED
        assert [call.step for call in target.operations] == ["resolve"]
        late = signed(source, image, seed="late")
        assert (await copy(stores, wanted, cache=cache)).outcome is Outcome.COPIED
        assert late.digest in target.manifests

    async def test_an_image_without_a_check_is_due_at_its_next_phase(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """An older version copied it without its signature."""
        image = single("old")
        source.load(image, "v1")
        target.load(image, "v1")
        signed(source, image)
        cache = MemoryReferrerCache()
        assert (await copy(stores, cache=cache)).referrers is None
        (check,) = (await cache.checks(TARGET, [image.digest])).values()
        cache.record_check(replace(check, checked_at=check.checked_at - 2 * DAY))
        assert (await copy(stores, cache=cache)).outcome is Outcome.COPIED
        assert len(target.attached(image.digest)) == 1

    async def test_a_new_state_begins_with_images_that_are_unchanged(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """A mirror that is complete before its first run would have no state for ever, and no recheck."""
        image = single("complete")
        source.load(image, "v1")
        target.load(image, "v1")
        signed(source, image)
        cache = MemoryReferrerCache()
        run = await execute(stores, cache=cache, has_history=False)
        assert run.unchecked_referrers == 1
        (check,) = (await cache.checks(TARGET, [image.digest])).values()
        cache.record_check(replace(check, checked_at=check.checked_at - 2 * DAY))
        assert (await copy(stores, cache=cache)).outcome is Outcome.COPIED

    async def test_a_listed_tag_makes_an_unsigned_image_due(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """The list of tags is read anyway. Between rechecks an image is looked at for it once, whatever that finds."""
        image = single("unsigned")
        source.load(image, "v1")
        cache, listing = MemoryReferrerCache(), replace(rule("v1"), selection=AllTags())
        await copy(stores, listing, cache=cache)
        unreadable = single("something else")
        source.load(unreadable, referrers_tag(image.digest))
        for looks in (2, 0, 0):
            source.operations.clear()
            assert (await copy(stores, listing, cache=cache)).outcome is Outcome.UNCHANGED
            assert len([call for call in source.operations if call.step in {"referrers", "legacy_tags"}]) == looks
        later = single("signed later")
        source.load(later, "v1")
        await copy(stores, listing, cache=cache)
        source.load(cosign_signature(later), legacy_tags(later.digest)[0])
        assert (await copy(stores, listing, cache=cache)).outcome is Outcome.COPIED
        assert legacy_tags(later.digest)[0] in target.tags

    @pytest.mark.parametrize("is_gone", [True, False])
    async def test_only_a_temporary_failure_to_read_the_manifest_fails_a_due_image(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore, is_gone: bool
    ) -> None:
        """A source that answers HEAD for the tag may have lost the manifest; the target has the image."""
        image = single("lost")
        source.load(image, "v1")
        target.load(image, "v1")
        cache = MemoryReferrerCache()
        await copy(stores, cache=cache)
        (check,) = (await cache.checks(TARGET, [image.digest])).values()
        cache.record_check(replace(check, checked_at=check.checked_at - 2 * DAY))
        error = NotFound("no such manifest") if is_gone else Unavailable("try later", status=503)
        source.fail("manifest", image.digest, error, times=100)
        result = await copy(stores, cache=cache)
        assert str(error) in (result.reason or "")
        assert result.outcome is (Outcome.UNCHANGED if is_gone else Outcome.FAILED)
        if is_gone:
            assert (await copy(stores, cache=cache)).reason is None  # It is due at its next phase.

    async def test_other_settings_make_an_image_due(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """The rule selects SBOMs by now."""
        image = single("selected")
        source.load(image, "v1")
        source.load(artifact("sbom", SBOM, subject=image))
        cache = MemoryReferrerCache()
        await copy(stores, with_settings(types=("signature",)), cache=cache)
        assert target.attached(image.digest) == ()
        await copy(stores, with_settings(types=("signature", "sbom")), cache=cache)
        assert len(target.attached(image.digest)) == 1

    def test_each_subject_is_due_once_per_interval(self) -> None:
        """At its own phase, whenever the last check was."""
        for number in range(50):
            check = ReferrerCheck(TARGET, Digest.of(str(number).encode()), Digest.of(b""), "", 1_000_000.0)
            hours = [hour for hour in range(1, 25) if has_come(check, DAY, check.checked_at + hour * 3600)]
            assert hours
            assert hours == list(range(hours[0], 25))
            assert not has_come(check, DAY, check.checked_at)

    def test_subjects_are_spread_over_the_interval(self) -> None:
        """A day's rechecks do not come at once."""
        subjects = [Digest.of(str(number).encode()) for number in range(2400)]
        checks = [ReferrerCheck(TARGET, subject, Digest.of(b""), "", 1_000_000.0) for subject in subjects]
        due = [sum(has_come(check, DAY, 1_000_000.0 + hour * 3600) for check in checks) for hour in range(25)]
        hourly = [after - before for before, after in pairwise(due)]
        assert sum(hourly) == 2400
        assert max(hourly) < 160


def _entries(image: Image) -> tuple[Descriptor, ...]:
    parsed = image.root.parse()
    assert isinstance(parsed, Index)
    return parsed.manifests


class Signed:
    """A gate that wants a signature of the root."""

    def __init__(self, settings: str = "one") -> None:
        self.settings = settings
        self.checked: list[GatedImage] = []

    async def check(self, image: GatedImage) -> None:
        """Return if the root has a signature, whose manifest can be read."""
        self.checked.append(image)
        for one in image.attachments:
            if one.subject == image.root:
                await image.reader.manifest(one)
                return
        raise NotTrusted(f"{image.source}: not signed by the key")


class TestGates:
    """`trust:` of a rule."""

    @staticmethod
    def trust(gate: Signed, *, skips: bool = False) -> dict[str, RuleTrust]:
        """Return the trust of the rule."""
        return {rule("v1").name: RuleTrust(gate, skips_refused=skips)}

    async def test_a_refused_image_fails(self, stores: MemoryStores, source: MemoryStore, target: MemoryStore) -> None:
        """No tag moves; the next run asks again, and finds the signature."""
        image = single("unsigned")
        source.load(image, "v1")
        trust = self.trust(Signed())
        result = await copy(stores, trust=trust)
        assert (result.outcome, result.side, result.step) == (Outcome.FAILED, "source", "trust")
        assert "not signed by the key" in (result.reason or "")
        assert target.tags == {}
        signed(source, image)
        assert (await copy(stores, trust=trust)).outcome is Outcome.COPIED

    async def test_a_refused_image_is_skipped_by_choice(self, stores: MemoryStores, source: MemoryStore) -> None:
        """`on_refused: skip`."""
        source.load(single("unsigned"), "v1")
        result = await copy(stores, trust=self.trust(Signed(), skips=True))
        assert result.outcome is Outcome.SKIPPED
        assert "not signed by the key" in (result.reason or "")
        assert stores.store(TARGET).tags == {}

    async def test_a_gate_sees_what_the_rule_does_not_copy(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """The signature is verified, and stays at the source."""
        image = single("checked")
        source.load(image, "v1")
        signed(source, image)
        result = await copy(stores, with_settings(enabled=False), trust=self.trust(Signed()))
        assert result.outcome is Outcome.COPIED
        assert result.referrers is None
        assert target.attached(image.digest) == ()

    async def test_a_gate_knows_the_platforms_that_are_copied(self, stores: MemoryStores, source: MemoryStore) -> None:
        """Facts may be attached to each of them: not to attestations of BuildKit, nor to what a filter leaves out."""
        image = attested("platforms")
        source.load(image, "v1")
        signed(source, image)
        first, second, *attestations = [entry.digest for entry in _entries(image)]
        assert len(attestations) == 2
        for wanted, expected in (
            (PlatformFilter(), {first, second}),
            (PlatformFilter.parse(["linux"], ["amd64"]), {first}),
        ):
            gate = Signed()
            await copy(stores, replace(rule("v1"), platforms=wanted), trust=self.trust(gate))
            assert [one.platforms for one in gate.checked] == [expected]

    async def test_an_unchanged_image_is_checked_when_the_gate_changes(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """And once if it was copied before the rule had a gate."""
        image = single("old")
        source.load(image, "v1")
        target.load(image, "v1")
        cache = MemoryReferrerCache()
        refused = await copy(stores, cache=cache, trust=self.trust(Signed()))
        assert (refused.outcome, refused.step) == (Outcome.FAILED, "trust")
        signed(source, image)
        for settings, checks in (("one", 1), ("one", 0), ("two", 1), ("two", 0)):
            gate = Signed(settings)
            assert (await copy(stores, cache=cache, trust=self.trust(gate))).outcome in {"copied", "unchanged"}
            assert len(gate.checked) == checks

    async def test_an_unchanged_image_is_checked_by_each_run_without_a_state(
        self, stores: MemoryStores, source: MemoryStore, target: MemoryStore
    ) -> None:
        """Nothing says that it has passed."""
        image = single("stateless")
        source.load(image, "v1")
        target.load(image, "v1")
        assert (await copy(stores, trust=self.trust(Signed()))).outcome is Outcome.FAILED


async def test_referrers_can_come_from_and_go_to_other_repositories(stores: MemoryStores, source: MemoryStore) -> None:
    """Docker Hardened Images keep them at another registry."""
    image = single("hardened")
    source.load(image, "v1")
    holder = stores.store("scout.test/team/app")
    one = artifact("elsewhere", SIGNATURE, subject=image)
    holder.load(one)
    settings = {
        "source": TargetTemplate.parse("scout.test/{repository}"),
        "target": TargetTemplate.parse("target.test/attached/{repository}"),
    }
    await copy(stores, with_settings(**settings))
    there = stores.store("target.test/attached/mirror/app")
    assert [entry.digest for entry in there.attached(image.digest)] == [one.digest]
    assert pushes(stores.store(TARGET)) == ["v1"]


class Stamp:
    """An attester that attaches an artifact named after the copy."""

    def made(self, copy: ConfirmedCopy, subject: Descriptor) -> Image:
        """Return the statement about *copy*."""
        layer = Blob.of(f"{copy.source} {copy.target}".encode(), "application/vnd.in-toto+json")
        named = artifact("stamp", "application/vnd.dev.sigstore.bundle.v0.3+json", layers=[layer])
        document = {**named.root.document, "subject": _entry(subject)}
        raw = RawManifest.of(json.dumps(document).encode())
        return Image(raw, (raw,), named.blobs)

    def attest(self, copy: ConfirmedCopy, subject: Descriptor) -> MadeReferrer:
        """Return it as a referrer."""
        image = self.made(copy, subject)
        return MadeReferrer(image.root, {digest: blob.read() for digest, blob in image.blobs.items()})

    def is_ours(self, entry: Descriptor, copy: ConfirmedCopy) -> bool:
        """Whether *entry* is a statement of this attester."""
        assert copy.rule == rule("v1").name
        return entry.artifact_type.startswith("application/vnd.dev.sigstore")


def _entry(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": str(descriptor.digest), "size": descriptor.size}


async def test_a_copy_is_attested_once_before_its_tag(
    stores: MemoryStores, source: MemoryStore, target: MemoryStore
) -> None:
    """The statement belongs to the root, and a second copy of the same adds none."""
    image = single("attested")
    source.load(image, "v1")
    trust = {rule("v1").name: RuleTrust(attester=Stamp())}
    for _ in range(2):
        result = await copy(stores, trust=trust, options=RunOptions(retries=0, force=True))
        assert result.outcome is Outcome.COPIED, result.reason
    (entry,) = target.attached(image.digest)
    assert set(target.blobs) > set(image.blobs)
    order = pushes(target)
    assert order.index(str(image.digest)) < order.index(str(entry.digest)) < order.index("v1")
    assert order.count(str(entry.digest)) == 1
