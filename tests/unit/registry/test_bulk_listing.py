"""Digests of many tags from a vendor's own listing, and the HEADs that replace it when it fails."""

import json
from collections.abc import Generator
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from image_syncer.bounded_json import InvalidJson
from image_syncer.cache import MemoryHostFacts
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.registry.tag_lists.list_harbor import LISTER
from image_syncer.registry.tag_lists.tag_lister import Listing
from image_syncer.registry.vendor_profiles import VENDORS, vendor_of, vendor_of_service
from image_syncer.registry.vendors.vendor_profile import ListedTag
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.images import single
from image_syncer.testing.request_log import Request
from support.clients import FakeTime, client

IMAGES = [single(f"image {number}", layers=(10,)) for number in range(120)]
TAGS = {f"v{number}": image.root.digest for number, image in enumerate(IMAGES)}
PUSHED_AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
ACCOUNTS = Accounts(
    {"robot$ann": Account("secret")}, anonymous={"public/*": frozenset({"pull"}), "app": frozenset({"pull"})}
)
DIGEST = IMAGES[0].root.digest


@pytest.fixture(scope="module")
def harbor() -> Generator[FakeRegistry]:
    """A Harbor with 120 tags in a public and in a private project, which has a name of two components."""
    with FakeRegistry.in_thread(profiles.HARBOR.guarded(ACCOUNTS)) as registry:
        for path in ("public/app", "private/team/app", "app"):
            for tag, image in zip(TAGS, IMAGES, strict=True):
                registry.load(path, image, tag)
        yield registry


@pytest.fixture(autouse=True)
def _forget(harbor: FakeRegistry) -> None:
    """Start each test without requests and interceptors."""
    harbor.requests.clear()
    harbor.intercept.clear()


async def listed(
    harbor: FakeRegistry, path: str, wanted: int = 120, login: Credential | None = None
) -> tuple[dict[str, object], dict[str, datetime]]:
    """Return the digests and dates that the client lists in the repository *path*."""
    access = [RegistryAccount(harbor.host, login)] if login else []
    async with client(access=access) as registries:
        source = registries.source(harbor.repository(path))
        assert {tag async for tag in source.tags()} == set(TAGS)
        await source.list_digests(wanted)
        await source.list_digests(wanted)  # Once per list of tags.
        return dict(source.listed_digests()), dict(source.listed_dates())


def of_api(harbor: FakeRegistry) -> list[Request]:
    """Return the requests to Harbor's own API."""
    return [request for request in harbor.requests if request.path.startswith("/api/")]


async def test_two_pages_and_one_head_tell_the_digests_of_a_public_project(harbor: FakeRegistry) -> None:
    """Without a login, and without the registry's token."""
    assert await listed(harbor, "public/app") == (TAGS, dict.fromkeys(TAGS, PUSHED_AT))
    assert [request.status for request in of_api(harbor)] == [200, 200]
    assert {request.authorization for request in of_api(harbor)} == {""}
    assert (harbor.requests.count(kind="manifest", method="HEAD"), harbor.requests.count(kind="manifest")) == (1, 1)


async def test_the_api_of_a_private_project_takes_user_and_password(harbor: FakeRegistry) -> None:
    """The registry itself gets tokens; the slash in the name is encoded twice."""
    found, _ = await listed(harbor, "private/team/app", login=Credential("robot$ann", "secret"))
    assert found == TAGS
    assert {request.authorization for request in of_api(harbor)} == {"basic"}
    assert {request.authorization for request in harbor.requests.only(kind="tags")} == {"bearer"}


@pytest.mark.parametrize(("wanted", "requests"), [(9, 0), (10, 2), (5, 0)])
async def test_the_list_is_read_only_where_it_spares_requests(harbor: FakeRegistry, wanted: int, requests: int) -> None:
    """Few tags get a HEAD each."""
    await listed(harbor, "public/app", wanted)
    assert len(of_api(harbor)) == requests


