"""Creates local repositories of Artifactory (JFrog's documentation, "Create Repository")."""

from collections.abc import Iterator
from urllib.parse import quote

from image_syncer.registry.preparing.creation import ApiCall, Creation, basic


def calls(creation: Creation) -> Iterator[ApiCall]:
    """Yield the request that creates the repository of the key that is the first component of the path."""
    document: dict[str, object] = {"key": creation.first, "rclass": "local", "packageType": "docker"}
    if creation.settings.scan:
        document["xrayIndex"] = True
    path = f"/artifactory/api/repositories/{quote(creation.first, safe='')}"
    yield ApiCall("PUT", path, document, basic(creation.credential), exists=(400, "already exists"))
