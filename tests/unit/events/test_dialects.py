"""Dialects: every sender's notification of a push comes to the same event."""

import json
from typing import Any

import pytest

from image_syncer.errors import UsageError
from image_syncer.events import DIALECTS, Handshake, Notification, PushEvent, dialect
from image_syncer.oci import Digest, Repository
from unit.events.payloads import (
    ACR,
    DELIVERY,
    DIGEST,
    ECR_DATA,
    ECR_HOST,
    ECR_SOURCE,
    EVENT_GRID,
    GITHUB_PACKAGE,
    HARBOR,
    HARBOR_DATA,
    JFROG,
    NEXUS,
    QUAY,
    SAMPLES,
    ZOT,
    Sample,
    cloud,
    distribution_entry,
)


def read(kind: str, registry: str, body: Any, headers: dict[str, str] | None = None) -> Notification:
    """Return what the dialect *kind* reads from the JSON *body*."""
    answer = DIALECTS[kind](registry, headers or {}, json.dumps(body).encode())
    assert isinstance(answer, Notification)
    return answer


@pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)
def test_a_push_is_one_event_at_the_configured_registry(sample: Sample) -> None:
    """Repository, tag, digest and delivery id are where the sender puts them; the host is ours to say."""
    digest = None if sample.digest is None else Digest.parse(sample.digest)
    event = PushEvent(Repository.of(sample.registry, sample.repository), "1.4.2", digest, sample.delivery)
    answer = DIALECTS[sample.kind](sample.registry, sample.headers, sample.content)
    assert answer == Notification((event,), None)


def test_every_kind_has_a_sample() -> None:
    """A dialect without a recorded shape would be untested."""
    assert {sample.kind for sample in SAMPLES.values()} == set(DIALECTS)


def test_an_envelope_gives_one_event_for_each_tag() -> None:
    """Distribution's envelope may hold many entries; what is unwanted between them is left out with its reason."""
    entries = [distribution_entry(), distribution_entry(tag="latest"), distribution_entry(tag=""), distribution_entry()]
    found = read("distribution", "registry.example.com", {"events": entries})
    assert [event.tag for event in found.events] == ["1.4.2", "latest"]
    assert found.left_out == ("a manifest without a tag",)


def test_all_updated_tags_of_quay_are_events() -> None:
    """Several tags come in one notification."""
    found = read("quay", "quay.io", QUAY | {"updated_tags": ["a", "b"]})
    assert [event.tag for event in found.events] == ["a", "b"]


def test_harbors_resources_are_events_each() -> None:
    """An artifact pushed without a tag stands there with its digest as tag, and is left out."""
    resources = [{"tag": "a", "digest": DIGEST}, {"tag": DIGEST, "digest": DIGEST}, {"tag": "b"}]
    found = read("harbor", "h.example.com", HARBOR | {"event_data": HARBOR_DATA | {"resources": resources}})
    assert [(event.tag, str(event.digest)) for event in found.events] == [("a", DIGEST), ("b", "None")]


@pytest.mark.parametrize(
    "kind",
    [
        "com.designhub.image.pushed",
        "org.landscanner.container.created",
        "com.example.ContainerImagePushed",
        "io.deletedscenes.dockerimage.updated",
        "com.linter.images.published",
    ],
)
def test_the_type_of_a_cloudevent_is_compared_by_its_parts(kind: str) -> None:
    """Names such as "designhub" and "landscanner" contain "sign" and "scan", but the events are pushes."""
    event = cloud(kind, {"repository": "team/app", "tag": "1"})
    assert str(read("cloudevents", "r.example.com", event).events[0].repository) == "r.example.com/team/app"


def test_a_batch_of_cloudevents_is_told_apart_by_type() -> None:
    """The generic kind knows the types of the senders that have a dialect."""
    batch = [
        cloud("harbor.artifact.pushed", HARBOR_DATA),
        cloud("zotregistry.image.updated", ZOT | {"reference": "zot"}),
        cloud("Microsoft.ContainerRegistry.ImagePushed", ACR | {"request": {"host": ECR_HOST}}, "urn:azure"),
        cloud("com.amazon.ecr.image.push", ECR_DATA | {"imageTag": "ecr"}, ECR_SOURCE),
        cloud("org.example.container.created", {"repository": "team/app", "tag": "generic"}),
    ]
    found = read("cloudevents", ECR_HOST, batch)
    assert [event.tag for event in found.events] == ["1.4.2", "zot", "1.4.2", "ecr", "generic"]


def test_a_generic_cloudevent_may_name_its_image_in_the_subject() -> None:
    """What the data lacks is read from `repository:tag`."""
    event = cloud("com.example.image.pushed", {}) | {"subject": "team/app:2"}
    assert str(read("cloudevents", "r.example.com", event).events[0].repository) == "r.example.com/team/app"


