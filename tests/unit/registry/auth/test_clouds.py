"""Logins that clouds issue: the vendors' own libraries talk to their APIs on loopback."""

import base64
import builtins
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from image_syncer.errors import Unauthorized
from image_syncer.oci import Repository
from image_syncer.registry.auth.cloud_providers import CLOUDS, CloudProvider, cloud_of
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.settings import CloudName, ControlAccess, Credential, RegistryAccount
from image_syncer.registry.vendor_ways.azure_import import AzureTokens
from image_syncer.testing.fake.import_api import RESOURCE

Serve = Callable[..., Awaitable[int]]
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
GAR = "europe-docker.pkg.dev"
ACR = "team.azurecr.io"
SWR = "swr.cn-north-4.myhuaweicloud.com"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without any cloud, whose libraries reach no server but loopback."""
    for cloud in CLOUDS.values():
        for name in cloud.variables:
            monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    values = {
        "HOME": str(tmp_path),
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_GCE_CHECK": "true",
        "CLOUDSDK_CONFIG": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


class Api:
    """Answers each request with *document*, and keeps what it was asked."""

    def __init__(self, document: object, status: int = 200) -> None:
        self.document = document
        self.status = status
        self.headers: Mapping[str, str] = {}
        self.path = ""
        self.text = ""

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Respond."""
        self.headers, self.path, self.text = dict(request.headers), request.path_qs, (await request.read()).decode()
        return web.json_response(self.document, status=self.status)


async def issue(cloud: CloudName, registry: str, key: Credential | None = None) -> IssuedCredential:
    """Return the login that *cloud* issues."""
    return await CloudProvider(cloud, key).credential(registry)


@pytest.mark.parametrize(
    ("registry", "region", "target"),
    [
        (ECR, "eu-west-1", "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "eu-west-1", None),
        ("public.ecr.aws", "us-east-1", "SpencerFrontendService.GetAuthorizationToken"),
    ],
)
@pytest.mark.parametrize("key", [None, Credential("AKIDOWN", "own-secret")])
async def test_amazon_issues_a_login_for_ecr(
    serve: Serve,
    environment: pytest.MonkeyPatch,
    registry: str,
    region: str,
    target: str | None,
    key: Credential | None,
) -> None:
    """GetAuthorizationToken, signed for the region in the registry's name with the key of the environment or ours."""
    data = {"authorizationToken": base64.b64encode(b"AWS:pass:word").decode(), "expiresAt": 2_000_000_000}
    api = Api({"authorizationData": data if registry.startswith("public") else [data]})
    environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{await serve(api)}")
    environment.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    environment.setenv("AWS_SECRET_ACCESS_KEY", "env-secret")
    issued = await issue("aws", registry, key)
    assert issued == IssuedCredential(Credential("AWS", "pass:word"), 2_000_000_000)
    user = "AKIDOWN" if key else "AKIDENV"
    assert f"Credential={user}/" in api.headers["Authorization"]
    assert f"/{region}/ecr" in api.headers["Authorization"]
    assert target is None or api.headers["X-Amz-Target"] == target


async def test_an_error_of_amazon_is_named_by_its_code(serve: Serve, environment: pytest.MonkeyPatch) -> None:
    """Its text may repeat what was sent."""
    api = Api({"__type": "UnrecognizedClientException", "message": "the key SECRET is wrong"}, 400)
    environment.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{await serve(api)}")
    with pytest.raises(Unauthorized, match=r"Amazon issues no login: .*\(UnrecognizedClientException\)") as raised:
        await issue("aws", ECR, Credential("AKID", "SECRET"))
    assert "SECRET" not in str(raised.value)


async def test_amazon_without_credentials_says_where_to_put_them() -> None:
    """The remedy names the variables."""
    with pytest.raises(Unauthorized, match=r"NoCredentialsError.*AWS_ACCESS_KEY_ID, AWS_PROFILE"):
        await issue("aws", ECR)


@pytest.fixture(scope="module")
def private_key() -> str:
    """The private key of a service account."""
    key = generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize("form", ["environment", "json", "base64"])
async def test_google_issues_an_access_token_for_a_service_account(
    serve: Serve, environment: pytest.MonkeyPatch, tmp_path: Path, private_key: str, form: str
) -> None:
    """Application default credentials, or the key of the account as the password, plain or as the Go tool has it."""
    api = Api({"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"})
    account = {
        "type": "service_account",
        "client_email": "mirror@project.iam.gserviceaccount.com",
        "private_key": private_key,
        "private_key_id": "1",
        "token_uri": f"http://127.0.0.1:{await serve(api)}/token",
    }
    text = json.dumps(account)
    key = Credential("_json_key", text)
    if form == "environment":
        (tmp_path / "key.json").write_text(text)
        environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        key = None
    elif form == "base64":
        key = Credential("_oauth2_", base64.encodebytes(text.encode()).decode())
    issued = await issue("gcp", GAR, key)
    assert issued.credential == Credential("oauth2accesstoken", "ya29.token")
    assert issued.expires_at == pytest.approx(time.time() + 3600, abs=120)
    claims = parse_qs(api.text)["assertion"][0].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(claims + "=="))["iss"] == account["client_email"]


