"""A registry in this process: OCI distribution-spec 1.1 as it is written, counting everything that it is asked.

async with FakeRegistry() as registry:
    registry.load("app", single("seed"), "latest")
    ...  # talk to registry.host
    assert registry.requests.count(method="GET", kind="blob") == 3
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from image_syncer.oci import Digest, RawManifest, Repository
from image_syncer.testing.content import Image
from image_syncer.testing.fake.access import AccessControl
from image_syncer.testing.fake.answers import RECORD, RegistryError, empty, new_record
from image_syncer.testing.fake.blobs import BlobHandlers
from image_syncer.testing.fake.exchange import FAULTS, deliver
from image_syncer.testing.fake.listings import ListingHandlers
from image_syncer.testing.fake.manifests import ManifestHandlers
from image_syncer.testing.fake.script import Script
from image_syncer.testing.fake.storage import FakeRepository, Storage
from image_syncer.testing.fake.uploads import UploadHandlers
from image_syncer.testing.profile import Profile
from image_syncer.testing.requests import RequestLog
from image_syncer.testing.serving import serve
from image_syncer.testing.threads import open_in_thread

Interceptor = Callable[[web.Request], Awaitable[web.StreamResponse | None]]
"""Sees a request before anything else does; what it returns is the answer, None lets the request go on."""

_VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}


class FakeRegistry:
    """An OCI 1.1 registry on a free port of the loopback interface; use it as an async context manager.

    *requests* has every request from its first byte on. *faults* is the script of what goes wrong, and *rng* decides
    about those that have a chance. Functions in *intercept* may answer in its place.
    """

    def __init__(self, profile: Profile | None = None, *, rng: Random | None = None) -> None:
        self.profile = profile or Profile()
        self.requests = RequestLog()
        self.faults = Script(rng)
        self.intercept: list[Interceptor] = []
        self._stack = AsyncExitStack()
        self._storage: Storage | None = None
        self._access = AccessControl(self.profile.auth, self.profile.accounts, token_seconds=self.profile.token_seconds)
        self._host = ""

    @classmethod
    def in_thread(cls, profile: Profile | None = None, *, rng: Random | None = None) -> AbstractContextManager[Self]:
        """Return a registry to use with a plain `with`; it runs in a thread of its own."""
        return open_in_thread(cls(profile, rng=rng))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="fake-registry-"))
            self._storage = Storage(Path(directory))
            application = self._application(self._storage)
            port = await stack.enter_async_context(serve(application, self.profile.tls))
            self._host = f"127.0.0.1:{port}"
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def host(self) -> str:
        """Where it listens: `127.0.0.1:port`."""
        return self._host

    @property
    def url(self) -> str:
        """The same with its scheme."""
        return f"{'https' if self.profile.tls else 'http'}://{self._host}"

    def repository(self, path: str) -> Repository:
        """Return the name of the repository *path* at this registry."""
        return Repository(self._host, path)

    def load(self, path: str, image: Image, *tags: str) -> None:
        """Hold *image* in the repository *path* under *tags*, without a request."""
        self._held.load(path, image, tags)

    def plant(self, digest: Digest, content: bytes) -> None:
        """Let the blob *digest* have other bytes from now on: a damaged disk, or a liar."""
        self._held.plant(digest, content)

    def content(self, path: str) -> FakeRepository:
        """Return what the repository *path* holds now, to look at and to change; empty if it was never pushed to."""
        return self._held.repositories.get(path, FakeRepository())

    def manifest(self, path: str, identifier: str) -> RawManifest | None:
        """Return the manifest at a tag or digest, None if there is none."""
        found = self.content(path).find(identifier)
        return found[1] if found else None

    @property
    def unfinished_uploads(self) -> int:
        """How many uploads were begun and neither finished nor given up."""
        return len(self._held.uploads)

    def expire_tokens(self) -> None:
        """Make every token that was handed out worthless."""
        self._access.expire_tokens()

    @property
    def _held(self) -> Storage:
        if self._storage is None:
            raise RuntimeError("a FakeRegistry is used as a context manager")
        return self._storage

    def _application(self, storage: Storage) -> web.Application:
        application = web.Application(middlewares=[self._answer])
        manifests = ManifestHandlers(storage, referrers=self.profile.referrers, many_tags=self.profile.many_tags)
        blobs = BlobHandlers(storage)
        uploads = UploadHandlers(storage, chunk_min_bytes=self.profile.chunk_min_bytes)
        listings = ListingHandlers(storage, page_limit=self.profile.page_limit, digests=self.profile.listed_digests)
        manifest, blob = "/v2/{name:.+}/manifests/{reference}", "/v2/{name:.+}/blobs/{digest}"
        upload = "/v2/{name:.+}/blobs/uploads/"
        session = upload + "{upload}"
        application.add_routes(
            [
                web.get("/v2/", _ping),
                web.get("/v2/_catalog", listings.catalog),
                web.get("/v2/{name:.+}/tags/list", listings.tags),
                web.get(manifest, manifests.get),
                web.put(manifest, manifests.put),
                web.delete(manifest, manifests.delete),
                web.post(upload, uploads.post),
                web.patch(session, uploads.patch),
                web.put(session, uploads.put),
                web.get(session, uploads.get, allow_head=False),
                web.delete(session, uploads.delete),
                web.get(blob, blobs.get),
                web.delete(blob, blobs.delete),
            ]
        )
        if self.profile.referrers:
            application.router.add_get("/v2/{name:.+}/referrers/{digest}", listings.referrers)
        if self.profile.auth == "bearer":
            application.add_routes(
                [web.get("/token", self._access.tokens.get), web.post("/token", self._access.tokens.post)]
            )
        return application

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note the request, let it be answered, and note the answer before a byte of it is sent."""
        record = request[RECORD] = new_record(request)
        self.requests.append(record)
        request[FAULTS] = self.faults.for_request(record)
        try:
            response = await self._decide(request, handler)
        except RegistryError as error:
            response = error.response()
        except web.HTTPException as error:
            response = RegistryError(error.status, "UNSUPPORTED", error.reason).response()
        if response.prepared or request.transport is None or request.transport.is_closing():
            return response
        response.headers.update(_VERSION)
        return await deliver(request, response)

    async def _decide(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        for interceptor in self.intercept:
            if (response := await interceptor(request)) is not None:
                return response
        for fault in request[FAULTS]:
            if (response := await fault.meet(request)) is not None:
                return response
        if request.path != "/token":
            self._access.check(request)
        for fault in request[FAULTS]:
            if (response := fault.replace(request)) is not None:
                return response
        return await handler(request)


async def _ping(request: web.Request) -> web.Response:
    return empty(200) if request.method == "HEAD" else web.json_response({})
