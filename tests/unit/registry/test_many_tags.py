"""Several tags with one PUT, where a registry can (distribution-spec, end-7b)."""

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
    """A registry that takes many tags at once and holds one image, without a tag."""
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
    """All are there and confirmed; a tag that is asked for twice counts once."""
    assert await target.push_tags(IMAGE.root, [*THREE, "a"]) == set(THREE)
    assert fake.content("app").tags == dict.fromkeys(THREE, IMAGE.digest)
    assert puts(fake) == [3]
    assert await target.push_tags(IMAGE.root, ["d", "e"]) == {"d", "e"}


@pytest.mark.parametrize("behaviour", ["ignores", "refuses"])
async def test_a_registry_that_takes_one_at_a_time_is_asked_once(behaviour: ManyTags) -> None:
    """Also when many ask at the same moment; and nothing is believed that it does not confirm."""
    async with FakeRegistry(Profile(many_tags=behaviour)) as fake, client() as registries:
        fake.load("app", IMAGE)
        fake.load("other", IMAGE)
        targets = [registries.target(fake.repository(path)) for path in ("app", "other") * 5]
        found = await asyncio.gather(*(target.push_tags(IMAGE.root, THREE) for target in targets))
        assert set(found) == {frozenset()}
        assert puts(fake) == [3]
        assert not fake.content("app").tags


async def test_few_tags_are_not_worth_a_probe(fake: FakeRegistry, target: RegistryTarget) -> None:
    """One request and two more, should it fail, are no gain over two."""
    for tags in ([], ["a"], ["a", "b"], ["a", "a", "a"]):
        assert not await target.push_tags(IMAGE.root, tags)
    assert puts(fake) == []


@pytest.mark.parametrize("status", [400, 404, 405, 414, 431, 501])
async def test_a_refusal_of_the_request_means_no(fake: FakeRegistry, target: RegistryTarget, status: int) -> None:
    """And it is remembered."""
    fake.intercept.append(Fault(status, "PUT"))
    assert not await target.push_tags(IMAGE.root, THREE)
    assert not await target.push_tags(IMAGE.root, THREE)
    assert puts(fake) == [3]


@pytest.mark.parametrize(
    ("status", "code", "kind", "asked"),
    [
        (429, "", RateLimited, 3),
        (400, "TOOMANYREQUESTS", RateLimited, 3),
        (500, "", Unavailable, 2),
        (503, "", Unavailable, 2),
        (403, "", Denied, 1),
    ],
)
async def test_trouble_of_another_kind_is_raised_and_teaches_nothing(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str, kind: type[StoreError], asked: int
) -> None:
    """When it is over, the registry turns out to be able."""
    fake.intercept.append(fault := Fault(status, "PUT", code=code, times=asked))
    with pytest.raises(kind):
        await target.push_tags(IMAGE.root, THREE)
    assert fault.seen == asked
    assert await target.push_tags(IMAGE.root, THREE) == set(THREE)


@pytest.mark.parametrize(
    ("status", "code"), [(409, "TAG_IMMUTABLE"), (412, "PRECONDITION"), (404, "MANIFEST_BLOB_UNKNOWN")]
)
async def test_a_refusal_of_one_tag_or_of_the_manifest_teaches_nothing(
    fake: FakeRegistry, target: RegistryTarget, status: int, code: str
) -> None:
    """None is confirmed, so that each is put alone and shows what is wrong; the next image is tried at once again."""
    fake.intercept.append(Fault(status, "PUT", code=code))
    assert not await target.push_tags(IMAGE.root, THREE)
    assert await target.push_tags(IMAGE.root, THREE) == set(THREE)


async def test_a_registry_that_could_do_it_still_can(fake: FakeRegistry, target: RegistryTarget) -> None:
    """One refusal of a later request has another reason."""
    await target.push_tags(IMAGE.root, THREE)
    fake.intercept.append(Fault(400, "PUT"))
    assert not await target.push_tags(IMAGE.root, ["d", "e"])
    assert await target.push_tags(IMAGE.root, ["d", "e"]) == {"d", "e"}


@pytest.mark.parametrize(
    ("lines", "confirmed"), [(["a", "b"], "ab"), (["a, c", "x"], "ac"), ([" a ,,b"], "ab"), (["abc"], ""), ([], "")]
)
async def test_only_what_stands_in_the_answer_is_confirmed(
    fake: FakeRegistry, target: RegistryTarget, lines: list[str], confirmed: str
) -> None:
    """In one header line or several; what was not asked for is not believed."""

    def answer(_: web.Request) -> web.Response:
        response = web.Response(status=201)
        for line in lines:
            response.headers.add("OCI-Tag", line)
        return response

    fake.intercept.append(instead("PUT", answer))
    assert await target.push_tags(IMAGE.root, THREE) == set(confirmed)


@pytest.mark.parametrize(("length", "most"), [(3, 100), (128, 30)])
async def test_a_request_stays_short(fake: FakeRegistry, target: RegistryTarget, length: int, most: int) -> None:
    """At most 100 tags and 4 KiB; the rest is for the next one."""
    tags = [f"{number:0{length}}" for number in range(250)]
    assert await target.push_tags(IMAGE.root, tags) == set(tags[:most])
    assert puts(fake) == [most]


async def test_what_is_no_tag_is_refused_before_anything_is_asked(fake: FakeRegistry, target: RegistryTarget) -> None:
    """Nothing can be slipped into the query."""
    with pytest.raises(InvalidReference):
        await target.push_tags(IMAGE.root, ["a", "b", "c&digest=x"])
    assert puts(fake) == []
