"""Creates projects of Harbor (its `api/v2.0/swagger.yaml`)."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from image_syncer.registry.preparing.creation import ApiCall, Creation, basic

_EVERYTHING: Final = {"kind": "doublestar", "pattern": "**"}
_IMMUTABLE: Final = {
    "action": "immutable",
    "template": "immutable_template",
    "disabled": False,
    "tag_selectors": [{**_EVERYTHING, "decoration": "matches"}],
    "scope_selectors": {"repository": [{**_EVERYTHING, "decoration": "repoMatches"}]},
}


def calls(creation: Creation) -> Iterator[ApiCall]:
    """Yield the request that creates the project, and that for its rule of immutable tags."""
    settings = creation.settings
    metadata = {"public": "true" if settings.public else "false"}
    if settings.scan:
        metadata["auto_scan"] = "true"
    headers = basic(creation.credential)
    yield ApiCall("POST", "/api/v2.0/projects", {"project_name": creation.first, "metadata": metadata}, headers)
    if settings.immutable:
        # A project whose name is a number would be taken for an id.
        headers = {**headers, "X-Is-Resource-Name": "true"}
        path = f"/api/v2.0/projects/{quote(creation.first, safe='')}/immutabletagrules"
        yield ApiCall("POST", path, _IMMUTABLE, headers)
