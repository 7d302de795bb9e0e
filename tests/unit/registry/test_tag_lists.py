"""Each vendor's listing of digests: what an unchanged repository of 1000 tags costs, and what it does when it fails.

Registries have their vendors' names, and are reached on loopback. The clouds' official libraries speak to them.
"""

from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from aiohttp import web

from image_syncer.cache import MemoryHostFacts
from image_syncer.oci import Repository
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import ControlAccess, Credential, Limits, RegistryAccount
from image_syncer.registry.transport_settings import TransportSettings
from image_syncer.registry.vendor_profiles import VENDORS
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile
from support.clients import QUICK, client

IMAGES = [single(f"listed {number}", layers=(10,)) for number in range(20)]
TAGS = {f"v{number}": IMAGES[number % 20].root.digest for number in range(1000)}
KEY = Credential("AKID", "secret")
PUSHED_AT = datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
OPEN = Accounts({"AKID": Account("secret")}, anonymous={"*": frozenset({"pull", "metadata_read"})})
CLOSED = Accounts({"AKID": Account("secret", {"*": frozenset({"pull", "metadata_read"})})})


@dataclass(frozen=True, slots=True)
class Case:
    """A registry called *name* with *profile*; its listing takes *requests* for 1000 tags, logins included.

    *control* is the access to the API, at the same server; with *own*, it is that of the registry.
    """

    name: str
    profile: Profile
    requests: int
    path: str = "team/group/app"
    control: Credential | None = KEY
    own: Credential | None = None
    dated: bool = True
    library: bool = False
    elsewhere: bool = True

    @property
    def title(self) -> str:
        """The name in the table."""
        return f"{self.profile.name} {self.name.partition('.')[0]}"


CASES = [
    Case("registry-1.docker.io", profiles.DOCKER_HUB.guarded(OPEN), 10, "library/app", control=None),
    Case("registry-1.docker.io", profiles.DOCKER_HUB.guarded(CLOSED), 11, "team/app", own=KEY),
    Case("quay.io", profiles.QUAY.guarded(OPEN), 10, control=None, elsewhere=False),
    Case("quay.io", profiles.QUAY.guarded(CLOSED), 10, own=KEY),
    Case("zot.example", profiles.ZOT.guarded(CLOSED), 2, control=None, own=KEY, dated=False, elsewhere=False),
    Case("ghcr.io", profiles.GHCR.guarded(OPEN), 12),
    Case("team.azurecr.io", profiles.ACR.guarded(CLOSED), 11, control=None, own=KEY, elsewhere=False),
    Case("123456789012.dkr.ecr.eu-west-1.amazonaws.com", profiles.ECR.guarded(CLOSED), 1, own=KEY, library=True),
    Case("public.ecr.aws", replace(profiles.ECR, name="ecr-public"), 1, "alias/team/app", library=True),
    Case("team-registry.cn-hangzhou.cr.aliyuncs.com", profiles.ALIBABA, 12, library=True),
    Case("registry.cn-hangzhou.aliyuncs.com", profiles.ALIBABA, 10, library=True),
    Case("team.tencentcloudcr.com", profiles.TENCENT, 11, library=True),
    Case("swr.cn-north-4.myhuaweicloud.com", profiles.HUAWEI, 11),
    Case("team-cn-beijing.cr.volces.com", profiles.VOLCENGINE, 10, library=True),
]
HTTP = [case for case in CASES if not case.library]


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback needs no proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextmanager
def serving(case: Case) -> Generator[FakeRegistry]:
    """Serve 1000 tags."""
    with FakeRegistry.in_thread(case.profile) as fake:
        for number, image in enumerate(IMAGES):
            fake.load(case.path, image, *(f"v{tag}" for tag in range(number, 1000, 20)))
        yield fake


@asynccontextmanager
async def registries_of(
    case: Case, fake: FakeRegistry, limits: Limits = QUICK
) -> AsyncGenerator[tuple[Registries, Repository]]:
    """Open a client that finds the registry of *case* at *fake*."""
    name = f"{case.name}:{fake.host.rpartition(':')[2]}"
    control = ControlAccess(case.control, fake.url) if case.elsewhere else None
    if case.elsewhere and case.control is None:
        control = ControlAccess(None, fake.url)
    account = RegistryAccount(name, case.own, plain_http=True, control=control)
    async with client(access=[account], limits=limits) as registries:
        registries.transports = {name: TransportSettings(name, addresses=("127.0.0.1",))}
        yield registries, Repository(name, case.path)


def api_requests(fake: FakeRegistry) -> list[str]:
    """Return the paths of requests to the vendor's own API."""
    own = ("/api/", "/v2/_", "/v2/namespaces/", "/v2/auth/", "/v2/manage/", "/acr/", "/users/", "/orgs/", "/repos/")
    return [request.path for request in fake.requests if request.path == "/" or request.path.startswith(own)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_a_thousand_tags_cost_a_request_for_each_hundred(case: Case) -> None:
    """And one HEAD, beside the tag list; the logins and look-ups of a vendor are few. The dates are the vendor's."""
    with serving(case) as fake:
        async with registries_of(case, fake) as (registries, repository):
            source = registries.source(repository)
            assert {tag async for tag in source.tags()} == set(TAGS)
            await source.list_digests(1000)
            assert source.listed_digests() == TAGS
            assert source.listed_dates() == (dict.fromkeys(TAGS, PUSHED_AT) if case.dated else {})
        asked = api_requests(fake)
        heads = fake.requests.count(kind="manifest")
        assert len(asked) == case.requests, asked
        assert (heads, fake.requests.count(kind="manifest", method="HEAD")) == (1, 1)


def _answers() -> Iterator[tuple[int, str]]:
    yield from ((status, "") for status in (401, 403, 404, 429, 500, 302))
    yield from ((200, body) for body in ("<html>", "", "7", "[]", "{}", '{"errors": [{"message": "no"}]}'))


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.title)
async def test_a_listing_that_fails_leaves_each_tag_to_a_head(case: Case) -> None:
    """Whatever its API answers, there is no error, no digest, and few requests."""
    with serving(case) as fake:
        for status, body in _answers():

            async def answer(request: web.Request, status: int = status, body: str = body) -> web.StreamResponse | None:
                if not api_path(request):
                    return None
                await request.read()
                return web.Response(status=status, text=body, headers={"Location": "/v2/"} if status == 302 else {})

            fake.intercept[:] = [answer]
            fake.requests.clear()
            async with registries_of(case, fake) as (registries, repository):
                assert await registries.bulk_listings().read(repository, 1000) == [], (status, body)
            assert len(api_requests(fake)) <= 2, (status, body)


