"""The kinds of files that can be converted, and the native file that a conversion writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, Final, cast

from image_syncer.config.convert.conversion import Conversion, Converted, Value
from image_syncer.config.convert.from_dregsy import convert_dregsy
from image_syncer.config.convert.from_fork import convert_fork
from image_syncer.config.convert.from_go_tool import convert_go_tool
from image_syncer.config.convert.from_harbor import convert_harbor
from image_syncer.config.convert.from_hauler import convert_hauler
from image_syncer.config.convert.from_kpromo import convert_kpromo, listed_images
from image_syncer.config.convert.from_list import convert_list
from image_syncer.config.convert.from_oc_mirror import convert_oc_mirror
from image_syncer.config.convert.from_ocync import convert_ocync
from image_syncer.config.convert.from_quay import convert_quay
from image_syncer.config.convert.from_regsync import convert_regsync
from image_syncer.config.convert.from_skopeo import convert_skopeo
from image_syncer.config.documents.document import read_nodes, read_text
from image_syncer.config.documents.node import ListNode, MapNode, Node
from image_syncer.errors import ConfigError, InvalidReference, UsageError
from image_syncer.oci import Repository
from image_syncer.sync.pattern import TargetTemplate

_Converter = Callable[[Node, Conversion], None]
_CONVERTERS: Final[Mapping[str, _Converter]] = {
    "dregsy": convert_dregsy,
    "fork": convert_fork,
    "go-tool": convert_go_tool,
    "harbor": convert_harbor,
    "oc-mirror": convert_oc_mirror,
    "ocync": convert_ocync,
    "quay": convert_quay,
    "regsync": convert_regsync,
    "skopeo": convert_skopeo,
}
KINDS: Final = tuple(sorted({*_CONVERTERS, "hauler", "kpromo", "list"}))
"""The names of the kinds."""

_MARKS: Final = (  # Each kind by keys at the top, of which one of each text is there.
    ("regsync", ("sync", "version creds defaults")),
    ("dregsy", ("tasks",)),
    ("ocync", ("mappings", "registries")),
    ("harbor", ("src_registry dest_registry",)),
    ("quay", ("external_reference",)),
    ("kpromo", ("registries", "images")),
    ("oc-mirror", ("mirror", "apiVersion")),
    ("hauler", ("spec", "apiVersion")),
)
_OF_SKOPEO: Final = frozenset({"images", "images-by-tag-regex", "images-by-semver"})
_PLAIN: Final = frozenset(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/-",
)
_SAMPLE: Final = Repository("registry.example.com", "app").tag("x")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


def convert(kind: str, files: Sequence[Path], target: str | None) -> Converted:
    """Return the native file for *files* of the tool *kind*; *target* is where images go if the files do not say.

    `ConfigError` for a file that is not of this kind, `UsageError` if the target is missing or no registry.
    """
    if target is not None and "${" not in target:  # The value of a variable is not known here.
        _check_target(target)
    conversion = Conversion(str(files[0]), target)
    try:
        _convert_into(conversion, kind, files)
    except UsageError as error:
        if isinstance(error, ConfigError):
            raise
        raise UsageError(f"{conversion.file}: {error.message}", remedy=error.remedy) from None
    return conversion.finish()


def _check_target(target: str) -> None:
    try:
        TargetTemplate.parse(f"{target.rstrip('/')}/x").fill(_SAMPLE)
    except InvalidReference as error:
        raise UsageError(
            f"--target: {error.message.replace('/x', '', 1)}", remedy="write registry.example.com or with a namespace"
        ) from None


def write_native(converted: Converted) -> str:
    """Return the native file of *converted* as YAML."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - slow to import

    yaml: Any = YAML()
    yaml.width, yaml.default_flow_style = 120, False
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = StringIO()
    yaml.dump(_quoted(converted.document), stream)
    return stream.getvalue()


