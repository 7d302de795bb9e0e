"""A fake registry, and a plain HTTP client to talk to it."""

from collections.abc import AsyncGenerator

import aiohttp
import pytest

from image_syncer.testing import FakeRegistry


@pytest.fixture
async def registry() -> AsyncGenerator[FakeRegistry]:
    """A registry without logins."""
    async with FakeRegistry() as registry:
        yield registry


@pytest.fixture
async def http(registry: FakeRegistry) -> AsyncGenerator[aiohttp.ClientSession]:
    """A client of that registry."""
    async with aiohttp.ClientSession(registry.url) as session:
        yield session
