"""One real-looking notification of a push for every kind of sender; all values are invented."""

import base64
import json
from dataclasses import dataclass, field
from typing import Any

HEX = "3f1c0a9d5b7e24688ace13579bdf02463f1c0a9d5b7e24688ace13579bdf0246"
DIGEST = f"sha256:{HEX}"
INDEX = "application/vnd.oci.image.index.v1+json"
DELIVERY = "1fd20c5a-aba5-447e-88d0-b33f846cde6a"


@dataclass(frozen=True)
class Sample:
    """A notification, and what is to be read from it."""

    kind: str
    registry: str
    body: Any
    headers: dict[str, str] = field(default_factory=dict[str, str])
    repository: str = "team/app"
    digest: str | None = DIGEST
    delivery: str | None = DELIVERY

    @property
    def content(self) -> bytes:
        """The body as it would be sent."""
        return json.dumps(self.body).encode()

    def with_other(self, old: str, new: str) -> bytes:
        """Return the body with *new* wherever *old* stands, within what Pub/Sub encodes too."""
        if self.kind == "pubsub":
            return json.dumps(pubsub(replaced(GAR, old, new))).encode()
        return json.dumps(replaced(self.body, old, new)).encode()


def replaced(value: object, old: str, new: str) -> Any:
    """Return the JSON *value* with *new* wherever *old* stands."""
    return json.loads(json.dumps(value).replace(old, json.dumps(new)[1:-1]))


def distribution_entry(**target: object) -> dict[str, Any]:
    """Return an entry of Distribution's envelope, its target changed by *target*."""
    usual = {"mediaType": INDEX, "size": 1609, "digest": DIGEST, "repository": "team/app", "tag": "1.4.2"}
    request = {"id": "8b1d", "addr": "10.0.4.7:51840", "host": "other.example.com", "method": "PUT"}
    return {"id": DELIVERY, "action": "push", "target": usual | target, "request": request, "actor": {"name": "ci"}}


HARBOR_DATA: dict[str, Any] = {
    "resources": [{"digest": DIGEST, "tag": "1.4.2", "resource_url": "harbor.example.com/team/app:1.4.2"}],
    "repository": {"name": "app", "namespace": "team", "repo_full_name": "team/app", "repo_type": "private"},
}
HARBOR: dict[str, Any] = {"type": "PUSH_ARTIFACT", "occur_at": 1777885953, "operator": "ci", "event_data": HARBOR_DATA}
ACR: dict[str, Any] = {
    "id": DELIVERY,
    "timestamp": "2026-05-04T09:12:33.346118Z",
    "action": "push",
    "target": {"mediaType": INDEX, "size": 524, "digest": DIGEST, "repository": "team/app", "tag": "1.4.2"},
    "request": {"id": "c79af1f0", "host": "myreg.azurecr.io", "method": "PUT", "useragent": "docker/27.0"},
}
EVENT_GRID: dict[str, Any] = {
    "id": DELIVERY,
    "topic": "/subscriptions/0/registries/myreg",
    "subject": "team/app:1.4.2",
    "eventType": "Microsoft.ContainerRegistry.ImagePushed",
    "dataVersion": "1.0",
    "data": ACR | {"id": "another"},
}
GITHUB_PACKAGE: dict[str, Any] = {
    "id": 101,
    "name": "App",
    "namespace": "Team",
    "package_type": "CONTAINER",
    "owner": {"login": "Team", "type": "Organization"},
    "package_version": {
        "id": 202,
        "version": DIGEST,
        "package_url": "ghcr.io/team/app:1.4.2",
        "container_metadata": {"tag": {"name": "1.4.2", "digest": DIGEST}, "labels": {}},
    },
}
GITEA: dict[str, Any] = {
    "action": "created",
    "package": {"id": 12, "owner": {"id": 3, "login": "Team"}, "type": "container", "name": "app", "version": "1.4.2"},
}
ECR: dict[str, Any] = {
    "version": "0",
    "id": DELIVERY,
    "detail-type": "ECR Image Action",
    "source": "aws.ecr",
    "account": "123456789012",
    "region": "eu-central-1",
    "detail": {
        "result": "SUCCESS",
        "repository-name": "team/app",
        "image-digest": DIGEST,
        "action-type": "PUSH",
        "image-tag": "1.4.2",
    },
}
ECR_HOST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com"
JFROG: dict[str, Any] = {
    "domain": "docker",
    "event_type": "pushed",
    "data": {
        "repo_key": "docker-local",
        "path": "team/app/1.4.2/list.manifest.json",
        "name": "list.manifest.json",
        "sha256": HEX,
        "image_name": "team/app",
        "image_type": "oci",
        "tag": "1.4.2",
    },
    "jpd_origin": "https://acme.jfrog.io",
}
NEXUS: dict[str, Any] = {
    "timestamp": "2026-05-04T09:12:33.131+00:00",
    "initiator": "ci/10.0.4.7",
    "repositoryName": "docker-hosted",
    "action": "CREATED",
    "component": {"id": "6dbf", "format": "docker", "name": "team/app", "version": "1.4.2"},
}
NEXUS_ASSET: dict[str, Any] = {
    "repositoryName": "docker-hosted",
    "action": "UPDATED",
    "asset": {"id": "6dbf", "format": "docker", "name": "v2/team/app/manifests/1.4.2"},
}
ZOT: dict[str, Any] = {"name": "team/app", "reference": "1.4.2", "digest": DIGEST, "mediaType": INDEX, "manifest": "{}"}
ZOT_HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": DELIVERY,
    "ce-source": "zotregistry.dev",
    "ce-type": "zotregistry.image.updated",
    "content-type": "application/json",
}
GENERIC_DATA: dict[str, Any] = {
    "registryUrl": "https://registry.example.com/",
    "repository": "team/app",
    "tag": "1.4.2",
}


