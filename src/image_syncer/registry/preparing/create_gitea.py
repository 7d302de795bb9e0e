"""Creates organisations of Gitea and Forgejo (`POST /orgs` of their API description)."""

from collections.abc import Iterator

from image_syncer.registry.preparing.creation import ApiCall, Creation, basic


def calls(creation: Creation) -> Iterator[ApiCall]:
    """Yield the request that creates the organisation."""
    document = {"username": creation.first, "visibility": "public" if creation.settings.public else "private"}
    yield ApiCall("POST", "/api/v1/orgs", document, basic(creation.credential), exists=(422, "already exists"))