def api_path(request: web.Request) -> bool:
    """Whether *request* is for a page or a login of the vendor's API."""
    own = ("/api/", "/v2/_", "/v2/namespaces/", "/v2/auth/", "/v2/manage/", "/acr/", "/users/", "/orgs/")
    return request.path.startswith(own)


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.title)
async def test_a_listing_without_end_is_left(case: Case) -> None:
    """An API that sends its first page for ever is left at the second one; what it said stays a hint."""
    with serving(case) as fake:
        kept: list[str] = []

        async def answer(request: web.Request) -> web.StreamResponse | None:
            if not api_path(request) or request.path.startswith(("/users/", "/v2/auth/", "/v2/_oci/")):
                return None
            if not kept:
                response = await request.match_info.handler(request)
                assert isinstance(response, web.Response)
                kept.append(str(response.text))
            await request.read()
            return web.Response(text=kept[0], content_type="application/json")

        fake.intercept.append(answer)
        async with registries_of(case, fake) as (registries, repository):
            assert len(await registries.bulk_listings().read(repository, 1000)) in {100, 1000}
        assert len(api_requests(fake)) <= 4


@pytest.mark.parametrize("case", HTTP, ids=lambda case: case.title)
async def test_a_huge_page_is_not_read(case: Case) -> None:
    """Its size is bounded as that of a page of tags."""
    with serving(case) as fake:
        limits = Limits(tag_page_bytes=3_000)
        async with registries_of(case, fake, limits) as (registries, repository):
            assert await registries.source(repository).resolve("v1")
            assert await registries.bulk_listings().read(repository, 1000) == []
        assert len(api_requests(fake)) <= 2 + (case.profile.tag_api == "github")


@pytest.mark.parametrize("status", [429, None])
async def test_a_server_that_does_not_answer_is_asked_once(status: int | None) -> None:
    """The HEADs of further repositories and of later runs need not wait for it."""
    case = CASES[0]
    with serving(case) as fake:
        facts, calls = MemoryHostFacts(), list[str]()

        async def answer(request: web.Request) -> web.StreamResponse | None:
            if not api_path(request):
                return None
            calls.append(request.path)
            if status is None:
                assert request.transport is not None
                request.transport.abort()
            return web.Response(status=status or 200)

        fake.intercept.append(answer)
        for path in ("library/app", "library/other"):
            async with registries_of(case, fake) as (registries, repository):
                registries.facts = facts
                found = await registries.bulk_listings().read(Repository(repository.registry, path), 1000)
                assert found == []
        assert len(calls) == 1


async def test_without_credentials_of_the_cloud_its_api_is_not_asked() -> None:
    """A library would look for those of the machine, and wait for them."""
    case = replace(CASES[7], control=None, elsewhere=False)
    with serving(case) as fake:
        async with registries_of(case, fake) as (registries, repository):
            assert await registries.bulk_listings().read(repository, 1000) == []
        assert api_requests(fake) == []


async def test_the_registrys_password_goes_to_no_other_server() -> None:
    """A control: with a URL gets a login of its own, or none."""
    case = replace(CASES[1], control=None)
    with serving(case) as fake:
        async with registries_of(case, fake) as (registries, repository):
            assert await registries.bulk_listings().read(repository, 1000) == []
        assert api_requests(fake) == ["/v2/namespaces/team/repositories/app/tags"]


@pytest.mark.parametrize("extensions", ["{}", '{"extensions": [{"name": "other"}, 7, {"name": 7}]}', "<html>"])
async def test_a_registry_without_known_extensions_is_asked_once(extensions: str) -> None:
    """Once a day: its answer is a fact of the registry."""
    with FakeRegistry.in_thread() as fake:
        for number, image in enumerate(IMAGES):
            fake.load("app", image, *(f"v{tag}" for tag in range(number, 1000, 20)))

        async def answer(request: web.Request) -> web.StreamResponse | None:
            return web.Response(text=extensions) if request.path == "/v2/_oci/ext/discover" else None

        fake.intercept.append(answer)
        async with client() as registries:
            for _ in range(2):
                source = registries.source(fake.repository("app"))
                assert len([tag async for tag in source.tags()]) == 1000
                await source.list_digests(1000)
                assert source.listed_digests() == {}
        assert api_requests(fake) == ["/v2/_oci/ext/discover"]


def test_each_listing_of_a_profile_has_a_case() -> None:
    """Harbor's has tests of its own."""
    names = {vendor.bulk.name for vendor in VENDORS if vendor.bulk is not None}
    assert {case.profile.tag_api for case in CASES} == names - {"harbor"}
