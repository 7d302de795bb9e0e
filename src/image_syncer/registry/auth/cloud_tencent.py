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
    credential = _keys.DefaultCredentialProvider().get_credentials() if key is None else None
    if key is not None:
        credential = _keys.Credential(key.username, key.password)
    name = registry.partition(".")[0]
    request = _models.DescribeInstancesRequest()
    request.AllRegion = True
    request.Filters = [_models.Filter()]
    request.Filters[0].Name, request.Filters[0].Values = "RegistryName", [name]
    found: Any = _client(credential, _REGION).DescribeInstances(request).Registries
    instance = next((one for one in found or () if one.RegistryName == name), None)
    if instance is None:
        raise Unauthorized(
            f"{registry}: Tencent Cloud shows no instance {name!r}", remedy="check the name, and the account of the key"
        )
    request = _models.CreateInstanceTokenRequest()
    request.RegistryId, request.TokenType = instance.RegistryId, "temp"
    login: Any = _client(credential, instance.RegionName).CreateInstanceToken(request)
    return IssuedCredential(Credential(login.Username, login.Token), login.ExpTime / 1000)


def _client(credential: object, region: str) -> Any:
    url = urlsplit(os.environ.get("TENCENTCLOUD_ENDPOINT", ""))
    http = _http.HttpProfile(protocol=url.scheme or None, endpoint=url.netloc or None, reqTimeout=_SECONDS)
    return _tcr.TcrClient(credential, region, _profiles.ClientProfile(httpProfile=http))