def pubsub(decoded: object) -> dict[str, Any]:
    """Return the envelope of Pub/Sub around *decoded*."""
    data = base64.b64encode(json.dumps(decoded).encode()).decode()
    return {"message": {"data": data, "messageId": DELIVERY}, "subscription": "projects/p/subscriptions/sync"}


GAR: dict[str, Any] = {
    "action": "INSERT",
    "digest": f"europe-docker.pkg.dev/team/app@{DIGEST}",
    "tag": "europe-docker.pkg.dev/team/app:1.4.2",
}


def cloud(kind: str, data: object, source: str = "urn:sender") -> dict[str, Any]:
    """Return a structured CloudEvent of the type *kind*."""
    return {"specversion": "1.0", "id": DELIVERY, "source": source, "type": kind, "data": data}


HUB: dict[str, Any] = {
    "push_data": {"pushed_at": 1777885953.5, "pusher": "alice", "tag": "1.4.2", "images": [], "media_type": INDEX},
    "callback_url": "https://registry.hub.docker.com/u/team/app/hook/abc123/",
    "repository": {"repo_name": "team/app", "namespace": "team", "name": "app", "status": "Active"},
}
QUAY: dict[str, Any] = {
    "repository": "team/app",
    "namespace": "team",
    "name": "app",
    "docker_url": "quay.io/team/app",
    "updated_tags": ["1.4.2"],
}
ALIBABA: dict[str, Any] = {
    "push_data": {"digest": DIGEST, "pushed_at": "2026-05-04 17:12:33", "tag": "1.4.2"},
    "repository": {"name": "app", "namespace": "team", "region": "cn-hangzhou", "repo_full_name": "team/app"},
}
ECR_SOURCE = "urn:aws:ecr:eu-central-1:123456789012:repository/team/app"
ECR_DATA: dict[str, Any] = {"repositoryName": "team/app", "imageTag": "1.4.2", "imageDigest": DIGEST}
GITHUB_HEADERS = {"x-github-event": "package", "x-github-delivery": DELIVERY}

REPLICATED: dict[str, Any] = {
    **ECR,
    "detail-type": "ECR Replication Action",
    "detail": {
        "result": "SUCCESS",
        "repository-name": "team/app",
        "image-digest": DIGEST,
        "source-account": "210987654321",
        "source-region": "us-west-2",
        "action-type": "REPLICATE",
        "image-tag": "1.4.2",
    },
}
CACHED: dict[str, Any] = {
    **ECR,
    "detail-type": "ECR Pull Through Cache Action",
    "detail": {
        "rule-version": "1",
        "sync-status": "SUCCESS",
        "ecr-repository-prefix": "docker-hub",
        "repository-name": "team/app",
        "upstream-registry-url": "registry-1.docker.io",
        "image-tag": "1.4.2",
        "image-digest": DIGEST,
    },
}
JFROG_DEPLOYED: dict[str, Any] = {
    "domain": "artifact",
    "event_type": "deployed",
    "data": {"repo_key": "docker-local", "path": "team/app/1.4.2/manifest.json", "name": "manifest.json", "size": 1},
}
JFROG_COPIED: dict[str, Any] = {
    "domain": "artifact",
    "event_type": "copied",
    "data": {
        "repo_key": "docker-dev",
        "path": "team/app/1.4.2/manifest.json",
        "name": "manifest.json",
        "source_repo_path": "docker-dev/team/app/1.4.2/manifest.json",
        "target_repo_path": "docker-local/team/app/1.4.2/manifest.json",
    },
}
JFROG_LAYER: dict[str, Any] = {
    "domain": "artifact",
    "event_type": "deployed",
    "data": {"repo_key": "docker-local", "path": "team/app/1.4.2/sha256__3f", "name": "sha256__3f"},
}

