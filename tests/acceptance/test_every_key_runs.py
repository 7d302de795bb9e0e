"""examples/every-key.yaml runs between real registries, with the names of its hosts replaced.

The first registry demands TLS with a client certificate and a login; the second a login; the third neither. What a
loopback machine does not have stays as it is written, and no rule that runs needs it: a cloud, a second authority,
webhooks, a queue. `sync` reads but does not use `hooks`, `queues` and `server`.
"""

import asyncio
import json
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from image_syncer.oci import Digest, Platform, RawManifest, media_type
from image_syncer.structs import Struct
from image_syncer.testing.content import Blob, Image, files_layer
from image_syncer.testing.images import LINUX_AMD64, LINUX_ARM64, Entry, artifact, index, single
from image_syncer.trust.bundle import BUNDLE_TYPE
from support.command_line import CommandLine
from support.docker_registry import DockerProfile, DockerRegistry, TlsFiles
from support.fake_cluster import FakeCluster, fake_cluster, pod
from support.registry_http import Peer
from support.sigstore_instance import SigstoreInstance
from support.skopeo import Skopeo

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRET = "0123456789abcdef" * 2
VARIABLES = (
    "REGISTRY_PASSWORD",
    "CONTROL_PASSWORD",
    "HOOK_SECRET",
    "RABBIT_PASSWORD",
    "OPERATOR_PASSWORD",
    "API_TOKEN",
)
PLATFORMS = (LINUX_AMD64, LINUX_ARM64, Platform("linux", "s390x"))
VERSIONS = ("1.25.1", "1.26.0", "1.26.1", "1.26.2", "1.26.1-alpine", "v2.0.0", "1.27.0-debug", "1.30.0-rc.1", "3.0.0")
STATEMENTS: Mapping[str, Any] = {
    "https://sigstore.dev/cosign/sign/v1": {},
    "https://spdx.dev/Document": {"spdxVersion": "SPDX-2.3"},
    "https://openvex.dev/ns": {"statements": []},
    "https://slsa.dev/provenance/v1": {"runDetails": {"builder": {"id": "https://builder.example.com"}}},
    "https://in-toto.io/attestation/vulns/v0.2": {"scanner": {"result": [{"severity": [{"score": "3.1"}]}]}},
}
COPIED = {
    **dict.fromkeys(("H/mirror/web:current", "H/flat/other-a-b:v1", "H/charts/charts/gateway:1.4.2"), "copied"),
    **dict.fromkeys(("H/charts/used/chart:v1", "H/compose/used/compose:v1", "H/list/used/list:v1"), "copied"),
    **dict.fromkeys(("H/manifests/used/pod:v1", "H/manifests/used/crd:v1", "H/cluster/used/cluster:v1"), "copied"),
    **dict.fromkeys(("M/charts/gateway:1.4.2", "M/used/chart:v1"), "copied"),
    **{f"M/source/used/{name}:v1": "copied" for name in ("chart", "compose", "pod", "crd", "list", "cluster")},
    "H/mirror/app:current": "skipped",  # It has no label.
}
"""The outcome of the first run by target: H demands a login, M is open."""
LATER = {
    "H/mirror/app:v2.0.0": "copied",
    **{f"H/mirror/app:{tag}": "skipped" for tag in ("1.25.1", "1.26.1", "1.26.2", "1.26.1-alpine")},  # Not signed.
}
"""What the second run does beside, after the cool-down."""
NO_CLUSTER = "own-cluster"  # It needs the account of a pod.


class World(Struct):
    """The registries as image-syncer names them, what is written into them, and a reader of the open one."""

    source: str
    login: str
    open: str
    writer: Peer


def dated(
    seed: str,
    *,
    labels: Mapping[str, str] = {},
    vendor: str = "",
    docker: bool = False,
    platforms: Sequence[Platform] = PLATFORMS,
) -> Image:
    """Return an index that is created now, with what the rules of the file select by."""
    entries = [
        Entry(
            _labelled(single(f"{seed} {platform}", platform=platform, docker=docker), labels),
            platform,
            {"vendor.example.com/kind": "runtime" if platform != PLATFORMS[2] else "debug"},
        )
        for platform in platforms
    ]
    return index(entries, docker=docker, annotations={"org.opencontainers.image.vendor": vendor} if vendor else None)


def _labelled(image: Image, labels: Mapping[str, str]) -> Image:
    """Return *image* with a config that has *labels* and the present time."""
    manifest = json.loads(image.root.content)
    config = image.blobs[Digest.parse(manifest["config"]["digest"])]
    document = json.loads(config.read()) | {
        "created": datetime.now(UTC).isoformat(),
        "config": {"Labels": dict(labels)},
    }
    changed = Blob.of(json.dumps(document).encode(), manifest["config"]["mediaType"])
    manifest["config"] |= {"digest": str(changed.digest), "size": changed.size_bytes}
    raw = RawManifest.of(json.dumps(manifest).encode())
    blobs = {digest: blob for digest, blob in image.blobs.items() if digest != config.digest}
    return Image(raw, (raw,), blobs | {changed.digest: changed})


