"""What is not a push of a tag is ignored with a reason (answer 200), never refused and never an event."""

import json
from typing import Any

import pytest

from image_syncer.events import DIALECTS, Notification
from unit.events.payloads import (
    ACR,
    ALIBABA,
    ECR,
    ECR_DATA,
    ECR_HOST,
    ECR_SOURCE,
    EVENT_GRID,
    GAR,
    GITEA,
    GITHUB_HEADERS,
    GITHUB_PACKAGE,
    HARBOR,
    HARBOR_DATA,
    HUB,
    JFROG,
    JFROG_LAYER,
    NEXUS,
    NEXUS_ASSET,
    QUAY,
    REPLICATED,
    ZOT,
    cloud,
    distribution_entry,
    pubsub,
)

CHILD = GITHUB_PACKAGE | {
    "package_version": {"package_url": "ghcr.io/team/app:", "container_metadata": {"tag": {"name": ""}}}
}
PACKAGE = {"x-gitea-event": "package"}


def envelope(**changes: Any) -> dict[str, Any]:
    """Return Distribution's envelope of one entry with *changes*."""
    return {"events": [distribution_entry() | changes]}


def pushed(**target: Any) -> dict[str, Any]:
    """Return Distribution's envelope of one push whose target differs."""
    return {"events": [distribution_entry(**target)]}


def gitea_package(**changes: Any) -> dict[str, Any]:
    """Return Gitea's package event with a different package."""
    return GITEA | {"package": GITEA["package"] | changes}


def detail(**changes: Any) -> dict[str, Any]:
    """Return ECR's event with a different detail."""
    return ECR | {"detail": ECR["detail"] | changes}


