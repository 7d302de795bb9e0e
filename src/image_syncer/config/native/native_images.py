"""The `images_from:` of rules: where a rule finds its images in place of a source."""

import importlib.util
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, cast, get_args

from image_syncer.config.documents.node import quoted
from image_syncer.config.documents.source_file import SourceFile, Step
from image_syncer.config.native.native_images_model import ImagesFromSection, KubernetesSection
from image_syncer.config.native.native_rule_model import RuleSection
from image_syncer.errors import UsageError
from image_syncer.extras import install_remedy
from image_syncer.sync.image_lists import ClusterScope, ImageList, ImageListKind
from image_syncer.sync.image_text import ARTIFACT_SCHEME, parse_artifact, parse_value_path
from image_syncer.sync.pattern import TargetTemplate

_KINDS: Final = cast("tuple[ImageListKind, ...]", get_args(ImageListKind))
_OPTIONS: Final[Mapping[str, Sequence[ImageListKind]]] = {
    "uncertain": ("helm", "compose", "manifests"),
    "include_chart": ("helm",),
    "values": ("helm",),
    "paths": ("manifests",),
}
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_NAMESPACE: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def parse_image_list(section: RuleSection, place: Sequence[Step], config_file: SourceFile) -> ImageList | None:
    """Return the list of images of the rule *section*; None if *config_file* has collected errors of it."""
    wanted = section.images_from
    if wanted is None:
        return None
    place = (*place, "images_from")

    def check() -> ImageListKind:
        _refuse_other_keys(section)
        return _kind(wanted)

    kind: ImageListKind | None = config_file.attempt(check, *place)
    if kind is None:
        return None
    if kind == "kubernetes":
        cluster = config_file.attempt(
            lambda: _cluster(wanted.kubernetes or KubernetesSection(), place, config_file), *place, "kubernetes"
        )
        return None if cluster is None else ImageList(kind, cluster=cluster)
    reader, folder = _PlaceReader(place, config_file), _folder(config_file, place)
    locations = reader.read(kind, _locations(wanted, kind), lambda text: _location(text, folder))
    values = reader.read("values", wanted.values or (), lambda text: _path(text, folder))
    paths = reader.read("paths", wanted.paths or (), _value_path)
    if locations is None or values is None or paths is None:
        return None
    return ImageList(
        kind,
        locations,
        uncertain=wanted.uncertain is True,
        include_chart=wanted.include_chart is True,
        paths=paths,
        values=values,
    )


def check_list_target(template: TargetTemplate, text: str) -> TargetTemplate:
    """Return *template*, a target of a list of images; `UsageError` if all images would share one repository."""
    if "{" not in template.path:
        raise UsageError(
            f"{quoted(text)}: one repository for all images of a list",
            remedy=f"write {template.registry}/{template.path}/{{repository}}",
        )
    return template


class _PlaceReader:
    """Reads the texts of keys, with their variables replaced."""

    def __init__(self, place: Sequence[Step], config_file: SourceFile) -> None:
        self._place = place
        self._file = config_file

    def read(self, key: str, texts: Sequence[str], parse: Callable[[str], str]) -> tuple[str, ...] | None:
        """Return what *parse* makes of each of the *texts* of *key*, each once; None after collected errors."""

        def one(text: str, at: int) -> str:
            return parse(self._file.substitute(text, *self._place, key, at).strip())

        found = [
            self._file.attempt(lambda text=text, at=at: one(text, at), *self._place, key, at)
            for at, text in enumerate(texts)
        ]
        known = tuple(dict.fromkeys(text for text in found if text is not None))
        return known if None not in found else None


def _refuse_other_keys(section: RuleSection) -> None:
    if section.source is not None:
        raise UsageError("source and images_from exclude each other", remedy="keep one of them, or write two rules")
    if section.tags is not None:
        raise UsageError("images_from names images with their tags, so tags: has no meaning", remedy="leave tags: out")
    if section.on:
        raise UsageError(
            "images_from has no repository that an event could announce",
            remedy="write every: or cron:; rules of a cluster follow it by themselves",
        )


def _kind(section: ImagesFromSection) -> ImageListKind:
    kinds: list[ImageListKind] = [kind for kind in _KINDS if _given(section, kind)]
    if not kinds:
        raise UsageError("images_from: nothing to read", remedy=f"write one of {', '.join(_KINDS)}")
    if len(kinds) > 1:
        raise UsageError(f"images_from: {' and '.join(kinds)} exclude each other", remedy="write a rule for each")
    for option, allowed in _OPTIONS.items():
        if getattr(section, option) is not None and kinds[0] not in allowed:
            raise UsageError(f"images_from: {option} has no meaning for {kinds[0]}", remedy="leave it out")
    return kinds[0]


def _given(section: ImagesFromSection, kind: ImageListKind) -> bool:
    return (section.list_ if kind == "list" else getattr(section, kind)) is not None


def _locations(section: ImagesFromSection, kind: ImageListKind) -> Sequence[str]:
    found: Sequence[str] | None = section.list_ if kind == "list" else getattr(section, kind)
    return found or ()


def _folder(config_file: SourceFile, place: Sequence[Step]) -> Path:
    """Return the directory of the file that has *place*, which may be an included one."""
    return Path(config_file.file_of(*place)).parent


def _location(text: str, folder: Path) -> str:
    if text.startswith(ARTIFACT_SCHEME):
        parse_artifact(text)
        return text
    return _path(text, folder)


def _path(text: str, folder: Path) -> str:
    scheme = _SCHEME.match(text)
    if scheme:
        # The error does not show the rest: a URL may contain a login.
        raise UsageError(
            f"a place that begins with {scheme.group()[:20]}", remedy="write a path, a glob, or oci://registry/name:tag"
        )
    # The daemon and the command line may run in different directories.
    return str(folder / Path(text).expanduser())


def _value_path(text: str) -> str:
    try:
        parse_value_path(text)
    except ValueError as error:
        raise UsageError(f"{quoted(text)}: {error}") from None
    return text


def _cluster(section: KubernetesSection, place: Sequence[Step], config_file: SourceFile) -> ClusterScope:
    folder, place = _folder(config_file, place), (*place, "kubernetes")
    if section.in_cluster and (section.context is not None or section.kubeconfig is not None):
        raise UsageError("in_cluster excludes context and kubeconfig", remedy="keep one of them")
    for namespace in section.namespaces or ():
        if not _NAMESPACE.fullmatch(namespace):
            raise UsageError(f"{quoted(namespace)}: not the name of a namespace")
    if importlib.util.find_spec("kubernetes") is None:
        raise UsageError(
            "images_from: kubernetes needs the library kubernetes, which is not installed",
            remedy=install_remedy("kubernetes"),
        )
    kubeconfig = section.kubeconfig
    if kubeconfig is not None:
        kubeconfig = _path(config_file.substitute(kubeconfig, *place, "kubeconfig"), folder)
    context = section.context
    return ClusterScope(
        context=None if context is None else config_file.substitute(context, *place, "context"),
        kubeconfig=kubeconfig,
        in_cluster=section.in_cluster is True,
        namespaces=tuple(dict.fromkeys(section.namespaces or ())),
        include_init=section.include_init is not False,
        grace_seconds=section.grace.total_seconds() if section.grace else 0.0,
        watch=section.watch is not False,
    )
