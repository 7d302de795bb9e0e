"""Images of Compose files: those of the services, of volumes of type image, and of the files that `include:` names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from image_syncer.image_sources.compose_variables import interpolate, read_env
from image_syncer.image_sources.foreign_yaml import Value, ValueMap, as_list, as_map, as_text, parse_foreign
from image_syncer.image_sources.image_collector import ImageCollector
from image_syncer.image_sources.local_files import decode, read_file
from image_syncer.structs import Struct, field

_INCLUDE_LIMIT: Final = 100
_NEVER: Final = "never"
_BUILD: Final = "build"


class ComposeReader(Struct, frozen=False):
    """Reads Compose files into *collector*. *variables* are those of the environment, which win over `.env` files."""

    collector: ImageCollector
    variables: Mapping[str, str] = field(repr=False)
    _read: set[Path] = field(default_factory=set[Path])

    def read(self, content: bytes, name: str, path: Path | None = None) -> None:
        """Add the images in *content*, the file *name*, and of the files that it includes if it has a *path*.

        `Refused` for a file that is no Compose file or cannot be read.
        """
        variables = dict(self.variables)
        if path is not None:
            self._read.add(path.resolve())
            variables = self._dotenv(path.parent / ".env") | variables
        document = as_map(parse_foreign(decode(content, name), name))
        services = as_map(document.get("services"))
        if not services and not as_list(document.get("include")):
            self.collector.warnings.append(f"{name}: no services:, so no images")
        for service, settings in services.items():
            self._service(f"{name}: service {service}", as_map(settings), variables)
        if path is not None:
            for included in _included(document.get("include")):
                self._include(path.parent / interpolate(included, variables))

    def _service(self, why: str, settings: ValueMap, variables: Mapping[str, str]) -> None:
        image = as_text(settings.get("image"))
        is_built = settings.get("build") is not None or as_text(settings.get("pull_policy")) == _BUILD
        is_local = is_built or as_text(settings.get("pull_policy")) == _NEVER
        if image:
            # An image that is built here may never have been pushed under this name.
            note = ", which is built here" if is_built else ", which is never pulled" if is_local else ""
            self.collector.add(interpolate(image, variables), f"{why}{note}", certain=not is_local)
        elif as_text(as_map(settings.get("extends")).get("file")):
            other = as_text(as_map(settings.get("extends")).get("file"))
            self.collector.warnings.append(f"{why} extends {other}, which is not read: its image is not copied")
        for volume in as_list(settings.get("volumes")):
            mounted = as_map(volume)
            if as_text(mounted.get("type")) == "image" and as_text(mounted.get("source")):
                self.collector.add(interpolate(as_text(mounted.get("source")), variables), f"{why}, an image volume")

    def _include(self, path: Path) -> None:
        if path.resolve() in self._read:
            return
        if len(self._read) >= _INCLUDE_LIMIT:
            self.collector.warnings.append(f"{path}: not read, since more than {_INCLUDE_LIMIT} files are included")
            return
        self.read(read_file(path), str(path), path)

    def _dotenv(self, path: Path) -> dict[str, str]:
        return read_env(decode(read_file(path), str(path))) if path.is_file() else {}


def _included(value: Value) -> Iterator[str]:
    """Yield the paths of `include:`, whose entries are paths or maps with one or more."""
    for entry in as_list(value):
        paths = as_map(entry).get("path") if isinstance(entry, Mapping) else entry
        for path in (paths,) if isinstance(paths, str) else as_list(paths):
            if as_text(path):
                yield as_text(path)