CASES: list[tuple[str, Any, dict[str, str], str]] = [
    ("distribution", envelope(action="pull"), {}, "'pull' is not a push"),
    ("distribution", envelope(action="mount"), {}, "'mount' is not a push"),
    ("distribution", envelope(action="delete"), {}, "'delete' is not a push"),
    ("distribution", pushed(mediaType="application/octet-stream"), {}, "is not a manifest"),
    ("distribution", pushed(tag=None), {}, "without a tag"),
    ("distribution", {"events": []}, {}, "names no image"),
    ("gitlab", envelope(action="pull"), {}, "'pull' is not a push"),
    ("harbor", HARBOR | {"type": "PULL_ARTIFACT"}, {}, "'PULL_ARTIFACT' is not a push"),
    ("harbor", HARBOR | {"type": "SCANNING_COMPLETED"}, {}, "is not a push"),
    ("harbor", {}, {}, "'' is not a push"),
    ("harbor", {"type": "PUSH_ARTIFACT"}, {}, "names no image"),
    ("harbor", cloud("harbor.quota.exceeded", HARBOR_DATA), {}, "is not a push"),
    ("tencent", HARBOR | {"type": "deleteImage"}, {}, "is not a push"),
    ("huawei", HARBOR | {"type": "DELETE_ARTIFACT"}, {}, "is not a push"),
    ("dockerhub", HUB | {"push_data": {}}, {}, "without a tag"),
    ("quay", QUAY | {"vulnerability": {"id": "CVE"}}, {}, "repo_push"),
    ("quay", QUAY | {"message": "mirrored"}, {}, "repo_push"),
    ("quay", {"text": "a template of a user"}, {}, "repo_push"),
    ("quay", QUAY | {"updated_tags": "1.4.2"}, {}, "unrecognised"),
    ("quay", QUAY | {"updated_tags": [5]}, {}, "not a text"),
    ("github", {"zen": "Keep it logically awesome."}, {"x-github-event": "ping"}, "'ping'"),
    ("github", {"action": "deleted", "package": GITHUB_PACKAGE}, GITHUB_HEADERS, "'deleted' is not a push"),
    ("github", {"action": "published", "package": CHILD}, GITHUB_HEADERS, "without a tag"),
    (
        "github",
        {"action": "published", "package": GITHUB_PACKAGE | {"package_type": "npm"}},
        GITHUB_HEADERS,
        "type 'npm'",
    ),
    ("gitea", GITEA, {"x-gitea-event": "push"}, "'push' is not about a package"),
    ("gitea", GITEA | {"action": "deleted"}, PACKAGE, "'deleted' is not a push"),
    ("gitea", gitea_package(type="npm"), PACKAGE, "type 'npm'"),
    ("gitea", gitea_package(version="sha256:00"), PACKAGE, "without a tag"),
    ("acr", ACR | {"action": "ping"}, {}, "'ping' is not a push"),
    ("acr", ACR | {"action": "chart_push"}, {}, "is not a push"),
    ("acr", ACR | {"request": {"host": "stranger.azurecr.io"}}, {}, "registry 'stranger.azurecr.io'"),
    ("acr", ACR | {"target": {"digest": "sha256:00"}}, {}, "without a tag"),
    ("acr", [EVENT_GRID | {"eventType": "Microsoft.ContainerRegistry.ImageDeleted"}], {}, "is not a push"),
    ("acr", [], {}, "names no image"),
    ("alibaba", ALIBABA | {"push_data": {}}, {}, "without a tag"),
    ("ecr", detail(**{"action-type": "DELETE"}), {}, "'DELETE'"),
    ("ecr", detail(result="FAILURE"), {}, "'FAILURE'"),
    ("ecr", detail(**{"image-tag": ""}), {}, "without a tag"),
    ("ecr", ECR | {"detail-type": "ECR Image Scan"}, {}, "'ECR Image Scan'"),
    ("ecr", ECR | {"region": "us-east-1"}, {}, "another account or region"),
    ("ecr", cloud("com.amazon.ecr.image.push", ECR_DATA, "arn:aws:ecr:r:1:repository/x"), {}, "another account"),
    ("ecr", cloud("com.amazon.ecr.scan", ECR_DATA), {}, "'com.amazon.ecr.scan' is not a push"),
    ("ecr", cloud("com.amazon.ecr.image.push", {"repositoryName": "a"}, ECR_SOURCE), {}, "without a tag"),
    ("ecr", {}, {"x-amz-sns-message-type": "SubscriptionConfirmation"}, "SNS"),
    ("pubsub", pubsub(GAR | {"action": "DELETE"}), {}, "'DELETE' is not a push"),
    ("pubsub", pubsub({"action": "INSERT", "digest": GAR["digest"]}), {}, "without a tag"),
    ("pubsub", pubsub(GAR | {"tag": "stranger.pkg.dev/a/b:1"}), {}, "registry 'stranger.pkg.dev'"),
    ("pubsub", pubsub(GAR | {"tag": "no-tag"}), {}, "not host/path:tag"),
    ("pubsub", {"message": {"data": "%%%"}}, {}, "not base64"),
    ("jfrog", JFROG | {"event_type": "deleted"}, {}, "'deleted'"),
    ("jfrog", JFROG | {"domain": "build", "event_type": "deployed"}, {}, "'build'"),
    ("jfrog", JFROG_LAYER, {}, "not a manifest of an image"),
    ("ecr", ECR | {"detail-type": "ECR Image Scan"}, {}, "'ECR Image Scan' is not an image action"),
    (
        "ecr",
        REPLICATED | {"detail": REPLICATED["detail"] | {"result": "FAILED"}},
        {},
        "'FAILED' is not a finished push",
    ),
    ("cloudevents", cloud("com.example.image.signed", {"repository": "a/b", "tag": "1"}), {}, "is not a push"),
    ("cloudevents", cloud("com.example.imagery.pushed", {"repository": "a/b", "tag": "1"}), {}, "is not a push"),
    ("jfrog", JFROG | {"data": JFROG["data"] | {"tag": "sha256__00"}}, {}, "without a tag"),
    ("nexus", NEXUS | {"action": "DELETED"}, {}, "'DELETED' is not a push"),
    ("nexus", NEXUS | {"component": {"format": "raw", "name": "x"}}, {}, "format 'raw'"),
    ("nexus", NEXUS_ASSET | {"asset": {"format": "docker", "name": "v2/-/blobs/sha256:00"}}, {}, "is not a tag"),
    ("nexus", NEXUS_ASSET | {"asset": {"format": "docker", "name": "v2/a/manifests/sha256:00"}}, {}, "is not a tag"),
    ("nexus", {"action": "CREATED"}, {"x-nexus-webhook-id": "rm:global:audit"}, "'rm:global:audit'"),
    ("zot", cloud("zotregistry.image.deleted", ZOT), {}, "is not a push"),
    ("zot", cloud("zotregistry.image.updated", ZOT | {"reference": ZOT["digest"]}), {}, "without a tag"),
    ("cloudevents", cloud("com.example.image.deleted", {"repository": "a/b", "tag": "1"}), {}, "is not a push"),
    ("cloudevents", cloud("com.example.order.placed", {}), {}, "is not a push"),
    ("cloudevents", cloud("com.example.ContainerImageSigned", {"repository": "a/b", "tag": "1"}), {}, "is not a push"),
    ("cloudevents", cloud("com.example.image.push.failed", {"repository": "a/b", "tag": "1"}), {}, "is not a push"),
    ("cloudevents", cloud("com.example.image_scan.done", {"repository": "a/b", "tag": "1"}), {}, "is not a push"),
    ("cloudevents", cloud("com.example.image.pushed", {"registry": "x.io"}), {}, "registry 'x.io'"),
    ("cloudevents", cloud("com.example.image.pushed", {}), {}, "unrecognised"),
    ("plain", {"name": ""}, {}, "no name"),
    ("plain", {"name": "stranger.example.com/a/b", "tag": "1"}, {}, "registry 'stranger.example.com'"),
]
HOSTS = {"acr": "myreg.azurecr.io", "ecr": ECR_HOST, "pubsub": "europe-docker.pkg.dev"}


@pytest.mark.parametrize(("kind", "body", "headers", "reason"), CASES)
def test_what_is_no_push_is_ignored_with_a_reason(kind: str, body: Any, headers: dict[str, str], reason: str) -> None:
    """Senders stall, give up or switch themselves off when they are refused, so this is no refusal."""
    answer = DIALECTS[kind](HOSTS.get(kind, "registry.example.com"), headers, json.dumps(body).encode())
    assert isinstance(answer, Notification)
    assert answer.events == ()
    assert reason in (answer.ignored or "")
