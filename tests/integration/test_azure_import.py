"""Azure imports images by itself: no byte of a blob comes through us, and the tag is put by us."""

import dataclasses
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from image_syncer.app import Options, Syncer, open_app
from image_syncer.errors import LeaseLost, NotTrusted
from image_syncer.oci import PlatformFilter, Reference
from image_syncer.registry.settings import ControlAccess, Credential, RegistryAccount
from image_syncer.roles import ALL_WAYS, GatedImage, Way
from image_syncer.structs import replace
from image_syncer.sync.result import CopyResult, Outcome, RunResult
from image_syncer.sync.rule import Rule, RuleTarget, TagNames
from image_syncer.sync.rule_trust import RuleTrust
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.content import Image
from image_syncer.testing.fake.import_api import AGENT, RESOURCE, ImportBehaviour
from image_syncer.testing.images import multi, single
from image_syncer.testing.profile import Profile

TOKEN, LOGIN = "eyJ.management", Credential("ann", "s3cret")
IMAGE = multi("import")
SINGLE = single("import", layers=(1000, 300_000))


@asynccontextmanager
async def registries(profile: Profile | None = None) -> AsyncGenerator[tuple[FakeRegistry, FakeRegistry]]:
    """Run a source with `app:v1`, and an Azure registry as the target."""
    azure = managed(profiles.ACR)
    async with FakeRegistry(profile) as source, FakeRegistry(azure) as target:
        source.load("app", IMAGE, "v1")
        source.load("single", SINGLE, "v1")
        yield source, target


def managed(profile: Profile) -> Profile:
    """Return *profile*, open, whose resource manager knows one token."""
    return dataclasses.replace(profile, accounts=Accounts({"manager": Account(TOKEN)}))


def access(target: FakeRegistry, *, ways: frozenset[Way] = ALL_WAYS, wait: float | None = None) -> RegistryAccount:
    """Return the account of *target* that lets it import."""
    control = ControlAccess(Credential(password=TOKEN), f"{target.url}{RESOURCE}", wait)
    return RegistryAccount(target.host, control=control, ways=ways)


def rule(source: FakeRegistry, target: FakeRegistry, path: str = "app") -> Rule:
    """Return the rule that copies `app:v1` to `mirror/app:v1`."""
    to = RuleTarget(target.repository(f"mirror/{path}"))
    return Rule("rule", source.repository(path), TagNames(("v1",)), (to,))


async def run(rules: Sequence[Rule], *accounts: RegistryAccount, dry_run: bool = False) -> RunResult:
    """Return the result of *rules*."""
    async with open_app(Options(accounts, retries=0)) as syncer:
        return await syncer.sync(rules, dry_run=dry_run)


def by_us(source: FakeRegistry, kind: str = "blob") -> int:
    """Return how many requests of *kind* we sent to *source*, without those of Azure."""
    return sum(request.kind == kind and request.headers.get("user-agent") != AGENT for request in source.requests)


def assert_copied(result: CopyResult, target: FakeRegistry, image: Image, path: str = "app") -> None:
    """Check that *target* has *image* under its tag, with every manifest and blob."""
    assert result.outcome is Outcome.COPIED, result.reason
    content = target.content(f"mirror/{path}")
    assert content.tags == {"v1": image.digest}
    assert {raw.digest for raw in image.manifests} <= set(content.manifests)
    assert {blob.digest for blob in image.blobs.values()} <= content.blobs


async def test_no_byte_comes_through_us() -> None:
    """One request, polls, and a HEAD for each manifest and blob; the tag is the only write at the registry."""
    async with registries() as (source, target):
        assert (await run([rule(source, target)], access(target), dry_run=True)).results[0].way is Way.IMPORT
        assert not target.imports.documents
        before = len(target.requests)
        result = await run([rule(source, target)], access(target))
        (entry,) = result.results
        assert_copied(entry, target, IMAGE)
        sent = list(target.requests)[before:]
        assert [(one.method, one.kind) for one in sent if one.method not in {"GET", "HEAD"}] == [
            ("POST", "other"),
            ("PUT", "manifest"),
        ]
        heads = [one.kind for one in sent if one.method == "HEAD"]
        assert heads.count("blob") == len(IMAGE.blobs)
        assert heads.count("manifest") == len(IMAGE.manifests) + 1  # The decision asks for the tag.
        assert by_us(source) == 0
        (document,) = target.imports.documents
        assert document == {
            "source": {"registryUri": source.host, "sourceImage": f"app@{IMAGE.digest}"},
            "untaggedTargetRepositories": ["mirror/app"],
            "mode": "NoForce",
        }
    assert (entry.way, entry.transferred.copied, entry.transferred.mounted) == (Way.IMPORT, 0, IMAGE.size_bytes)
    assert not result.warnings


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("refuses", "AuthorizationFailed"),
        ("fails", "ImportImageFailed"),
        ("slow", "not done within 1 s"),
        ("lies about blobs", "reported as done, but sha256:"),
        ("lies about all", "reported as done, but sha256:"),
    ],
)
async def test_the_stream_follows_what_fails(behaviour: ImportBehaviour, reason: str) -> None:
    """The image is complete, streamed by us, and a warning says why. The tag is never there before its content."""
    async with registries() as (source, target):
        target.imports.behaviour = behaviour
        target.load("mirror/app", single("old"), "v1")  # So child manifests are looked for before they are pushed.
        result = await run([rule(source, target)], access(target, wait=1.0))
        (entry,) = result.results
        assert_copied(entry, target, IMAGE)
    assert (entry.way, entry.transferred.copied) == (Way.STREAM, IMAGE.size_bytes)
    (warning,) = result.warnings
    assert reason in warning
    assert TOKEN not in warning


