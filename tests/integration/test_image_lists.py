"""Rules with `images_from:`, between two real registries."""

import json
from pathlib import Path

import pytest

from image_syncer.app import Options, open_app
from image_syncer.config.load import load_file
from image_syncer.oci import PlatformFilter
from image_syncer.sync.result import RunResult
from image_syncer.testing.content import files_layer
from image_syncer.testing.images import Blob, Image, artifact, multi, single
from support.docker_registry import DockerRegistry
from support.registry_http import Peer

HELM_CONFIG = "application/vnd.cncf.helm.config.v1+json"
HELM_CHART = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"


def chart(host: str, digest: object) -> Image:
    """Return a chart that names images at *host*, one of them by a tag and *digest*."""
    about = {"apiVersion": "v2", "name": "app", "version": "1.2.3+4", "appVersion": "2.0"}
    images = f"- image: {host}/team/app:v1\n- image: {host}/team/side:v1@{digest}\n"
    files = {
        "app/Chart.yaml": json.dumps(about | {"annotations": {"artifacthub.io/images": images}}).encode(),
        "app/values.yaml": json.dumps({"image": {"repository": f"{host}/team/guess"}}).encode(),
    }
    config = Blob.of(json.dumps(about).encode(), HELM_CONFIG)
    return artifact("chart", HELM_CONFIG, config=config, layers=[files_layer(files, HELM_CHART)])


async def sync(folder: Path, rules: str) -> RunResult:
    """Run the native *rules* once."""
    path = folder / "mirror.yaml"
    path.write_text(f"version: 1\nrules:\n{rules}")
    configuration = load_file(path, platforms=PlatformFilter(), environment={})
    options = Options(configuration.accounts, retries=0, environment={}, home=folder)
    async with open_app(options) as syncer:
        return await syncer.sync(configuration.rules)


@pytest.fixture
def images(source: Peer) -> dict[str, Image]:
    """Return the images at the source by repository."""
    found = {"team/app": multi("app"), "team/side": single("side"), "team/guess": single("guess")}
    for repository, image in found.items():
        source.push(repository, image, "v1", "2.0")
    source.push("charts/app", chart(source.host, found["team/side"].root.digest), "1.2.3_4")
    return found


async def test_a_chart_brings_its_images_and_itself(
    tmp_path: Path, source: Peer, target: Peer, images: dict[str, Image], target_registry: DockerRegistry
) -> None:
    """The images are those of its annotations; a guess is reported. A second run writes nothing."""
    side = images["team/side"]
    source.push("team/side", single("newer"), "v1")
    rules = (
        f" - name: chart\n   images_from: {{helm: 'oci://{source.host}/charts/app:1.2.3+4', include_chart: true}}\n"
        f"   targets: {target.host}/mirror/{{repository}}\n"
    )
    first = await sync(tmp_path, rules)
    assert {entry.target: entry.outcome.value for entry in first.results} == {
        f"{target.host}/mirror/team/app:v1": "copied",
        f"{target.host}/mirror/team/side:v1": "copied",
        f"{target.host}/mirror/charts/app:1.2.3_4": "copied",
    }
    assert target.manifest("mirror/team/side", "v1") == side.root.content
    assert target.manifest("mirror/team/app", "v1") == images["team/app"].root.content
    (warning,) = first.warnings
    assert f"not certain and not copied: {source.host}/team/guess:2.0 (oci://{source.host}/charts/app" in warning
    target_registry.forget_requests()
    second = await sync(tmp_path, rules)
    assert {entry.outcome.value for entry in second.results} == {"unchanged"}
    assert not [one for one in target_registry.read_requests() if one.method not in {"GET", "HEAD"}]


async def test_each_file_that_cannot_be_read_is_one_failure(
    tmp_path: Path, source: Peer, target: Peer, images: dict[str, Image]
) -> None:
    """Images of the other files are copied; so are files of an artifact."""
    assert images
    (tmp_path / "good.yaml").write_text(f"services: {{a: {{image: '{source.host}/team/app:v1'}}}}")
    (tmp_path / "bad.yaml").write_text("services: [")
    listed = Blob.of(f"{source.host}/team/side:v1\n".encode(), "text/plain")
    source.push("lists/all", artifact("list", "text/plain", layers=[listed]), "v1")
    rules = "".join(
        f" - name: {name}\n   images_from: {{{name}: {places}}}\n   targets: {target.host}/{{repository}}\n"
        for name, places in {
            "compose": "[good.yaml, bad.yaml, gone.yaml]",
            "list": f"'oci://{source.host}/lists/all:v1'",
        }.items()
    )
    result = await sync(tmp_path, rules)
    outcomes = {Path(entry.source).name: entry.outcome.value for entry in result.results}
    assert outcomes == {"app:v1": "copied", "side:v1": "copied", "bad.yaml": "failed", "gone.yaml": "failed"}
    reasons = {Path(entry.source).name: entry.reason or "" for entry in result.results}
    assert "bad.yaml:1: not YAML" in reasons["bad.yaml"]
    assert "gone.yaml: no such file" in reasons["gone.yaml"]


async def test_an_artifact_that_is_missing_fails_the_rule(tmp_path: Path, source: Peer, target: Peer) -> None:
    """One failure, which names the step."""
    rules = (
        f" - name: one\n   images_from: {{helm: 'oci://{source.host}/charts/app:1'}}\n"
        f"   targets: {target.host}/{{repository}}\n"
    )
    (failed,) = (await sync(tmp_path, rules)).results
    assert (failed.outcome.value, failed.side, failed.step) == ("failed", "source", "find images")
