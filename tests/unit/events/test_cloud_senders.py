"""Further senders of the clouds: each leads to the same push as the usual one."""

import json
from typing import Any

import pytest

from image_syncer.errors import UsageError
from image_syncer.events import Notification, dialect
from image_syncer.events.dialects.jfrog import Prefix
from unit.events.payloads import (
    CACHED,
    DIGEST,
    ECR,
    GAR,
    JFROG,
    JFROG_COPIED,
    JFROG_DEPLOYED,
    REPLICATED,
    ZOT,
    ZOT_HEADERS,
)

ECR_HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"


ZOT_BINARY = {name.replace("-", "_"): value for name, value in ZOT_HEADERS.items()}


def push(kind: str, registry: str, body: dict[str, Any], prefix: Prefix = None, **headers: str) -> tuple[str, str]:
    """Return repository and tag of the one event in *body*."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = dialect(kind, prefix=prefix)(registry, named, json.dumps(body).encode())
    assert isinstance(answer, Notification), answer
    (event,) = answer.events
    return str(event.repository), event.tag


@pytest.mark.parametrize("body", [REPLICATED, CACHED])
def test_an_image_also_arrives_by_replication_and_through_the_cache(body: dict[str, Any]) -> None:
    """EventBridge announces it with another detail-type."""
    assert push("ecr", ECR_HOST, body) == (f"{ECR_HOST}/team/app", "1.4.2")


def test_the_subject_names_what_a_transformer_left_out() -> None:
    """The data of an input transformer may have a digest alone."""
    event = {
        "specversion": "1.0",
        "id": "1",
        "type": "com.amazon.ecr.image.push",
        "source": "urn:aws:ecr:eu-central-1:123456789012:repository/team/app",
        "subject": "team/app:1.4.2",
        "data": {"imageDigest": DIGEST},
    }
    assert push("ecr", ECR_HOST, event) == (f"{ECR_HOST}/team/app", "1.4.2")


INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"


@pytest.mark.parametrize(
    ("kind", "artifact", "is_attached"),
    [
        (MANIFEST, "application/vnd.dev.sigstore.bundle.v0.3+json", True),
        (MANIFEST, "application/vnd.oci.empty.v1+json", True),
        (MANIFEST, "application/spdx+json", True),
        ("", "application/vnd.cncf.notary.signature", True),
        (MANIFEST, "application/vnd.oci.image.config.v1+json", False),
        (
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.container.image.v1+json",
            False,
        ),
        (INDEX, "application/vnd.example.artifact", False),
        ("application/vnd.docker.distribution.manifest.list.v2+json", "application/vnd.example", False),
        (MANIFEST, "", False),
    ],
)
def test_a_referrer_in_ecr_is_an_event_of_its_repository(kind: str, artifact: str, is_attached: bool) -> None:
    """It has no tag and no subject; its type tells it from the image of a platform, which is ignored."""
    found = {"image-tag": "", "manifest-media-type": kind, "artifact-media-type": artifact}
    body = ECR | {"detail": ECR["detail"] | found}
    if is_attached:
        assert push("ecr", ECR_HOST, body) == (f"{ECR_HOST}/team/app", DIGEST.replace(":", "-"))
    else:
        answer = dialect("ecr")(ECR_HOST, {}, json.dumps(body).encode())
        assert isinstance(answer, Notification)
        assert (answer.events, answer.ignored) == ((), "an image without a tag")


@pytest.mark.parametrize("digest", ["", "latest", "sha256:short"])
def test_a_referrer_in_ecr_without_a_digest_is_ignored(digest: str) -> None:
    """It stands for nothing."""
    found = {"image-tag": "", "image-digest": digest, "artifact-media-type": "application/spdx+json"}
    answer = dialect("ecr")(ECR_HOST, {}, json.dumps(ECR | {"detail": ECR["detail"] | found}).encode())
    assert isinstance(answer, Notification)
    assert (answer.events, answer.ignored) == ((), "an image without a tag")


def test_a_referrer_in_zot_is_an_event_of_its_subject() -> None:
    """It has no tag; the manifest in the event names the subject, and the tag schema's tag stands for it."""
    manifest = json.dumps({"schemaVersion": 2, "subject": {"digest": DIGEST}})
    data = ZOT | {"reference": DIGEST, "manifest": manifest}
    assert push("zot", "z.test", data, **ZOT_BINARY) == ("z.test/team/app", DIGEST.replace(":", "-"))


