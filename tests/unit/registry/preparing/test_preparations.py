"""Repositories and projects that a push finds missing: created once, by the vendor's API, or named in the error."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from image_syncer.errors import Denied, NotFound, Refused, StoreError, Unauthorized
from image_syncer.oci import Repository
from image_syncer.registry.preparing.instructions import call_text, with_remedy
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import ControlAccess, CreateSettings, Credential, RegistryAccount
from image_syncer.registry.vendor_profiles import vendor_of
from image_syncer.testing import Account, Accounts, FakeRegistry, profiles
from image_syncer.testing.images import single
from image_syncer.testing.profile import Profile, ProfileRefusal
from support.clients import client, failing

IMAGE = single("app")
PUSHER = Credential("pusher", "secret")
ADMIN = Credential("admin", "token")
ACCOUNTS = Accounts({"pusher": Account("secret"), "admin": Account("token")})
PATH = "team/app"
POLICY = json.dumps({"rules": [{"rulePriority": 1, "description": 100 * "x"}]})
HIDDEN = ProfileRefusal(403, "DENIED", "requested access to the resource is denied")
VENDORS = {
    "artifactory": (profiles.ARTIFACTORY, "team"),
    "aws": (profiles.ECR, PATH),
    "gitea": (profiles.OCI, "team"),
    "harbor": (profiles.HARBOR, "team"),
    "huawei": (profiles.OCI, "team"),
    "quay": (profiles.QUAY, PATH),
}


@pytest.fixture(autouse=True)
def _region(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry on loopback has no region in its name."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def closed(profile: Profile, **changes: Any) -> Profile:
    """Return *profile* without any project, and with the vendors' APIs."""
    return replace(profile.guarded(ACCOUNTS), projects=(), creation_api=True, **changes)


def account(registry: FakeRegistry, vendor: str = "", **settings: Any) -> RegistryAccount:
    """Return an account that creates what is missing, with the login of an administrator for that."""
    control = ControlAccess(ADMIN, registry.url if vendor in {"aws", "gitlab", "huawei"} else "")
    return RegistryAccount(registry.host, PUSHER, create=CreateSettings(vendor, **settings), control=control)


async def push(registries: Registries, registry: FakeRegistry, path: str = PATH) -> None:
    """Push an image to the repository *path*."""
    target = registries.target(registry.repository(path))
    for blob in IMAGE.blobs.values():
        await target.push_blob(blob.descriptor, blob.open)
    await target.push_manifest(IMAGE.root, "v1")


def of_api(registry: FakeRegistry) -> list[tuple[str, str, int | None]]:
    """Return the requests that are none of the registry itself."""
    return [
        (one.method, one.path, one.status)
        for one in registry.requests
        if (not one.path.startswith("/v2/") or "/manage/" in one.path) and "token" not in one.path
    ]


@pytest.mark.parametrize(
    ("vendor", "refusal"),
    [*((vendor, None) for vendor in VENDORS), *((vendor, HIDDEN) for vendor in VENDORS if vendor != "aws")],
)
async def test_each_vendor_creates_what_the_push_lacks_once(vendor: str, refusal: ProfileRefusal | None) -> None:
    """With one request of its API, for two images that are pushed at once; ECR says 404 and hides nothing."""
    profile, name = VENDORS[vendor]
    refused = {} if refusal is None else {"missing_project": refusal}
    async with FakeRegistry(closed(profile, **refused)) as registry:
        async with client(access=[account(registry, vendor)]) as registries:
            await asyncio.gather(push(registries, registry), push(registries, registry))
        assert registry.creation.created == {name}
        assert [status for *_, status in of_api(registry)] in ([200], [201])
        assert registry.content(PATH).tags == {"v1": IMAGE.digest}


async def test_what_exists_costs_no_request_of_the_api() -> None:
    """Only a refused push asks for it."""
    async with FakeRegistry(replace(closed(profiles.HARBOR), projects=("team/*",))) as registry:
        async with client(access=[account(registry)]) as registries:
            await push(registries, registry)
        assert of_api(registry) == []


async def test_another_process_may_be_quicker() -> None:
    """It exists then: the push is refused for another reason, which the error names."""
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:

        async def first(request: web.Request) -> web.StreamResponse | None:
            if request.path == "/api/v2.0/projects":
                registry.creation.created.add("team")
            return None

        registry.intercept.append(first)
        async with client(access=[account(registry)]) as registries:
            with pytest.raises(NotFound):
                await push(registries, registry)
            await push(registries, registry)
        assert [status for *_, status in of_api(registry)] == [409]


async def test_a_project_is_private_unless_it_is_said_and_has_what_is_asked_for() -> None:
    """Harbor: the rule of immutable tags is another request, after the project."""
    everything: dict[str, Any] = {"public": True, "immutable": True, "scan": True}
    nothing: dict[str, Any] = {}
    for settings, public in ((nothing, "false"), (everything, "true")):
        async with FakeRegistry(closed(profiles.HARBOR)) as registry:
            async with client(access=[account(registry, "", **settings)]) as registries:
                await push(registries, registry)
            project, *rules = registry.creation.documents
            assert project["metadata"]["public"] == public
            assert project["metadata"].get("auto_scan") == ("true" if settings else None)
            assert [rule["action"] for rule in rules] == (["immutable"] if settings else [])


