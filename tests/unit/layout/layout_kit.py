"""Layouts for tests: opened, filled and looked at."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from image_syncer.layout.layout_repository import LayoutTarget
from image_syncer.layout.layout_stores import LayoutStores
from image_syncer.oci import Repository
from image_syncer.roles import Chunk, Opener
from image_syncer.testing import Image


@asynccontextmanager
async def opened() -> AsyncGenerator[LayoutStores]:
    """Give stores of layouts as a process has them; finish what was written, and close them."""
    stores = LayoutStores()
    try:
        yield stores
        failures = await stores.finish(asyncio.Event())
        assert not failures
    finally:
        await stores.close()


async def push(target: LayoutTarget, image: Image, *tags: str) -> None:
    """Push *image* with all its parts, under *tags*."""
    for blob in image.blobs.values():
        await target.push_blob(blob.descriptor, blob.open)
    for raw in image.manifests:
        await target.push_manifest(raw, str(raw.digest))
    for tag in tags:
        await target.push_manifest(image.root, tag)


def layout(path: Path, name: str = "", scheme: str = "oci") -> Repository:
    """Return the repository *name* in the layout at *path*."""
    return Repository(f"{scheme}:{path}", name)


def entries(path: Path) -> list[dict[str, Any]]:
    """Return the entries of the index in the directory *path*."""
    return json.loads((path / "index.json").read_bytes())["manifests"]


def names_in(path: Path) -> list[str]:
    """Return the names of what the directory *path* has."""
    return sorted(file.name for file in path.iterdir())


def unfinished(path: Path) -> dict[str, int]:
    """Return the names and sizes of unfinished files in the directory *path*."""
    partial = path / ".partial"
    return {file.name: file.stat().st_size for file in partial.iterdir()} if partial.exists() else {}


def content_of(*parts: bytes, failure: Exception | None = None, starts: list[int] | None = None) -> Opener:
    """Return content in *parts*, of which a read from a later byte begins later; it then raises *failure*."""

    @asynccontextmanager
    async def opened_at(start: int = 0) -> AsyncGenerator[AsyncIterator[Chunk]]:
        if starts is not None:
            starts.append(start)
        yield stream(start)

    async def stream(start: int) -> AsyncGenerator[Chunk]:
        for part in parts:
            rest = part[start:]
            start = max(0, start - len(part))
            if rest:
                yield rest
        if failure is not None:
            raise failure

    return opened_at