@pytest.mark.parametrize("password", ["SECRET", "[]", base64.b64encode(b"7").decode(), "{" * 100_000])
async def test_a_password_that_is_no_key_of_google_is_named(password: str) -> None:
    """Without its text."""
    with pytest.raises(Unauthorized, match="not the key of a Google service account") as raised:
        await issue("gcp", GAR, Credential("_json_key", password))
    assert password not in str(raised.value)


async def test_azure_issues_a_token_for_a_managed_identity(serve: Serve, environment: pytest.MonkeyPatch) -> None:
    """The token's audience is that of the registry's cloud; the registry exchanges it."""
    api = Api({"access_token": "eyJ.entra", "expires_on": "2000000000", "token_type": "Bearer", "resource": "x"})
    environment.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{await serve(api)}/msi/token")
    environment.setenv("IDENTITY_HEADER", "header-secret")
    issued = await issue("azure", ACR)
    assert issued == IssuedCredential(Credential(exchange_token="eyJ.entra"), 2_000_000_000)
    assert "resource=https" in api.path
    assert "containerregistry.azure.net" in api.path
    assert "eyJ" not in repr(issued)


async def test_azure_needs_a_tenant_for_a_client_secret() -> None:
    """The login has no place for it."""
    with pytest.raises(Unauthorized, match=r"needs a tenant \(set AZURE_TENANT_ID\)"):
        await issue("azure", ACR, Credential("client", "SECRET"))


async def test_azure_issues_one_token_for_its_resource_manager(serve: Serve, environment: pytest.MonkeyPatch) -> None:
    """A `control:` without a login uses the identity of the environment; its token serves all imports until its end."""
    requests: list[str] = []
    expiry = {"expires_on": str(int(time.time()) + 3600), "token_type": "Bearer", "resource": "x"}
    api = Api({"access_token": "eyJ.entra", **expiry})

    async def counted(request: web.BaseRequest) -> web.Response:
        requests.append(request.path_qs)
        return await api(request)

    environment.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{await serve(counted)}/msi/token")
    environment.setenv("IDENTITY_HEADER", "header-secret")
    tokens, url = AzureTokens(), f"https://management.azure.com{RESOURCE}"
    assert [await tokens.token(ControlAccess(url=url)) for _ in range(2)] == ["eyJ.entra"] * 2
    assert await tokens.token(ControlAccess(Credential(password="eyJ.own"), url)) == "eyJ.own"
    (path,) = requests
    assert "management.azure.com" in path
    with pytest.raises(Unauthorized, match="AZURE_TENANT_ID"):
        await tokens.token(ControlAccess(Credential("client", "SECRET"), url))


class Calls:
    """Answers requests by the action that they name, and keeps the actions."""

    def __init__(self, **documents: object) -> None:
        self.documents = documents
        self.actions: list[str] = []
        self.keys: list[str] = []
        self.texts: list[str] = []

    async def __call__(self, request: web.BaseRequest) -> web.Response:
        """Respond; a signature is not checked, but names the key."""
        headers = request.headers
        action = headers.get("X-TC-Action") or headers.get("x-acs-action", "")
        self.actions.append(action)
        self.keys.append(headers["Authorization"])
        self.texts.append(request.path_qs + (await request.read()).decode())
        return web.json_response(self.documents[action])