SAMPLES = {
    "distribution": Sample("distribution", "registry.example.com", {"events": [distribution_entry()]}),
    "gitlab": Sample("gitlab", "registry.example.com", {"events": [distribution_entry()]}),
    "harbor": Sample("harbor", "harbor.example.com", HARBOR, delivery=None),
    "harbor cloudevents": Sample(
        "harbor",
        "harbor.example.com",
        cloud("harbor.artifact.pushed", HARBOR_DATA, "/projects/4/webhook/policies/9"),
        delivery=f"/projects/4/webhook/policies/9 {DELIVERY}",
    ),
    "tencent": Sample("tencent", "acme.tencentcloudcr.com", HARBOR | {"type": "pushImage"}, delivery=None),
    "huawei": Sample("huawei", "swr.example.com", HARBOR, delivery=None),
    "dockerhub": Sample("dockerhub", "docker.io", HUB, digest=None, delivery=None),
    "quay": Sample("quay", "quay.io", QUAY, digest=None, delivery=None),
    "quay old": Sample("quay", "quay.io", QUAY | {"updated_tags": {"1.4.2": "a1b2"}}, digest=None, delivery=None),
    "github": Sample("github", "ghcr.io", {"action": "published", "package": GITHUB_PACKAGE}, GITHUB_HEADERS),
    "github registry_package": Sample(
        "github",
        "ghcr.io",
        {"action": "updated", "registry_package": GITHUB_PACKAGE},
        GITHUB_HEADERS | {"x-github-event": "registry_package"},
    ),
    "gitea": Sample(
        "gitea", "git.example.com", GITEA, {"x-gitea-event": "package", "x-gitea-delivery": DELIVERY}, digest=None
    ),
    "forgejo": Sample(
        "gitea", "git.example.com", GITEA, {"x-forgejo-event": "package", "x-forgejo-delivery": DELIVERY}, digest=None
    ),
    "acr": Sample("acr", "myreg.azurecr.io", ACR),
    "acr event grid": Sample("acr", "myreg.azurecr.io", [EVENT_GRID]),
    "acr cloudevents": Sample(
        "acr",
        "myreg.azurecr.io",
        [cloud("Microsoft.ContainerRegistry.ImagePushed", ACR)],
        delivery=f"urn:sender {DELIVERY}",
    ),
    "alibaba": Sample("alibaba", "registry.cn-hangzhou.aliyuncs.com", ALIBABA, delivery=None),
    "ecr": Sample("ecr", ECR_HOST, ECR),
    "ecr cloudevents": Sample(
        "ecr",
        ECR_HOST,
        cloud("com.amazon.ecr.image.push", ECR_DATA, ECR_SOURCE),
        delivery=f"{ECR_SOURCE} {DELIVERY}",
    ),
    "pubsub": Sample("pubsub", "europe-docker.pkg.dev", pubsub(GAR)),
    "jfrog": Sample("jfrog", "acme.jfrog.io", JFROG, repository="docker-local/team/app", delivery=None),
    "nexus": Sample("nexus", "nexus.example.com:5000", NEXUS, {"x-nexus-webhook-delivery": DELIVERY}, digest=None),
    "nexus asset": Sample("nexus", "nexus.example.com", NEXUS_ASSET, digest=None, delivery=None),
    "zot": Sample("zot", "zot.example.com", ZOT, ZOT_HEADERS, delivery=f"zotregistry.dev {DELIVERY}"),
    "zot structured": Sample(
        "zot",
        "zot.example.com",
        cloud("zotregistry.image.updated", ZOT, "zotregistry.dev"),
        delivery=f"zotregistry.dev {DELIVERY}",
    ),
    "cloudevents": Sample(
        "cloudevents",
        "registry.example.com",
        cloud("com.example.image.published", GENERIC_DATA),
        digest=None,
        delivery=f"urn:sender {DELIVERY}",
    ),
    "plain": Sample(
        "plain",
        "registry.example.com",
        {"name": "registry.example.com/team/app", "tag": "1.4.2"},
        digest=None,
        delivery=None,
    ),
}