async def test_ecr_gets_its_settings_from_botocore() -> None:
    """Immutable tags, scans and the lifecycle policy."""
    async with FakeRegistry(closed(profiles.ECR)) as registry:
        one = account(registry, "aws", immutable=True, scan=True, lifecycle=POLICY)
        async with client(access=[one]) as registries:
            await push(registries, registry)
        made, policy = registry.creation.documents
        assert made["imageTagMutability"] == "IMMUTABLE"
        assert made["imageScanningConfiguration"] == {"scanOnPush": True}
        assert policy["lifecyclePolicyText"] == POLICY


async def test_the_registry_s_own_login_is_used_without_another() -> None:
    """And only where it is the registry that has the API."""
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:
        one = RegistryAccount(registry.host, PUSHER, create=CreateSettings())
        async with client(access=[one]) as registries:
            await push(registries, registry)
        assert {one.authorization for one in registry.requests if one.path.startswith("/api/")} == {"basic"}


async def test_a_login_goes_to_no_other_host() -> None:
    """A redirect of the API is not followed; the login of the registry does not go to another server."""
    async with FakeRegistry(closed(profiles.HARBOR)) as registry, FakeRegistry(closed(profiles.HARBOR)) as other:

        async def redirect(request: web.Request) -> web.StreamResponse | None:
            moved = request.path.startswith("/api/")
            return web.Response(status=307, headers={"Location": f"{other.url}{request.path}"}) if moved else None

        registry.intercept.append(redirect)
        async with client(access=[account(registry)]) as registries:
            with pytest.raises(Refused, match="create the project"):
                await push(registries, registry)
        assert len(other.requests) == 0
        elsewhere = ControlAccess(None, other.url)
        one = RegistryAccount(registry.host, PUSHER, create=CreateSettings(), control=elsewhere)
        async with client(access=[one]) as registries:
            with pytest.raises(Unauthorized, match="create the project"):
                await push(registries, registry)
        assert {one.authorization for one in other.requests} == {""}


async def test_without_create_the_error_has_the_call() -> None:
    """That makes it; nothing is asked of the API."""
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:
        async with client(access=[RegistryAccount(registry.host, PUSHER)]) as registries:
            with pytest.raises(NotFound) as raised:
                await push(registries, registry)
        remedy = raised.value.remedy or ""
        assert remedy.startswith("create the project: curl -u USER -X POST https://127.0.0.1:")
        assert remedy.endswith(f"; or set create: true at {registry.host}")
        assert of_api(registry) == []


@pytest.mark.parametrize(
    ("repository", "call"),
    [
        (
            "123456789012.dkr.ecr.eu-west-1.amazonaws.com/team/app",
            "aws ecr create-repository --repository-name team/app --region eu-west-1",
        ),
        ("public.ecr.aws/alias/app", "aws ecr-public create-repository --repository-name app --region us-east-1"),
        ("europe-docker.pkg.dev/project/images/app", "create images --project project --location europe "),
        ("codeberg.org/team/app", "https://codeberg.org/api/v1/orgs "),
        ("quay.io/team/app", '"namespace": "team", "repository": "app"'),
        ("registry.gitlab.com/group/project/app", "glab repo create group/project --private"),
        ("swr.cn-north-4.myhuaweicloud.com/team/app", "hcloud SWR CreateNamespace --namespace=team"),
        ("team-a-cn-beijing.cr.volces.com/team/app", "CreateNamespace --Registry team-a --Name team, then"),
        ("team.tencentcloudcr.com/team/app", "tccli tcr CreateNamespace --RegistryId ID --NamespaceName team "),
        ("harbor.jfrog.io/docker-local/app", "/artifactory/api/repositories/docker-local "),
        ("registry.cn-hangzhou.aliyuncs.com/team/app", "--RepoNamespaceName team --RepoName app "),
    ],
)
def test_the_call_names_what_is_missing(repository: str, call: str) -> None:
    """With the names in the reference."""
    parsed = Repository.parse(repository)
    vendor = vendor_of(parsed.registry)
    assert vendor is not None
    assert vendor.preparation is not None
    assert call in call_text(vendor.preparation, parsed)
    error = with_remedy(Denied("x: denied", status=403, remedy="check the right"), vendor.preparation, parsed)
    assert str(error).startswith("x: denied (check the right; or create ")


async def test_a_failed_creation_fails_each_push_and_is_tried_once() -> None:
    """With what was to be created, the answer, and what to do; the password is not shown."""
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:
        wrong = replace_control(account(registry), Credential("admin", "WRONG"))
        async with client(access=[wrong]) as registries:
            for _ in range(3):
                with pytest.raises(Unauthorized, match="team/app: create the project: not authorised") as raised:
                    await push(registries, registry)
                assert "give" in str(raised.value)
                assert "control:" in str(raised.value)
                assert "WRONG" not in str(raised.value)
        assert [status for *_, status in of_api(registry)] == [401]