@pytest.mark.parametrize("key", [None, Credential("AKIDOWN", "own-secret")])
async def test_tencent_issues_a_login_for_the_instance_in_the_name(
    serve: Serve, environment: pytest.MonkeyPatch, key: Credential | None
) -> None:
    """Its id and region are found by its name; the login is a temporary one."""
    instance = {"RegistryId": "tcr-1", "RegistryName": "team", "RegionName": "ap-shanghai"}
    other = instance | {"RegistryName": "team2", "RegistryId": "tcr-2"}
    token = {"Username": "100", "Token": "eyJ", "ExpTime": 2_000_000_000_000}
    api = Calls(
        DescribeInstances={"Response": {"TotalCount": 2, "Registries": [other, instance], "RequestId": "1"}},
        CreateInstanceToken={"Response": token | {"RequestId": "2"}},
    )
    environment.setenv("TENCENTCLOUD_ENDPOINT", f"http://127.0.0.1:{await serve(api)}")
    environment.setenv("TENCENTCLOUD_SECRET_ID", "AKIDENV")
    environment.setenv("TENCENTCLOUD_SECRET_KEY", "env-secret")
    issued = await issue("tencent", "team.tencentcloudcr.com", key)
    assert issued == IssuedCredential(Credential("100", "eyJ"), 2_000_000_000)
    assert api.actions == ["DescribeInstances", "CreateInstanceToken"]
    assert '"tcr-1"' in api.texts[1]
    assert all(f"Credential={'AKIDOWN' if key else 'AKIDENV'}/" in header for header in api.keys)
    with pytest.raises(Unauthorized, match="Tencent Cloud shows no instance 'absent'"):
        await issue("tencent", "absent.tencentcloudcr.com", key)


@pytest.mark.parametrize("key", [None, Credential("AKIDOWN", "own-secret")])
async def test_alibaba_issues_a_login_for_an_enterprise_instance(
    serve: Serve, environment: pytest.MonkeyPatch, key: Credential | None
) -> None:
    """Its id is found by its name; the login is a temporary one."""
    token = {"TempUsername": "cr_temp_user", "AuthorizationToken": "eyJ", "ExpireTime": 2_000_000_000_000}
    instances = [{"InstanceName": "team2", "InstanceId": "cri-2"}, {"InstanceName": "team", "InstanceId": "cri-1"}]
    api = Calls(ListInstance={"Instances": instances, "TotalCount": 2}, GetAuthorizationToken=token)
    environment.setenv("ALIBABA_CLOUD_CR_ENDPOINT", f"http://127.0.0.1:{await serve(api)}")
    environment.setenv("ALIBABA_CLOUD_ACCESS_KEY_ID", "AKIDENV")
    environment.setenv("ALIBABA_CLOUD_ACCESS_KEY_SECRET", "env-secret")
    for name, value in (("id", "AKIDENV"), ("secret", "env-secret")):  # The library reads them when it is imported.
        environment.setattr(f"alibabacloud_credentials.utils.auth_util.environment_access_key_{name}", value)
    issued = await issue("aliyun", "team-registry.cn-hangzhou.cr.aliyuncs.com", key)
    assert issued == IssuedCredential(Credential("cr_temp_user", "eyJ"), 2_000_000_000)
    assert api.actions == ["ListInstance", "GetAuthorizationToken"]
    assert "cri-1" in api.texts[1]
    assert all(f"Credential={'AKIDOWN' if key else 'AKIDENV'}" in header for header in api.keys)
    with pytest.raises(Unauthorized, match="Alibaba Cloud shows no instance 'absent'"):
        await issue("aliyun", "absent-registry-vpc.cn-hangzhou.cr.aliyuncs.com", key)


async def test_alibaba_issues_a_login_for_the_personal_edition(serve: Serve, environment: pytest.MonkeyPatch) -> None:
    """By the older API, whose name of the action is a path."""
    data = {"tempUserName": "cr_temp_user", "authorizationToken": "eyJ", "expireDate": 2_000_000_000_000}
    api = Api({"data": data})
    environment.setenv("ALIBABA_CLOUD_CR_ENDPOINT", f"http://127.0.0.1:{await serve(api)}")
    issued = await issue("aliyun", "registry.cn-hangzhou.aliyuncs.com", Credential("AKIDOWN", "own-secret"))
    assert issued == IssuedCredential(Credential("cr_temp_user", "eyJ"), 2_000_000_000)
    assert api.path == "/tokens"
    assert "AKIDOWN" in api.headers["Authorization"]
    with pytest.raises(Unauthorized, match="not the name of a registry of Alibaba Cloud"):
        await issue("aliyun", "registry.example.com", Credential("AKIDOWN", "own-secret"))


