"""Whole runs over stores in memory: the copies, their order and number, and the report."""

import pytest

from image_syncer.concurrency.taskpool import Shutdown
from image_syncer.errors import Denied, MissingContent, NotFound, TagImmutable, Unavailable
from image_syncer.oci import Index, PlatformFilter, Repository
from image_syncer.sync.result import Outcome
from image_syncer.sync.rule import AllTags, ByDigest, Rule, RuleTarget, TagNames, TagPattern
from image_syncer.sync.run import RunOptions
from image_syncer.testing.artifact_kinds import newer_kinds, twenty_kinds
from image_syncer.testing.images import ODD, Image, attested, multi, nested, sharing, single
from image_syncer.testing.memory_store import MemoryStores, Operation
from support.runs import SOURCE, TARGET, RunRules, rule, runner

OTHER = Repository("target.test", "mirror/other")
ELSEWHERE = Repository("elsewhere.test", "app")
KINDS = {**twenty_kinds(), **newer_kinds()}


@pytest.fixture
def stores() -> MemoryStores:
    """Empty stores."""
    return MemoryStores()


@pytest.fixture
def run(stores: MemoryStores) -> RunRules:
    """A function that executes rules over *stores* and returns the results by target."""
    return runner(stores)


@pytest.mark.parametrize("kind", KINDS)
async def test_every_kind_arrives_byte_for_byte(kind: str, stores: MemoryStores, run: RunRules) -> None:
    """The target has the same manifest bytes as the source, and every blob that they need."""
    image = KINDS[kind]
    stores.store(SOURCE).load(image, "v1")
    result = (await run(rule("v1")))[f"{TARGET}:v1"]
    target = stores.store(TARGET)
    assert result.outcome is Outcome.COPIED, result.reason
    assert target.tags == {"v1": image.digest}
    assert {digest: raw.content for digest, raw in target.manifests.items()} == {
        raw.digest: raw.content for raw in image.manifests
    }
    assert set(image.blobs) == set(target.blobs)


async def test_unchanged_costs_one_resolve_on_each_side(stores: MemoryStores, run: RunRules) -> None:
    """No manifest is read, nothing is pushed."""
    stores.store(SOURCE).load(multi("a"), "v1")
    await run(rule("v1"))
    for store in stores:
        store.operations.clear()
    result = await run(rule("v1"))
    assert [result.outcome for result in result.values()] == [Outcome.UNCHANGED]
    assert [call.step for store in stores for call in store.operations] == ["resolve", "resolve"]


async def test_the_order_is_blobs_children_index_tag(stores: MemoryStores, run: RunRules) -> None:
    """A puller never sees half an image: the tag comes last, each manifest after everything that it names."""
    image = nested("a", 3)
    stores.store(SOURCE).load(image, "v1")
    await run(rule("v1"))
    pushed = [call.identifier for call in stores.store(TARGET).operations if call.step.startswith("push")]
    assert pushed[-1] == "v1"
    assert pushed[-2:-1] != [str(image.digest)]
    position = {identifier: number for number, identifier in enumerate(pushed)}
    for raw in image.manifests[:-1]:
        parsed = raw.parse()
        parts = parsed.manifests if isinstance(parsed, Index) else parsed.blobs
        assert all(position[str(part.digest)] < position[str(raw.digest)] for part in parts)


async def test_each_blob_is_uploaded_once_per_registry_and_mounted_elsewhere(
    stores: MemoryStores, run: RunRules
) -> None:
    """200 images share their common layers, whatever their repositories are."""
    images = sharing("s", 12, shared=(100, 200, 300), own=(50,))
    rules = list[Rule]()
    for number, image in enumerate(images):
        source = Repository("source.test", f"team/{number}")
        stores.store(source).load(image, "v1")
        target = RuleTarget(Repository("target.test", f"mirror/{number % 4}"), (f"t{number}",))
        rules.append(rule("v1", target, source=source))
    results = await run(*rules)
    assert {result.outcome for result in results.values()} == {Outcome.COPIED}
    shared = [digest for digest in images[0].blobs if digest in images[1].blobs]
    for digest in shared:
        assert stores.count("push_blob", digest) == 1
        assert stores.count("mount", digest) == 3
        assert stores.count("open", digest) == 1


