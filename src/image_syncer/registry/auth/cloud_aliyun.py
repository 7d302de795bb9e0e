"""Temporary logins of Alibaba Cloud Container Registry, personal and enterprise, through its libraries."""

import os
import re
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

# Any: the types of the libraries are incomplete.
_credentials: Final[Any] = import_module("alibabacloud_credentials.client")
_client: Final[Any] = import_module("alibabacloud_tea_openapi.client")
_models: Final[Any] = import_module("alibabacloud_tea_openapi.utils_models")
_runtime: Final[Any] = import_module("darabonba.runtime")

_PERSONAL: Final = re.compile(r"registry(-vpc|-internal)?\.(?P<region>[a-z0-9-]+)\.aliyuncs\.com", re.ASCII)
_ENTERPRISE: Final = re.compile(
    r"(?P<name>[a-z0-9-]+?)-registry(-vpc)?\.(?P<region>[a-z0-9-]+)\.cr\.aliyuncs\.com", re.ASCII
)
_MILLISECONDS: Final = 20_000


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return a temporary login for the registry, or for the enterprise instance in its name. *key* is an access key.

    Without it, the library looks in the environment, for an OIDC token, in its profile, and for the role of the
    machine. ALIBABA_CLOUD_CR_ENDPOINT is the URL of another API server, such as the one in a private network.
    """
    personal, enterprise = _PERSONAL.fullmatch(registry), _ENTERPRISE.fullmatch(registry)
    if personal is not None:
        data = Api(personal["region"], key).call("GetAuthorizationToken", "2016-06-07", "/tokens")["data"]
        return _issued(data["tempUserName"], data["authorizationToken"], data["expireDate"])
    if enterprise is None:
        raise Unauthorized(
            f"{registry}: not the name of a registry of Alibaba Cloud",
            remedy="write registry.REGION.aliyuncs.com or INSTANCE-registry.REGION.cr.aliyuncs.com",
        )
    api = Api(enterprise["region"], key)
    instance = api.instance_id(registry, enterprise["name"])
    data = api.call("GetAuthorizationToken", "2018-12-01", InstanceId=instance)
    return _issued(data["TempUsername"], data["AuthorizationToken"], data["ExpireTime"])


def parts_of(registry: str) -> tuple[str, str] | None:
    """Return the region of *registry* and the name of its instance, empty for the personal edition; None if unknown."""
    found = _PERSONAL.fullmatch(registry) or _ENTERPRISE.fullmatch(registry)
    return found and (found["region"], found.groupdict().get("name") or "")


class Api:
    """The API of a region, at *url* if it is given."""

    def __init__(self, region: str, key: Credential | None, url: str = "") -> None:
        server = urlsplit(url or os.environ.get("ALIBABA_CLOUD_CR_ENDPOINT", ""))
        config = _models.Config(
            region_id=region,
            endpoint=server.netloc or f"cr.{region}.aliyuncs.com",
            protocol=server.scheme or "https",
            connect_timeout=_MILLISECONDS,
            read_timeout=_MILLISECONDS,
        )
        if key is None:
            config.credential = _credentials.Client()
        else:
            config.access_key_id, config.access_key_secret = key.username, key.password
        self._client = _client.Client(config)

    def instance_id(self, registry: str, name: str) -> str:
        """Return the id of the instance *name*; `Unauthorized` if the API shows none."""
        instances = self.call("ListInstance", "2018-12-01", InstanceName=name).get("Instances") or ()
        instance = next((one for one in instances if one["InstanceName"] == name), None)
        if instance is None:
            raise Unauthorized(
                f"{registry}: Alibaba Cloud shows no instance {name!r}",
                remedy="check the name, and the account of the key",
            )
        return instance["InstanceId"]

    def call(self, action: str, version: str, path: str = "", document: object = None, **query: str) -> dict[str, Any]:
        """Return the response to *action*: of the older style that has paths, or of the newer one.

        *document* is the content of a PUT in the older style.
        """
        params = _models.Params(
            action=action,
            version=version,
            protocol=self._client._protocol,  # noqa: SLF001 - the library takes it from each call
            pathname=path or "/",
            method="POST" if not path else "GET" if document is None else "PUT",
            auth_type="AK",
            style="ROA" if path else "RPC",
            req_body_type="json" if path else "formData",
            body_type="json",
        )
        request = _models.OpenApiRequest(query=query, body=document)
        return self._client.call_api(params, request, _runtime.RuntimeOptions())["body"]


def _issued(user: str, password: str, milliseconds: int) -> IssuedCredential:
    return IssuedCredential(Credential(user, password), milliseconds / 1000)
