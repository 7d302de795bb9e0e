"""Several tags with one PUT, if the registry supports it (distribution-spec, end-7b)."""

import asyncio
from collections.abc import AsyncGenerator

import pytest
from aiohttp import web

from image_syncer.errors import Denied, InvalidReference, RateLimited, StoreError, Unavailable
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.repository import RegistryTarget
from image_syncer.testing import FakeRegistry, Profile
from image_syncer.testing.images import single
from image_syncer.testing.profile import ManyTags
from support.clients import Fault, client, instead

IMAGE = single("image")
THREE = ["a", "b", "c"]


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry that supports several tags per PUT and has one image, without a tag."""
    async with FakeRegistry() as registry:
        registry.load("app", IMAGE)
        yield registry


@pytest.fixture
async def target(fake: FakeRegistry) -> AsyncGenerator[RegistryTarget]:
    """The repository `app` to write to."""
    async with client(policy=RetryPolicy(attempts=2, patience=5)) as registries:
        yield registries.target(fake.repository("app"))


def puts(fake: FakeRegistry) -> list[int]:
    """Return how many tags each PUT of a manifest named."""
    return [len(request.query) for request in fake.requests.only(method="PUT", kind="manifest")]


async def test_many_tags_cost_one_request(fake: FakeRegistry, target: RegistryTarget) -> None:
    """All exist and are confirmed; a repeated tag counts once."""
    assert await target.push_tags(IMAGE.root, [*THREE, "a"]) == set(THREE)
    assert fake.content("app").tags == dict.fromkeys(THREE, IMAGE.digest)
    assert puts(fake) == [3]
    assert await target.push_tags(IMAGE.root, ["d", "e"]) == {"d", "e"}


@pytest.mark.parametrize("behaviour", ["ignores", "refuses"])
async def test_a_registry_without_multi_tag_support_is_probed_once(behaviour: ManyTags) -> None:
    """Also with concurrent pushes; an unconfirmed tag is not taken as set."""
    async with FakeRegistry(Profile(many_tags=behaviour)) as fake, client() as registries:
        fake.load("app", IMAGE)
        fake.load("other", IMAGE)
        targets = [registries.target(fake.repository(path)) for path in ("app", "other") * 5]
        found = await asyncio.gather(*(target.push_tags(IMAGE.root, THREE) for target in targets))
        assert set(found) == {frozenset()}
        assert puts(fake) == [3]
        assert not fake.content("app").tags


async def test_few_tags_do_not_probe_the_registry(fake: FakeRegistry, target: RegistryTarget) -> None:
    """One request, and two more if it fails, are no gain over two."""
    for tags in ([], ["a"], ["a", "b"], ["a", "a", "a"]):
        assert not await target.push_tags(IMAGE.root, tags)
    assert puts(fake) == []


@pytest.mark.parametrize("status", [400, 404, 405, 414, 431, 501])
async def test_a_refused_query_means_no_multi_tag_support(
    fake: FakeRegistry, target: RegistryTarget, status: int
) -> None:
    """And the result is remembered."""
    fake.intercept.append(Fault(status, "PUT"))
    assert not await target.push_tags(IMAGE.root, THREE)
    assert not await target.push_tags(IMAGE.root, THREE)
    assert puts(fake) == [3]


@pytest.mark.parametrize(
    ("status", "code", "kind", "attempts"),
    [
        (429, "", RateLimited, 3),
        (400, "TOOMANYREQUESTS", RateLimited, 3),
        (500, "", Unavailable, 2),
        (503, "", Unavailable, 2),
        (403, "", Denied, 1),
    ],
)
async def test_errors_that_do_not_concern_the_query_are_raised(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str, kind: type[StoreError], attempts: int
) -> None:
    """Afterwards the registry still turns out to support several tags."""
    fake.intercept.append(fault := Fault(status, "PUT", code=code, times=attempts))
    with pytest.raises(kind):
        await target.push_tags(IMAGE.root, THREE)
    assert fault.seen == attempts
    assert await target.push_tags(IMAGE.root, THREE) == set(THREE)


@pytest.mark.parametrize(
    ("status", "code"), [(409, "TAG_IMMUTABLE"), (412, "PRECONDITION"), (404, "MANIFEST_BLOB_UNKNOWN")]
)
async def test_a_refused_tag_or_manifest_says_nothing_about_support(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str
) -> None:
    """No tag is confirmed, so each is pushed alone and shows the error; the next image tries several tags again."""
    fake.intercept.append(Fault(status, "PUT", code=code))
    assert not await target.push_tags(IMAGE.root, THREE)
    assert await target.push_tags(IMAGE.root, THREE) == set(THREE)


async def test_multi_tag_support_survives_a_later_refusal(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A later refusal has another reason."""
    await target.push_tags(IMAGE.root, THREE)
    fake.intercept.append(Fault(400, "PUT"))
    assert not await target.push_tags(IMAGE.root, ["d", "e"])
    assert await target.push_tags(IMAGE.root, ["d", "e"]) == {"d", "e"}


@pytest.mark.parametrize(
    ("lines", "confirmed"), [(["a", "b"], "ab"), (["a, c", "x"], "ac"), ([" a ,,b"], "ab"), (["abc"], ""), ([], "")]
)
async def test_only_tags_in_the_response_are_confirmed(
    fake: FakeRegistry, target: RegistryTarget, lines: list[str], confirmed: str
) -> None:
    """In one header line or several; tags that were not requested are ignored."""

    def answer(_: web.Request) -> web.Response:
        response = web.Response(status=201)
        for line in lines:
            response.headers.add("OCI-Tag", line)
        return response

    fake.intercept.append(instead("PUT", answer))
    assert await target.push_tags(IMAGE.root, THREE) == set(confirmed)


@pytest.mark.parametrize(("length", "most"), [(3, 100), (128, 30)])
async def test_one_request_carries_a_bounded_number_of_tags(
    fake: FakeRegistry, target: RegistryTarget, length: int, most: int
) -> None:
    """At most 100 tags and 4 KiB; the next request carries the rest."""
    tags = [f"{number:0{length}}" for number in range(250)]
    assert await target.push_tags(IMAGE.root, tags) == set(tags[:most])
    assert puts(fake) == [most]


async def test_an_invalid_tag_is_refused_before_any_request(fake: FakeRegistry, target: RegistryTarget) -> None:
    """A tag cannot inject anything into the query."""
    with pytest.raises(InvalidReference):
        await target.push_tags(IMAGE.root, ["a", "b", "c&digest=x"])
    assert puts(fake) == []
