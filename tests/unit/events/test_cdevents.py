"""CDEvents about artifacts name an image by a package URL."""

import json

import pytest

from image_syncer.events import MalformedNotification
from image_syncer.events.dialects.cdevents import is_artifact_event, read_event
from image_syncer.events.dialects.envelope import entries, event_of
from image_syncer.events.notification import PushEvent

DIGEST = "sha256:" + "3f" * 32
PURL = f"pkg:oci/app@{DIGEST.replace(':', '%3A')}?repository_url=registry.example.com/team/app&tag=1.4.2"


def read(purl: str = PURL, kind: str = "dev.cdevents.artifact.published.0.2.0") -> PushEvent | str:
    """Return what an event of *kind* about *purl* announces to registry.example.com."""
    body = {
        "specversion": "1.0",
        "id": "271069a8",
        "source": "/ci/build",
        "type": kind,
        "data": {"context": {"type": kind}, "subject": {"id": purl, "type": "artifact"}},
    }
    event = event_of(entries({}, json.dumps(body).encode())[0])
    assert event is not None
    return read_event("registry.example.com", event)


@pytest.mark.parametrize("kind", ["dev.cdevents.artifact.published.0.2.0", "dev.cdevents.artifact.packaged.0.1.1"])
def test_a_published_artifact_is_a_push(kind: str) -> None:
    """Registry, repository, tag and digest come from the package URL."""
    event = read(kind=kind)
    assert isinstance(event, PushEvent)
    assert (str(event.repository), event.tag, str(event.digest)) == ("registry.example.com/team/app", "1.4.2", DIGEST)
    assert event.delivery == "/ci/build 271069a8"


@pytest.mark.parametrize(
    ("purl", "kind", "reason"),
    [
        (PURL, "dev.cdevents.artifact.signed.0.1.0", "is not a push"),
        (PURL, "dev.cdevents.artifact", "is not a push"),
        ("pkg:golang/example.com/app@1", "dev.cdevents.artifact.published.0.2.0", "not a package URL of the type oci"),
        (PURL.replace("registry.example.com", "other.test"), "dev.cdevents.artifact.published.0.2.0", "other.test"),
        (PURL.replace("&tag=1.4.2", ""), "dev.cdevents.artifact.published.0.2.0", "without a tag"),
    ],
)
def test_other_events_are_ignored_with_a_reason(purl: str, kind: str, reason: str) -> None:
    """A signature, another kind of package, another registry and a bare digest lead to no copy."""
    assert reason in str(read(purl, kind))


@pytest.mark.parametrize(
    "purl",
    ["pkg:oci/app", "pkg:oci/app?repository_url=localhost", f"pkg:oci/app?{'a=1&' * 40}", PURL.replace("1.4.2", "%0a")],
)
def test_a_bad_package_url_is_malformed(purl: str) -> None:
    """Without a usable repository and tag there is nothing to look up."""
    with pytest.raises(MalformedNotification):
        read(purl)


def test_types_are_compared_by_their_parts() -> None:
    """A longer word with the same beginning is another type."""
    assert is_artifact_event("dev.cdevents.artifact.published.0.2.0")
    assert not is_artifact_event("dev.cdevents.artifactory.published.0.2.0")
    assert not is_artifact_event("com.dev.cdevents.artifact.published")
