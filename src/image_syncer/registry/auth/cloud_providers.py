"""Issues registry logins from the credentials of a cloud, through the cloud's own library, which an extra installs."""

# ruff: noqa: PLC0415 - the libraries are slow to import, and only needed where a cloud issues logins

import asyncio
import re
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, cast

from image_syncer.errors import StoreError, Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.http.descriptors import out_of_threads
from image_syncer.registry.settings import CloudName, Credential
from image_syncer.structs import Struct

Issue = Callable[[str, Credential | None], IssuedCredential]
"""Issues a login for a registry; without a credential, the library looks for one in the environment."""

_SECONDS: Final = 90.0
_CODE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,79}")


class _Cloud(Struct):
    """How a cloud is recognised: *hosts* matches its registries, *module* is the library that the extra installs.

    *variables* and *files* (in the home directory) show that the environment has credentials of it, as does a machine
    whose firmware names the *vendor*.
    """

    title: str
    hosts: str
    module: str
    variables: tuple[str, ...]
    files: tuple[str, ...] = ()
    vendor: str = ""


CLOUDS: Final[Mapping[CloudName, _Cloud]] = {
    "aws": _Cloud(
        "Amazon",
        r"public\.ecr\.aws|\d{12}\.dkr[.-]ecr(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|on\.aws)",
        "botocore",
        (
            "AWS_ACCESS_KEY_ID",
            "AWS_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        ),
        (".aws/credentials", ".aws/config"),
        "Amazon EC2",
    ),
    "gcp": _Cloud(
        "Google",
        r"([a-z0-9-]+\.)?gcr\.io|[a-z0-9-]+-docker\.pkg\.dev",
        "google.auth",
        ("GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST"),
        (".config/gcloud/application_default_credentials.json",),
        "Google",
    ),
    "azure": _Cloud(
        "Azure",
        r"[a-z0-9-]+(\.[a-z0-9-]+\.data)?\.azurecr\.(io|cn|us)",
        "azure.identity",
        ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_USERNAME", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"),
        (".azure/msal_token_cache.json",),
    ),
    "aliyun": _Cloud(
        "Alibaba Cloud",
        r"registry(-vpc|-internal)?\.[a-z0-9-]+\.aliyuncs\.com"
        r"|[a-z0-9-]+-registry(-vpc)?\.[a-z0-9-]+\.cr\.aliyuncs\.com",
        "alibabacloud_tea_openapi",
        ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_OIDC_TOKEN_FILE", "ALIBABA_CLOUD_ECS_METADATA"),
        (".aliyun/config.json",),
    ),
    "tencent": _Cloud(
        "Tencent Cloud",
        r"[a-z0-9-]+\.tencentcloudcr\.com",
        "tencentcloud.tcr",
        ("TENCENTCLOUD_SECRET_ID",),
        (".tencentcloud/credentials",),
    ),
    "huawei": _Cloud(
        "Huawei Cloud",
        r"swr\.[a-z0-9-]+\.myhuaweicloud\.(com|eu)",
        "hmac",
        ("HUAWEICLOUD_SDK_AK",),
    ),
    "volcengine": _Cloud(
        "Volcengine",
        r"[a-z0-9-]+\.cr\.i?volces\.com",
        "volcenginesdkcr",
        ("VOLCENGINE_ACCESS_KEY", "VOLCENGINE_OIDC_TOKEN_FILE", "VOLCENGINE_ECS_METADATA"),
        (".volcengine/config.json",),
    ),
}
"""The clouds by their name in `auth:`."""
_SUFFIXES: Final = (
    ".amazonaws.com",
    ".amazonaws.com.cn",
    ".aws",
    "gcr.io",
    ".pkg.dev",
    ".azurecr.io",
    ".azurecr.cn",
    ".azurecr.us",
    ".aliyuncs.com",
    ".tencentcloudcr.com",
    ".myhuaweicloud.com",
    ".myhuaweicloud.eu",
    ".volces.com",
    ".ivolces.com",
)


