"""oc-mirror's `ImageSetConfiguration`: its additional images and charts; not what only OpenShift has."""

from typing import Final

from image_syncer.config.convert.conversion import Conversion, Value
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import Node
from image_syncer.oci import Reference
from image_syncer.oci.reference import split_reference

_OPENSHIFT: Final = "only oc-mirror reads the graph of OpenShift's releases and operators: list their images"


def convert_oc_mirror(document: Node, conversion: Conversion) -> None:
    """Add what the file *document* says to *conversion*."""
    target = conversion.required_target("oc-mirror")
    file = Fields.of(document, conversion)
    file.text("kind")
    file.text("apiVersion")
    file.note("archiveSize", why="image-syncer writes no archive here")
    file.lose("storageConfig", why="image-syncer has a state of its own")
    mirror = file.section("mirror")
    for image in mirror.sections("additionalImages"):
        _convert_image(image, target)
    _convert_helm(mirror.section("helm"), target)
    mirror.lose("platform", "operators", why=_OPENSHIFT)
    mirror.lose("samples", why="oc-mirror does not mirror them either")
    mirror.lose("blockedImages", why="leave the image out of the other lists")
    mirror.finish()
    file.finish()


def _convert_image(image: Fields, target: str) -> None:
    name = image.required("name").removeprefix("docker://")
    reference = _reference(name)
    repository, tag = image.text("targetRepo") or reference.repository.path, image.text("targetTag")
    keys = {"platforms": platforms_of(image)}
    full = f"{target}/{repository}" + (f":{tag}" if tag else "")
    if reference.tag is None:
        image.conversion.add_rule(name, str(reference), [full], **keys)
    else:
        image.conversion.add_rule(name, str(reference.repository), [full], tags=[reference.tag], **keys)
    image.finish()


def _reference(name: str) -> Reference:
    head, tag, digest = split_reference(name)
    return Reference.parse(f"{head}@{digest}" if digest is not None and tag is not None else name)


def platforms_of(section: Fields) -> list[str]:
    """Return the platforms of the list of `os` and `architecture`."""
    found: list[str] = []
    for one in section.sections("platforms"):
        variant = one.text("variant")
        parts = [one.text("os") or "linux", one.text("architecture") or one.text("arch") or "amd64"]
        found.append("/".join([*parts, *([variant] if variant else [])]))
        one.finish()
    return found


def _convert_helm(helm: Fields, target: str) -> None:
    for repository in helm.sections("repositories"):
        repository.lose("charts", why="image-syncer reads charts from OCI registries and files, not over HTTP")
        repository.text("name")
        repository.text("url")
        repository.finish()
    for chart in helm.sections("local"):
        path, name = chart.required("path"), chart.text("name")
        images_from: dict[str, Value] = {"helm": path}
        helm.conversion.add_images(name or path, images_from, [f"{target}/{{repository}}"], platforms_of(chart))
        chart.text("version")
        chart.lose("imagePaths", why="image-syncer finds images by the chart's annotations and values")
        chart.finish()
    helm.finish()
