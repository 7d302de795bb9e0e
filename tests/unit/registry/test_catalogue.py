"""The list of repositories, as registries answer it."""

import json
from collections.abc import AsyncGenerator

import pytest

from image_syncer.errors import CatalogueClosed, ProtocolError, StoreError, TooLarge, Unavailable
from image_syncer.oci import Repository
from image_syncer.registry.settings import Credential, Limits, RegistryAccount
from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.images import single
from support.clients import QUICK, Fault, client


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry with five repositories, two on a page."""
    async with FakeRegistry(replace(profiles.OCI, page_limit=2)) as registry:
        for path in ("a", "b", "c/d", "c/e", "f"):
            registry.load(path, single("image"), "v1")
        yield registry


async def listed(fake: FakeRegistry, limits: Limits = QUICK) -> list[str]:
    """Return the paths that the client lists."""
    async with client(limits=limits) as registries:
        catalogue = await registries.catalogue(fake.repository("x"))
        return [each.path for page in [page async for page in catalogue.repositories()] for each in page]


async def answered(fake: FakeRegistry, fault: Fault) -> list[str] | type[StoreError]:
    """Return the paths or the error, if the registry answers with *fault*."""
    fake.intercept[:] = [fault]
    try:
        return await listed(fake)
    except StoreError as error:
        return type(error)
    finally:
        fake.intercept.clear()


async def test_all_pages_are_read(fake: FakeRegistry) -> None:
    """By their links, one request per page; the first asks for the largest page that every registry accepts."""
    assert await listed(fake) == ["a", "b", "c/d", "c/e", "f"]
    pages = fake.requests.only(kind="catalog")
    assert [page.query for page in pages] == [
        (("n", "1000"),),
        (("n", "1000"), ("last", "b")),
        (("n", "1000"), ("last", "c/e")),
    ]


async def test_answers_mean_a_list_a_closed_list_or_an_error(fake: FakeRegistry) -> None:
    """A refusal says that the list is closed; a failure does not, since rules would lose images."""
    refused = {
        status: await answered(fake, Fault(status, kind="catalog", times=9))
        for status in (400, 401, 403, 404, 405, 501)
    }
    assert set(refused.values()) == {CatalogueClosed}, refused
    assert await answered(fake, Fault(503, kind="catalog", times=99)) is Unavailable
    assert await answered(fake, Fault(409, kind="catalog", times=9)) not in {CatalogueClosed, Unavailable}
    bodies: list[tuple[object, list[str] | type[StoreError]]] = [
        ({"repositories": None}, []),
        ({}, []),
        ({"repositories": ["a", None, 7, "Upper", "", "../x", "a//b", "b/c", "x" * 300]}, ["a", "b/c"]),
        ({"repositories": "a"}, ProtocolError),
        ({"repositories": {}}, ProtocolError),
        ([], ProtocolError),
    ]
    for body, expected in bodies:
        fault = Fault(200, kind="catalog", body=json.dumps(body).encode())
        assert await answered(fake, fault) == expected, body


async def test_an_endless_list_ends_at_the_limits(fake: FakeRegistry) -> None:
    """The server controls the number of pages, the client bounds it; a loop of pages is an error."""
    with pytest.raises(TooLarge, match="more than 2 pages of repositories"):
        await listed(fake, replace(QUICK, catalogue_pages=2))
    with pytest.raises(TooLarge, match="more than 3 repositories"):
        await listed(fake, replace(QUICK, repositories=3))
    body = json.dumps({"repositories": ["a"]}).encode()
    loop = Fault(200, kind="catalog", body=body, times=9, headers={"Link": '</v2/_catalog?last=a>; rel="next"'})
    assert await answered(fake, loop) is ProtocolError


async def test_a_later_page_that_is_refused_is_an_error(fake: FakeRegistry) -> None:
    """The beginning of a list is no list."""
    first = Fault(
        200, kind="catalog", body=b'{"repositories": ["a"]}', headers={"Link": '</v2/_catalog?last=a>; rel="next"'}
    )
    fake.intercept += [first, Fault(403, kind="catalog", times=9)]
    with pytest.raises(StoreError) as caught:
        await listed(fake)
    assert not isinstance(caught.value, CatalogueClosed)


async def test_user_and_password_open_a_list_that_tokens_do_not() -> None:
    """Harbor takes no token for it; the next list needs no second attempt. Other requests still use tokens."""
    profile = profiles.HARBOR.guarded(Accounts({"ann": Account("secret"), "bob": Account("other")}))
    async with FakeRegistry(profile) as fake:
        fake.load("app", single("image"), "v1")
        access = [RegistryAccount(fake.host, Credential("ann", "secret"))]
        async with client(access=access) as registries:
            catalogue = await registries.catalogue(fake.repository("x"))
            for requests in (2, 1):
                before = fake.requests.count(kind="catalog")
                assert [page async for page in catalogue.repositories()] == [[Repository(fake.host, "app")]]
                assert fake.requests.count(kind="catalog") - before == requests
            assert [tag async for tag in registries.source(fake.repository("app")).tags()] == ["v1"]
        async with client(access=[RegistryAccount(fake.host)]) as registries:
            catalogue = await registries.catalogue(fake.repository("x"))
            with pytest.raises(CatalogueClosed, match="does not list its repositories to this login"):
                await anext(catalogue.repositories())
