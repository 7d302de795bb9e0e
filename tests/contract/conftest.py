"""The stores that the contract is tested with."""

import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from image_syncer.testing import FakeRegistry, Profile
from image_syncer.testing.servers import DockerRegistry
from support.places import ACCOUNTS, Place, memory_place, registry_place

FAKES = {
    "fake": Profile(page_limit=3),
    "fake-basic": Profile(auth="basic", accounts=ACCOUNTS),
    "fake-bearer": Profile(auth="bearer", accounts=ACCOUNTS),
}
DOCKERS = {
    "docker": "docker_registry",
    "docker-htpasswd": "docker_htpasswd",
    "docker-bearer": "docker_bearer",
    "docker-tls": "docker_tls",
}
REAL = [pytest.param(name, marks=pytest.mark.real) for name in DOCKERS]


@pytest.fixture(params=["memory", *FAKES, *REAL])
async def place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    """Every store in turn; what other tests left there has other names."""
    async with _open(request) as place:
        yield place


@pytest.fixture(params=["memory", "fake", REAL[0]])
async def open_place(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    """The stores that want no login."""
    async with _open(request) as place:
        yield place


@asynccontextmanager
async def _open(request: pytest.FixtureRequest) -> AsyncGenerator[Place]:
    name: str = request.param
    prefix = f"contract/{uuid.uuid4().hex}"
    if name == "memory":
        yield memory_place(prefix)
    elif name in FAKES:
        login = FAKES[name].auth != "none"
        async with (
            FakeRegistry(FAKES[name]) as fake,
            registry_place(fake.host, fake.plant, prefix, login=login) as place,
        ):
            yield place
    else:
        docker: DockerRegistry = request.getfixturevalue(DOCKERS[name])
        login = docker.profile.passwords is not None or docker.profile.issuer is not None
        environment = _trusting(request) if docker.profile.tls else None
        async with registry_place(docker.host, docker.plant, prefix, login=login, environment=environment) as place:
            yield place


def _trusting(request: pytest.FixtureRequest) -> dict[str, str]:
    authority: Path = request.getfixturevalue("private_ca")
    return {"SSL_CERT_FILE": str(authority / "ca.pem")}
