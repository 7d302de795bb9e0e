"""A target that lacks a part of an attached manifest for a moment, as docker-registry does during uploads of that part.

Its answer is the one of distribution 2.8: the link of a blob is empty at that instant.
"""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from random import Random

import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.oci import RawManifest
from image_syncer.oci.referrer import legacy_tags
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry, Image, faults
from image_syncer.testing.images import artifact, cosign_signature, multi, single
from support.clients import client
from support.runs import rule

KIND = "application/vnd.example.attached"
IMAGE = single("image")
MISSING = faults.answer(
    400,
    body=json.dumps(
        {
            "errors": [
                {"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"},
                {"code": "MANIFEST_BLOB_UNKNOWN", "message": "blob unknown to registry"},
            ]
        }
    ),
)


@dataclass(frozen=True)
class Site:
    """A source with IMAGE and a target, both fake."""

    source: FakeRegistry
    target: FakeRegistry

    async def copy(self) -> CopyResult:
        """Copy IMAGE once, without retries of the run."""
        async with client() as registries:
            syncer = Syncer(registries, Options(retries=0), in_memory(), rng=Random(1))
            rules = [rule("v1", self.target.repository("copy"), source=self.source.repository("app"))]
            (result,) = (await syncer.sync(rules)).results
        return result

    def refuse(self, part: str, times: int) -> None:
        """Let the target lack content of the manifest *part* at the next *times* PUTs of it."""
        self.target.faults.add(MISSING, method="PUT", kind="manifest", path=f"*/manifests/{part}", times=times)

    def puts(self, part: str) -> int:
        """Return how often the target got the manifest *part*."""
        puts = self.target.requests.only(method="PUT", kind="manifest")
        return sum(request.path.endswith(f"/{part}") for request in puts)


@pytest.fixture
async def site() -> AsyncGenerator[Site]:
    """A site without anything attached."""
    async with FakeRegistry() as source, FakeRegistry() as target:
        source.load("app", IMAGE, "v1")
        yield Site(source, target)


def attached_index() -> Image:
    """Return an index whose subject is IMAGE."""
    parts = multi("attached")
    subject = {
        "mediaType": IMAGE.root.media_type,
        "digest": str(IMAGE.digest),
        "size": len(IMAGE.root.content),
    }
    root = RawManifest.of(json.dumps({**parts.root.document, "artifactType": KIND, "subject": subject}).encode())
    return Image(root, (*parts.manifests[:-1], root), parts.blobs)


async def test_a_referrer_is_pushed_again(site: Site) -> None:
    """Once: the copy places its blobs again first."""
    one = artifact("signature", KIND, subject=IMAGE)
    site.source.load("app", one)
    site.refuse(str(one.digest), 1)
    result = await site.copy()
    assert result.outcome is Outcome.COPIED
    assert result.referrers is not None
    assert (result.referrers.copied, result.referrers.refused) == (1, ())
    assert site.puts(str(one.digest)) == 2


@pytest.mark.parametrize("place", ["child", "index"])
async def test_an_attached_index_is_pushed_again(site: Site, place: str) -> None:
    """Whether the target lacks parts of the index or of a manifest in it."""
    one = attached_index()
    site.source.load("app", one)
    part = str(one.digest if place == "index" else one.manifests[0].digest)
    site.refuse(part, 1)
    result = await site.copy()
    assert result.outcome is Outcome.COPIED
    assert result.referrers is not None
    assert (result.referrers.copied, result.referrers.refused) == (1, ())
    assert site.puts(part) == 2


async def test_a_legacy_tag_is_pushed_again(site: Site) -> None:
    """Once, like a referrer."""
    tag = legacy_tags(IMAGE.digest)[0]
    site.source.load("app", cosign_signature(IMAGE), tag)
    site.refuse(tag, 1)
    result = await site.copy()
    assert result.outcome is Outcome.COPIED
    assert result.referrers is not None
    assert (result.referrers.copied, result.referrers.refused) == (1, ())
    assert site.puts(tag) == 2


@pytest.mark.parametrize("place", ["child", "index"])
async def test_a_part_that_stays_missing_is_reported(site: Site, place: str) -> None:
    """After a bounded number of PUTs; the image is copied."""
    one = attached_index()
    site.source.load("app", one)
    part = str(one.digest if place == "index" else one.manifests[0].digest)
    site.refuse(part, 100)
    result = await site.copy()
    assert result.outcome is Outcome.COPIED
    assert result.referrers is not None
    ((digest, reason),) = [(one.digest, one.reason) for one in result.referrers.refused]
    assert digest == one.digest
    assert "MANIFEST_BLOB_UNKNOWN" in reason
    assert site.puts(part) == 2
