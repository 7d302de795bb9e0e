"""The stores that the contract is tested with."""

import uuid
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

import pytest

from image_syncer.structs import replace
from image_syncer.testing import FakeRegistry, profiles
from support.docker_registry import DockerRegistry
from support.fakes import FAKES, READING, THREADED, UPLOADING, place_at
from support.places import ACCOUNTS, Place, layout_place, memory_place, registry_place
from support.thread_use import use_threads

DOCKERS = {
    "docker": "docker_registry",
    "docker-htpasswd": "docker_htpasswd",
    "docker-bearer": "docker_bearer",
    "docker-tls": "docker_tls",
}
LAYOUTS = {"layout": "oci", "layout-archive": "oci-archive"}
REAL = [
    pytest.param("docker", marks=pytest.mark.real),
    *(pytest.param(name, marks=(pytest.mark.real, pytest.mark.slow)) for name in DOCKERS if name != "docker"),
]
WITH_THREADS = [
    *(f"{name}, threads" for name in ("fake", *THREADED)),
    pytest.param("docker, threads", marks=pytest.mark.real),
]


@pytest.fixture(params=["memory", *LAYOUTS, "fake", *FAKES, *REAL])
async def place(
    request: pytest.FixtureRequest, fakes: Callable[[str], FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    """Each store in turn; every test uses names of its own there."""
    async with _opened(request, fakes, monkeypatch) as place:
        yield place


@pytest.fixture(params=["memory", *LAYOUTS, "fake", *READING, *WITH_THREADS, *REAL])
async def reading_place(
    request: pytest.FixtureRequest, fakes: Callable[[str], FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    """Each store that differs in how a blob is read, with threads for the ways of a body."""
    async with _opened(request, fakes, monkeypatch) as place:
        yield place


@pytest.fixture(params=["memory", *LAYOUTS, "fake", *UPLOADING, *WITH_THREADS, *REAL])
async def uploading_place(
    request: pytest.FixtureRequest, fakes: Callable[[str], FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    """Each store that differs in how a blob is uploaded, with threads for the ways of a body."""
    async with _opened(request, fakes, monkeypatch) as place:
        yield place


@pytest.fixture(params=["memory", *LAYOUTS, "fake", "fake, threads", REAL[0], WITH_THREADS[-1]])
async def open_place(
    request: pytest.FixtureRequest, fakes: Callable[[str], FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    """The stores without a login."""
    async with _opened(request, fakes, monkeypatch) as place:
        yield place


@pytest.fixture(scope="session")
def fakes() -> Generator[Callable[[str], FakeRegistry]]:
    """One fake registry for each requested profile, all with pages of three tags; "fake" has no login."""
    with ExitStack() as stack:

        @cache
        def started(name: str) -> FakeRegistry:
            profile = profiles.OCI if name == "fake" else FAKES[name].guarded(ACCOUNTS)
            quota = replace(profile.quota, pulls=1_000_000) if profile.quota else None
            limit = 3 if not profile.page_limit_refused else profile.page_limit
            return stack.enter_context(FakeRegistry.in_thread(replace(profile, quota=quota, page_limit=limit)))

        yield started


@asynccontextmanager
async def _opened(
    request: pytest.FixtureRequest, fakes: Callable[[str], FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Place]:
    name = _name(request, monkeypatch)
    prefix = f"contract/{uuid.uuid4().hex}"
    if name == "memory":
        yield memory_place(prefix)
    elif name in LAYOUTS:
        async with layout_place(request.getfixturevalue("tmp_path"), prefix, LAYOUTS[name]) as place:
            yield place
    elif name not in DOCKERS:
        async with place_at(fakes(name), prefix) as place:
            yield place
    else:
        docker: DockerRegistry = request.getfixturevalue(DOCKERS[name])
        login = docker.profile.passwords is not None or docker.profile.issuer is not None
        environment = _trusting(request) if docker.profile.tls else None
        async with registry_place(
            docker.host, docker.replace_blob, prefix, login=login, environment=environment
        ) as place:
            yield place


def _name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of the store, whose client uses threads if the parameter says so."""
    param: str = request.param
    name, _, threads = param.partition(", ")
    use_threads(monkeypatch, "always" if threads else "never")
    return name


def _trusting(request: pytest.FixtureRequest) -> dict[str, str]:
    authority: Path = request.getfixturevalue("private_ca")
    return {"SSL_CERT_FILE": str(authority / "ca.pem")}
