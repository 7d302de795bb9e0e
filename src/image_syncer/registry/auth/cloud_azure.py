"""Access tokens of Microsoft Entra for Azure Container Registry, through azure-identity."""

import os
from typing import Final

from azure.identity import ClientSecretCredential, DefaultAzureCredential

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

_SCOPES: Final = {
    "cn": "https://management.chinacloudapi.cn/.default",
    "us": "https://management.usgovcloudapi.net/.default",
}
_SCOPE: Final = "https://containerregistry.azure.net/.default"


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return an access token, which the registry exchanges. *key* is a client id and its secret.

    Without it, the library looks in the environment, for a workload identity, for a managed identity, and for a login
    of Azure's tools.
    """
    token, until = access_token(registry, _SCOPES.get(registry.rpartition(".")[2], _SCOPE), key)
    return IssuedCredential(Credential(exchange_token=token), until)


def access_token(what: str, scope: str, key: Credential | None) -> tuple[str, float]:
    """Return a token for *scope* and when it ends, in seconds since the epoch; *key* as in `issue`.

    Errors name *what*.
    """
    if key is None:
        with DefaultAzureCredential() as credential:
            token = credential.get_token(scope)
    else:
        tenant = os.environ.get("AZURE_TENANT_ID")
        if not tenant:
            raise Unauthorized(f"{what}: a client secret needs a tenant", remedy="set AZURE_TENANT_ID")
        with ClientSecretCredential(tenant, key.username, key.password) as credential:
            token = credential.get_token(scope)
    return token.token, float(token.expires_on)
