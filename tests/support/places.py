"""The stores that the store contract covers: in memory, the fake registry, and real registries."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from image_syncer.layout.layout_stores import LayoutStores
from image_syncer.oci import Descriptor, Digest, Repository
from image_syncer.registry.auth.credentials import Keychain
from image_syncer.registry.limits.retry import RetryPolicy
from image_syncer.registry.registries import Registries
from image_syncer.registry.settings import Credential, Limits, RegistryAccount
from image_syncer.roles import ReferrerStores, Source, Stores, Target
from image_syncer.structs import replace
from image_syncer.testing import Account, Accounts, Image, MemoryStores, Profile, profiles

USER, PASSWORD = "alice", "correct: horse"
ACCOUNTS = Accounts({USER: Account(PASSWORD)})

_QUICK = RetryPolicy(attempts=3, first_wait=0.01, longest_wait=0.05)
_LIMITS = Limits(connect_seconds=10.0, stall_seconds=10.0, tags=10_000)


class AllStores(Stores, ReferrerStores, Protocol):
    """Images and what is attached to them."""


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace for one test: repositories of *registry* whose paths begin with *prefix*.

    *replace_blob* replaces bytes behind the store's back. *profile* describes the registry: a test does not ask
    for features that it lacks.
    """

    stores: AllStores
    registry: str
    prefix: str
    replace_blob: Callable[[Digest, bytes], None] = field(repr=False)
    profile: Profile = profiles.OCI

    def repository(self, path: str = "app") -> Repository:
        """Return the full name of the repository *path*."""
        return Repository(self.registry, f"{self.prefix}/{path}")

    def source(self, path: str = "app") -> Source:
        """Return the repository *path* as a source."""
        return self.stores.source(self.repository(path))

    def target(self, path: str = "app") -> Target:
        """Return the repository *path* as a target."""
        return self.stores.target(self.repository(path))

    async def push(self, image: Image, *tags: str, path: str = "app") -> None:
        """Push *image* with all its parts, under *tags*."""
        target = self.target(path)
        for blob in image.blobs.values():
            await target.push_blob(blob.descriptor, blob.open)
        for raw in image.manifests:
            await target.push_manifest(raw, str(raw.digest))
        for tag in tags:
            await target.push_manifest(image.root, tag)

    async def read(self, blob: Descriptor, path: str = "app") -> bytes:
        """Return the content of *blob*."""
        async with self.source(path).open(blob) as chunks:
            return b"".join([bytes(chunk) async for chunk in chunks])


def memory_place(prefix: str) -> Place:
    """Return a place in memory."""
    stores = MemoryStores()

    def replace_blob(digest: Digest, content: bytes) -> None:
        for store in stores:
            store.replace_blob(digest, content)

    return Place(stores, "memory.test", prefix, replace_blob)


@dataclass(frozen=True, slots=True)
class LayoutPlace(Place):
    """A directory for one test: each repository is a layout of its own below *registry*."""

    def repository(self, path: str = "app") -> Repository:
        """Return the layout in the directory or archive *path*."""
        return Repository(f"{self.registry}/{self.prefix}/{path.replace('/', '_')}", "")


@asynccontextmanager
async def layout_place(root: Path, prefix: str, scheme: str = "oci") -> AsyncGenerator[Place]:
    """Return a place in the directory *root*, where repositories are layouts of *scheme*."""

    def replace_blob(digest: Digest, content: bytes) -> None:
        for file in root.rglob(digest.encoded):
            file.write_bytes(content)

    (root / prefix).mkdir(parents=True)
    stores = LayoutStores()
    try:
        yield LayoutPlace(
            stores, f"{scheme}:{root}", prefix, replace_blob, replace(profiles.OCI, mount="never", catalog=False)
        )
    finally:
        await stores.close()


@asynccontextmanager
async def registry_place(
    host: str,
    replace_blob: Callable[[Digest, bytes], None],
    prefix: str,
    *,
    login: bool = False,
    environment: Mapping[str, str] | None = None,
) -> AsyncGenerator[Place]:
    """Return a place at the registry *host*, through the shipped client; plain HTTP unless *environment* is given."""
    credential = Credential(USER, PASSWORD) if login else None
    access = RegistryAccount(host, credential, insecure=environment is None)
    surroundings = dict(environment or {})
    keychain = Keychain((access,), environment=surroundings, home=Path("/nonexistent"))
    async with Registries(
        keychain, environment=surroundings, limits=_LIMITS, policy=_QUICK, rng=Random(1)
    ) as registries:
        yield Place(registries, host, prefix, replace_blob)
