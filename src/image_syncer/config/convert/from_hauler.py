"""hauler's manifests: `Images`, `Charts` and `Files`, several documents in one file."""

from collections.abc import Sequence
from typing import Final

from image_syncer.config.convert.conversion import Conversion, Value
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import Node
from image_syncer.config.documents.problems import error_at
from image_syncer.oci import Reference, Repository

_OCI: Final = "oci://"
_GITHUB: Final = "certificate-github-workflow-repository"


def convert_hauler(documents: Sequence[Node], conversion: Conversion) -> None:
    """Add what the *documents* of a file say to *conversion*."""
    target = conversion.required_target("hauler")
    for document in documents:
        file = Fields.of(document, conversion)
        kind, spec = file.required("kind"), file.section("spec")
        file.text("apiVersion")
        file.skip("metadata")
        match kind:
            case "Images":
                for image in spec.sections("images"):
                    _convert_image(image, target)
            case "Charts":
                for chart in spec.sections("charts"):
                    _convert_chart(chart, target)
            case "Files":
                spec.lose("files", why="image-syncer copies images, not files")
            case _:
                raise error_at(f"kind {kind}: expected Images, Charts or Files", conversion.file, file.node_of("kind"))
        spec.finish()
        file.finish()


def _convert_image(image: Fields, target: str) -> None:
    name = image.required("name")
    reference = Reference.parse(name)
    platform, rewrite = image.text("platform"), (image.text("rewrite") or "").strip("/")
    keys: dict[str, Value] = {"platforms": [platform] if platform else [], "trust": _trust(image)}
    if image.truth("exclude-extras"):
        keys["referrers"] = False
    full = f"{target}/{rewrite or '{repository}'}"
    if reference.tag is None:
        image.conversion.add_rule(name, str(reference), [full], **keys)
    else:
        image.conversion.add_rule(name, str(reference.repository), [full], tags=[reference.tag], **keys)
    if image.truth("insecure-skip-tls-verify"):
        image.conversion.registry(reference.repository.registry)["insecure"] = True
    image.note("use-tlog-verify", why="image-syncer verifies the log of transparency with keyless signatures")
    image.lose("local", why="image-syncer reads no images of a Docker daemon")
    image.finish()


def _trust(image: Fields) -> Value:
    key = image.text("key")
    if key is not None:
        return {"cosign": {"key": key}}
    identity, pattern = (image.text(f"certificate-identity{end}") for end in ("", "-regexp"))
    issuer = image.text("certificate-oidc-issuer")
    image.lose("certificate-oidc-issuer-regexp", _GITHUB, why="image-syncer compares the issuer as a whole")
    if issuer is not None and (identity is not None or pattern is not None):
        image.conversion.lose(
            image.line_of("certificate-oidc-issuer"),
            "keyless signatures: trust: needs the file trusted_root.json of Sigstore: add trust.cosign.keyless by hand",
        )
    return None


def _convert_chart(chart: Fields, target: str) -> None:
    name, place, version = chart.required("name"), chart.text("repoURL") or "", chart.text("version")
    conversion = chart.conversion
    if not place.startswith(_OCI):
        chart.lose("name", why="image-syncer reads charts from OCI registries and files, not over HTTP")
    else:
        repository = Repository.parse(f"{place.removeprefix(_OCI).rstrip('/')}/{name}")
        tags: Value = [version.replace("+", "_")] if version else {"latest": 1}
        targets = [f"{target}/{{repository}}"]
        conversion.add_rule(name, str(repository), targets, tags=tags)
        if chart.truth("add-images"):
            conversion.add_images(f"{name}-images", {"helm": f"{_OCI}{repository}:{version}"}, targets)
    chart.lose("rewrite", "verify", "valuesFiles", why="image-syncer copies a chart as it is")
    chart.note("usernameEnv", "passwordEnv", "passCredentialsAll", why="logins belong to registries:")
    chart.finish()