async def test_a_rule_that_wants_few_tags_leaves_the_list_to_the_next(harbor: FakeRegistry) -> None:
    """Rules share the source: the second one wants enough tags."""
    async with client() as registries:
        source = registries.source(harbor.repository("public/app"))
        assert len([tag async for tag in source.tags()]) == len(TAGS)
        await source.list_digests(3)
        assert of_api(harbor) == []
        await source.list_digests(120)
        assert source.listed_digests() == TAGS


async def test_a_repository_without_project_has_no_list(harbor: FakeRegistry) -> None:
    """Harbor has none, but a proxy may hide the project."""
    assert await listed(harbor, "app") == ({}, {})
    assert of_api(harbor) == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (401, ""),
        (403, "{}"),
        (404, "{}"),
        (429, ""),
        (500, ""),
        (302, ""),
        (200, "<html>"),
        (200, "{}"),
        (200, ""),
        (200, '[{"tags": 1}'),
        (200, "[]"),
        (200, json.dumps([{"digest": str(DIGEST), "tags": [{"name": "v1"}]}])),
    ],
)
async def test_an_odd_list_tells_nothing(harbor: FakeRegistry, status: int, body: str) -> None:
    """The last one names another digest than a HEAD does. No tag is lost, and nothing is retried."""

    async def answer(request: web.Request) -> web.StreamResponse | None:
        if not request.path.startswith("/api/"):
            return None
        return web.Response(status=status, text=body, headers={"Location": "/v2/"} if status == 302 else {})

    harbor.intercept.append(answer)
    assert await listed(harbor, "public/app") == ({}, {})
    assert len(of_api(harbor)) == 1


async def test_each_tag_gets_a_head_once_a_day_whenever_processes_start(harbor: FakeRegistry) -> None:
    """The list leaves a few out each time, so that they are asked for, and all within a day; a restart none again."""
    facts = MemoryHostFacts()
    left_out: list[set[str]] = []
    for hours in (0, 6, 6, 12, 18, 24, 24, 100):
        async with client(FakeTime(seconds=3600.0 * hours)) as registries:
            registries.facts = facts
            source = registries.source(harbor.repository("public/app"))
            assert len([tag async for tag in source.tags()]) == len(TAGS)
            await source.list_digests(120)
            left_out.append(set(TAGS) - set(source.listed_digests()))
    assert [len(tags) for tags in left_out[:3]] == [0, len(left_out[1]), 0]
    assert 0 < len(left_out[1]) < len(TAGS) / 2
    assert sum(len(tags) for tags in left_out[:7]) == len(TAGS)
    assert set().union(*left_out[:7]) == set(TAGS)
    assert left_out[7] == set(TAGS)  # More than a day without a run.


@pytest.mark.parametrize("wrong", ["v3", "v11"])
async def test_digests_in_the_tag_list_are_confirmed_as_well(wrong: str) -> None:
    """A HEAD of the newest tag must find what Google's list says; of others it is not asked."""
    async with FakeRegistry(replace(profiles.GAR, name="gar")) as fake, client() as registries:
        for number in range(12):
            fake.load("app", IMAGES[number], f"v{number}")

        async def answer(request: web.Request) -> web.StreamResponse | None:
            if not request.path.endswith("/tags/list"):
                return None
            manifest = {
                str(IMAGES[20 if f"v{number}" == wrong else number].root.digest): {
                    "tag": [f"v{number}"],
                    "timeUploadedMs": str(1_700_000_000_000 + number),
                }
                for number in range(12)
            }
            return web.json_response({"tags": [f"v{number}" for number in range(12)], "manifest": manifest})

        fake.intercept.append(answer)
        source = registries.source(fake.repository("app"))
        assert len([tag async for tag in source.tags()]) == 12
        await source.list_digests(1)
        assert len(source.listed_digests()) == len(source.listed_dates()) == (0 if wrong == "v11" else 12)
        assert fake.requests.count(kind="manifest") == 1


