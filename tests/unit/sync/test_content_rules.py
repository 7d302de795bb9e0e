"""Rules that select by content, and say in which form an index is stored: run over registries that count requests."""

import json
from collections.abc import Sequence
from dataclasses import replace as changed
from pathlib import Path

import pytest

from image_syncer.app import open_app
from image_syncer.app_options import Options
from image_syncer.oci import Digest, Platform, PlatformFilter, RawManifest, Repository
from image_syncer.oci import media_type as types
from image_syncer.oci.content_selection import ContentSelection, IndexForm
from image_syncer.structs import replace
from image_syncer.sync.copier import SPARSE
from image_syncer.sync.decider import CONVERTED, NOT_SELECTED, TRIMMED
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.sync.rule import AllTags, Rule, RuleTarget
from image_syncer.testing import FakeRegistry, profiles
from image_syncer.testing.images import (
    LINUX_AMD64,
    LINUX_ARM64,
    Blob,
    Entry,
    Image,
    artifact,
    attested,
    helm_chart,
    index,
    multi,
    signed_schema1,
    single,
)

WINDOWS = [Platform("windows", "amd64", os_version=version) for version in ("10.0.17763.1", "10.0.20348.2655")]


def selection(content: ContentSelection, platforms: Sequence[str] = ()) -> PlatformFilter:
    """Return a filter by *content* and *platforms*."""
    return replace(PlatformFilter.parse(platforms=platforms), content=content)


async def sync(
    source: FakeRegistry, targets: Sequence[FakeRegistry], wanted: PlatformFilter, state: Path | None = None
) -> dict[str, CopyResult]:
    """Copy all tags of app to *targets*, and return the results by tag, or by target if there are several."""
    ends = tuple(RuleTarget(Repository(target.host, "app")) for target in targets)
    rule = Rule("app", Repository(source.host, "app"), AllTags(), ends, wanted)
    async with open_app(Options(retries=1, state=None if state is None else f"sqlite:///{state}")) as syncer:
        results = (await syncer.sync([rule])).results
    return {result.source.rpartition(":")[2] if len(targets) == 1 else result.target: result for result in results}


def labelled(seed: str, labels: dict[str, str]) -> Image:
    """Return an image whose config has *labels*."""
    plain = single(seed)
    config = plain.root.document["config"]
    content = json.loads(plain.blobs[Digest.parse(config["digest"])].read())
    blob = Blob.of(json.dumps(content | {"config": {"Labels": labels}}).encode(), types.OCI_CONFIG)
    document = plain.root.document | {
        "config": {"mediaType": types.OCI_CONFIG, "digest": str(blob.digest), "size": blob.size_bytes}
    }
    root = RawManifest.of(json.dumps(document).encode())
    return Image(root, (root,), {**plain.blobs, blob.digest: blob})


IMAGES = {
    "image": single("image"),
    "index": multi("index"),
    "chart": helm_chart("chart"),
    "wasm": artifact("wasm", "application/vnd.wasm.config.v1+json"),
    "model": artifact("model", "application/vnd.cncf.model.manifest.v1+json"),
    "other": artifact("other", "application/vnd.example.thing"),
    "annotated": single("annotated", annotations={"org.opencontainers.image.version": "1.2.3"}),
    "labelled": labelled("labelled", {"team": "payments", "tier": "gold"}),
}

CASES = [
    (ContentSelection(types=("image",)), "image index annotated labelled"),
    (ContentSelection(types=("helm",)), "chart"),
    (ContentSelection(types=("wasm",)), "wasm"),
    (ContentSelection(types=("model", "helm")), "chart model"),
    (ContentSelection(types=("application/vnd.example.*",)), "other"),
    (ContentSelection(types=("application/vnd.oci.image.index.v1+json",)), "index"),
    (ContentSelection(annotations=(("org.opencontainers.image.version", "1.2.*"),)), "annotated"),
    (ContentSelection(annotations=(("org.opencontainers.image.version", "/^1\\.3/"),)), ""),
    (ContentSelection(labels=(("team", "payments"), ("tier", "/gold|silver/"))), "labelled"),
    (ContentSelection(labels=(("team", "pay"),)), ""),
    (ContentSelection(types=("image",), labels=(("team", "*"),)), "labelled"),
]


