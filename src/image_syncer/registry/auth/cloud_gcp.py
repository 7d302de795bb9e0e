"""Access tokens of Google for Artifact Registry and Container Registry, through google-auth."""

import base64
import binascii
import json
from datetime import UTC
from importlib import import_module
from typing import Any, Final, cast

from image_syncer.errors import Unauthorized
from image_syncer.registry.auth.credential_sources import IssuedCredential
from image_syncer.registry.settings import Credential

# Any: the library's types are incomplete.
_google_auth: Final[Any] = import_module("google.auth")
_requests: Final[Any] = import_module("google.auth.transport.requests")
_service_accounts: Final[Any] = import_module("google.oauth2.service_account")

_SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_USER: Final = "oauth2accesstoken"


def issue(registry: str, key: Credential | None) -> IssuedCredential:
    """Return an access token as a login. The password of *key* is the key of a service account, as JSON or in base64.

    Without it, the library uses the application default credentials: a file, gcloud's, workload identity, or the
    metadata server.
    """
    credentials: Any
    if key is None:
        credentials, _ = _google_auth.default(scopes=_SCOPES)
    else:
        # No other kind of key is read: some name URLs and programs that the library would call.
        credentials = _service_accounts.Credentials.from_service_account_info(
            _service_account(registry, key.password), scopes=_SCOPES
        )
    credentials.refresh(_requests.Request())
    expiry = credentials.expiry  # In UTC, without a time zone.
    expires_at = None if expiry is None else expiry.replace(tzinfo=UTC).timestamp()
    return IssuedCredential(Credential(_USER, credentials.token), expires_at)


def _service_account(registry: str, text: str) -> dict[str, Any]:
    try:
        content = text if text.lstrip().startswith("{") else base64.b64decode("".join(text.split()), validate=True)
        document: object = json.loads(content)
    except (binascii.Error, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Unauthorized(
            f"{registry}: the password is not the key of a Google service account",
            remedy="give the key as JSON, or the JSON in base64",
        )
    return cast("dict[str, Any]", document)  # The library checks its fields.