async def test_lists_without_dates_are_confirmed_by_other_tags_over_the_day(harbor: FakeRegistry) -> None:
    """One date for all tells as little."""
    asked: set[str] = set()
    for hours in range(0, 24, 4):
        harbor.requests.clear()
        async with client(FakeTime(seconds=3600.0 * hours)) as registries:
            source = registries.source(harbor.repository("public/app"))
            assert len([tag async for tag in source.tags()]) == len(TAGS)
            await source.list_digests(120)
            assert source.listed_digests() == TAGS
        asked |= {request.path for request in harbor.requests.only(kind="manifest")}
    assert len(asked) == 6


async def test_other_products_are_not_asked() -> None:
    """The challenge tells Harbor; any other registry gets no request for its API."""
    async with (
        FakeRegistry(profiles.OCI.guarded(Accounts(anonymous={"*": frozenset({"pull"})}))) as fake,
        client() as registries,
    ):
        fake.load("public/app", IMAGES[0], "v0")
        source = registries.source(fake.repository("public/app"))
        assert [tag async for tag in source.tags()] == ["v0"]
        await source.list_digests(100)
        assert source.listed_digests() == {}
        assert of_api(fake) == []


@pytest.mark.parametrize("document", [None, {}, "x", 7])
def test_a_page_of_harbor_is_a_list(document: object) -> None:
    """Everything else is no page."""
    with pytest.raises(InvalidJson):
        LISTER.read_page(document, "")


@pytest.mark.parametrize(
    ("artifact", "tags"),
    [
        (7, []),
        ({}, []),
        ({"digest": str(DIGEST), "tags": None}, []),
        ({"digest": "sha256:short", "tags": [{"name": "a"}]}, []),
        ({"digest": 7, "tags": [{"name": "a"}]}, []),
        ({"digest": str(DIGEST), "tags": [7, {}, {"name": 1}, {"name": "a"}]}, [ListedTag("a", DIGEST)]),
        (
            {"digest": str(DIGEST), "tags": [{"name": "a", "push_time": "2023-11-14T22:13:20.000Z"}]},
            [ListedTag("a", DIGEST, PUSHED_AT)],
        ),
        ({"digest": str(DIGEST), "tags": [{"name": "a", "push_time": "x"}]}, [ListedTag("a", DIGEST)]),
        ({"digest": str(DIGEST), "tags": [{"name": "a", "push_time": "2023-11-14"}]}, [ListedTag("a", DIGEST)]),
        (
            {"digest": str(DIGEST), "tags": [{"name": "a", "push_time": "0001-01-01T00:00:00.000Z"}]},
            [ListedTag("a", DIGEST)],
        ),
    ],
)
def test_malformed_entries_of_harbor_are_left_out(artifact: object, tags: list[ListedTag]) -> None:
    """A time that cannot be right is none."""
    assert LISTER.read_page([artifact], "").tags == tags


def test_the_path_of_harbor_encodes_slashes_twice() -> None:
    """The project is the first component."""
    request = LISTER.request(Listing("h.example", "p/a/b"), "2")
    assert request is not None
    assert request.path == (
        "/api/v2.0/projects/p/repositories/a%252Fb/artifacts?page=2&page_size=100&with_tag=true&q=tags%3D%2A"
    )


def test_vendors_are_told_by_their_own_signs() -> None:
    """Each has a name of its own, and at least one sign."""
    assert len({vendor.name for vendor in VENDORS}) == len(VENDORS)
    assert all(vendor.hosts or vendor.headers or vendor.challenge_service or vendor.extension for vendor in VENDORS)
    harbor = vendor_of_service("harbor-registry")
    assert harbor is not None
    assert harbor.name == "Harbor"
    assert vendor_of_service("") is None
    google = vendor_of("eu.gcr.io:443")
    assert google is not None
    assert google.name == "Google"
