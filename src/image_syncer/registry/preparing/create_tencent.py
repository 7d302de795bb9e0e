"""Creates namespaces of Tencent Container Registry, through Tencent Cloud's library."""

from importlib import import_module
from typing import Any, Final

from image_syncer.registry.auth.cloud_tencent import instance_of
from image_syncer.registry.preparing.creation import Creation, says_exists

# Any: the library has no types.
_models: Final[Any] = import_module("tencentcloud.tcr.v20190924.models")
_errors: Final[Any] = import_module("tencentcloud.common.exception.tencent_cloud_sdk_exception")


def create(creation: Creation) -> bool:
    """Create the namespace, with its rule of immutable tags; False if it exists. A push creates repositories in it."""
    settings = creation.settings
    client, instance = instance_of(creation.registry, creation.credential, creation.url)
    request = _models.CreateNamespaceRequest()
    request.RegistryId, request.NamespaceName, request.IsPublic = instance, creation.first, settings.public
    if settings.scan:
        request.IsAutoScan = True
    try:
        client.CreateNamespace(request)
    except _errors.TencentCloudSDKException as error:
        if says_exists(error.code or ""):
            return False
        raise
    if settings.immutable:
        rules = _models.CreateImmutableTagRulesRequest()
        rules.RegistryId, rules.NamespaceName, rules.Rule = instance, creation.first, _models.ImmutableTagRule()
        rules.Rule.RepositoryPattern, rules.Rule.RepositoryDecoration = "**", "repoMatches"
        rules.Rule.TagPattern, rules.Rule.TagDecoration, rules.Rule.Disabled = "**", "matches", False
        client.CreateImmutableTagRules(rules)
    return True
