"""Referrers at registries that refuse, keep or invent them: the image arrives, the report says what did not.

One copy of one image through the whole tool, from one fake registry to another, in this process.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from image_syncer.oci import Digest, RawManifest, media_type
from image_syncer.oci.manifest import MANIFEST_LIMIT_BYTES
from image_syncer.oci.referrer import REFERRERS_DEPTH_LIMIT, REFERRERS_LIMIT, legacy_tags, referrer_entry, referrers_tag
from image_syncer.sync import referrer_discovery
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry, Image, Profile, faults, profiles
from image_syncer.testing.images import artifact, cosign_signature, multi, single
from support.syncs import sync_files

KIND = "application/vnd.example.attached"
IMAGE = single("image")
SIGNATURE, SBOM = (artifact(name, KIND, subject=IMAGE) for name in ("signature", "sbom"))
ON_SBOM = artifact("signature of the sbom", KIND, subject=SBOM)
ATTACHMENTS = 1_000
"""The bound of attached manifests of one image, lowered so that a test reaches it soon."""

TAG_SCHEMA = replace(profiles.OCI, referrers=False, deletes="nothing")


@dataclass
class Pair:
    """A source with the image, and a target, which may be replaced by one of another kind."""

    folder: Path
    source: FakeRegistry
    target: FakeRegistry

    async def copy(self, tag: str = "v1") -> CopyResult:
        """Copy *tag* of the image, and return its result."""
        result = await sync_files(self.folder, {f"{self.source.host}/app:{tag}": f"{self.target.host}/app"})
        (found,) = result.results
        return found

    def at_target(self, subject: Digest) -> set[Digest]:
        """Return the digests that the index of the tag schema at the target lists for *subject*."""
        held = self.target.content("app")
        index = held.manifests[held.tags[referrers_tag(subject)]]
        return {Digest.parse(entry["digest"]) for entry in json.loads(index.content)["manifests"]}


def index_of(*attached: Image, **annotations: str) -> Image:
    """Return the index of the tag schema for *attached*."""
    entries = [_entry(referrer_entry(one.root).digest, len(one.root.content), annotations) for one in attached]
    raw = RawManifest.of(listing(*entries), media_type.OCI_INDEX)
    return Image(raw, (raw,), {})


def _entry(digest: Digest, size: int = 100, annotations: dict[str, str] | None = None) -> dict[str, Any]:
    notes = {"annotations": annotations} if annotations else {}
    return {"mediaType": media_type.OCI_MANIFEST, "digest": str(digest), "size": size, "artifactType": KIND, **notes}


def listing(*entries: dict[str, Any]) -> bytes:
    """Return an index with *entries*."""
    return json.dumps({"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": entries}).encode()


@pytest.fixture
def target_profile() -> Profile:
    """The kind of the target."""
    return profiles.OCI


@pytest.fixture
async def pair(tmp_path: Path, target_profile: Profile) -> AsyncGenerator[Pair]:
    """The registries."""
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(FakeRegistry())
        target = await stack.enter_async_context(FakeRegistry(target_profile))
        source.load("app", IMAGE, "v1")
        yield Pair(tmp_path, source, target)


def load(registry: FakeRegistry, *images: Image) -> None:
    """Put *images* into the repository."""
    for image in images:
        registry.load("app", image)


async def test_a_refused_referrer_is_in_the_report(pair: Pair) -> None:
    """ECR answers 405 to some manifests. The others arrive, and what belongs to the refused one is not sent."""
    load(pair.source, SIGNATURE, SBOM, ON_SBOM)
    pair.target.faults.add(
        faults.answer(405, code="UNSUPPORTED"), method="PUT", path=f"/v2/app/manifests/{SBOM.digest}"
    )
    result = await pair.copy()
    assert (result.outcome, pair.target.content("app").tags) == (Outcome.COPIED, {"v1": IMAGE.digest})
    assert result.referrers is not None
    assert [(one.digest, "no pushes" in one.reason) for one in result.referrers.refused] == [(SBOM.digest, True)]
    assert [(one.digest, one.reason) for one in result.referrers.not_carried] == [
        (ON_SBOM.digest, "its subject was not copied")
    ]
    assert SIGNATURE.digest in pair.target.content("app").manifests
    assert ON_SBOM.digest not in pair.target.content("app").manifests


@pytest.mark.parametrize("target_profile", [TAG_SCHEMA])
@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "kept"])
async def test_an_old_list_at_a_target_without_deletes_is_merged(pair: Pair, is_gone: bool) -> None:
    """Deleting is off, so lists of earlier copies stay, with entries that may be gone. No DELETE is sent."""
    old = artifact("old", KIND, subject=IMAGE)
    load(pair.source, SIGNATURE, SBOM)
    load(pair.target, old)
    pair.target.load("app", index_of(old), referrers_tag(IMAGE.digest))
    if is_gone:
        del pair.target.content("app").manifests[old.digest]
    result = await pair.copy()
    assert result.outcome is Outcome.COPIED, result.reason
    assert pair.at_target(IMAGE.digest) == {SIGNATURE.digest, SBOM.digest} | (set() if is_gone else {old.digest})
    assert pair.target.requests.count(method="DELETE") == 0


@pytest.mark.parametrize("target_profile", [profiles.OCI, TAG_SCHEMA], ids=["api", "tag schema"])
async def test_a_client_never_sees_a_tag_before_what_belongs_to_it(pair: Pair) -> None:
    """At no request of the copy has the target the tag, but not yet each referrer, its list and the legacy tag."""
    legacy = legacy_tags(IMAGE.digest)[0]
    load(pair.source, SIGNATURE, SBOM, ON_SBOM)
    pair.source.load("app", cosign_signature(IMAGE), legacy)
    has_api, moments = pair.target.profile.referrers, list[bool]()

    def is_whole() -> bool:
        held = pair.target.content("app")
        listed = has_api or {referrers_tag(one.digest) for one in (IMAGE, SBOM)} <= held.tags.keys()
        return (
            listed and legacy in held.tags and {one.digest for one in (SIGNATURE, SBOM, ON_SBOM)} <= set(held.manifests)
        )

    async def look(_: web.Request) -> None:
        moments.append("v1" not in pair.target.content("app").tags or is_whole())

    pair.target.intercept.append(look)
    assert (await pair.copy()).outcome is Outcome.COPIED
    assert "v1" in pair.target.content("app").tags
    assert is_whole()
    puts = [one.path.rpartition("/")[2] for one in pair.target.requests.only(method="PUT", kind="manifest")]
    assert (all(moments), len(moments) > len(puts), puts[-1]) == (True, True, "v1")


@pytest.mark.parametrize("target_profile", [profiles.OCI, TAG_SCHEMA], ids=["api", "tag schema"])
async def test_a_tag_that_is_named_is_copied_as_any_other(pair: Pair) -> None:
    """Patterns leave out cosign's tags and those of the tag schema; a literal name means the tag itself."""
    load(pair.source, SIGNATURE)
    signature, legacy = cosign_signature(IMAGE), legacy_tags(IMAGE.digest)[0]
    pair.source.load("app", signature, legacy)
    pair.source.load("app", index_of(SIGNATURE), referrers_tag(IMAGE.digest))
    for tag in (legacy, referrers_tag(IMAGE.digest)):
        assert (await pair.copy(tag)).outcome is Outcome.COPIED
    held = pair.target.content("app")
    assert held.tags == {tag: pair.source.content("app").tags[tag] for tag in (legacy, referrers_tag(IMAGE.digest))}
    assert IMAGE.digest not in held.manifests


