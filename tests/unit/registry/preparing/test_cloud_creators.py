"""Creations through the clouds' own libraries, which talk to their APIs on loopback."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from image_syncer.errors import Refused
from image_syncer.registry.preparing import create_aliyun, create_aws, create_tencent, create_volcengine
from image_syncer.registry.preparing.create_huawei import api_url, signature
from image_syncer.registry.preparing.creation import ApiCall, Creation, says_exists
from image_syncer.registry.settings import CreateSettings, Credential

Serve = Callable[..., Awaitable[int]]
KEY = Credential("AKID", "secret")
TENCENT, VOLCENGINE = "team.tencentcloudcr.com", "team-a-cn-beijing.cr.volces.com"
ENTERPRISE, PERSONAL = "team-registry.cn-hangzhou.cr.aliyuncs.com", "registry.cn-hangzhou.aliyuncs.com"
INSTANCE = {"RegistryId": "tcr-1", "RegistryName": "team", "RegionName": "ap-shanghai"}


class Cloud:
    """Answers each action with its entry in *answers*, a document or the code of an error; keeps what it is asked."""

    def __init__(self, **answers: dict[str, Any] | str) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Respond in the form of the vendor whose library asks."""
        headers = request.headers
        assert "AKID" in headers["Authorization"]
        query = {name: values[0] for name, values in parse_qs(request.query_string).items()}
        action = headers.get("X-TC-Action") or headers.get("x-acs-action") or query["Action"]
        self.asked.append((action, request.query_string + (await request.read()).decode()))
        answer = self.answers.get(action, {})
        code = answer if isinstance(answer, str) else ""
        if "X-TC-Action" in headers:
            content = {"Error": {"Code": code, "Message": "SECRET"}} if code else answer
            document = {"Response": {"RequestId": "1", **dict(content)}}  # type: ignore[arg-type]
            return web.Response(body=json.dumps(document).encode(), headers={"Content-Type": "application/json"})
        if "x-acs-action" in headers:
            document = {"Code": code, "Message": "SECRET", "RequestId": "1"} if code else answer
            return web.json_response(document, status=400 if code else 200)
        error = {"Error": {"Code": code, "Message": "SECRET"}} if code else {}
        metadata = {"RequestId": "1", "Action": action, **error}
        return web.json_response({"ResponseMetadata": metadata, "Result": {}}, status=409 if code else 200)

    @property
    def actions(self) -> list[str]:
        """What was asked, in order."""
        return [action for action, _ in self.asked]

    def text(self, action: str) -> str:
        """Return the query and the content of the request for *action*."""
        return dict(self.asked)[action]


async def created(
    serve: Serve, module: Any, registry: str, cloud: Cloud, path: str = "team/app", **settings: Any
) -> bool:
    """Let *module* create the repository *path* at *cloud*."""
    url = f"http://127.0.0.1:{await serve(cloud)}"
    creation = Creation(registry, path, CreateSettings(**settings), url, KEY)
    return await asyncio.to_thread(module.create, creation)


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback needs no proxy."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def test_tencent_creates_a_private_namespace(serve: Serve) -> None:
    """At the instance in the registry's name; the rule of immutable tags is a request of its own."""
    cloud = Cloud(DescribeInstances={"Registries": [INSTANCE], "TotalCount": 1})
    assert await created(serve, create_tencent, TENCENT, cloud, immutable=True, scan=True)
    assert cloud.actions == ["DescribeInstances", "CreateNamespace", "CreateImmutableTagRules"]
    asked = json.loads(cloud.text("CreateNamespace"))
    assert asked == {"RegistryId": "tcr-1", "NamespaceName": "team", "IsPublic": False, "IsAutoScan": True}
    assert json.loads(cloud.text("CreateImmutableTagRules"))["Rule"]["TagPattern"] == "**"
    cloud = Cloud(
        DescribeInstances={"Registries": [INSTANCE], "TotalCount": 1},
        CreateNamespace="InvalidParameter.ErrNamespaceExist",
    )
    assert not await created(serve, create_tencent, TENCENT, cloud, immutable=True)
    assert cloud.actions == ["DescribeInstances", "CreateNamespace"]


async def test_alibaba_creates_namespace_and_repository_of_an_enterprise_instance(serve: Serve) -> None:
    """Private, unless it is said."""
    instances = {"Instances": [{"InstanceName": "team", "InstanceId": "cri-1"}]}
    cloud = Cloud(ListInstance=instances)
    assert await created(serve, create_aliyun, ENTERPRISE, cloud, "ns/app", immutable=True)
    assert cloud.actions == ["ListInstance", "CreateNamespace", "CreateRepository"]
    asked = cloud.text("CreateRepository")
    for part in (
        "InstanceId=cri-1",
        "RepoNamespaceName=ns",
        "RepoName=app",
        "RepoType=PRIVATE",
        "TagImmutability=true",
    ):
        assert part in asked
    cloud = Cloud(ListInstance=instances, CreateNamespace="NAMESPACE_ALREADY_EXIST")
    assert await created(serve, create_aliyun, ENTERPRISE, cloud, "ns/app", public=True)
    assert "RepoType=PUBLIC" in cloud.text("CreateRepository")
    refusal = {"IsSuccess": False, "Code": "REPO_ALREADY_EXIST"}
    cloud = Cloud(ListInstance=instances, CreateNamespace="NAMESPACE_ALREADY_EXIST", CreateRepository=refusal)
    assert not await created(serve, create_aliyun, ENTERPRISE, cloud, "ns/app")
    cloud = Cloud(ListInstance=instances, CreateNamespace={"IsSuccess": False, "Code": "NO_PERMISSION"})
    with pytest.raises(Refused, match="NO_PERMISSION"):
        await created(serve, create_aliyun, ENTERPRISE, cloud, "ns/app")