async def test_a_refused_mount_becomes_an_upload(stores: MemoryStores, run: RunRules) -> None:
    """Registries may refuse any mount."""
    image = single("a", layers=(100,))
    stores.store(SOURCE).load(image, "v1")
    first, second = stores.store(TARGET), stores.store(OTHER)

    def lose(call: Operation) -> None:
        if call.step == "mount":
            first.blobs.clear()
            second.blobs.clear()

    first.watch = second.watch = lose
    results = await run(rule("v1", TARGET, OTHER))
    assert stores.count("mount") > 0
    assert [result.outcome for result in results.values()] == [Outcome.COPIED] * 2
    assert first.tags == second.tags == {"v1": image.digest}


async def test_many_tags_on_one_manifest_push_it_once(stores: MemoryStores, run: RunRules) -> None:
    """The manifest is read once; each further tag is one request."""
    image = multi("a")
    tags = [f"v{number}" for number in range(10)]
    stores.store(SOURCE).load(image, *tags)
    await run(rule(AllTags()))
    assert stores.count("manifest", image.digest) == 1
    assert stores.count("push_manifest") == 10 + len(image.manifests) - 1


async def test_overlapping_rules_copy_a_pair_once(stores: MemoryStores, run: RunRules) -> None:
    """A15: the same (source, target) in two rules is one copy."""
    stores.store(SOURCE).load(single("a"), "v1", "v2")
    results = await run(rule(AllTags()), rule("v1"), rule(TagPattern.parse("v")))
    assert sorted(results) == [f"{TARGET}:v1", f"{TARGET}:v2"]
    assert stores.count("push_manifest", "v1") == 1


async def test_two_sources_for_one_target_are_a_failure(stores: MemoryStores, run: RunRules) -> None:
    """The first rule writes it; the second one fails with the reason."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(OTHER).load(single("b"), "v1")
    results = await run(rule("v1"), rule("v1", source=OTHER))
    assert stores.store(TARGET).tags["v1"] == single("a").digest
    assert results[f"{TARGET}:v1"].outcome is Outcome.FAILED
    assert "both write it" in (results[f"{TARGET}:v1"].reason or "")


async def test_positional_tags_rename(stores: MemoryStores, run: RunRules) -> None:
    """The n-th selected tag becomes the n-th target tag."""
    first, second = single("a"), single("b")
    stores.store(SOURCE).load(first, "1")
    stores.store(SOURCE).load(second, "2")
    await run(rule(TagNames(("2", "1")), RuleTarget(TARGET, ("two", "one"))))
    assert stores.store(TARGET).tags == {"two": second.digest, "one": first.digest}


async def test_a_wrong_number_of_target_tags_is_one_failure(stores: MemoryStores, run: RunRules) -> None:
    """The number of tags is known after the listing; nothing is copied."""
    stores.store(SOURCE).load(single("a"), "1", "2")
    results = await run(rule(AllTags(), RuleTarget(TARGET, ("only",))))
    (result,) = results.values()
    assert (result.outcome, result.side) == (Outcome.FAILED, "source")
    assert "selects 2 tags" in (result.reason or "")


async def test_one_target_tag_for_all_tags_needs_exactly_one_tag(stores: MemoryStores, run: RunRules) -> None:
    """Row 11 of the Go tool's rules."""
    stores.store(SOURCE).load(single("a"), "1")
    await run(rule(AllTags(), RuleTarget(TARGET, ("only",))))
    assert set(stores.store(TARGET).tags) == {"only"}


async def test_a_digest_is_copied_under_itself_or_a_tag(stores: MemoryStores, run: RunRules) -> None:
    """A source by digest may have a tag at the target."""
    image = single("a", style=ODD)
    stores.store(SOURCE).load(image)
    await run(rule(ByDigest(image.digest), TARGET, RuleTarget(OTHER, ("named",))))
    assert image.digest in stores.store(TARGET).manifests
    assert stores.store(OTHER).tags == {"named": image.digest}


