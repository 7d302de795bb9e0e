"""Temporary logins of Volcengine Container Registry, through Volcengine's library."""

import os
import re
from datetime import datetime
from importlib import import_module
from typing import Any, Final
from urllib.parse import urlsplit

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

# Any: the library has no types.
_core: Final[Any] = import_module("volcenginesdkcore")
_providers: Final[Any] = import_module("volcenginesdkcore.auth.providers.default_provider")
_cr: Final[Any] = import_module("volcenginesdkcr")

_REGISTRY: Final = re.compile(
    r"(?P<name>[a-z0-9-]+)-(?P<region>[a-z]{2}-[a-z]+\d*|ap-southeast-\d)\.cr\.i?volces\.com", re.ASCII
)
_SECONDS: Final = 20


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return a temporary login for the instance in the registry's name. *key* is an access key.

    Without it, the library looks in the environment, for an OIDC token, in its profile, and for the role of the
    machine. VOLCENGINE_CR_ENDPOINT is the URL of another API server, such as the one in a private network.
    """
    api, name = api_of(registry, key)
    answer: Any = api.get_authorization_token(_cr.GetAuthorizationTokenRequest(registry=name))
    expires_at = datetime.fromisoformat(answer.expire_time).timestamp()
    return IssuedCredential(Credential(answer.username, answer.token), expires_at)


def api_of(registry: str, key: Credential | None, server: str = "") -> tuple[Any, str]:
    """Return the API of the region in the name of *registry*, and the name of its instance.

    *server* is the URL of another API server.
    """
    host = _REGISTRY.fullmatch(registry)
    if host is None:
        raise Unauthorized(
            f"{registry}: not the name of a registry of Volcengine", remedy="write INSTANCE-REGION.cr.volces.com"
        )
    configuration: Any = _core.Configuration()
    configuration.region = host["region"]
    configuration.connect_timeout = configuration.read_timeout = _SECONDS
    url = urlsplit(server or os.environ.get("VOLCENGINE_CR_ENDPOINT", ""))
    if url.netloc:
        configuration.scheme, configuration.host = url.scheme, url.netloc
    if key is None:
        configuration.credential_provider = _providers.DefaultCredentialProvider()
    else:
        configuration.ak, configuration.sk = key.username, key.password
    return _cr.CRApi(_core.ApiClient(configuration)), host["name"]