def test_event_grid_gets_its_validation_code_back() -> None:
    """A new subscription is answered with the code; the address beside it is not called."""
    data = {"validationCode": "512d38b6", "validationUrl": "https://stranger.example.com/"}
    body = [{"eventType": "Microsoft.EventGrid.SubscriptionValidationEvent", "data": data}]
    answer = DIALECTS["acr"]("myreg.azurecr.io", {}, json.dumps(body).encode())
    assert answer == Handshake(b'{"validationResponse": "512d38b6"}', "application/json")


def test_event_grid_may_send_one_event_alone() -> None:
    """Without the list around it the event is the same."""
    assert read("acr", "MyReg.azurecr.io", EVENT_GRID).events[0].delivery == DELIVERY


@pytest.mark.parametrize("kind", ["github", "gitea"])
def test_a_form_carries_the_same_payload(kind: str) -> None:
    """GitHub and Gitea send the JSON as the field `payload` where their hook is set so."""
    sample = SAMPLES[kind]
    headers = sample.headers | {"content-type": "application/x-www-form-urlencoded"}
    body = b"payload=" + sample.content.replace(b"%", b"%25").replace(b"+", b"%2B").replace(b" ", b"+")
    in_form = DIALECTS[kind](sample.registry, headers, body)
    assert in_form == DIALECTS[kind](sample.registry, sample.headers, sample.content)


def test_githubs_package_url_names_the_tag_where_the_metadata_does_not() -> None:
    """Older payloads have no container metadata."""
    version = {"version": DIGEST, "package_url": "ghcr.io/team/app:9"}
    body = {"action": "published", "package": GITHUB_PACKAGE | {"package_version": version}}
    event = read("github", "ghcr.io", body, SAMPLES["github"].headers).events[0]
    assert (event.tag, str(event.digest)) == ("9", DIGEST)


@pytest.mark.parametrize(
    ("prefix", "path"), [(None, "docker-local/team/app"), ("virtual", "virtual/team/app"), ("", "team/app")]
)
def test_artifactory_is_read_as_it_is_reached(prefix: str | None, path: str) -> None:
    """By the repository's key, by a virtual repository's name, or by a host that stands for one."""
    answer = dialect("jfrog", prefix=prefix)("acme.jfrog.io", {}, json.dumps(JFROG).encode())
    assert isinstance(answer, Notification)
    assert answer.events[0].repository.path == path


def test_artifactorys_image_name_stands_in_for_a_path_of_another_shape() -> None:
    """The path is the rule, the name the exception."""
    data = JFROG["data"] | {"path": "elsewhere.json", "image_name": "team/other"}
    found = read("jfrog", "acme.jfrog.io", JFROG | {"data": data})
    assert found.events[0].repository.path == "docker-local/team/other"


def test_nexus_may_be_reached_by_path() -> None:
    """The prefix stands before the image's name."""
    answer = dialect("nexus", prefix="docker-hosted")("nexus.example.com", {}, json.dumps(NEXUS).encode())
    assert isinstance(answer, Notification)
    assert answer.events[0].repository.path == "docker-hosted/team/app"


@pytest.mark.parametrize(("kind", "prefix"), [("svn", None), ("harbor", "x")])
def test_an_unknown_kind_or_a_useless_prefix_is_a_usage_error(kind: str, prefix: str | None) -> None:
    """A configuration that cannot mean anything is refused when it is read."""
    with pytest.raises(UsageError, match=kind):
        dialect(kind, prefix=prefix)


def test_an_official_image_of_docker_hub_is_in_library() -> None:
    """The name without a namespace is Docker Hub's shorthand."""
    body = {"push_data": {"tag": "1"}, "repository": {"repo_name": "nginx"}}
    assert str(read("dockerhub", "docker.io", body).events[0].repository) == "docker.io/library/nginx"


def test_a_digest_or_delivery_that_cannot_be_used_is_none() -> None:
    """Both only spare work: the tag is looked up in any case."""
    body = {"events": [distribution_entry(digest="sha256:short") | {"id": "a\nb"}]}
    event = read("distribution", "r.example.com", body).events[0]
    assert (event.digest, event.delivery) == (None, None)


def test_a_long_delivery_id_is_known_by_its_digest() -> None:
    """What is kept of it has at most 200 characters and still tells it from others."""
    ids = ["x" * 300, "x" * 301]
    kept = [read("distribution", "r.io", {"events": [distribution_entry() | {"id": name}]}) for name in ids]
    first, second = (found.events[0].delivery for found in kept)
    assert first is not None
    assert first.startswith("sha256:")
    assert first != second
