"""The Helm chart: what it renders is valid for Kubernetes and for image-syncer, and wrong values are refused."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast

import pytest
from kubernetes import client
from ruamel.yaml import YAML

from image_syncer.config.documents.document import parse_document
from image_syncer.config.load import load_document
from image_syncer.oci import PlatformFilter
from support.command_parameters import command_parameters
from support.tools import ROOT

CHART: Final = ROOT / "deploy" / "helm" / "image-syncer"
AUTH: Final = "server: {auth: {tokens: ['${TOKEN}']}}"
DAEMON: Final = f"config: {{{AUTH}, rules: [{{name: a, source: q.io/a, targets: t.io/a}}]}}\n"
FLEET: Final = f"""
config: {{{AUTH}, state: {{url: postgresql://syncer@database/syncer}}}}
replicas: 2
workers: {{replicas: 2, resources: {{limits: {{memory: 256Mi}}}}}}
"""
POD: Final = """
env: [{name: TOKEN, valueFrom: {secretKeyRef: {name: api, key: token}}}]
envFrom: [{secretRef: {name: logins}}]
secretFiles: [registry]
serviceAccount: {readPods: true, annotations: {team: mirror}}
imagePullSecrets: [{name: pull}]
image: {digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}
podAnnotations: {a: b}
podLabels: {team: mirror}
nodeSelector: {disk: fast}
tolerations: [{key: a, operator: Exists}]
affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{topologyKey: zone}]}}
"""
CASES: Final = {
    "one daemon": DAEMON,
    "fleet": FLEET,
    "cron job": "{mode: cronjob, cronjob: {args: [--rule, nightly]}, persistence: {existingClaim: mine}}",
    "reachable": DAEMON + "ingress: {enabled: true, hosts: [mirror.example.com], className: nginx}",
    "watched": DAEMON + "serviceMonitor: {enabled: true, tokenSecret: {name: api, key: token}}",
    "everything of a pod": DAEMON + POD,
}
REFUSED: Final = {
    "": "set config.server.auth.tokens",
    DAEMON + "workers: {replicas: 1}": "need PostgreSQL: set config.state.url",
    DAEMON + "replicas: 2": "need PostgreSQL: set config.state.url",
    DAEMON + "mode: once": "mode",
    DAEMON + "repilcas: 2": "repilcas",
    DAEMON + "service: {port: 70000}": "port",
    DAEMON + "ingress: {enabled: true}": "set ingress.hosts",
    DAEMON + "serviceMonitor: {enabled: true}": "set serviceMonitor.tokenSecret",
}


def run_helm(*arguments: str, values: str = "") -> subprocess.CompletedProcess[str]:
    """Run helm, with *values* as its input; it needs no cluster for this."""
    helm = shutil.which("helm")
    if helm is None:
        pytest.skip("helm is not installed")
    return subprocess.run([helm, *arguments], input=values, capture_output=True, text=True, timeout=60, check=False)


def template(values: str) -> subprocess.CompletedProcess[str]:
    """Render the chart with *values*."""
    return run_helm("template", "mirror", str(CHART), "--kube-version", "1.30", "--values", "-", values=values)


def load_all(text: str) -> list[dict[str, Any]]:
    """Return the documents of *text* that are not empty."""
    reader: Any = YAML(typ="safe", pure=True)
    return [document for document in reader.load_all(text) if document]


def unknown_fields(document: object, kind: str) -> Iterator[str]:
    """Yield the path of each field of *document* that Kubernetes does not know for *kind*, such as `V1Pod`."""
    if kind.startswith("list["):
        for entry in cast("list[object]", document):
            yield from unknown_fields(entry, kind[5:-1])
    elif hasattr(client, kind):
        model: Any = getattr(client, kind)
        kinds = {name: model.openapi_types[field] for field, name in model.attribute_map.items()}
        for name, value in cast("dict[str, object]", document).items():
            if name not in kinds:
                yield f"{kind}.{name}"
            else:
                yield from unknown_fields(value, kinds[name])


def kind_of(document: dict[str, Any]) -> str | None:
    """Return the name of the official client's model of *document*; None for a resource that is no part of it."""
    group, _, version = document["apiVersion"].rpartition("/")
    return None if group == "monitoring.coreos.com" else version.capitalize() + document["kind"]


@pytest.mark.parametrize("case", CASES)
def test_what_it_renders_is_valid(case: str) -> None:
    """Kubernetes ignores a field that it does not know, so a misspelt one would do nothing."""
    done = template(CASES[case])
    assert done.returncode == 0, done.stderr
    documents = load_all(done.stdout)
    assert len(documents) >= 3
    for document in documents:
        kind = kind_of(document)
        assert kind is None or list(unknown_fields(document, kind)) == []
    [config] = [document for document in documents if document["kind"] == "ConfigMap"]
    file = parse_document(config["data"]["mirror.yaml"].encode(), Path("mirror.yaml"), remedy_if_empty="")
    load_document(file, "mirror.yaml", platforms=PlatformFilter(), environment={"TOKEN": "secret"})
    for document in documents:
        for container in containers(document):
            assert str(command_parameters(container["args"])["config"]) == "/etc/image-syncer/mirror.yaml"


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a workload, none of any other resource."""
    spec: Any = document.get("spec", {})
    spec = spec.get("jobTemplate", {}).get("spec", spec)
    return spec.get("template", {}).get("spec", {}).get("containers", [])


def test_it_renders_each_resource() -> None:
    """And none that was not asked for."""
    rendered = {case: template(values).stdout for case, values in CASES.items()}
    kinds = {case: set(re.findall(r"^kind: (.+)", text, re.MULTILINE)) for case, text in rendered.items()}
    common = {"ServiceAccount", "ConfigMap"}
    daemon = {*common, "Service", "Deployment"}
    assert kinds == {
        "one daemon": daemon | {"PersistentVolumeClaim"},
        "fleet": daemon | {"PodDisruptionBudget"},
        "cron job": common | {"CronJob"},
        "reachable": daemon | {"PersistentVolumeClaim", "Ingress"},
        "watched": daemon | {"PersistentVolumeClaim", "ServiceMonitor"},
        "everything of a pod": daemon | {"PersistentVolumeClaim", "ClusterRole", "ClusterRoleBinding"},
    }


@pytest.mark.parametrize("values", REFUSED)
def test_it_refuses_wrong_values(values: str) -> None:
    """Before anything is installed, with the value to set."""
    done = template(values)
    assert done.returncode != 0
    assert REFUSED[values] in done.stderr


def test_lint_has_no_warning() -> None:
    """The values of the chart alone are no installation, but they must be well-formed."""
    done = run_helm("lint", "--strict", str(CHART))
    assert (done.returncode, "WARNING" in done.stdout) == (0, False), done.stdout


def test_the_schema_has_each_value() -> None:
    """It holds without helm, too: a value that the schema lacks could not be set."""
    [values] = load_all((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert schema["properties"].keys() - {"global"} == values.keys()
    for name, properties in schema["properties"].items():
        if properties.get("additionalProperties") is False:
            assert values[name].keys() <= properties["properties"].keys(), name
