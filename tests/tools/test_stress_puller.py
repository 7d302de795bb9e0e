"""The puller must detect incomplete images, or a run without complaints proves nothing."""

from collections.abc import Callable, Generator

import pytest

from image_syncer.testing.fake_registry import FakeRegistry
from image_syncer.testing.images import multi
from stress.puller import Pulled, Puller
from support.subprocess_helper import HelperProcess
from support.tools import TOOLS

_PULLER = TOOLS / "stress" / "puller.py"
_IMAGE = multi("pulled")


@pytest.fixture
def registry() -> Generator[FakeRegistry]:
    """A registry with one complete index of three images."""
    with FakeRegistry.in_thread() as registry:
        registry.load("team/app", _IMAGE, "v1")
        yield registry


@pytest.fixture
def pull(registry: FakeRegistry) -> Callable[[], Pulled]:
    """Pull all tags once, and return the puller's notes."""

    def pull() -> Pulled:
        puller = Puller(registry.host)
        try:
            puller.pull_all()
        finally:
            puller.close()
        return puller.pulled

    return pull


def test_a_complete_image_is_pulled_completely(registry: FakeRegistry, pull: Callable[[], Pulled]) -> None:
    """Every blob and manifest, each once."""
    pulled = pull()
    assert (pulled.tags, pulled.incomplete, pulled.complaints) == (1, 0, [])
    assert registry.requests.count(method="GET", kind="blob") == len(_IMAGE.blobs)


def test_a_tag_without_one_of_its_blobs_is_incomplete(registry: FakeRegistry, pull: Callable[[], Pulled]) -> None:
    """The complaint names the tag and the missing blob."""
    missing = next(iter(_IMAGE.blobs))
    registry.content("team/app").blobs.discard(missing)
    pulled = pull()
    assert (pulled.tags, pulled.incomplete) == (0, 1)
    assert pulled.complaints[0].startswith(f"team/app:v1: blob {missing}: status 404")


def test_a_tag_without_one_of_its_children_is_incomplete(registry: FakeRegistry, pull: Callable[[], Pulled]) -> None:
    """An index without its images is incomplete."""
    child = _IMAGE.manifests[0].digest
    del registry.content("team/app").manifests[child]
    assert pull().complaints[0].startswith(f"team/app:v1: manifest {child}: status 404")


def test_a_blob_with_wrong_bytes_is_incomplete(registry: FakeRegistry, pull: Callable[[], Pulled]) -> None:
    """The puller compares digests, not only sizes."""
    damaged, blob = next(iter(_IMAGE.blobs.items()))
    registry.replace_blob(damaged, bytes(blob.size_bytes))
    assert f"blob {damaged}: {blob.size_bytes} bytes of {blob.size_bytes}" in pull().complaints[0]


def test_it_pulls_continuously_and_reports(registry: FakeRegistry) -> None:
    """As a process, until it is asked to end."""
    child = HelperProcess(_PULLER, [registry.host])
    try:
        while child.ask()["rounds"] < 2:
            pass
        pulled = child.ask()
    finally:
        child.stop()
    assert pulled["tags"] >= 2
    assert pulled["complaints"] == []
