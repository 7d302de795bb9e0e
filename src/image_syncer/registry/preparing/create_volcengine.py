"""Creates namespaces and repositories of Volcengine Container Registry, through Volcengine's library."""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

from image_syncer.registry.auth.cloud_volcengine import api_of
from image_syncer.registry.preparing.creation import Creation, says_exists

# Any: the library has no types.
_cr: Final[Any] = import_module("volcenginesdkcr")
_errors: Final[Any] = import_module("volcenginesdkcore.rest")


def create(creation: Creation) -> bool:
    """Create the namespace and the repository in it; False if both exist."""
    api, instance = api_of(creation.registry, creation.credential, creation.url)
    level = "Public" if creation.settings.public else "Private"
    made = _is_new(api.create_namespace, _cr.CreateNamespaceRequest(registry=instance, name=creation.first))
    request = _cr.CreateRepositoryRequest(
        registry=instance, namespace=creation.first, name=creation.rest, access_level=level
    )
    return _is_new(api.create_repository, request) or made


def _is_new(call: Callable[[Any], object], request: object) -> bool:
    """Make *call*; False if what it creates exists."""
    try:
        call(request)
    except _errors.ApiException as error:
        if says_exists(_code(error)):
            return False
        raise
    return True


def _code(error: Any) -> str:
    """Return the code in the body of *error*, empty without one."""
    try:
        code: object = json.loads(error.body)["ResponseMetadata"]["Error"]["Code"]
    except (KeyError, TypeError, ValueError):
        return ""
    return code if isinstance(code, str) else ""