def attach(peer: Peer, repository: str, image: Image, sigstore: SigstoreInstance) -> None:
    """Attach a signature and four signed statements, by the tag schema: distribution 2.8 has no referrers API."""
    entries: list[dict[str, Any]] = []
    for kind, predicate in STATEMENTS.items():
        content = sigstore.bundle(
            image.digest,
            identity="release@example.com",
            issuer="https://issuer.example.com",
            predicate_type=kind,
            predicate=predicate,
        )
        notes = {"dev.sigstore.bundle.predicateType": kind}
        one = artifact(kind, BUNDLE_TYPE, layers=[Blob.of(content, BUNDLE_TYPE)], subject=image, annotations=notes)
        peer.push(repository, one)
        entries.append(
            {
                "mediaType": one.root.media_type,
                "digest": str(one.digest),
                "size": len(one.root.content),
                "artifactType": BUNDLE_TYPE,
                "annotations": notes,
            }
        )
    document = {"schemaVersion": 2, "mediaType": media_type.OCI_INDEX, "manifests": entries}
    raw = RawManifest.of(json.dumps(document).encode())
    peer.push(repository, Image(raw, (raw,), {}), str(image.digest).replace(":", "-"))


@pytest.fixture
def world(tmp_path: Path) -> Generator[World]:
    """The registries, with content, and the files that the examples name."""
    if not DockerRegistry.is_installed():
        pytest.skip("docker-registry is not installed")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server, client = authority.issue_cert("registry.example.com"), authority.issue_cert("client.example.com")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    client.private_key_pem.write_to_path(tmp_path / "client.key")
    client.cert_chain_pems[0].write_to_path(tmp_path / "client.pem")
    client.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    tls = TlsFiles(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem", tmp_path / "both.pem")
    with ExitStack() as stack:
        start = stack.enter_context
        writer = start(DockerRegistry(DockerProfile(quiet=True)))
        profile = DockerProfile(passwords={"one": SECRET, "two": SECRET}, tls=tls)
        source = start(DockerRegistry(profile, storage=writer.storage))
        login = start(DockerRegistry(DockerProfile(passwords={"robot$mirror": SECRET})))
        anyone = start(DockerRegistry())
        hosts = [
            one.host.replace("127.0.0.1", name)
            for one, name in ((source, "registry.example.com"), (anyone, "localhost"))
        ]
        yield World(hosts[0], login.host, hosts[1], Peer(writer.host))


def fill(world: World, directory: Path) -> None:
    """Push what the rules of the examples select, and write the files that they name."""
    sigstore, push = SigstoreInstance(), world.writer.push
    versions = {tag: dated(f"app {tag}") for tag in VERSIONS}
    versions["v2.0.0"] = dated("app", platforms=PLATFORMS[:2])  # Signatures do not fit a trimmed index.
    for tag, image in versions.items():
        push("team/app", image, tag)
    attach(world.writer, "signatures", versions["v2.0.0"], sigstore)
    web = dated("web", labels={"maintainer": "team"}, vendor="Example", docker=True)
    for repository in ("team/web-service", "team/scratch", "team/try-tmp", "team/deep/er"):
        push(repository, web, "latest")
    push("team/app", dated("unlabelled", vendor="Example"), "latest")
    push("other/a/b", single("flat"), "v1")
    images = {name: f"{world.source}/used/{name}:v1" for name in ("chart", "compose", "pod", "crd", "list", "cluster")}
    for name in images:
        push(f"used/{name}", single(name), "v1")
    about = {"apiVersion": "v2", "name": "gateway", "version": "1.4.2"}
    about["annotations"] = {"helm.sh/images": f"- image: {images['chart']}\n"}  # type: ignore[assignment]
    text = json.dumps(about).encode()
    layer = files_layer({"gateway/Chart.yaml": text}, "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    config = Blob.of(text, "application/vnd.cncf.helm.config.v1+json")
    push("charts/gateway", artifact("chart", "", config=config, layers=[layer]), "1.4.2")
    push(
        "lists/images",
        artifact("list", "text/plain", layers=[Blob.of(images["list"].encode(), "text/plain")]),
        "latest",
    )
    compose = json.dumps({"services": {"web": {"image": images["compose"]}}})
    manifest = json.dumps({"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"image": images["pod"]}]}})
    operator = json.dumps({"apiVersion": "example.com/v1", "kind": "Own", "spec": {"image": images["crd"]}})
    for name, content in {
        "values.yaml": "{}",
        "values-production.yaml": "{}",
        "compose.yaml": compose,
        "shop/compose.yaml": compose,
        "k8s/pods/pod.yaml": manifest,
        "k8s/own.yaml": operator,
        "operators.yaml": operator,
        "images.txt": images["list"],
        "charts/gateway/Chart.yaml": text.decode(),
        "digests.txt": "".join(f"{versions[tag].digest}\n" for tag in ("1.26.2", "v2.0.0")),
        "trusted_root.json": sigstore.trusted_root.decode(),
    }.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(content)
    key = ec.generate_private_key(ec.SECP256R1())
    (directory / "attest.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (directory / "cosign.pub").write_bytes(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )


def derive(world: World, directory: Path) -> list[str]:
    """Write the examples with other hosts and times into *directory*, and return the names of the rules that run."""
    changed = {
        "registry.example.com": world.source,
        "harbor.example.com": world.login,
        "cache.example.com": world.login,
        "mirror.example.com/": f"{world.open}/",
        "localhost:5000": world.open,
        "addresses: 192.0.2.10": "addresses: 127.0.0.1",
        ".example.net": ".example.com",  # Else the proxy would have to be there.
        "{registry}/": "{registry_path}/",  # The registries of this test have ports.
        "min_age: 7d": "min_age: 1s",
    }
    names: list[str] = []
    for name in ("every-key.yaml", "image-lists.yaml"):
        text = (EXAMPLES / name).read_text()
        for old, new in changed.items():
            text = text.replace(old, new)
        (directory / name).write_text(text)
        names += re.findall(r"^  - name: (\S+)$", text, re.MULTILINE)
    return [name for name in names if name != NO_CLUSTER]


def write_kubeconfig(cluster: FakeCluster, directory: Path) -> None:
    """Write the configuration with the context that the examples name, also where kubectl has it."""
    cluster.write_kubeconfig(directory / "kubeconfig")
    text = (directory / "kubeconfig").read_text().replace('"main"', '"production"')
    for path in (directory / "kubeconfig", directory / ".kube" / "config"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


@pytest.mark.slow  # The client of Kubernetes takes seconds to import.
async def test_the_file_runs_between_real_registries(
    cli: CommandLine, world: World, skopeo: Skopeo, tmp_path: Path
) -> None:
    """Every rule copies what it selects, twice; skopeo reads what has arrived."""
    await asyncio.to_thread(fill, world, tmp_path)
    names = derive(world, tmp_path)
    cli.environment.update(dict.fromkeys(VARIABLES, SECRET))
    options = [option for name in names for option in ("--rule", name)]
    async with fake_cluster() as cluster:
        cluster.pods = [pod("app", f"{world.source}/used/cluster:v1", namespace="shop")]
        write_kubeconfig(cluster, tmp_path)
        first = await sync(cli, options)
        await asyncio.sleep(1)  # The cool-down of the first rule.
        second = await sync(cli, options)
    assert placed(first, world) == COPIED
    assert (
        placed(second, world)
        == {target: outcome.replace("copied", "unchanged") for target, outcome in COPIED.items()} | LATER
    )
    await asyncio.to_thread(judge, second, Skopeo(skopeo.home, f"robot$mirror:{SECRET}"), world)


async def sync(cli: CommandLine, options: list[str]) -> list[dict[str, Any]]:
    """Run the file once, and return the entries of the report."""
    done = await asyncio.to_thread(cli.run, "sync", "-c", "every-key.yaml", "--report", "report.json", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(cli.read("report.json"))["images"]


def placed(images: list[dict[str, Any]], world: World) -> dict[str, str]:
    """Return the outcome by target, with H and M for the registries that take images."""
    names = ((world.login, "H"), (world.open, "M"), (world.source.replace(":", "-"), "source"))
    found: dict[str, str] = {}
    for image in images:
        target = image["target"]
        for host, name in names:
            target = target.replace(host, name)
        found[target] = image["outcome"]
    return found


def judge(images: list[dict[str, Any]], skopeo: Skopeo, world: World) -> None:
    """Assert that skopeo finds the digests of the report, and an index where one was trimmed or converted."""
    for image in images:
        if image["outcome"] == "skipped":
            continue
        content = skopeo.raw(image["target"].replace("localhost", "127.0.0.1"))
        assert str(Digest.of(content)) == image["target_digest"]
        if image["source_digest"] != image["target_digest"]:
            entries = json.loads(content)["manifests"]
            assert [entry["platform"]["architecture"] for entry in entries] == ["amd64", "arm64"]
            assert all("docker" not in entry["mediaType"] for entry in entries)
    signed = next(image for image in images if image["target"].endswith("mirror/app:v2.0.0"))
    tag = signed["source_digest"].replace(":", "-")
    assert kinds(skopeo.raw(f"{world.login}/mirror/signatures:{tag}")) == sorted(list(STATEMENTS)[:2])
    assert len(kinds(skopeo.raw(f"{world.login}/mirror/app:{tag}"))) == 1  # What `attest` says.


def kinds(content: bytes) -> list[str]:
    """Return the kinds of the statements in the index of referrers *content*."""
    entries = json.loads(content)["manifests"]
    return sorted(entry["annotations"]["dev.sigstore.bundle.predicateType"] for entry in entries)