async def test_a_platform_filter_filters_an_index(stores: MemoryStores, run: RunRules) -> None:
    """Only the selected image is copied; the report has both digests; a second run finds it unchanged."""
    image = attested("a")
    stores.store(SOURCE).load(image, "v1")
    wanted = PlatformFilter.parse(["linux"], ["arm64"])
    result = (await run(rule("v1", platforms=wanted)))[f"{TARGET}:v1"]
    target = stores.store(TARGET)
    assert (result.source_digest, result.target_digest) == (image.digest, target.tags["v1"])
    assert result.source_digest != result.target_digest
    assert len(target.manifests) == 3
    again = (await run(rule("v1", platforms=wanted)))[f"{TARGET}:v1"]
    assert again.outcome is Outcome.UNCHANGED


async def test_nested_indexes_are_filtered_too(stores: MemoryStores, run: RunRules) -> None:
    """A target by digest has the digest of the filtered index."""
    image = nested("a", 3)
    stores.store(SOURCE).load(image)
    wanted = PlatformFilter.parse(["linux"], ["arm:v7"])
    results = await run(rule(ByDigest(image.digest), platforms=wanted))
    (target, result), *_ = results.items()
    assert result.outcome is Outcome.COPIED, result.reason
    assert target == f"{TARGET}@{result.target_digest}"
    singles = [raw for raw in stores.store(TARGET).manifests.values() if b'"layers"' in raw.content]
    assert len(singles) == 1


@pytest.mark.parametrize("image", [single("a"), multi("m")], ids=["image", "index"])
async def test_an_image_without_the_platform_is_skipped_with_a_reason(
    image: Image, stores: MemoryStores, run: RunRules
) -> None:
    """The platform of a single image is in its config; skipped is no failure."""
    stores.store(SOURCE).load(image, "v1")
    result = (await run(rule("v1", platforms=PlatformFilter.parse(["windows"]))))[f"{TARGET}:v1"]
    assert (result.outcome, result.reason) == (Outcome.SKIPPED, "no manifest fits the platform filter")


async def test_artifacts_pass_any_platform_filter(stores: MemoryStores, run: RunRules) -> None:
    """A chart has no platform."""
    stores.store(SOURCE).load(twenty_kinds()["helm"], "v1")
    results = await run(rule("v1", platforms=PlatformFilter.parse(["linux"], ["s390x"])))
    assert results[f"{TARGET}:v1"].outcome is Outcome.COPIED


async def test_a_failed_child_is_a_failed_image(stores: MemoryStores, run: RunRules) -> None:
    """A4: no tag, no index, and a result that names side and step."""
    image = multi("a")
    child = image.manifests[0]
    stores.store(SOURCE).load(image, "v1")
    stores.store(SOURCE).fail("manifest", child.digest, NotFound("gone"))
    result = (await run(rule("v1")))[f"{TARGET}:v1"]
    assert (result.outcome, result.side, result.step, result.reason) == (
        Outcome.FAILED,
        "source",
        "read manifest",
        "gone",
    )
    assert stores.store(TARGET).tags == {}
    assert image.digest not in stores.store(TARGET).manifests


@pytest.mark.parametrize(
    ("where", "step", "side", "said"),
    [
        ("source", "resolve", "source", "resolve"),
        ("source", "manifest", "source", "read manifest"),
        ("source", "open", "source", "read blob"),
        ("target", "resolve", "target", "resolve"),
        ("target", "has_blob", "target", "push blob"),
        ("target", "push_blob", "target", "push blob"),
        ("target", "push_manifest", "target", "push manifest"),
    ],
)
async def test_a_failure_names_its_side_and_step(
    where: str, step: str, side: str, said: str, stores: MemoryStores, run: RunRules
) -> None:
    """The result tells which registry failed; other images are not affected."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(OTHER).load(single("b"), "v1")
    stores.store(SOURCE if where == "source" else TARGET).fail(step, None, Denied("no", remedy="ask"))  # pyright: ignore[reportArgumentType] - a step
    results = await run(rule("v1"), rule("v1", ELSEWHERE, source=OTHER))
    failed = results[f"{TARGET}:v1"]
    assert (failed.outcome, failed.side, failed.step, failed.remedy) == (Outcome.FAILED, side, said, "ask")
    assert results[f"{ELSEWHERE}:v1"].outcome is Outcome.COPIED


async def test_temporary_failures_are_retried_and_permanent_ones_are_not(stores: MemoryStores, run: RunRules) -> None:
    """The run retries a 503 at its end, and does not retry a refusal."""
    stores.store(SOURCE).load(single("a"), "v1", "v2")
    stores.store(TARGET).fail("push_manifest", "v1", Unavailable("busy", status=503))
    stores.store(TARGET).fail("push_manifest", "v2", TagImmutable("fixed"))
    results = await run(rule(AllTags()), options=RunOptions(retries=1))
    assert (results[f"{TARGET}:v1"].outcome, results[f"{TARGET}:v1"].attempts) == (Outcome.COPIED, 2)
    assert (results[f"{TARGET}:v2"].outcome, results[f"{TARGET}:v2"].attempts) == (Outcome.FAILED, 1)


async def test_a_listing_that_fails_is_one_failure_per_target(stores: MemoryStores, run: RunRules) -> None:
    """Source and target are quoted from the rule; a retry that succeeds replaces the failure."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(SOURCE).fail("tags", None, Unavailable("busy"))
    failed = await run(rule(AllTags()))
    assert [(result.outcome, result.step) for result in failed.values()] == [(Outcome.FAILED, "list tags")]
    stores.store(SOURCE).fail("tags", None, Unavailable("busy"))
    repeated = await run(rule(AllTags()), options=RunOptions(retries=1))
    assert [(target, result.outcome) for target, result in repeated.items()] == [(f"{TARGET}:v1", Outcome.COPIED)]