@pytest.mark.parametrize(("content", "expected"), CASES, ids=str)
async def test_a_rule_selects_by_content(content: ContentSelection, expected: str) -> None:
    """The others are skipped with a reason, and nothing of them is pushed."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        for tag, image in IMAGES.items():
            source.load("app", image, tag)
        results = await sync(source, [target], selection(content))
    copied = [tag for tag, result in results.items() if result.outcome is Outcome.COPIED]
    assert sorted(copied) == sorted(expected.split())
    reasons = {result.reason for tag, result in results.items() if tag not in copied}
    assert reasons <= {NOT_SELECTED}
    assert len(results) == len(IMAGES)


async def test_the_state_remembers_what_is_not_selected(tmp_path: Path) -> None:
    """The second run reads no manifest: one HEAD for each tag."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        for tag in ("chart", "other"):
            source.load("app", IMAGES[tag], tag)
        wanted = selection(ContentSelection(types=("image",)))
        await sync(source, [target], wanted, tmp_path / "state.db")
        source.requests.clear()
        results = await sync(source, [target], wanted, tmp_path / "state.db")
        assert {result.outcome for result in results.values()} == {Outcome.SKIPPED}
        assert not [call for call in source.requests if call.method == "GET" and "/manifests/" in call.path]


async def test_entries_are_selected_by_annotations() -> None:
    """Others are trimmed from the index, and the result says so."""
    parts = [Entry(single(name), LINUX_AMD64, {"variant": name}) for name in ("slim", "full")]
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", index(parts), "v1")
        wanted = selection(ContentSelection(entries=(("variant", "sl*"),)))
        result = (await sync(source, [target], wanted))["v1"]
        stored = target.manifest("app", "v1")
    assert (result.outcome, result.reason) == (Outcome.COPIED, TRIMMED)
    assert stored is not None
    assert [entry["annotations"]["variant"] for entry in stored.document["manifests"]] == ["slim"]


def test_windows_versions_match_globs_and_any_architecture() -> None:
    """`windows/*:10.0.20348*`."""
    wanted = PlatformFilter.parse(platforms=["windows/*:10.0.20348*"])
    assert [wanted.matches(platform) for platform in (*WINDOWS, LINUX_AMD64)] == [False, True, False]
    assert PlatformFilter.parse(*wanted.to_options()) == wanted
    assert wanted.unknown_names() == ()


def test_a_filter_survives_as_json() -> None:
    """Jobs and the state keep it as text."""
    wanted = selection(
        ContentSelection(("image",), (("a", "b"),), (("l", "*"),), (("e", "/x/"),), to_oci=True, index=IndexForm.AUTO),
        ["linux/arm/v7", "windows/amd64:10.0"],
    )
    assert PlatformFilter.parse(*json.loads(json.dumps(wanted.to_options()))) == wanted
    assert wanted.any_form == changed_index(wanted, IndexForm.TRIMMED)


def changed_index(wanted: PlatformFilter, form: IndexForm) -> PlatformFilter:
    """Return *wanted* with another form of index."""
    assert wanted.content is not None
    return replace(wanted, content=replace(wanted.content, index=form))


async def test_a_sparse_index_keeps_its_digest() -> None:
    """Where the target takes it, only the selected manifests are pushed."""
    image = multi("sparse")
    async with FakeRegistry() as source, FakeRegistry(changed(profiles.OCI, sparse_index=True)) as target:
        source.load("app", image, "v1")
        wanted = selection(ContentSelection(index=IndexForm.SPARSE), ["linux/amd64"])
        result = (await sync(source, [target], wanted))["v1"]
        again = (await sync(source, [target], wanted))["v1"]
        held = target.content("app").manifests
    assert (result.outcome, result.reason, result.target_digest) == (Outcome.COPIED, SPARSE, image.digest)
    assert again.outcome is Outcome.UNCHANGED
    assert len(held) == 2


