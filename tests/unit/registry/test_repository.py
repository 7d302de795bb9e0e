from collections.abc import AsyncGenerator

import pytest

from image_syncer.errors import Denied, NotFound, Unauthorized
from image_syncer.oci import Repository
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, RegistryAccount
from image_syncer.roles import Source, Stores, Target
from image_syncer.testing import ALL, PULL, Account, Accounts, Blob, FakeRegistry, Profile
from image_syncer.testing.images import single
from support.clients import Fault, client

IMAGE = single("image")
BLOB = Blob.of(b"blob")
ACCOUNTS = Accounts({"ann": Account("secret"), "bob": Account("secret", {"app": ALL, "base": PULL})})


@pytest.fixture
async def fake() -> AsyncGenerator[FakeRegistry]:
    """A registry with a token server and `app:v1`."""
    async with FakeRegistry(Profile(auth="bearer", accounts=ACCOUNTS)) as registry:
        registry.load("app", IMAGE, "v1")
        yield registry


@pytest.fixture
async def registries(fake: FakeRegistry) -> AsyncGenerator[Registries]:
    """A client with the login of ann, who has all rights."""
    async with client(access=[RegistryAccount(fake.host, Credential("ann", "secret"))]) as opened:
        yield opened


def scopes(fake: FakeRegistry) -> list[str]:
    """Return the scopes of all token requests."""
    queries = [request.query for request in fake.requests.only(kind="token")]
    return [value for query in queries for name, value in query if name == "scope"]


def test_both_roles_are_implemented(registries: Registries) -> None:
    """The type checker proves it; this test names the promise."""
    stores: Stores = registries
    repository = Repository("r.io", "app")
    source: Source = stores.source(repository)
    target: Target = stores.target(repository)
    assert repr(source) == "RegistrySource('r.io/app')"
    assert repr(target) == "RegistryTarget('r.io/app')"


async def test_a_source_requests_the_pull_scope_only(fake: FakeRegistry, registries: Registries) -> None:
    """Reading needs no more."""
    await registries.source(fake.repository("app")).resolve("v1")
    assert scopes(fake) == ["repository:app:pull"]


async def test_a_target_requests_the_push_scope_at_once(fake: FakeRegistry, registries: Registries) -> None:
    """One token is enough for all requests."""
    target = registries.target(fake.repository("app"))
    await target.resolve("v1")
    await target.push_blob(BLOB.descriptor, BLOB.open)
    await target.push_manifest(IMAGE.root, "v2")
    assert scopes(fake) == ["repository:app:pull,push"]


async def test_a_mount_requests_the_pull_scope_of_its_origin(fake: FakeRegistry, registries: Registries) -> None:
    """Both scopes are in one token."""
    layer = next(iter(IMAGE.blobs.values()))
    assert await registries.target(fake.repository("copy")).mount(layer.descriptor, fake.repository("app"))
    assert sorted(" ".join(scopes(fake)).split()) == ["repository:app:pull", "repository:copy:pull,push"]
    assert fake.requests.count(kind="token") == 1


async def test_a_mount_without_access_to_its_origin_means_push(fake: FakeRegistry) -> None:
    """Bob may not read `secret`, so his copy is uploaded."""
    layer = next(iter(IMAGE.blobs.values()))
    fake.load("secret", IMAGE)
    async with client(access=[RegistryAccount(fake.host, Credential("bob", "secret"))]) as registries:
        target = registries.target(fake.repository("app"))
        assert not await target.mount(layer.descriptor, fake.repository("secret"))
        await target.push_blob(BLOB.descriptor, BLOB.open)


async def test_a_missing_reference_at_a_target_is_none(fake: FakeRegistry, registries: Registries) -> None:
    """The tag or the whole repository; a source raises an error."""
    assert await registries.target(fake.repository("app")).resolve("v9") is None
    assert await registries.target(fake.repository("new")).resolve("v1") is None
    with pytest.raises(NotFound):
        await registries.source(fake.repository("new")).resolve("v1")


async def test_a_denied_target_is_an_error(fake: FakeRegistry, registries: Registries) -> None:
    """403 does not mean "not there yet"; the remedy says what to check."""
    fake.intercept.append(Fault(403, kind="manifest", times=9))
    with pytest.raises(Denied, match=f"check what the account may do at {fake.host}"):
        await registries.target(fake.repository("app")).resolve("v1")


async def test_a_missing_push_right_names_the_repository(fake: FakeRegistry) -> None:
    """Bob may only read `base`."""
    async with client(access=[RegistryAccount(fake.host, Credential("bob", "secret"))]) as registries:
        with pytest.raises((Denied, Unauthorized), match="base") as caught:
            await registries.target(fake.repository("base")).push_blob(BLOB.descriptor, BLOB.open)
    assert "secret" not in str(caught.value)


async def test_an_invalid_identifier_is_never_requested(fake: FakeRegistry, registries: Registries) -> None:
    """Identifiers are parsed before they become part of a path."""
    for identifier in ("../../v2", "a b", "", "sha256:../x"):
        with pytest.raises(ValueError, match="not a"):
            await registries.source(fake.repository("app")).resolve(identifier)
    assert len(fake.requests) == 0


async def test_a_repository_that_the_registry_does_not_know_is_new() -> None:
    """It is asked once, and what this process writes does not change the answer."""
    async with FakeRegistry() as fake, client() as registries:
        target = registries.target(fake.repository("app"))
        assert await target.is_new()
        image = single("app")
        for blob in image.blobs.values():
            await target.push_blob(blob.descriptor, blob.open)
        await target.push_manifest(image.root, "v1")
        assert await target.is_new()
        assert fake.requests.count(kind="tags") == 1
        fake.load("other", image, "v1")
        assert not await registries.target(fake.repository("other")).is_new()


@pytest.mark.parametrize("fault", [Fault(403, "GET", code="DENIED"), Fault(404, "GET"), Fault(503, "GET")])
async def test_a_repository_that_cannot_be_listed_is_not_new(fault: Fault) -> None:
    """Only the registry's own word counts that it does not know the repository; no request is repeated for it."""
    async with FakeRegistry() as fake, client() as registries:
        target = registries.target(fake.repository("app"))
        await target.resolve("v1")
        fake.intercept.append(fault)
        assert not await target.is_new()
        assert fake.requests.count(kind="tags") == 1
