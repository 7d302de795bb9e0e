"""Checks that a project of GitLab exists at the path, or at most two levels above it; people create projects."""

from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from image_syncer.registry.preparing.creation import ApiCall, Creation, bearer

_LEVELS_BELOW: Final = 2
_LEAST_COMPONENTS: Final = 2


def calls(creation: Creation) -> Iterator[ApiCall]:
    """Yield a request for each project that the image may belong to, the nearest one first."""
    components = creation.path.split("/")
    shortest = max(len(components) - _LEVELS_BELOW, _LEAST_COMPONENTS)
    for count in range(len(components), shortest - 1, -1):
        project = quote("/".join(components[:count]), safe="")
        yield ApiCall("GET", f"/api/v4/projects/{project}", headers=bearer(creation.credential), is_check=True)