async def test_a_target_that_refuses_a_sparse_index_fails_with_the_remedy() -> None:
    """The rule wants it in any case, so no retry helps."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", multi("sparse"), "v1")
        wanted = selection(ContentSelection(index=IndexForm.SPARSE), ["linux/amd64"])
        result = (await sync(source, [target], wanted))["v1"]
    assert (result.outcome, result.attempts) == (Outcome.FAILED, 1)
    assert result.remedy is not None
    assert "index: auto" in result.remedy


async def test_a_layout_takes_no_sparse_index(tmp_path: Path) -> None:
    """It is carried away from the registry that could fill the gap: `auto` trims, and says so if it may not retry."""
    rule = Rule("app", Repository("unused", "app"), AllTags(), (RuleTarget(Repository(f"oci:{tmp_path}/layout", "")),))
    async with FakeRegistry() as source:
        source.load("app", multi("sparse"), "v1")
        wanted = selection(ContentSelection(index=IndexForm.AUTO), ["linux/amd64"])
        rule = replace(rule, source=Repository(source.host, "app"), platforms=wanted)
        found: list[CopyResult] = []
        for retries in (0, 1):
            async with open_app(Options(retries=retries)) as syncer:
                found += (await syncer.sync([rule])).results
    refused, trimmed = found
    assert (refused.outcome, refused.remedy) == (Outcome.FAILED, "the next attempt trims it; allow one with --retries")
    assert (trimmed.outcome, trimmed.reason) == (Outcome.COPIED, TRIMMED)


async def test_auto_takes_what_each_target_accepts_and_remembers_it(tmp_path: Path) -> None:
    """Sparse at one, trimmed at the other after one refusal; each blob of the source is read once."""
    image = multi("auto", layers=(300_000,))
    state = tmp_path / "state.db"
    sparse_profile = changed(profiles.OCI, sparse_index=True)
    async with FakeRegistry() as source, FakeRegistry(sparse_profile) as takes, FakeRegistry() as refuses:
        source.load("app", image, "v1")
        wanted = selection(ContentSelection(index=IndexForm.AUTO), ["linux/amd64"])
        results = await sync(source, [takes, refuses], wanted, state)
        first, second = (results[f"{target.host}/app:v1"] for target in (takes, refuses))
        assert (first.reason, first.target_digest) == (SPARSE, image.digest)
        assert (second.outcome, second.reason, second.attempts) == (Outcome.COPIED, TRIMMED, 2)
        refuses.requests.clear()
        again = await sync(source, [takes, refuses], wanted, state)
        assert {result.outcome for result in again.values()} == {Outcome.UNCHANGED}
        source.load("app", multi("next", layers=(300_000,)), "v1")
        later = await sync(source, [takes, refuses], wanted, state)
        assert {result.attempts for result in later.values()} == {1}


@pytest.mark.parametrize("image", [single("docker", docker=True), multi("docker", docker=True)], ids=["one", "list"])
async def test_docker_types_become_those_of_oci(image: Image) -> None:
    """Blobs stay; the manifests have new digests, and the report says why. A second run changes nothing."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", image, "v1")
        wanted = selection(ContentSelection(to_oci=True))
        result = (await sync(source, [target], wanted))["v1"]
        again = (await sync(source, [target], wanted))["v1"]
        stored = target.content("app")
    assert (result.outcome, result.reason) == (Outcome.COPIED, CONVERTED)
    assert result.target_digest != image.digest
    assert again.outcome is Outcome.UNCHANGED
    assert set(stored.blobs) == set(image.blobs)
    for raw in stored.manifests.values():
        assert b"vnd.docker" not in raw.content
        assert raw.media_type in {types.OCI_INDEX, types.OCI_MANIFEST}


async def test_every_layer_of_docker_has_a_form_in_oci() -> None:
    """Containerd and BuildKit write compressed and foreign layers that Docker's own documents do not name."""
    base = "application/vnd.docker.image.rootfs"
    layers = {
        f"{base}.diff.tar": types.OCI_LAYER,
        f"{base}.diff.tar.gzip": types.OCI_LAYER_GZIP,
        f"{base}.diff.tar.zstd": f"{types.OCI_LAYER}+zstd",
        f"{base}.foreign.diff.tar": "application/vnd.oci.image.layer.nondistributable.v1.tar",
        f"{base}.foreign.diff.tar.gzip": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    }
    plain = single("layers", docker=True)
    document = plain.root.document
    (layer,) = document["layers"][:1]
    root = RawManifest.of(json.dumps({**document, "layers": [{**layer, "mediaType": one} for one in layers]}).encode())
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", Image(root, (root,), plain.blobs), "v1")
        result = (await sync(source, [target], selection(ContentSelection(to_oci=True))))["v1"]
        (stored,) = target.content("app").manifests.values()
    assert result.reason == CONVERTED
    assert [one["mediaType"] for one in stored.document["layers"]] == list(layers.values())


async def test_what_is_oci_already_is_not_converted() -> None:
    """Its bytes and digest stay."""
    image = attested("oci")
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", image, "v1")
        result = (await sync(source, [target], selection(ContentSelection(to_oci=True))))["v1"]
    assert (result.target_digest, result.reason) == (image.digest, None)


async def test_schema_1_cannot_be_converted() -> None:
    """One clear failure, without a retry."""
    async with FakeRegistry(profiles.DISTRIBUTION_2_8) as source, FakeRegistry() as target:
        source.load("app", signed_schema1("app", "v1"), "v1")
        result = (await sync(source, [target], selection(ContentSelection(to_oci=True))))["v1"]
    assert (result.outcome, result.side, result.remedy) == (Outcome.FAILED, "source", "leave convert: out")
    assert "schema 1 has no OCI form" in str(result.reason)


async def test_an_attestation_follows_the_converted_image() -> None:
    """The annotation that names the image has its new digest."""
    image = single("attested", docker=True)
    statement = single("statement")
    entry = Entry(
        statement,
        Platform("unknown", "unknown"),
        {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": str(image.digest)},
    )
    mixed = index([Entry(image, LINUX_ARM64), entry])
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", mixed, "v1")
        await sync(source, [target], selection(ContentSelection(to_oci=True)))
        stored = target.manifest("app", "v1")
    assert stored is not None
    first, second = stored.document["manifests"]
    assert second["annotations"]["vnd.docker.reference.digest"] == first["digest"] != str(image.digest)
