"""Temporary logins of Tencent Container Registry, through Tencent Cloud's library."""

import os
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

# Any: the library has no types.
_keys: Final[Any] = import_module("tencentcloud.common.credential")
_profiles: Final[Any] = import_module("tencentcloud.common.profile.client_profile")
_http: Final[Any] = import_module("tencentcloud.common.profile.http_profile")
_tcr: Final[Any] = import_module("tencentcloud.tcr.v20190924.tcr_client")
_models: Final[Any] = import_module("tencentcloud.tcr.v20190924.models")

_REGION: Final = "ap-guangzhou"  # Any region lists the instances of all.
_SECONDS: Final = 20


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return a temporary login for the instance in the registry's name. *key* is an access key.

    Without it, the library looks in the environment, its profile, and the role of the machine.
    TENCENTCLOUD_ENDPOINT is the URL of another API server, such as the one in a private network.
    """
    client, instance = instance_of(registry, key)
    request = _models.CreateInstanceTokenRequest()
    request.RegistryId, request.TokenType = instance, "temp"
    login: Any = client.CreateInstanceToken(request)
    return IssuedCredential(Credential(login.Username, login.Token), login.ExpTime / 1000)


def instance_of(registry: str, key: Credential | None, url: str = "") -> tuple[Any, str]:
    """Return the client for the region of the instance in the name of *registry*, and the id of the instance."""
    credential = _keys.DefaultCredentialProvider().get_credentials() if key is None else None
    if key is not None:
        credential = _keys.Credential(key.username, key.password)
    name = registry.partition(".")[0]
    request = _models.DescribeInstancesRequest()
    request.AllRegion = True
    request.Filters = [_models.Filter()]
    request.Filters[0].Name, request.Filters[0].Values = "RegistryName", [name]
    found: Any = _client(credential, _REGION, url).DescribeInstances(request).Registries
    instance = next((one for one in found or () if one.RegistryName == name), None)
    if instance is None:
        raise Unauthorized(
            f"{registry}: Tencent Cloud shows no instance {name!r}", remedy="check the name, and the account of the key"
        )
    return _client(credential, instance.RegionName, url), instance.RegistryId


def _client(credential: object, region: str, url: str) -> Any:
    server = urlsplit(url or os.environ.get("TENCENTCLOUD_ENDPOINT", ""))
    http = _http.HttpProfile(protocol=server.scheme or None, endpoint=server.netloc or None, reqTimeout=_SECONDS)
    return _tcr.TcrClient(credential, region, _profiles.ClientProfile(httpProfile=http))