@pytest.mark.parametrize("key", [None, Credential("AKIDOWN", "own-secret")])
async def test_volcengine_issues_a_login_for_the_instance_in_the_name(
    serve: Serve, environment: pytest.MonkeyPatch, key: Credential | None
) -> None:
    """The name has the instance and the region."""
    token = {"Username": "user@1", "Token": "eyJ", "ExpireTime": "2033-05-18T03:33:20Z"}
    metadata = {"RequestId": "1", "Action": "GetAuthorizationToken"}
    api = Api({"ResponseMetadata": metadata, "Result": token})
    environment.setenv("VOLCENGINE_CR_ENDPOINT", f"http://127.0.0.1:{await serve(api)}")
    environment.setenv("VOLCENGINE_ACCESS_KEY", "AKIDENV")
    environment.setenv("VOLCENGINE_SECRET_KEY", "env-secret")
    issued = await issue("volcengine", "team-a-cn-beijing.cr.volces.com", key)
    assert issued == IssuedCredential(Credential("user@1", "eyJ"), 2_000_000_000)
    assert "Action=GetAuthorizationToken" in api.path
    assert json.loads(api.text)["Registry"] == "team-a"
    assert f"Credential={'AKIDOWN' if key else 'AKIDENV'}/" in api.headers["Authorization"]
    assert "/cn-beijing/cr/" in api.headers["Authorization"]
    with pytest.raises(Unauthorized, match="not the name of a registry of Volcengine"):
        await issue("volcengine", "registry.example.com", key)


async def test_a_login_of_huawei_follows_from_the_access_key(environment: pytest.MonkeyPatch) -> None:
    """The password is the HMAC-SHA256 of the access key by the secret key, and the user name has the region."""
    password = hmac.new(b"secret", b"AK", hashlib.sha256).hexdigest()
    expected = IssuedCredential(Credential("cn-north-4@AK", password))
    assert await issue("huawei", SWR, Credential("AK", "secret")) == expected
    with pytest.raises(Unauthorized, match="set HUAWEICLOUD_SDK_AK"):
        await issue("huawei", SWR)
    environment.setenv("HUAWEICLOUD_SDK_AK", "AK")
    environment.setenv("HUAWEICLOUD_SDK_SK", "secret")
    assert await issue("huawei", SWR) == expected


async def test_a_missing_library_names_the_extra(environment: pytest.MonkeyPatch) -> None:
    """Nothing of it is needed unless a file says `auth:`."""
    real_import = builtins.__import__

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("image_syncer.registry.auth.cloud_aws"):
            raise ModuleNotFoundError(name)
        return real_import(name, *rest)

    environment.setattr(builtins, "__import__", refuse)
    with pytest.raises(Unauthorized, match=r"auth: aws needs a library.*pip install '.\[aws\]'"):
        await issue("aws", ECR)


