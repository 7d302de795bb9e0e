"""Tags under digests of other algorithms than sha256: kept if the target can, otherwise renamed or refused."""

from collections.abc import AsyncGenerator
from random import Random

import aiohttp
import pytest

from image_syncer.app import Options, Syncer
from image_syncer.cache import in_memory
from image_syncer.oci import Digest
from image_syncer.registry.registries import Registries
from image_syncer.structs import replace
from image_syncer.sync.result import CopyResult, Outcome
from image_syncer.testing import FakeRegistry, Profile
from image_syncer.testing.images import single
from support.clients import client
from support.runs import rule

IMAGE = single("image")
SHA512 = Digest.of(IMAGE.root.content, "sha512")


@pytest.fixture
async def source() -> AsyncGenerator[FakeRegistry]:
    """A registry whose `app:v1` and three further tags have a sha512 digest."""
    async with FakeRegistry() as fake:
        fake.load("app", IMAGE)
        query = "&".join(f"tag={tag}" for tag in ("v1", "a", "b", "c"))
        headers = {"Content-Type": IMAGE.root.media_type}
        async with aiohttp.ClientSession(fake.url) as http:
            url = f"/v2/app/manifests/{SHA512}?{query}"
            async with http.put(url, data=IMAGE.root.content, headers=headers) as response:
                assert response.status == 201
        fake.requests.clear()
        yield fake


async def sync(
    registries: Registries, source: FakeRegistry, target: FakeRegistry, *tags: str, renames: bool = True
) -> list[CopyResult]:
    """Copy *tags* of `app` to `copy`, and return the results."""
    wanted = [
        replace(rule(tag, target.repository("copy"), source=source.repository("app")), renames_digests=renames)
        for tag in tags
    ]
    result = await Syncer(registries, Options(), in_memory(), rng=Random(1)).sync(wanted)
    return list(result.results)


@pytest.mark.parametrize("tags", [("v1",), ("v1", "a", "b", "c")])
async def test_a_target_that_can_keeps_the_digest_of_a_tag(source: FakeRegistry, tags: tuple[str, ...]) -> None:
    """Pushed by the digest with the tag in the query; the next run finds it unchanged by one HEAD each."""
    async with FakeRegistry() as target, client() as registries:
        results = await sync(registries, source, target, *tags)
        assert {(one.outcome, one.target_digest) for one in results} == {(Outcome.COPIED, SHA512)}
        assert target.content("copy").tags == dict.fromkeys(tags, SHA512)
        source.requests.clear()
        target.requests.clear()
        results = await sync(registries, source, target, *tags)
        assert {one.outcome for one in results} == {Outcome.UNCHANGED}
        assert [request.method for request in target.requests] == ["HEAD"] * len(tags)
        assert source.requests.count(method="GET") == 0


@pytest.mark.parametrize("behaviour", ["ignores", "refuses"])
@pytest.mark.parametrize("tags", [("v1",), ("v1", "a", "b", "c")])
async def test_a_target_that_cannot_names_it_by_sha256_and_is_not_copied_again(
    source: FakeRegistry, behaviour: str, tags: tuple[str, ...]
) -> None:
    """The report has the digest at the target; later runs compare the content and push nothing."""
    profile = Profile(many_tags=behaviour)  # pyright: ignore[reportArgumentType] - from the table above
    async with FakeRegistry(profile) as target, client() as registries:
        results = await sync(registries, source, target, *tags)
        assert {(one.outcome, one.source_digest, one.target_digest) for one in results} == {
            (Outcome.COPIED, SHA512, IMAGE.digest)
        }
        assert target.content("copy").tags == dict.fromkeys(tags, IMAGE.digest)
        for _ in range(2):
            target.requests.clear()
            results = await sync(registries, source, target, *tags)
            assert {(one.outcome, one.target_digest) for one in results} == {(Outcome.UNCHANGED, IMAGE.digest)}
            assert target.requests.count(method="PUT") == target.requests.count(method="POST") == 0


async def test_a_rule_may_refuse_another_digest(source: FakeRegistry) -> None:
    """Then the tag is not written, and the remedy names the key."""
    async with FakeRegistry(Profile(many_tags="ignores")) as target, client() as registries:
        (result,) = await sync(registries, source, target, "v1", renames=False)
        assert result.outcome is Outcome.FAILED
        assert "does not store a tag under a sha512 digest" in (result.reason or "")
        assert result.remedy == "set other_digests: rename in the rule to store it under its sha256 digest"
        assert target.content("copy").tags == {}


async def test_a_target_that_names_everything_by_sha512_is_not_copied_again() -> None:
    """The manifest is the same, whatever the algorithm in Docker-Content-Digest."""
    async with FakeRegistry() as source, FakeRegistry() as target, client() as registries:
        source.load("app", IMAGE, "v1")
        await sync(registries, source, target, "v1")
        content = target.content("copy")
        content.manifests[SHA512] = IMAGE.root
        content.tags["v1"] = SHA512
        target.requests.clear()
        (result,) = await sync(registries, source, target, "v1")
        assert (result.outcome, result.target_digest) == (Outcome.UNCHANGED, SHA512)
        assert target.requests.count(method="PUT") == 0
        other = single("other")
        source.load("app", other, "v1")
        (result,) = await sync(registries, source, target, "v1")
        assert (result.outcome, target.content("copy").tags["v1"]) == (Outcome.COPIED, other.digest)
