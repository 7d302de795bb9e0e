"""The contract of targets and sources under faults, for every registry profile."""

import uuid
from collections.abc import AsyncGenerator, Callable, Sequence

import pytest

from image_syncer.testing import Blob, FakeRegistry, faults
from image_syncer.testing.faults import Script
from image_syncer.testing.images import multi
from image_syncer.testing.request_log import Kind
from support.fakes import FAKES, THREADED, place_at
from support.places import Place
from support.thread_use import use_threads

LOGIN: Sequence[Kind] = ("ping", "token")
CONTENT: Sequence[Kind] = ("upload", "manifest", "blob", "tags")
BIG = Blob.generated("trouble", 12_000_000)


@pytest.fixture(params=[*FAKES, *(f"{name}, threads" for name in THREADED)])
async def fake(
    request: pytest.FixtureRequest, fakes: Callable[[str], FakeRegistry], monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[FakeRegistry]:
    """A registry of each profile, with threads for the ways of a body; its faults end with the test."""
    param: str = request.param
    name, _, threads = param.partition(", ")
    use_threads(monkeypatch, "always" if threads else "never")
    registry = fakes(name)
    yield registry
    for script in _scripts(registry):
        script.clear()


@pytest.fixture
async def place(fake: FakeRegistry) -> AsyncGenerator[Place]:
    """A place at it, whose client has already learnt the registry's profile, which may cost an attempt."""
    async with place_at(fake, f"trouble/{uuid.uuid4().hex}") as place:
        first = Blob.of(place.prefix.encode())
        await place.target("learnt").push_blob(first.descriptor, first.open)
        yield place


def _scripts(registry: FakeRegistry) -> list[Script]:
    return [registry.faults, *([registry.elsewhere.faults] if registry.profile.blobs_elsewhere else [])]


async def test_an_interrupted_upload_arrives(fake: FakeRegistry, place: Place) -> None:
    """With any requests, whether the registry keeps the received bytes or loses them."""
    rules = [fake.faults.add(faults.cut(9_000_000), method=method, times=1) for method in ("PATCH", "PUT")]
    await place.target().push_blob(BIG.descriptor, BIG.open)
    assert sum(rule.fired for rule in rules) > 0
    assert await place.read(BIG.descriptor) == BIG.read()


async def test_an_interrupted_download_arrives(fake: FakeRegistry, place: Place) -> None:
    """From the registry, or from the storage that it redirects to."""
    await place.target().push_blob(BIG.descriptor, BIG.open)
    rules = [script.add(faults.cut(5_000_000), method="GET", kind="blob", times=1) for script in _scripts(fake)]
    assert await place.read(BIG.descriptor) == BIG.read()
    assert sum(rule.fired for rule in rules) > 0


async def test_lost_responses_do_no_harm(fake: FakeRegistry, place: Place) -> None:
    """The registry has executed the request, and receives it again."""
    # Of several blobs, since each has three attempts here.
    of_blobs = [("POST", 0), ("POST", 3), ("PATCH", 2), ("PUT", 4)]
    rules = [fake.faults.add(faults.lost(), method=m, kind="upload", after=n, times=1) for m, n in of_blobs]
    rules.append(fake.faults.add(faults.lost(), method="PUT", kind="manifest", times=1))
    image = multi(place.prefix)
    await place.push(image, "v1")
    assert sum(rule.fired for rule in rules) >= (3 if fake.profile.single_post else 4)
    assert await place.target().resolve("v1") == image.root.descriptor
    assert [await place.read(blob.descriptor) for blob in image.blobs.values()] == [
        blob.read() for blob in image.blobs.values()
    ]


@pytest.mark.parametrize(
    ("status", "kinds"), [(500, LOGIN), (503, CONTENT)], ids=["500 to logins", "503 to all other requests"]
)
async def test_a_server_error_is_retried(fake: FakeRegistry, place: Place, status: int, kinds: Sequence[Kind]) -> None:
    """Once for each kind of request, logins included."""
    fake.expire_tokens()
    rules = [script.add(faults.answer(status), kind=kind, times=1) for script in _scripts(fake) for kind in kinds]
    image = multi(place.prefix)
    await place.push(image, "v1")
    assert await place.source().manifest("v1") == image.root
    assert [await place.read(blob.descriptor) for blob in image.blobs.values()] == [
        blob.read() for blob in image.blobs.values()
    ]
    assert [tag async for tag in place.source().tags()] == ["v1"]
    assert sum(rule.fired for rule in rules) >= (len(CONTENT) if kinds is CONTENT else fake.profile.auth == "bearer")


async def test_expired_tokens_and_urls_are_requested_again(fake: FakeRegistry, place: Place) -> None:
    """Signed URLs of blobs too."""
    image = multi(place.prefix)
    await place.push(image, "v1")
    fake.expire_tokens()
    if fake.profile.blobs_elsewhere:
        fake.elsewhere.expire()
    assert await place.source().manifest("v1") == image.root
    blob = next(iter(image.blobs.values()))
    assert await place.read(blob.descriptor) == blob.read()
    fake.expire_tokens()
    await place.push(image, "v2")
    assert await place.target().resolve("v2") == image.root.descriptor