def cloud_of(registry: str, environment: Mapping[str, str], home: Path) -> CloudName | None:
    """Return the cloud of *registry* if its library is installed and the environment has credentials of it."""
    name = cloud_by_host(registry)
    if name is None:
        return None
    cloud = CLOUDS[name]
    return name if _is_installed(cloud.module) and _has_credentials(cloud, environment, home) else None


def cloud_by_host(registry: str) -> CloudName | None:
    """Return the cloud whose registries have names like *registry*."""
    # Most registries belong to no cloud, and short runs compile no pattern for them.
    if not registry.endswith(_SUFFIXES):
        return None
    return next((name for name, cloud in CLOUDS.items() if re.fullmatch(cloud.hosts, registry, re.ASCII)), None)


class CloudProvider:
    """Issues logins of *cloud*, for *key* (an access key, or the key of a service account) if it is given."""

    def __init__(self, cloud: CloudName, key: Credential | None = None) -> None:
        self._name: CloudName = cloud
        self._cloud = CLOUDS[cloud]
        self._key = key

    async def credential(self, registry: str) -> IssuedCredential:
        """Return a new login for *registry*; `Unauthorized` if the library is missing or gives none."""
        try:
            issue = _issuer(self._name)
        except ImportError:
            from image_syncer.extras import install_remedy

            raise Unauthorized(
                f"{registry}: auth: {self._name} needs a library that is not installed",
                remedy=install_remedy(self._name),
            ) from None
        try:
            async with asyncio.timeout(_SECONDS):
                return await asyncio.to_thread(issue, registry, self._key)
        except StoreError:
            raise
        except TimeoutError:
            raise self._failed(registry, f"no answer within {_SECONDS:g} s") from None
        except RuntimeError as error:
            raise out_of_threads(error, registry) or self._failed(registry, failure_reason(error)) from None
        except Exception as error:  # noqa: BLE001 - the libraries have no common base of their errors
            raise self._failed(
                registry, failure_reason(error)
            ) from None  # Their texts may repeat what they were given.

    def _failed(self, registry: str, reason: str) -> Unauthorized:
        places = ", ".join(self._cloud.variables[:2])
        own = (
            f"check the key of {registry}" if self._key else f"check the credentials in the environment ({places}, ...)"
        )
        return Unauthorized(f"{registry}: {self._cloud.title} issues no login: {reason}", remedy=own)


def _issuer(cloud: CloudName) -> Issue:
    """Return the function that issues logins of *cloud*; `ImportError` without its library."""
    match cloud:
        case "aws":
            from image_syncer.registry.auth.cloud_aws import issue
        case "gcp":
            from image_syncer.registry.auth.cloud_gcp import issue
        case "azure":
            from image_syncer.registry.auth.cloud_azure import issue
        case "aliyun":
            from image_syncer.registry.auth.cloud_aliyun import issue
        case "tencent":
            from image_syncer.registry.auth.cloud_tencent import issue
        case "huawei":
            from image_syncer.registry.auth.cloud_huawei import issue
        case "volcengine":
            from image_syncer.registry.auth.cloud_volcengine import issue
    return issue


def failure_reason(error: Exception) -> str:
    """Return the kind of *error* with the code in it; not its text, which may repeat a secret."""
    try:
        code: object = cast("Any", error).response["Error"]["Code"]  # Of botocore.
    except (AttributeError, KeyError, TypeError):
        code = getattr(error, "code", None)
    kind = type(error).__name__
    return f"{kind} ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else kind


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ImportError:  # Its parent is missing.
        return False


def _has_credentials(cloud: _Cloud, environment: Mapping[str, str], home: Path) -> bool:
    if any(environment.get(name) for name in cloud.variables):
        return True
    if any((home / name).exists() for name in cloud.files):
        return True
    return bool(cloud.vendor) and _machine_vendor().startswith(cloud.vendor)


def _machine_vendor() -> str:
    """Return the vendor in the machine's firmware; empty if it is unknown."""
    try:
        return Path("/sys/class/dmi/id/sys_vendor").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
