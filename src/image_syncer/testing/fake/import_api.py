"""Azure's "Import Image": the registry fetches an image from another one by itself (REST API 2023-07-01).

Tokens of the resource manager are the passwords of the profile's accounts.
"""

import asyncio
import base64
from collections.abc import Mapping
from typing import Any, Final, Literal

import aiohttp
from aiohttp import web

from image_syncer.oci import Digest, Index, Manifest, RawManifest
from image_syncer.oci.media_type import MANIFESTS
from image_syncer.testing.accounts import Accounts
from image_syncer.testing.fake.storage import Storage

AGENT: Final = "AzureContainerRegistry"
"""The User-Agent of its requests to the source."""
RESOURCE: Final = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/team/providers/"
    "Microsoft.ContainerRegistry/registries/team"
)
"""The path of the registry at the resource manager."""
_OPERATIONS: Final = "/subscriptions/00000000-0000-0000-0000-000000000000/operations/"

ImportBehaviour = Literal["works", "refuses", "fails", "slow", "lies about blobs", "lies about all"]
"""Imports, refuses with 403, fails after it has accepted, never ends, or succeeds without all content."""


class ImportApi:
    """Imports as *behaviour* says; *documents* are the requests in order."""

    def __init__(self, accounts: Accounts) -> None:
        self.behaviour: ImportBehaviour = "works"
        self.documents: list[dict[str, Any]] = []
        self.polls = 0
        self.registries: dict[str, str] = {}
        """The registries that it reaches as resources: their hosts by their ids."""
        self._accounts = accounts
        self._operations: dict[str, asyncio.Task[str]] = {}

    def routes(self, storage: Storage) -> list[web.RouteDef]:
        """Return the routes of the resource manager; images go to *storage*."""

        async def begin(request: web.Request) -> web.Response:
            return await self._begin(request, storage)

        return [web.post(f"{RESOURCE}/importImage", begin), web.get(_OPERATIONS + "{operation}", self._poll)]

    async def _begin(self, request: web.Request, storage: Storage) -> web.Response:
        if not self._knows(request):
            return _error(401, "InvalidAuthenticationToken")
        if request.query.get("api-version") is None:
            return _error(400, "MissingApiVersionParameter")
        document: dict[str, Any] = await request.json()
        self.documents.append(document)
        if self.behaviour == "refuses":
            return _error(403, "AuthorizationFailed")
        name = str(len(self._operations))
        self._operations[name] = asyncio.create_task(self._import(document, storage))
        url = f"{request.scheme}://{request.host}{_OPERATIONS}{name}?api-version=2023-07-01"
        headers = {"Azure-AsyncOperation": url, "Location": url, "Retry-After": "0"}
        return web.Response(status=202, headers=headers)

    async def _poll(self, request: web.Request) -> web.Response:
        self.polls += 1
        if not self._knows(request):
            return _error(401, "InvalidAuthenticationToken")
        task = self._operations.get(request.match_info["operation"])
        if task is None:
            return _error(404, "NotFound")
        if not task.done():
            return web.json_response({"status": "InProgress"}, headers={"Retry-After": "0"})
        code = task.result()
        if code:
            return web.json_response({"status": "Failed", "error": {"code": code, "message": "the source refused"}})
        return web.json_response({"status": "Succeeded"})

    def _knows(self, request: web.Request) -> bool:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        return token in {user.password for user in self._accounts.users.values()}

    async def _import(self, document: Mapping[str, Any], storage: Storage) -> str:
        """Import what *document* asks for, and return the code of an error; empty after a success."""
        if self.behaviour == "slow":
            await asyncio.Event().wait()
        if self.behaviour == "fails":
            return "ImportImageFailed"
        source = document["source"]
        login = source.get("credentials")
        headers = {"User-Agent": AGENT}
        if login:
            text = f"{login['username']}:{login['password']}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(text).decode()}"
        path, _, digest = source["sourceImage"].partition("@")
        async with aiohttp.ClientSession(headers=headers) as session:
            host = source["registryUri"] if "resourceId" not in source else self.registries[source["resourceId"]]
            fetch = ImageFetch(session, f"http://{host}/v2/{path}")
            try:
                await fetch.tree(digest)
            except aiohttp.ClientResponseError:
                return "InvalidParameters"
        blobs = {} if self.behaviour.startswith("lies") else fetch.blobs
        manifests = () if self.behaviour == "lies about all" else fetch.manifests
        for name in document.get("untaggedTargetRepositories", ()):
            storage.keep(name, manifests, blobs)
        for target in document.get("targetTags", ()):
            name, _, tag = target.partition(":")
            storage.keep(name, manifests, blobs)
            storage.repository(name).tags[tag] = Digest.parse(digest)
        return ""


class ImageFetch:
    """Reads an image from the repository at *url*."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.manifests: list[RawManifest] = []
        self.blobs: dict[Digest, bytes] = {}

    async def tree(self, identifier: str, *, whole: bool = True) -> None:
        """Read the manifest *identifier*, and if *whole* all that it names."""
        accept = {"Accept": ", ".join(sorted(MANIFESTS))}
        async with self._session.get(f"{self._url}/manifests/{identifier}", headers=accept) as response:
            response.raise_for_status()
            content, media_type = await response.read(), response.content_type
        raw = RawManifest.of(content, media_type)
        self.manifests.append(raw)
        if not whole:
            return
        match raw.parse():
            case Index(entries):
                for entry in entries:
                    await self.tree(str(entry.digest))
            case Manifest() as manifest:
                for blob in manifest.blobs:
                    await self.blob(blob.digest)

    async def blob(self, digest: Digest) -> None:
        """Read the blob *digest*."""
        async with self._session.get(f"{self._url}/blobs/{digest}") as response:
            response.raise_for_status()
            self.blobs[digest] = await response.read()


def _error(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": f"{code}: see the documentation"}}, status=status)
