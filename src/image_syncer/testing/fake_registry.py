"""A registry in this process: OCI distribution-spec 1.1, with a log of every request.

async with FakeRegistry() as registry:
    registry.load("app", single("seed"), "latest")
    ...  # talk to registry.host
    assert registry.requests.count(method="GET", kind="blob") == 3
"""

from contextlib import AbstractContextManager, AsyncExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

from aiohttp import web

from image_syncer.oci import Digest, RawManifest, Repository
from image_syncer.testing.content import Image
from image_syncer.testing.fake.access import ACCOUNT, AccessControl
from image_syncer.testing.fake.answers import EXTRA, empty
from image_syncer.testing.fake.blobs import BlobHandlers
from image_syncer.testing.fake.creation_api import CreationApi
from image_syncer.testing.fake.fault_script import Script
from image_syncer.testing.fake.harbor_api import ARTIFACTS, HarborApi
from image_syncer.testing.fake.import_api import ImportApi
from image_syncer.testing.fake.listings import ListingHandlers
from image_syncer.testing.fake.manifests import ManifestHandlers
from image_syncer.testing.fake.pull_quota import PullQuota
from image_syncer.testing.fake.pull_through import PullThrough
from image_syncer.testing.fake.request_gate import Interceptor, RequestGate
from image_syncer.testing.fake.storage import FakeRepository, Storage
from image_syncer.testing.fake.storage_host import StorageHost
from image_syncer.testing.fake.tag_list_api import TagListApi
from image_syncer.testing.fake.uploads import UploadHandlers
from image_syncer.testing.profile import Profile
from image_syncer.testing.request_log import RequestLog, kind_of
from image_syncer.testing.serving import serve
from image_syncer.testing.threads import open_in_thread

_OTHER_APIS: Final = ("/v2/manage/", "/v2/auth/", "/v2/namespaces/")
_VERSION: Final = {"Docker-Distribution-Api-Version": "registry/2.0"}


class FakeRegistry:
    """An OCI 1.1 registry on a free loopback port; use it as an async context manager.

    *requests* logs every request from its first byte on. *faults* is the fault script; *rng* draws for faults that have
    a chance. Functions in *intercept* may respond instead of the registry.
    """

    def __init__(self, profile: Profile | None = None, *, rng: Random | None = None) -> None:
        self.profile = profile or Profile()
        self.requests = RequestLog()
        self.faults = Script(rng)
        self.intercept: list[Interceptor] = []
        self._stack = AsyncExitStack()
        self.creation = CreationApi(self.profile.accounts)
        self.imports = ImportApi(self.profile.accounts)
        self._storage: Storage | None = None
        self._access = AccessControl(self.profile)
        self._quota = PullQuota(self.profile.quota) if self.profile.quota else None
        self._elsewhere: StorageHost | None = None
        self._rng = rng
        self._host = ""

    @classmethod
    def in_thread(cls, profile: Profile | None = None, *, rng: Random | None = None) -> AbstractContextManager[Self]:
        """Return a registry for a plain `with` statement; it runs in its own thread."""
        return open_in_thread(cls(profile, rng=rng))

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="fake-registry-"))
            self._storage = Storage(Path(directory), self.creation.holds)
            if self.profile.blobs_elsewhere:
                self._elsewhere = StorageHost(self._storage, self.profile, Script(self._rng))
                await stack.enter_async_context(self._elsewhere.open())
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
        """Its address: `127.0.0.1:port`."""
        return self._host

    @property
    def url(self) -> str:
        """Its address with the scheme."""
        return f"{'https' if self.profile.tls else 'http'}://{self._host}"

    def repository(self, path: str) -> Repository:
        """Return the name of the repository *path* at this registry."""
        return Repository(self._host, path)

    def load(self, path: str, image: Image, *tags: str) -> None:
        """Store *image* in the repository *path* under *tags*, without a request."""
        self._held.load(path, image, tags)

    def cache(self, prefix: str, upstream: "FakeRegistry") -> PullThrough:
        """Fetch for the repositories below *prefix* (`hub/`) what is read and missing from *upstream*."""
        through = PullThrough(self._held, prefix, upstream.host)
        self.intercept.append(through)
        return through

    def replace_blob(self, digest: Digest, content: bytes) -> None:
        """Replace the bytes of the blob *digest*, as a damaged disk or a malicious server would."""
        self._held.replace_blob(digest, content)

    def blob(self, digest: Digest) -> bytes | None:
        """Return the stored bytes of the blob *digest*, None if there are none."""
        place = self._held.place(digest)
        return place.read_bytes() if place.exists() else None

    def content(self, path: str) -> FakeRepository:
        """Return the content of the repository *path*, to inspect and to change; empty if nothing was pushed."""
        return self._held.repositories.get(path, FakeRepository())

    def manifest(self, path: str, identifier: str) -> RawManifest | None:
        """Return the manifest at a tag or digest, None if there is none."""
        found = self.content(path).find(identifier)
        return found[1] if found else None

    @property
    def unfinished_uploads(self) -> int:
        """The number of uploads that were begun and neither finished nor cancelled."""
        return len(self._held.uploads)

    def expire_tokens(self) -> None:
        """Invalidate every token issued so far."""
        self._access.expire_tokens()

    def turn_quota(self) -> None:
        """Start a new quota window for every account."""
        if self._quota is not None:
            self._quota.turn()

    @property
    def elsewhere(self) -> StorageHost:
        """The storage host of a registry whose profile redirects blobs; `RuntimeError` without one."""
        if self._elsewhere is None:
            raise RuntimeError("the profile of this registry does not redirect blobs")
        return self._elsewhere

    @property
    def _held(self) -> Storage:
        if self._storage is None:
            raise RuntimeError("a FakeRegistry is used as a context manager")
        return self._storage

    def _application(self, storage: Storage) -> web.Application:
        front = RequestGate(self.requests, self.faults, self._admit, {**_VERSION, **self.profile.headers})
        application = web.Application(middlewares=[front.answer])
        manifests = ManifestHandlers(storage, self.profile)
        blobs = BlobHandlers(storage, self.profile, self._elsewhere.url if self._elsewhere else None)
        uploads = UploadHandlers(storage, self.profile)
        listings = ListingHandlers(storage, self.profile)
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
        if self.profile.artifacts_api:
            application.router.add_get(ARTIFACTS, HarborApi(storage, self.profile).artifacts)
        if not self.profile.creation_api:  # Both APIs of Amazon are at one path.
            application.add_routes(TagListApi(storage, self.profile).routes(self.profile.tag_api))
        if self.profile.import_api:
            application.add_routes(self.imports.routes(storage))
        if self.profile.creation_api:
            application.add_routes(self.creation.routes())
        if self.profile.auth == "bearer":
            path, tokens = self.profile.token_path, self._access.tokens
            application.add_routes([web.get(path, tokens.get), web.post(path, tokens.post)])
        return application

    async def _admit(self, request: web.Request) -> web.StreamResponse | None:
        for interceptor in self.intercept:
            if (response := await interceptor(request)) is not None:
                return response
        if request.path != self.profile.token_path and _is_registry(request):
            self._access.check(request)
        if self._quota is not None and request.method in {"GET", "HEAD"} and kind_of(request.path) == "manifest":
            request[EXTRA] = self._quota.admit(request, request[ACCOUNT])
        return None


def _is_registry(request: web.Request) -> bool:
    return request.path.startswith(("/v2/", "/acr/")) and not request.path.startswith(_OTHER_APIS)


async def _ping(request: web.Request) -> web.Response:
    return empty(200) if request.method == "HEAD" else web.json_response({})