@pytest.mark.parametrize(
    "manifest", ["", "{}", "not JSON", "[]", '{"subject": {"digest": "latest"}}', '{"subject": 1}']
)
def test_a_manifest_in_zot_without_a_tag_and_a_subject_is_ignored(manifest: str) -> None:
    """It is the image of a platform; its index has the tag."""
    body = json.dumps(ZOT | {"reference": DIGEST, "manifest": manifest}).encode()
    answer = dialect("zot")("z.test", ZOT_HEADERS, body)
    assert isinstance(answer, Notification)
    assert (answer.events, answer.ignored) == ((), "a manifest without a tag")


def test_pubsub_may_push_the_bare_message() -> None:
    """With payload unwrapping there is no envelope; the id is in a header, if the subscription writes it."""
    host = "europe-docker.pkg.dev"
    assert push("pubsub", host, GAR, x_goog_pubsub_message_id="77")[1] == "1.4.2"


@pytest.mark.parametrize(
    ("body", "prefix", "path"),
    [
        (JFROG | {"event_type": "promoted"}, None, "docker-local/team/app"),
        (JFROG_DEPLOYED, None, "docker-local/team/app"),
        (JFROG_COPIED, None, "docker-local/team/app"),
        (JFROG_COPIED, {"docker-local": "virtual"}, "virtual/team/app"),
        (JFROG_COPIED, {"docker-local": ""}, "team/app"),
        (JFROG_COPIED, {"other": "x"}, "docker-local/team/app"),
    ],
)
def test_an_image_may_be_deployed_promoted_or_copied(body: dict[str, Any], prefix: Prefix, path: str) -> None:
    """What counts is the repository where it is now, under the name that pullers use."""
    assert push("jfrog", "acme.jfrog.io", body, prefix) == (f"acme.jfrog.io/{path}", "1.4.2")


def test_a_map_of_prefixes_is_for_jfrog_only() -> None:
    """Nexus tells no repository key."""
    with pytest.raises(UsageError):
        dialect("nexus", prefix={"a": "b"})


@pytest.mark.parametrize("host", ["acme.azurecr.io", "ACME.azurecr.io", "acme.westeurope.geo.azurecr.io"])
def test_acr_may_name_a_regional_host(host: str) -> None:
    """A replica in a region is the same registry."""
    body = {
        "action": "push",
        "target": {"repository": "team/app", "tag": "1.4.2", "digest": DIGEST},
        "request": {"host": host},
    }
    assert push("acr", "acme.azurecr.io", body) == ("acme.azurecr.io/team/app", "1.4.2")


@pytest.mark.parametrize("host", ["evil.azurecr.io", "acme.azurecr.io.evil.test", "acmex.westeurope.azurecr.io"])
def test_another_registry_of_acr_is_not_this_one(host: str) -> None:
    """The name has to be the same."""
    body = {"action": "push", "target": {"repository": "a/b", "tag": "1"}, "request": {"host": host}}
    answer = dialect("acr")("acme.azurecr.io", {}, json.dumps(body).encode())
    assert isinstance(answer, Notification)
    assert answer.events == ()


@pytest.mark.parametrize(
    "kind",
    ["com.designhub.image.pushed", "com.example.ImagePushed", "com.pullman.container.created", "x.image.uploaded"],
)
def test_types_of_cloudevents_are_compared_by_their_words(kind: str) -> None:
    """`designhub` is not a signature, and `pullman` is not a pull."""
    data = {"repository": "team/app", "tag": "1.4.2"}
    event = {"specversion": "1.0", "id": "1", "source": "s", "type": kind, "data": data}
    assert push("cloudevents", "registry.example.com", event) == ("registry.example.com/team/app", "1.4.2")