def _convert_into(conversion: Conversion, kind: str, files: Sequence[Path]) -> None:
    match kind:
        case "list":
            for file in files:
                conversion.file = str(file)
                convert_list(read_text(file), conversion)
        case "hauler":
            for file in files:
                conversion.file = str(file)
                convert_hauler(read_nodes(file), conversion)
        case "kpromo":
            _convert_kpromo(conversion, files)
        case _:
            for file in files:
                conversion.file = str(file)
                for node in read_nodes(file):
                    _CONVERTERS[kind](node, conversion)


def _convert_kpromo(conversion: Conversion, files: Sequence[Path]) -> None:
    """Convert manifests; the images of a thin one are in `images/NAME/images.yaml` beside `manifests/NAME/`."""
    manifests = [found for file in files for found in _manifests(file)]
    if not manifests:
        raise UsageError("no manifests/*/promoter-manifest.yaml in this directory", remedy="name the manifest itself")
    for manifest in manifests:
        conversion.file = str(manifest)
        thin = manifest.parent.parent.parent / "images" / manifest.parent.name / "images.yaml"
        listed: Sequence[Node] = ()
        if manifest.parent.parent.name == "manifests" and thin.exists():
            listed = [item for node in read_nodes(thin) for item in listed_images(node, conversion)]
        for node in read_nodes(manifest):
            convert_kpromo(node, conversion, listed)


def _manifests(path: Path) -> list[Path]:
    return sorted(path.glob("manifests/*/promoter-manifest.yaml")) if path.is_dir() else [path]


def _quoted(value: Value) -> Any:
    """Return *value* with quotes around texts that the native file could read as something else."""
    if isinstance(value, str):
        from ruamel.yaml.scalarstring import SingleQuotedScalarString  # noqa: PLC0415 - slow to import

        is_plain = bool(value) and set(value) <= _PLAIN and value[0].isalpha() and value.lower() not in _WORDS
        return value if is_plain else SingleQuotedScalarString(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Value]", value).items()
        return {_quoted(key): _quoted(one) for key, one in entries}
    if isinstance(value, Sequence):
        return [_quoted(one) for one in cast("Sequence[Value]", value)]
    return value


def guess_kind(path: Path) -> str:
    """Return the kind of the file at *path* by its content; `UsageError` if it looks like none or several."""
    if path.is_dir():
        return "kpromo"
    if path.suffix.lower() not in {".yaml", ".yml", ".json"}:
        return "list"
    node = read_nodes(path)[0]
    if isinstance(node, ListNode) and node.items:
        node = node.items[0]
    keys = {entry.key.text for entry in node.entries} if isinstance(node, MapNode) else set[str]()
    for kind, marks in _MARKS:
        if all(any(mark in keys for mark in choice.split()) for choice in marks):
            return kind
    lower = {key.lower() for key in keys}
    if lower & {"app", "registry", "sync", "rabbitmq"}:
        return "fork"
    if isinstance(node, MapNode):
        values = [entry.value for entry in node.entries]
        if values and all(isinstance(value, MapNode) and _has_any(value, _OF_SKOPEO) for value in values):
            return "skopeo"
        if {"auth", "images"} & lower or all("." in key or ":" in key for key in keys):
            return "go-tool"
    raise _unknown_kind(path, keys)


def _has_any(node: MapNode, keys: frozenset[str]) -> bool:
    return any(entry.key.text in keys for entry in node.entries)


def _unknown_kind(path: Path, keys: Collection[str]) -> UsageError:
    """Return the error for the file at *path* with the top-level *keys*, which no tool's files have."""
    if "version" in keys and "rules" in keys:
        return UsageError(f"{path}: is a native file already", remedy="use it as it is")
    if "services" in keys or ("apiVersion" in keys and "kind" in keys):
        reader = "compose" if "services" in keys else "manifests"
        return UsageError(
            f"{path}: not recognised", remedy=f"a rule reads it as it is: images_from: {{{reader}: {path.name}}}"
        )
    return UsageError(f"{path}: not recognised", remedy=f"say what it is: --from {'|'.join(KINDS)}")
