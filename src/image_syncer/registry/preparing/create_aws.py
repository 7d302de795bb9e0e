"""Creates repositories of ECR and ECR Public, through botocore."""

from typing import Any

from image_syncer.errors import Refused
from image_syncer.registry.auth.cloud_aws import PUBLIC, account_of, api_client
from image_syncer.registry.preparing.creation import Creation


def create(creation: Creation) -> bool:
    """Create the repository, with its lifecycle policy; False if it exists."""
    client = api_client(creation.registry, creation.credential, creation.url)
    name = {"repositoryName": creation.path}
    try:
        if creation.registry == PUBLIC:
            _create_public(client, creation)
        else:
            account = account_of(creation.registry)
            name |= {"registryId": account} if account else {}
            client.create_repository(**name, **_settings(creation))
    except client.exceptions.RepositoryAlreadyExistsException:
        return False
    if creation.settings.lifecycle:
        client.put_lifecycle_policy(**name, lifecyclePolicyText=creation.settings.lifecycle)
    return True


def _create_public(client: Any, creation: Creation) -> None:
    """Create a repository of the alias in the path; it cannot be private."""
    if not creation.settings.public:
        raise Refused(
            f"{creation.registry}/{creation.path}: every repository of ECR Public is public, and is not created unless "
            "asked for",
            remedy="set create: {public: true}",
        )
    client.create_repository(repositoryName=creation.rest)


def _settings(creation: Creation) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if creation.settings.immutable:
        found["imageTagMutability"] = "IMMUTABLE"
    if creation.settings.scan:
        found["imageScanningConfiguration"] = {"scanOnPush": True}
    return found
