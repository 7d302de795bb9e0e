"""The YAML source of `skopeo sync --src yaml`: registries with their images."""

from image_syncer.config.convert.conversion import Conversion, Value, literal, semver_range, source_of, tags_of
from image_syncer.config.convert.fields import Fields
from image_syncer.config.documents.node import Node


def convert_skopeo(document: Node, conversion: Conversion) -> None:
    """Add what the file *document* says to *conversion*. skopeo keeps only the last component of a repository."""
    target = f"{conversion.required_target('skopeo sync')}/{{name}}"
    file = Fields.of(document, conversion)
    for host in list(file.names()):
        registry = file.section(host)
        _convert_access(host, registry)
        _convert_images(host, registry, target)
        registry.finish({"cert-dir": "name its files in ca: and client_certificate: of the registry"})
    conversion.note(
        file.line, "skopeo sync copies one platform of an index unless --all is given; image-syncer copies all"
    )


def _convert_access(host: str, registry: Fields) -> None:
    section: dict[str, Value] = {}
    login = registry.section("credentials")
    for key in ("username", "password"):
        value = login.text(key)
        if value is not None:
            section[key] = literal(value)
    login.finish()
    if registry.truth("tls-verify") is False:
        section["insecure"] = True
    if section:
        registry.conversion.registry(host).update(section)


def _convert_images(host: str, registry: Fields, target: str) -> None:
    conversion = registry.conversion
    images = registry.section("images")
    for path in images.names():
        wanted = images.texts(path)
        tags = [text for text in wanted if not text.startswith("sha256:")]
        source, name = source_of(host, path), f"{host}/{path}"
        if tags or not wanted:
            conversion.add_rule(name, source, [target], tags=tags)
        for digest in wanted:
            if digest.startswith("sha256:"):
                conversion.add_rule(f"{name}@{digest[:19]}", f"{source}@{digest}", [target])
    by_pattern = registry.section("images-by-tag-regex")
    for path in by_pattern.names():
        tags = [f"/{by_pattern.required(path)}/"]
        conversion.add_rule(f"{host}/{path}", source_of(host, path), [target], tags=tags)
    by_version = registry.section("images-by-semver")
    for path in by_version.names():
        wanted_range = tags_of(semver=semver_range(by_version.required(path)))
        conversion.add_rule(f"{host}/{path}", source_of(host, path), [target], tags=wanted_range)