async def test_a_permanent_failure_survives_the_retry_of_another(stores: MemoryStores, run: RunRules) -> None:
    """It stays in the result while other images are retried."""
    stores.store(SOURCE).load(single("a"), "v1")
    stores.store(TARGET).fail("push_manifest", "v1", Unavailable("busy"))
    stores.store(OTHER).fail("tags", None, Denied("no"))
    results = await run(rule("v1"), rule(AllTags(), ELSEWHERE, source=OTHER), options=RunOptions(retries=1))
    outcomes = sorted(result.outcome for result in results.values())
    assert outcomes == [Outcome.COPIED, Outcome.FAILED]


async def test_a_manifest_without_its_parts_is_completed(stores: MemoryStores, run: RunRules) -> None:
    """The target reported a child whose parts it lacks: the copy looks again without trusting it."""
    old, new = multi("old"), multi("new")
    stores.store(SOURCE).load(new, "v1")
    target = stores.store(TARGET)
    target.load(old, "v1")
    child = new.manifests[0]
    target.manifests[child.digest] = child  # An interrupted push: the manifest without its blobs.
    target.fail("push_manifest", "v1", MissingContent("names what is not there", code="MANIFEST_BLOB_UNKNOWN"))
    result = (await run(rule("v1")))[f"{TARGET}:v1"]
    assert result.outcome is Outcome.COPIED, result.reason
    assert set(new.blobs) <= set(target.blobs)


async def test_a_further_tag_of_a_vanished_image_pushes_the_image_again(stores: MemoryStores, run: RunRules) -> None:
    """A garbage collection may remove what the run has just pushed."""
    image = single("twice")
    stores.store(SOURCE).load(image, "v1", "v2")
    target = stores.store(TARGET)
    for tag in ("v1", "v2"):  # The second of them finds its manifest known; which that is does not matter.
        target.fail("push_manifest", tag, MissingContent("names what is not there", code="MANIFEST_BLOB_UNKNOWN"))
    results = await run(rule(AllTags()))
    assert {result.outcome for result in results.values()} == {Outcome.COPIED}, results
    assert set(target.tags) == {"v1", "v2"}


async def test_a_dry_run_writes_nothing_and_predicts_the_outcomes(stores: MemoryStores, run: RunRules) -> None:
    """The outcomes are those that a real run would have."""
    stores.store(SOURCE).load(single("a"), "v1", "v2")
    await run(rule("v1"))
    results = await run(rule(AllTags()), options=RunOptions(dry_run=True))
    outcomes = {target: result.outcome for target, result in results.items()}
    assert outcomes == {f"{TARGET}:v1": Outcome.UNCHANGED, f"{TARGET}:v2": Outcome.COPIED}
    assert set(stores.store(TARGET).tags) == {"v1"}


