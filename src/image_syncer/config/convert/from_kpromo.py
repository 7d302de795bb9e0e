"""Promoter manifests of kpromo: registries with one source, and images by digest with their tags."""

from collections.abc import Sequence

from image_syncer.config.convert.conversion import Conversion
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import ListNode, Node
from image_syncer.config.documents.problems import error_at


def convert_kpromo(manifest: Node, images: Conversion, listed: Sequence[Node]) -> None:
    """Add the images *listed* in a file of their own, or in the *manifest* itself, for the registries of *manifest*.

    *images* collects the conversion; its file is the manifest.
    """
    file = Fields.of(manifest, images)
    source, targets = _registries(file)
    for image in [*file.sections("images"), *(Fields.of(node, images) for node in listed)]:
        name, digests = image.required("name"), image.section("dmap")
        for digest in digests.names():
            tags = digests.texts(digest)
            full = [f"{target}/{name}:{tag}" for target in targets for tag in tags]
            full = full or [f"{target}/{name}" for target in targets]
            images.add_rule(f"{name}@{digest[:19]}", f"{source}/{name}@{digest}", full)
        image.finish()
    file.finish()


def _registries(file: Fields) -> tuple[str, list[str]]:
    sources: list[str] = []
    targets: list[str] = []
    for registry in file.sections("registries"):
        name = registry.required("name").rstrip("/")
        (sources if registry.truth("src") else targets).append(name)
        registry.note("service-account", "token", why="image-syncer uses the logins of docker and of registries:")
        registry.finish()
    if len(sources) != 1 or not targets:
        raise error_at("registries: needs one with src: true and one without", file.conversion.file, file.node)
    return sources[0], targets


def listed_images(document: Node, conversion: Conversion) -> Sequence[Node]:
    """Return the images of the thin file *document*; `ConfigError` if it is no list."""
    if not isinstance(document, ListNode):
        raise error_at("expected a list of images", conversion.file, document)
    return document.items