@pytest.mark.parametrize(
    ("registry", "variable", "expected"),
    [
        (ECR, "AWS_PROFILE", "aws"),
        ("public.ecr.aws", "AWS_ACCESS_KEY_ID", "aws"),
        ("123456789012.dkr.ecr-fips.us-gov-west-1.amazonaws.com", "AWS_WEB_IDENTITY_TOKEN_FILE", "aws"),
        ("123456789012.dkr.ecr.cn-north-1.amazonaws.com.cn", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "aws"),
        ("gcr.io", "GOOGLE_APPLICATION_CREDENTIALS", "gcp"),
        ("eu.gcr.io", "GOOGLE_APPLICATION_CREDENTIALS", "gcp"),
        (GAR, "GOOGLE_APPLICATION_CREDENTIALS", "gcp"),
        (ACR, "AZURE_CLIENT_ID", "azure"),
        ("team.azurecr.cn", "IDENTITY_ENDPOINT", "azure"),
        ("team.azurecr.us", "AZURE_TENANT_ID", "azure"),
        ("123456789012.dkr-ecr.eu-west-1.on.aws", "AWS_PROFILE", "aws"),
        ("swr.eu-west-101.myhuaweicloud.eu", "HUAWEICLOUD_SDK_AK", "huawei"),
        ("team-cn-beijing.cr.ivolces.com", "VOLCENGINE_ACCESS_KEY", "volcengine"),
        ("registry-vpc.cn-hangzhou.aliyuncs.com", "ALIBABA_CLOUD_ACCESS_KEY_ID", "aliyun"),
        ("team-registry.cn-hangzhou.cr.aliyuncs.com", "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "aliyun"),
        ("team.tencentcloudcr.com", "TENCENTCLOUD_SECRET_ID", "tencent"),
        ("team-cn-beijing.cr.volces.com", "VOLCENGINE_ACCESS_KEY", "volcengine"),
        (SWR, "HUAWEICLOUD_SDK_AK", "huawei"),
        (ECR, "AZURE_CLIENT_ID", None),
        ("evil-gcr.io.example", "GOOGLE_APPLICATION_CREDENTIALS", None),
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com.example", "AWS_PROFILE", None),
        ("team.azurecr.io:5000", "AZURE_CLIENT_ID", None),
        ("docker.io", "AWS_PROFILE", None),
    ],
)
def test_the_cloud_of_a_registry_is_known_by_its_name(
    environment: pytest.MonkeyPatch, tmp_path: Path, registry: str, variable: str, expected: CloudName | None
) -> None:
    """A login of a cloud goes to no other host, and is used only if the environment has one."""
    environment.setattr("image_syncer.registry.auth.cloud_providers._machine_vendor", str)
    assert cloud_of(registry, {variable: "x"}, tmp_path) == expected
    assert cloud_of(registry, {}, tmp_path) is None


async def test_an_account_with_a_cloud_gets_its_login(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings stay; each of several logins is issued; a failure is an error."""
    environment.setenv("HUAWEICLOUD_SDK_AK", "ENV")
    environment.setenv("HUAWEICLOUD_SDK_SK", "secret")
    other = RegistryAccount(SWR, Credential("AK", "secret"), cloud="huawei")
    account = RegistryAccount(SWR, insecure=True, origin="mirror.yaml:3", cloud="huawei", further=(other,))
    keychain = Keychain([account], environment={}, home=tmp_path)
    found = await keychain.account_for(Repository.parse(f"{SWR}/team/app"))
    assert (found.credential and found.credential.username) == "cn-north-4@ENV"
    assert [one.credential and one.credential.username for one in found.further] == ["cn-north-4@AK"]
    assert (found.insecure, found.origin) == (True, "mirror.yaml:3")
    again = await keychain.account_for(Repository.parse(f"{SWR}/team/other"))
    assert again.source is found.source
    environment.delenv("HUAWEICLOUD_SDK_SK")
    with pytest.raises(Unauthorized, match="no access key"):
        await Keychain([account], environment={}, home=tmp_path).account_for(Repository.parse(f"{SWR}/team/app"))


async def test_a_cloud_in_the_environment_is_used_after_the_login_files(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`docker login` and helpers keep their place. If the cloud fails, access is anonymous as it was before."""
    variables = {"HUAWEICLOUD_SDK_AK": "AK", "HUAWEICLOUD_SDK_SK": "secret"}
    repository = Repository.parse(f"{SWR}/team/app")
    anonymous = await Keychain([], environment=variables, home=tmp_path).account_for(repository)
    assert anonymous.credential is None  # The library's own environment has nothing.
    for name, value in variables.items():
        environment.setenv(name, value)
    found = await Keychain([], environment=variables, home=tmp_path).account_for(repository)
    assert (found.credential and found.credential.username) == "cn-north-4@AK"
    assert found.origin == "the environment (auth: huawei)"
    (tmp_path / ".docker").mkdir()
    document = {"auths": {SWR: {"username": "file", "password": "p"}}}
    (tmp_path / ".docker/config.json").write_text(json.dumps(document))
    found = await Keychain([], environment=variables, home=tmp_path).account_for(repository)
    assert found.credential == Credential("file", "p")