@pytest.mark.parametrize("target_profile", [profiles.OCI, TAG_SCHEMA], ids=["api", "tag schema"])
async def test_the_requests_of_a_copy_with_everything_attached(pair: Pair) -> None:
    """One look at the source for each subject, one PUT for each manifest and each list; nothing is read twice."""
    image, legacy = multi("index"), legacy_tags(multi("index").digest)[0]
    children = [raw for raw in image.manifests if raw.digest != image.digest]
    on_index = artifact("on the index", KIND, subject=image)
    on_referrer = artifact("on the referrer", KIND, subject=on_index)
    on_children = [artifact(str(raw.digest), KIND, subject=Image(raw, (raw,), {})) for raw in children]
    signature = cosign_signature(image)
    pair.source.load("app", image, "v2")
    load(pair.source, on_index, on_referrer, *on_children)
    pair.source.load("app", signature, legacy)
    assert (await pair.copy("v2")).outcome is Outcome.COPIED
    attached = [on_index, on_referrer, *on_children]
    subjects = [image.digest, *(raw.digest for raw in children), *(one.digest for one in attached), signature.digest]
    looks = [one.path.rpartition("/")[2] for one in pair.source.requests.only(kind="referrers")]
    assert sorted(looks) == sorted(map(str, subjects))
    reads = [one.path.rpartition("/")[2] for one in pair.source.requests.only(method="GET", kind="manifest")]
    assert len(reads) == len(set(reads)) == len(image.manifests) + len(attached) + 1
    lists = [referrers_tag(one) for one in (image.digest, on_index.digest, *(raw.digest for raw in children))]
    puts = [one.path.rpartition("/")[2] for one in pair.target.requests.only(method="PUT", kind="manifest")]
    wanted = [*(str(raw.digest) for raw in image.manifests), *(str(one.digest) for one in attached), legacy, "v2"]
    assert sorted(puts) == sorted(wanted + ([] if pair.target.profile.referrers else lists))