async def test_alibaba_creates_namespace_and_repository_of_the_personal_edition(serve: Serve) -> None:
    """By PUT, as the older API has it."""
    cloud = Cloud()
    assert await created(serve, create_aliyun, PERSONAL, cloud, "ns/app")
    assert cloud.actions == ["CreateNamespace", "CreateRepo"]
    repository = json.loads(cloud.text("CreateRepo"))["Repo"]
    assert repository == {"RepoNamespace": "ns", "RepoName": "app", "RepoType": "PRIVATE", "Summary": "app"}
    with pytest.raises(Refused, match="no immutable tags"):
        await created(serve, create_aliyun, PERSONAL, Cloud(), "ns/app", immutable=True)


async def test_volcengine_creates_namespace_and_repository(serve: Serve) -> None:
    """Of the instance in the registry's name."""
    cloud = Cloud()
    assert await created(serve, create_volcengine, VOLCENGINE, cloud)
    assert cloud.actions == ["CreateNamespace", "CreateRepository"]
    document = json.loads(cloud.text("CreateRepository").rpartition("}")[0].partition("{")[2].join("{}"))
    assert document == {"Registry": "team-a", "Namespace": "team", "Name": "app", "AccessLevel": "Private"}
    cloud = Cloud(CreateNamespace="AlreadyExists.Namespace", CreateRepository="AlreadyExists.Repository")
    assert not await created(serve, create_volcengine, VOLCENGINE, cloud)


async def test_a_repository_of_ecr_public_is_created_only_as_a_public_one(serve: Serve) -> None:
    """Since there is no other kind."""

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append(await request.json())
        return web.json_response({"repository": {}})

    asked: list[object] = []
    url = f"http://127.0.0.1:{await serve(answer)}"
    creation = Creation("public.ecr.aws", "alias/team/app", CreateSettings(public=True), url, KEY)
    assert await asyncio.to_thread(create_aws.create, creation)
    assert asked == [{"repositoryName": "team/app"}]
    with pytest.raises(Refused, match=r"every repository of ECR Public is public.*public: true"):
        create_aws.create(Creation("public.ecr.aws", "alias/app", CreateSettings(), url, KEY))


def test_a_request_to_huawei_is_signed_as_its_library_does() -> None:
    """The expected signature was made by huaweicloudsdkcore 3.1.219."""
    host = "swr-api.cn-north-4.myhuaweicloud.com"
    assert api_url("swr.cn-north-4.myhuaweicloud.com") == f"https://{host}"
    assert api_url("swr.example.com") == ""
    call = ApiCall("POST", "/v2/manage/namespaces", {"namespace": "team"})
    headers = signature(call, host, Credential("AK", "SECRET"), datetime(2026, 1, 1, 12, tzinfo=UTC))
    assert headers["X-Sdk-Date"] == "20260101T120000Z"
    assert headers["Authorization"] == (
        "SDK-HMAC-SHA256 Access=AK, SignedHeaders=content-type;host;x-sdk-date, "
        "Signature=6289de760c8c4d954ed85ba18063a56338b5ddc6b3ed51cfb7fc8b5bc357d1ff"
    )
    call = ApiCall("GET", "/v2/manage/namespaces/team/repos/group%24app/tags?limit=100&offset=100")
    headers = signature(call, host, Credential("AK", "SECRET"), datetime(2026, 1, 1, 12, tzinfo=UTC))
    expected = "903137bbcc3658d4c66f6f5a8d3ca3a5c8bd02e27b7ee432198c63d01e6f8c40"
    assert headers["Authorization"].endswith(f"Signature={expected}")  # Of a path and a query, likewise.


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("InvalidParameter.ErrorNameExists", True),
        ("FailedOperation.ErrorTcrResourceConflict", True),
        ("REPO_ALREADY_EXIST", True),
        ("AlreadyExists.Namespace", True),
        ("InternalError.ErrNotExist", False),
        ("NAMESPACE_NOT_EXIST", False),
        ("UnauthorizedOperation", False),
        ("", False),
    ],
)
def test_the_code_of_an_error_says_whether_a_thing_exists(code: str, *, expected: bool) -> None:
    """What does not exist has similar names."""
    assert says_exists(code) is expected
