"""Harbor's own API, as far as it lists artifacts (harbor `api/v2.0/swagger.yaml`)."""

from typing import Any, Final
from urllib.parse import unquote

from aiohttp import web

from image_syncer.testing.accounts import parse_basic
from image_syncer.testing.fake.answers import RegistryError
from image_syncer.testing.fake.storage import Storage
from image_syncer.testing.profile import Profile

ROOT: Final = "/api/v2.0/"
ARTIFACTS: Final = ROOT + "projects/{project}/repositories/{artifacts_of}/artifacts"
_MOST_ENTRIES: Final = 100


class HarborApi:
    """Lists artifacts to user and password, and public ones to all callers; registry tokens count for nothing."""

    def __init__(self, storage: Storage, profile: Profile) -> None:
        self._storage = storage
        self._profile = profile

    async def artifacts(self, request: web.Request) -> web.Response:
        """Answer GET artifacts: a page of them, each with its tags."""
        # The name is decoded once by the router.
        name = f"{request.match_info['project']}/{unquote(request.match_info['artifacts_of'])}"
        self._check(request, name)
        repository = self._storage.repositories.get(name)
        if repository is None:
            raise RegistryError(404, "NOT_FOUND", "repository not found")
        size, number = int(request.query.get("page_size", "10")), int(request.query.get("page", "1"))
        if size > _MOST_ENTRIES:
            raise RegistryError(422, "UNPROCESSABLE_ENTITY", "page_size must be at most 100")
        tags: dict[str, list[dict[str, Any]]] = {}
        if "q" not in request.query:  # It asks for the tagged ones.
            tags = {str(digest): [] for digest in repository.manifests}
        for tag, digest in repository.tags.items():
            tags.setdefault(str(digest), []).append({"name": tag, "push_time": "2023-11-14T22:13:20.000Z"})
        found = [{"digest": digest, "tags": named or None} for digest, named in sorted(tags.items())]
        page = found[(number - 1) * size : number * size]
        return web.json_response(page, headers={"X-Total-Count": str(len(found))})

    def _check(self, request: web.Request, name: str) -> None:
        credentials = parse_basic(request.headers.get("Authorization"))
        known = credentials if credentials is not None and self._profile.accounts.knows(*credentials) else None
        open_to_all = self._profile.auth == "none"
        if not open_to_all and "pull" not in self._profile.accounts.allowed(known[0] if known else None, name):
            raise RegistryError(401, "UNAUTHORIZED", "unauthorized")