async def test_force_pushes_manifests_again(stores: MemoryStores, run: RunRules) -> None:
    """Existing blobs are not uploaded again, but every manifest is."""
    image = multi("a")
    stores.store(SOURCE).load(image, "v1")
    await run(rule("v1"))
    stores.store(TARGET).operations.clear()
    results = await run(rule("v1"), options=RunOptions(force=True))
    assert results[f"{TARGET}:v1"].outcome is Outcome.COPIED
    assert stores.store(TARGET).count("push_manifest") == len(image.manifests)
    assert stores.store(TARGET).count("push_blob") == 0


async def test_k_targets_cost_the_source_what_one_does(stores: MemoryStores, run: RunRules) -> None:
    """One resolve and one read of each manifest, whatever the number of targets."""
    image = multi("a")
    stores.store(SOURCE).load(image, "v1")
    targets = [Repository(f"target{number}.test", "app") for number in range(3)]
    await run(rule("v1", *targets))
    assert stores.store(SOURCE).count("resolve") == 1
    assert stores.store(SOURCE).count("manifest") == len(image.manifests)


async def test_a_stop_before_the_start_skips_everything_with_a_reason(stores: MemoryStores, run: RunRules) -> None:
    """No selected image vanishes from the report."""
    stores.store(SOURCE).load(single("a"), "v1")
    stop = Shutdown()
    stop.requested.set()
    results = await run(rule("v1"), stop=stop)
    assert [(result.outcome, result.reason) for result in results.values()] == [(Outcome.SKIPPED, "interrupted")]


async def test_a_stop_during_decisions_skips_undecided_images(stores: MemoryStores, run: RunRules) -> None:
    """Selected but undecided images are in the report as well."""
    stores.store(SOURCE).load(single("a"), *(f"v{number}" for number in range(30)))
    stop = Shutdown()

    def stop_at_the_first_look(call: Operation) -> None:
        if call.step == "resolve":
            stop.requested.set()

    stores.store(SOURCE).watch = stop_at_the_first_look
    results = await run(rule(AllTags()), stop=stop)
    assert [result.reason for result in results.values()] == ["interrupted"] * 30


async def test_a_stop_while_copying_drains_and_skips_the_rest(stores: MemoryStores, run: RunRules) -> None:
    """Running copies finish; others are `skipped: interrupted`."""
    for number in range(30):
        stores.store(SOURCE).load(single(f"a{number}"), f"v{number}")
    stop = Shutdown(drain_seconds=5)
    target = stores.store(TARGET)

    def stop_at_the_first_tag(call: Operation) -> None:
        if call.step == "push_manifest":
            stop.requested.set()

    target.watch = stop_at_the_first_tag
    results = await run(rule(AllTags()), options=RunOptions(width=2, retries=0), stop=stop)
    outcomes = [result.outcome for result in results.values()]
    assert len(outcomes) == 30
    assert 1 <= outcomes.count(Outcome.COPIED) <= 2
    assert outcomes.count(Outcome.SKIPPED) == 30 - outcomes.count(Outcome.COPIED)
    assert len(target.tags) == outcomes.count(Outcome.COPIED)


async def test_a_source_that_lies_about_a_blob_leaves_nothing(stores: MemoryStores, run: RunRules) -> None:
    """Wrong bytes are refused before the target commits them."""
    image = single("a", layers=(1000,))
    liar = stores.store(SOURCE)
    liar.load(image, "v1")
    layer = max(image.blobs, key=lambda digest: image.blobs[digest].size_bytes)
    other = single("b", layers=(1000,))
    liar.blobs[layer] = next(blob for blob in other.blobs.values() if blob.size_bytes == 1000)
    result = (await run(rule("v1")))[f"{TARGET}:v1"]
    assert (result.outcome, result.side, result.step) == (Outcome.FAILED, "source", "read blob")
    assert layer not in stores.store(TARGET).blobs
    assert stores.store(TARGET).tags == {}


async def test_deeply_nested_indexes_are_refused(stores: MemoryStores, run: RunRules) -> None:
    """The depth is bounded; the failure is on the source side."""
    stores.store(SOURCE).load(nested("deep", 6), "v1")
    result = (await run(rule("v1")))[f"{TARGET}:v1"]
    assert (result.outcome, result.side) == (Outcome.FAILED, "source")
    assert "nested deeper" in (result.reason or "")