def replace_control(one: RegistryAccount, credential: Credential) -> RegistryAccount:
    """Return *one* with another login for the API."""
    return RegistryAccount(one.prefix, one.credential, create=one.create, control=ControlAccess(credential))


async def test_a_setting_that_the_vendor_lacks_is_named() -> None:
    """Before anything is asked."""
    async with FakeRegistry(closed(profiles.QUAY)) as registry:
        async with client(access=[account(registry, "quay", scan=True)]) as registries:
            with pytest.raises(Refused, match="scan is no setting of this vendor"):
                await push(registries, registry)
        assert of_api(registry) == []


async def test_an_error_of_the_source_creates_nothing() -> None:
    """A blob that the source has lost looks like a missing repository."""
    blob = next(iter(IMAGE.blobs.values()))
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:
        registry.creation.created.add("team")
        async with client(access=[account(registry, "harbor")]) as registries:
            target = registries.target(registry.repository(PATH))
            lost = NotFound("source.example.com/app: not found", status=404)
            with pytest.raises(NotFound, match=r"source\.example\.com"):
                await target.push_blob(blob.descriptor, failing(lost))
        assert of_api(registry) == []


async def test_a_missing_right_stays_an_error_where_nothing_is_hidden() -> None:
    """ECR says when a repository is missing."""
    async with FakeRegistry(closed(profiles.ECR, missing_project=HIDDEN)) as registry:
        async with client(access=[account(registry, "aws")]) as registries:
            with pytest.raises(Denied):
                await push(registries, registry)
        assert of_api(registry) == []


@pytest.mark.parametrize("path", ["group/project", "group/project/image", "group/project/image/part", "group/other"])
async def test_gitlab_is_asked_whether_the_project_exists(path: str) -> None:
    """At the path or up to two levels above it; people create projects."""
    async with FakeRegistry(closed(profiles.OCI)) as registry:
        registry.creation.created.add("elsewhere")
        async with client(access=[account(registry, "gitlab")]) as registries:
            with pytest.raises(StoreError, match="create the project: there is none at") as raised:
                await push(registries, registry, path)
            assert "glab repo create group/" in str(raised.value)
            count = len(of_api(registry))
        assert count == min(3, path.count("/"))


async def test_a_dry_run_can_tell_what_would_be_created() -> None:
    """Nothing is asked for that."""
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:
        async with client(access=[account(registry, "harbor")]) as registries:
            text = await registries.preparations().announce(registry.repository(PATH))
            assert text == f"would create the project team at {registry.host} if a push finds it missing"
        async with client(access=[RegistryAccount(registry.host, PUSHER)]) as registries:
            assert await registries.preparations().announce(registry.repository(PATH)) is None
        assert len(registry.requests) == 0


async def test_a_registry_that_hides_what_is_missing_is_asked_to_create_it() -> None:
    """A 403 for the tag and for a large blob does not fail the copy before the push."""
    large = single("large", layers=(9 * 1024 * 1024,))
    async with FakeRegistry(closed(profiles.HARBOR, missing_project=HIDDEN)) as registry:

        async def hide(request: web.Request) -> web.StreamResponse | None:
            hidden = request.method == "HEAD" and not registry.creation.created and "/v2/" in request.path
            return web.Response(status=403) if hidden else None

        registry.intercept.append(hide)
        blob = max(large.blobs.values(), key=lambda one: one.size_bytes)
        async with client(access=[account(registry)]) as registries:
            target = registries.target(registry.repository(PATH))
            assert await target.resolve("v1") is None
            assert not await target.has_blob(blob.descriptor)
            assert await target.would_create() is not None
            await push(registries, registry)
            assert await target.resolve("v1") is not None
            assert await target.would_create() is None
        async with client(access=[RegistryAccount(registry.host, PUSHER)]) as registries:
            registry.creation.created.clear()
            with pytest.raises(Denied):
                await registries.target(registry.repository("other/app")).resolve("v1")


async def test_a_mount_into_a_missing_project_creates_it() -> None:
    """A copy within one registry moves no byte, also into a new project."""
    blob = next(iter(IMAGE.blobs.values()))
    async with FakeRegistry(closed(profiles.HARBOR)) as registry:
        registry.load("origin/app", IMAGE, "v1")
        async with client(access=[account(registry)]) as registries:
            target = registries.target(registry.repository(PATH))
            assert await target.mount(blob.descriptor, registry.repository("origin/app"))
        assert registry.creation.created == {"team"}
        registry.creation.created.clear()
        async with client(access=[RegistryAccount(registry.host, PUSHER)]) as registries:
            target = registries.target(registry.repository("other/app"))
            assert not await target.mount(blob.descriptor, registry.repository("origin/app"))
        assert registry.creation.created == set()