Lie = Callable[[str], bytes]


def answer_with(registry: FakeRegistry, lie: Lie) -> None:
    """Let the referrers API of *registry* answer with what *lie* returns for the digest of a subject."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if "/referrers/" not in request.path:
            return None
        body = await asyncio.to_thread(lie, request.path.rpartition("/")[2])
        return web.Response(body=body, headers={"Content-Type": media_type.OCI_INDEX})

    registry.intercept.append(answer)


def invented(subject: str, number: int = 0) -> Digest:
    """Return a digest that follows from *subject*."""
    return Digest.of(f"{subject}/{number}".encode())


LIES: dict[str, tuple[Lie, int, str]] = {
    "everything belongs to everything": (
        lambda _: listing(*(_entry(one.digest) for one in (IMAGE, SIGNATURE, SBOM, ON_SBOM))),
        4,
        "which it does not name",
    ),
    "an endless chain": (
        lambda subject: listing(_entry(invented(subject))),
        REFERRERS_DEPTH_LIMIT,
        "",
    ),
    "each of many has many": (
        lambda subject: listing(*(_entry(invented(subject, number)) for number in range(100))),
        1 + ATTACHMENTS // 100 + 8,  # Eight at once.
        "more than 1000 manifests",
    ),
    "more than are allowed": (
        lambda subject: listing(*(_entry(invented(subject, number)) for number in range(REFERRERS_LIMIT + 1))),
        1,
        f"more than {REFERRERS_LIMIT} referrers",
    ),
    "a list above 4 MiB": (
        lambda subject: listing(_entry(invented(subject), annotations={"note": "x" * MANIFEST_LIMIT_BYTES})),
        1,
        "",
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_an_inventive_source_costs_a_bounded_number_of_requests(
    pair: Pair, lie: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The image arrives, with the reason in its report."""
    monkeypatch.setattr(referrer_discovery, "ATTACHMENTS_LIMIT", ATTACHMENTS)
    answer, most_looks, reason = LIES[lie]
    load(pair.source, SIGNATURE)
    answer_with(pair.source, answer)
    result = await pair.copy()
    assert result.outcome is Outcome.COPIED, result.reason
    assert result.referrers is not None
    problems = result.referrers.not_carried
    assert problems
    assert any(reason in one.reason for one in problems), problems[:3]
    assert pair.source.requests.count(kind="referrers") <= most_looks


@pytest.mark.parametrize("target_profile", [TAG_SCHEMA])
async def test_huge_annotations_are_refused_by_the_list_not_by_the_image(pair: Pair) -> None:
    """Two manifests of 3 MiB fit, but the list with the annotations of both is larger than any registry accepts."""
    notes = {"note": "x" * (3 * 1024 * 1024)}
    attached = [artifact(name, KIND, subject=IMAGE, annotations=notes) for name in ("first", "second")]
    load(pair.source, *attached)
    answer_with(
        pair.source,
        lambda subject: (
            listing(*(_entry(one.digest) for one in attached)) if subject == str(IMAGE.digest) else listing()
        ),
    )
    result = await pair.copy()
    assert result.outcome is Outcome.COPIED, result.reason
    assert result.referrers is not None
    assert {one.digest for one in result.referrers.refused} == {one.digest for one in attached}
    assert all("larger than 4 MiB" in one.reason for one in result.referrers.refused)
    assert referrers_tag(IMAGE.digest) not in pair.target.content("app").tags
