"""Who pulls during a run must see what is wrong, or a run without complaints proves nothing."""

import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import multi
from support.subprocess_helper import HelperProcess

_PULLER = Path(__file__).parents[2] / "tools" / "stress" / "puller.py"
_IMAGE = multi("pulled")


@pytest.fixture
def registry() -> Generator[FakeRegistry]:
    """A registry with one index of three images, all of it there."""
    with FakeRegistry.in_thread() as registry:
        registry.load("team/app", _IMAGE, "v1")
        yield registry


@pytest.fixture
def pull(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Pull all tags once, and return what the puller noted."""
    monkeypatch.setattr(sys, "path", [str(_PULLER.parents[1]), *sys.path])
    from stress.puller import Puller  # noqa: PLC0415 - no part of the package

    def pull() -> Any:
        puller: Any = Puller(registry.host)
        try:
            puller.pull_all()
        finally:
            puller.close()
        return puller.pulled

    return pull


def test_what_is_whole_is_pulled_whole(registry: FakeRegistry, pull: Callable[[], Any]) -> None:
    """Every blob and manifest, each once."""
    pulled = pull()
    assert (pulled.tags, pulled.incomplete, pulled.complaints) == (1, 0, [])
    assert registry.requests.count(method="GET", kind="blob") == len(_IMAGE.blobs)


def test_a_tag_without_one_of_its_blobs_is_incomplete(registry: FakeRegistry, pull: Callable[[], Any]) -> None:
    """The complaint names the tag, and what is not there."""
    missing = next(iter(_IMAGE.blobs))
    registry.content("team/app").blobs.discard(missing)
    pulled = pull()
    assert (pulled.tags, pulled.incomplete) == (0, 1)
    assert pulled.complaints[0].startswith(f"team/app:v1: blob {missing}: status 404")


def test_a_tag_without_one_of_its_children_is_incomplete(registry: FakeRegistry, pull: Callable[[], Any]) -> None:
    """An index alone is no image."""
    child = _IMAGE.manifests[0].digest
    del registry.content("team/app").manifests[child]
    assert pull().complaints[0].startswith(f"team/app:v1: manifest {child}: status 404")


def test_a_blob_of_other_bytes_is_incomplete(registry: FakeRegistry, pull: Callable[[], Any]) -> None:
    """Digests are looked at, not sizes alone."""
    damaged, blob = next(iter(_IMAGE.blobs.items()))
    registry.replace_blob(damaged, bytes(blob.size_bytes))
    assert f"blob {damaged}: {blob.size_bytes} bytes of {blob.size_bytes}" in pull().complaints[0]


def test_it_pulls_all_the_time_and_says_so(registry: FakeRegistry) -> None:
    """A process of its own, until it is told to end."""
    child = HelperProcess(_PULLER, [registry.host])
    try:
        while child.ask()["rounds"] < 2:
            pass
        pulled = child.ask()
    finally:
        child.stop()
    assert pulled["tags"] >= 2
    assert pulled["complaints"] == []
