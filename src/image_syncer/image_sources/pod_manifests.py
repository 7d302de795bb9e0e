"""Images of Kubernetes manifests: those of containers, wherever they are, and of custom paths."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from image_syncer.errors import Refused
from image_syncer.image_sources.foreign_yaml import (
    Value,
    ValueMap,
    as_list,
    as_map,
    as_text,
    parse_foreign,
    split_documents,
)
from image_syncer.image_sources.image_collector import ImageCollector
from image_syncer.image_sources.image_values import image_of_map, image_values
from image_syncer.structs import Struct

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_NOT_READ: Final = re.compile(r"""^kind:\s*["']?CustomResourceDefinition\b""", re.MULTILINE)
_NO_IMAGES: Final = frozenset({"ConfigMap", "CustomResourceDefinition", "Secret"})
_OF_KUSTOMIZE: Final = frozenset({"Component", "Kustomization"})
_KUSTOMIZATIONS: Final = frozenset({"kustomization.yaml", "kustomization.yml", "Kustomization"})
_SHOWN: Final = 200
_OPERAND: Final = "RELATED_IMAGE_"
_IMAGE_LINE: Final = re.compile(
    r"""^[ \t]*(?:-[ \t]+)?["']?(?:image|\w*Image)["']?:[ \t]*["']?([^\s"'#]+)["']?[ \t]*(?:#.*)?$""", re.MULTILINE
)


class ManifestScanner(Struct):
    """Adds the images of manifests to *collector*; *paths* are further places of images, such as `spec.*.image`."""

    collector: ImageCollector
    paths: tuple[tuple[str, ...], ...] = ()

    def read(self, text: str, name: str) -> None:
        """Add the images in *text*, the content of the file *name*.

        A document that is no YAML, such as a template, is searched line by line for images that are not certain.
        """
        documents = [(0, text)] if name.endswith(".json") else split_documents(text)
        for lines_before, document in documents:
            # Definitions of resources are large, deep, and name no images.
            if _NOT_READ.search(document) or not self._may_name_images(document):
                continue
            try:
                self.scan(parse_foreign(document, name, lines_before=lines_before), name)
            except Refused as error:
                if "{{" not in document:
                    raise
                found = [self._line(match, name, lines_before, document) for match in _IMAGE_LINE.finditer(document)]
                self.collector.warnings.append(
                    f"{error.message}; a template, of which {sum(found)} images could be read"
                )

    def scan(self, document: Value, name: str) -> None:
        """Add the images of *document*, a resource or a list of them."""
        if isinstance(document, Mapping) and "items" in document and "spec" not in document:
            for item in as_list(document.get("items")):
                self.scan(item, name)
            return
        resource = as_map(document)
        kind = as_text(resource.get("kind"))
        if kind in _NO_IMAGES:
            return
        if kind in _OF_KUSTOMIZE or (not kind and name.rpartition("/")[2] in _KUSTOMIZATIONS):
            self._kustomization(resource, name)
            return
        title = as_text(as_map(resource.get("metadata")).get("name")) or as_text(resource.get("name"))
        where = f"{name}: {' '.join(filter(None, (kind, title)))}".rstrip(": ")
        for path in self.paths:
            for found, value in values_at(resource, path):
                image = image_of_map(as_map(value)) if isinstance(value, Mapping) else as_text(value)
                if image:
                    self.collector.add(image, f"{where}, {found}")
        self._walk(resource, where)
        for image in image_values(resource, skips=_CONTAINERS):
            self.collector.add(image.text, f"{where}, {image.path}", certain=False)

    def _kustomization(self, resource: ValueMap, name: str) -> None:
        """Add what `images:` puts in place of images, and say that it is not applied to the manifests."""
        for number, item in enumerate(as_list(resource.get("images"))):
            settings = as_map(item)
            old = as_text(settings.get("name"))
            tag, digest = as_text(settings.get("newTag")), as_text(settings.get("digest"))
            image = as_text(settings.get("newName")) or old
            image += f"@{digest}" if digest else f":{tag}" if tag else ""
            self.collector.add(image, f"{name}: images[{number}]", certain=False)
            self.collector.warnings.append(
                f"{name}: images[{number}] is not applied to {old[:_SHOWN]}: list what kustomize build writes instead"
            )

    def _walk(self, value: Value, where: str) -> None:
        if isinstance(value, Mapping):
            for key, item in value.items():
                if key in _CONTAINERS:
                    self._containers(item, where)
                elif key == "relatedImages":
                    for related in as_list(item):
                        self._add(as_map(related), f"{where}, relatedImages")
                elif key == "volumes":
                    self._volumes(item, where)
                self._walk(item, where)
        else:
            for item in as_list(value):
                self._walk(item, where)

    def _containers(self, value: Value, where: str) -> None:
        for item in as_list(value):
            container = as_map(item)
            named = f"{where}, container {as_text(container.get('name')) or '?'}"
            self._add(container, named)
            for variable in as_list(container.get("env")):
                entry = as_map(variable)
                if as_text(entry.get("name")).startswith(_OPERAND) and as_text(entry.get("value")):
                    self.collector.add(
                        as_text(entry.get("value")), f"{named}, {as_text(entry.get('name'))}", certain=False
                    )

    def _volumes(self, value: Value, where: str) -> None:
        for item in as_list(value):
            mounted = as_text(as_map(as_map(item).get("image")).get("reference"))
            if mounted:
                self.collector.add(mounted, f"{where}, an image volume")

    def _add(self, container: ValueMap, why: str) -> None:
        image = as_text(container.get("image"))
        if image:
            self.collector.add(image, why)

    def _line(self, match: re.Match[str], name: str, lines_before: int, document: str) -> bool:
        line = lines_before + document.count("\n", 0, match.start(1)) + 1
        return self.collector.add(match[1], f"{name}:{line}", certain=False)

    def _may_name_images(self, document: str) -> bool:
        return bool(self.paths) or "mage" in document or any(key in document for key in _CONTAINERS)


def values_at(value: Value, path: tuple[str, ...], place: str = "") -> Iterator[tuple[str, Value]]:
    """Yield the values at *path* in *value*, each with its place; the items of a list there one by one."""
    if isinstance(value, Mapping) and path:
        for key, item in value.items():
            if path[0] in {"*", key}:
                yield from values_at(item, path[1:], f"{place}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        rest = path[1:] if path[:1] == ("*",) else path
        for number, item in enumerate(value):
            yield from values_at(item, rest, f"{place}[{number}]")
    elif not path:
        yield place, value
