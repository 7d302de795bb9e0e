"""Creates repositories of Quay (its `endpoints/api/repository.py`); its API takes OAuth tokens only."""

from collections.abc import Iterator

from image_syncer.registry.preparing.creation import ApiCall, Creation, bearer


def calls(creation: Creation) -> Iterator[ApiCall]:
    """Yield the request that creates the repository."""
    document = {
        "namespace": creation.first,
        "repository": creation.rest,
        "visibility": "public" if creation.settings.public else "private",
        "description": "",
        "repo_kind": "image",
    }
    yield ApiCall("POST", "/api/v1/repository", document, bearer(creation.credential), exists=(400, "already exists"))