class Refuse:
    """A gate that lets no image pass."""

    settings = "refuse"

    async def check(self, image: GatedImage) -> None:
        """Refuse *image*."""
        raise NotTrusted(f"{image.root}: not signed")


class Lost:
    """A lease that is lost when the tag is to be put; *target* shows what had been done by then."""

    def __init__(self, target: FakeRegistry) -> None:
        self.target = target
        self.brought = False

    async def check(self) -> None:
        """Refuse the write."""
        self.brought = IMAGE.digest in self.target.content("mirror/app").manifests
        raise LeaseLost("another worker has the job")


async def test_nothing_is_imported_before_the_gate() -> None:
    """A refused image reaches the target in no form."""
    async with registries() as (source, target):
        options = Options((access(target),), retries=0, trust={"rule": RuleTrust(Refuse())})
        async with open_app(options) as syncer:
            (entry,) = (await syncer.sync([rule(source, target)])).results
        assert (entry.outcome, entry.way) == (Outcome.FAILED, None)
        assert not target.imports.documents
        assert not target.content("mirror/app").manifests


async def test_the_tag_of_an_imported_image_is_fenced() -> None:
    """The image is there without a tag, and the worker that lost its lease does not put it."""
    async with registries() as (source, target):
        lease = Lost(target)
        async with open_app(Options((access(target),), retries=0)) as syncer:
            entry = await copy(syncer, source, target, lease)
        assert isinstance(entry.failure.cause if entry.failure else None, LeaseLost)
        assert lease.brought
        assert not target.content("mirror/app").tags


async def copy(syncer: Syncer, source: FakeRegistry, target: FakeRegistry, fence: Lost) -> CopyResult:
    """Return the result of a copy of `app:v1` under *fence*."""
    end = Reference.parse(f"{target.host}/mirror/app:v1")
    return (await syncer.copy(source.repository("app").tag("v1"), [end], fence=fence)).results[0]


@pytest.mark.parametrize("shares", [False, True])
async def test_the_login_of_the_source_is_shared_only_if_said(shares: bool) -> None:
    """Without it Azure cannot read the source, so we stream; with it the login is in the request and nowhere else."""
    private = Profile(auth="basic", accounts=Accounts({LOGIN.username: Account(LOGIN.password)}))
    async with registries(private) as (source, target):
        login = RegistryAccount(source.host, LOGIN, share_credentials=shares)
        result = await run([rule(source, target)], access(target), login)
        (entry,) = result.results
        assert_copied(entry, target, IMAGE)
        (document,) = target.imports.documents
    expected = {"username": "ann", "password": LOGIN.password} if shares else None
    assert document["source"].get("credentials") == expected
    assert entry.way is (Way.IMPORT if shares else Way.STREAM)
    assert LOGIN.password not in repr(result)


async def test_an_azure_registry_is_named_as_a_resource() -> None:
    """Its own login is not needed, even if it may be shared: the rights of the importing login count."""
    async with registries() as (source, target):
        other = RESOURCE.removesuffix("team") + "other"
        target.imports.registries[other] = source.host
        control = ControlAccess(url=f"{target.url}{other}")
        origin = RegistryAccount(source.host, LOGIN, control=control, share_credentials=True)
        (entry,) = (await run([rule(source, target)], access(target), origin)).results
        assert_copied(entry, target, IMAGE)
        (document,) = target.imports.documents
    assert document["source"] == {"resourceId": other, "sourceImage": f"app@{IMAGE.digest}"}
    assert entry.way is Way.IMPORT


@pytest.mark.parametrize("why", ["ways", "platforms", "no control"])
async def test_what_is_not_asked_for_costs_nothing(why: str) -> None:
    """Only whole images are imported, only where that is allowed, and only with `control:`."""
    async with registries() as (source, target):
        wanted, account = rule(source, target), access(target)
        match why:
            case "ways":
                wanted = replace(wanted, ways=frozenset({Way.STREAM}))
            case "platforms":
                wanted = replace(wanted, platforms=PlatformFilter.parse(platforms=["linux/amd64"]))
            case _:
                account = RegistryAccount(target.host)
        (entry,) = (await run([wanted], account)).results
        assert not target.imports.documents
    assert (entry.outcome, entry.way) == (Outcome.COPIED, Way.STREAM)


async def test_the_address_of_an_operation_gets_no_token_elsewhere() -> None:
    """A response that points to another host ends the import."""
    async with registries() as (source, target), FakeRegistry() as other:

        async def redirect(request: web.Request) -> web.StreamResponse | None:
            if not request.path.endswith("/importImage"):
                return None
            return web.Response(status=202, headers={"Location": f"{other.url}/operations/1"})

        target.intercept.append(redirect)
        result = await run([rule(source, target)], access(target))
        assert_copied(result.results[0], target, IMAGE)
        assert not len(other.requests)
    assert "its state is not at" in result.warnings[0]
